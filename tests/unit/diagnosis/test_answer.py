"""Answers, treatments and decisions, on cases made here and on the real symptom table's manner of question."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest

from medfed.crypto import seeded_entropy
from medfed.diagnosis.answer import Answer, AnswerSettings, Network, combine, make_answer
from medfed.diagnosis.decisions import Decided, Decisions, FollowedUp, Retained
from medfed.diagnosis.page import answer_page
from medfed.diagnosis.question import Asked, Question, parse_question, question_case
from medfed.diagnosis.treatments import parse_treatments, received_treatments
from medfed.diagnosis.votes import sum_votes
from medfed.errors import InvalidInput, Refused, Tampered
from medfed.hospital.consultation import follow_up, withdraw_patient
from medfed.records.case import Case, Course, CourseStatus, Feature, Outcome, Treatment
from medfed.records.coding import ATC, ICD10, Coding, local_coding
from medfed.records.draft import draft_vocabulary
from medfed.records.library import Library
from medfed.records.taxonomy import Level
from medfed.records.units import UnitConverter
from medfed.records.vocabulary import Vocabulary

PENICILLIN = msgspec.structs.replace(local_coding("t", "J01CE01", "benzylpenicillin"), system=ATC)


def case(
    number: int,
    findings: str,
    diagnosis: str,
    *treatments: Treatment,
    course: CourseStatus = "resolved",
    age: float = 40.0,
) -> Case:
    features = tuple(Feature(local_coding("t", name)) for name in findings.split())
    outcome = Outcome((local_coding("t", diagnosis),), (), treatments, Course(course))
    return Case(f"c{number:03}", f"p{number}", 0, age, "female", features, outcome, f"s{number}")


def dose(amount: float, unit: str = "mg", **fields: object) -> Treatment:
    return msgspec.structs.replace(Treatment(PENICILLIN, dose=amount, dose_unit=unit), **fields)


CASES = [
    *(case(n, "fever cough chills", "pneumonia", dose(100.0 + n)) for n in range(6)),
    *(case(n, "fever rash", "measles") for n in range(6, 10)),
]


def library_of(cases: list[Case]) -> tuple[Library, Vocabulary]:
    library = Library(None, seeded_entropy(b"answers"))
    for one in cases:
        library.put(one, "test")
    return library, draft_vocabulary(cases, person=False)


def question(*names: str, **fields: object) -> Question:
    features = tuple(Asked(name) for name in names)
    return msgspec.structs.replace(Question("p-new", features, 45.0, "female"), **fields)


def answered(asked: Question, network: Network | None = None, cases: list[Case] = CASES) -> Answer:
    library, words = library_of(cases)
    one = question_case(asked, words, library.id_of("answer/a"), 1000)
    return make_answer("a", asked, one, library, words, time=1000, user="dr", network=network)


def network(words: Vocabulary, **likely: float) -> Network:
    v2 = [likely.get(coding.code, 0.01) for coding in words.diagnoses]
    return Network(bytes(32), np.array([*v2, *([0.0] * len(words.drugs))]))


def codes(answer: Answer) -> list[str]:
    return [code for code, _ in answer.warnings]


def test_contributions_of_every_similar_case_sum_up_to_its_score() -> None:
    found = answered(question("fever", "cough"))
    assert found.diagnoses[0].diagnosis.code == "pneumonia"
    for one in found.cases:
        assert sum(part for _, part in one.contributions) == pytest.approx(one.score)


def test_cases_with_another_diagnosis_are_shown_as_speaking_against() -> None:
    found = answered(question("fever", "cough"))
    assert found.contrary
    assert all(one.diagnoses[0].code == "measles" for one in found.contrary)


def test_one_diagnosis_in_several_wordings_has_one_sum_of_votes() -> None:
    cases = [
        Case(f"c{n}", f"p{n}", 0, 40.0, "female", (Feature(local_coding("t", "fever")),), Outcome((coding,)), f"s{n}")
        for n, coding in enumerate(
            [
                Coding(ICD10, "J18.9", "Pneumonia"),
                Coding(ICD10, "J18.9", "pneumonia, unspecified"),
                Coding(ICD10, "J20.9"),
            ]
        )
    ]
    answer = answered(question("fever"), cases=cases)
    shares = {one.diagnosis.code: one.library for one in answer.diagnoses}
    assert shares == pytest.approx({"J18.9": 2 / 3, "J20.9": 1 / 3})


def test_similar_cases_vote_at_the_level_of_the_vocabulary() -> None:
    codings = (Coding(ICD10, "J18.9", "Pneumonia"), Coding(ICD10, "J18.1"), Coding(ICD10, "J20.9"))
    fever = (Feature(local_coding("t", "fever")),)
    cases = [
        Case(f"c{n}", f"p{n}", 0, 40.0, "", fever, Outcome((c, codings[0])), f"s{n}") for n, c in enumerate(codings)
    ]
    library, _ = library_of(cases)
    words = draft_vocabulary(cases, person=False, levels=(Level(ICD10, "icd-10", 3),))
    asked = question_case(question("fever"), words, library.id_of("answer/a"), 1000)
    answer = make_answer("a", question("fever"), asked, library, words, time=1000, user="dr")
    shares = {one.diagnosis: one.library for one in answer.diagnoses}
    assert shares == pytest.approx({Coding(ICD10, "J18"): 3 / 4, Coding(ICD10, "J20"): 1 / 4})
    assert not answer.contrary  # all three have J18


def test_a_case_without_a_diagnosis_speaks_against_nothing() -> None:
    undiagnosed = Case("c100", "p100", 0, 40.0, "female", CASES[0].features, Outcome(), "s100")
    answer = answered(question("fever", "cough"), cases=[*CASES, undiagnosed])
    assert "c100" in [one.case for one in answer.cases]
    assert [one.case for one in answer.contrary] == ["c006", "c007", "c008", "c009"]


def test_no_sufficiently_similar_case_is_said_and_nobody_votes() -> None:
    library, words = library_of(CASES)
    asked = Question("p", (Asked("headache", "urn:other"),))
    one = question_case(asked, words, "x", 0)
    found = make_answer("a", asked, one, library, words, time=0, user="dr")
    assert {"no-similar-case", "unknown-words"} <= set(codes(found))
    assert not found.diagnoses
    assert not found.treatments


def test_a_network_that_names_another_diagnosis_gives_a_warning_and_both_shares_are_shown() -> None:
    _, words = library_of(CASES)
    found = answered(question("fever", "cough"), network(words, measles=0.9))
    assert "disagreement" in codes(found)
    by_code = {one.diagnosis.code: one for one in found.diagnoses}
    assert by_code["measles"].network == pytest.approx(0.9)
    assert by_code["pneumonia"].library and by_code["pneumonia"].library > 0.5  # noqa: PT018
    assert sum(one.combined for one in found.diagnoses) == pytest.approx(1.0)


def test_a_distant_library_does_not_outvote_a_sure_network_nor_an_unsure_network_an_identical_case() -> None:
    _, words = library_of(CASES)
    pneumonia, measles = (next(c for c in words.diagnoses if c.code == code) for code in ("pneumonia", "measles"))
    sure, unsure = network(words, measles=0.9), network(words, measles=0.3)

    def first(similarity: float, said: Network | None, share: float = 0.5) -> tuple[str, float]:
        votes = sum_votes(np.array([similarity] * 2), [(pneumonia,)] * 2)
        ranked = combine(votes, said, words, share)
        assert sum(one.combined for one in ranked) == pytest.approx(1.0)
        assert ranked[0].library in (1.0, 0.0)
        return ranked[0].diagnosis.code, ranked[0].combined

    assert first(0.6, sure)[0] == "measles"
    assert first(1.0, unsure)[0] == "pneumonia"
    assert first(0.6, sure, share=0.0) == ("pneumonia", 1.0)
    assert first(1.0, sure, share=1.0)[0] == "measles"
    # 2 * .9^8 votes against .3 for another diagnosis and .01 for its own
    others = 0.01 * (len(words.diagnoses) - 2)
    code, part = first(0.9, unsure)
    assert code == pneumonia.code
    assert part == pytest.approx((2 * 0.9**8 + 0.01) / (2 * 0.9**8 + 0.3 + 0.01 + others))
    assert first(0.6, None) == ("pneumonia", 1.0)
    assert combine([], sure, words, 0.0)[0].diagnosis == measles


def test_a_network_that_agrees_gives_no_warning() -> None:
    _, words = library_of(CASES)
    assert codes(answered(question("fever", "cough", "chills"), network(words, pneumonia=0.9))) == []


def test_a_case_of_which_little_could_be_compared_gives_a_warning() -> None:
    def warmth(value: float) -> Feature:
        return Feature(local_coding("t", "warmth"), "measurement", value=value)

    warm = [
        msgspec.structs.replace(case(n, "rash", "measles"), features=(warmth(30.0 + n),)) for n in (80, 81)
    ]  # the only ones in which it was measured
    library, words = library_of([*CASES[:6], *warm])
    asked = question("fever", "cough", "chills")
    measured = Asked("warmth", kind="measurement", value=250.0)
    for least, expected in ((0.7, []), (0.8, ["low-coverage"])):
        more = msgspec.structs.replace(asked, features=(*asked.features, measured))
        one = question_case(more, words, "x", 0)
        settings = AnswerSettings(least_coverage=least)
        found = make_answer("a", more, one, library, words, time=0, user="dr", settings=settings)
        assert found.cases[0].coverage == pytest.approx(0.75)
        assert [code for code in codes(found) if code != "no-network"] == expected


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("[", "not JSON"),
        ("{}", "document"),
        ('[{"drug": "aspirin"}]', r"\[0\].drug"),
        ('[{"drug": {"system": "s", "code": "c"}, "dose": -5, "dose_unit": "mg"}]', r"\[0\].dose"),
        ('[{"drug": {"system": "s", "code": "c"}, "dose": 5}]', r"\[0\].dose_unit"),
        ('[{"drug": {"system": "s", "code": "c"}, "dose": 5, "dose_high": 2, "dose_unit": "mg"}]', r"\[0\].dose_high"),
        ('[{"drug": {"system": "s", "code": "c"}, "doze": 5}]', r"\[0\]: not what"),
    ],
)
def test_what_was_ordered_is_refused_by_field_and_without_its_value(document: str, place: str) -> None:
    with pytest.raises(InvalidInput, match=place) as found:
        parse_treatments(document.encode())
    assert "aspirin" not in str(found.value)


def test_what_was_ordered_is_read() -> None:
    route = '{"system": "s", "code": "oral"}'
    drug = '{"system": "s", "code": "c"}'
    document = f'[{{"drug": {drug}, "route": {route}, "dose": 5, "dose_unit": "mg/kg", "basis": "per-kg"}}]'
    (one,) = parse_treatments(document.encode())
    assert one == Treatment(Coding("s", "c"), route=Coding("s", "oral"), dose=5.0, dose_unit="mg/kg", basis="per-kg")
    assert parse_treatments(b"[]") == ()


def test_five_doses_give_quartiles_and_four_are_listed() -> None:
    six = received_treatments(question("fever"), CASES[:6])[0]
    assert (six.median, six.measured, six.doses) == (102.5, 6, ())
    assert six.lower == pytest.approx(np.quantile(range(100, 106), 0.25))
    four = received_treatments(question("fever"), CASES[:4])[0]
    assert (four.median, four.doses) == (None, (100.0, 101.0, 102.0, 103.0))


@pytest.mark.parametrize(
    "other",
    [
        dose(5, route=local_coding("t", "oral")),
        dose(5, basis="per-kg"),
        dose(5, "mL"),
        dose(5, as_needed=True),
        Treatment(local_coding("t", "other"), dose=5, dose_unit="mg"),
    ],
    ids=["route", "basis", "dimension", "as needed", "ingredient"],
)
def test_what_differs_is_never_summed_up(other: Treatment) -> None:
    found = received_treatments(question("fever"), [*CASES[:5], case(90, "fever", "x", other)], UnitConverter())
    assert sorted(one.measured for one in found) == [1, 5]


def test_another_age_band_is_apart_and_comes_after_the_patient_s_own() -> None:
    child = case(90, "fever", "x", dose(5), age=7)
    assert [one.age_band for one in received_treatments(question("fever"), [child, *CASES[:5]])] == [
        "18 to 64",
        "5 to 11",
    ]


def test_doses_in_units_of_one_dimension_are_converted_before_they_are_summed_up() -> None:
    (one,) = received_treatments(
        question("fever"), [*CASES[:5], case(90, "fever", "x", dose(0.102, "g"))], UnitConverter()
    )
    assert (one.measured, one.unit, one.median) == (6, "mg", pytest.approx(102.0))


def test_who_got_worse_or_died_is_counted_against_and_gives_no_dose() -> None:
    bad = [case(90, "fever", "x", dose(9000), course="died"), case(91, "fever", "x", dose(9000), course="worse")]
    (one,) = received_treatments(question("fever"), [*CASES[:5], *bad])
    assert (len(one.cases), one.against, one.measured) == (5, ("c090", "c091"), 5)


def test_a_range_is_no_dose() -> None:
    (one,) = received_treatments(question("fever"), [case(1, "fever", "x", dose(5, dose_high=10.0))])
    assert (one.doses, one.measured) == ((), 0)


@pytest.mark.parametrize(
    ("allergy", "asked", "expected"),
    [("J01CE01", True, "yes"), ("J01C", False, "yes"), ("J01FA", True, "no"), ("", True, "no"), ("", False, "unknown")],
)
def test_an_allergy_to_the_drug_or_its_class_stands_beside_it(allergy: str, asked: bool, expected: str) -> None:
    features = (Asked(allergy, ATC, "allergy"),) if allergy else ()
    (one,) = received_treatments(Question("p", features, allergies_asked=asked), CASES[:1])
    assert (one.flags.allergy, one.flags.pregnancy, one.flags.age) == (expected, "unknown", "unknown")


def decided_log(path: Path | None = None) -> tuple[Library, Vocabulary, Decisions]:
    library, words = library_of(CASES)
    log = Decisions(path)
    asked = question("fever", "cough")
    one = question_case(asked, words, library.id_of("answer/a"), 1000)
    log.record_answer(make_answer("a", asked, one, library, words, time=1000, user="dr"), one)
    return library, words, log


PNEUMONIA = Decided("confirm", "agrees", (local_coding("t", "pneumonia"),))


def test_a_question_becomes_a_case_only_with_a_decision_and_an_acceptable_course() -> None:
    library, _, log = decided_log()
    with pytest.raises(Refused):
        follow_up(library, log, "a", FollowedUp("resolved", 2000), user="dr", time=2000)
    log.decide("a", PNEUMONIA, user="dr", time=1500)
    for course in ("unknown", "unchanged", "worse", "died"):
        follow_up(library, log, "a", FollowedUp(course, 1600), user="dr", time=1600)
        assert len(library) == len(CASES)
    entry = follow_up(library, log, "a", FollowedUp("improved", 1700), user="dr", time=1700)
    assert isinstance(entry.event, Retained)
    made = library.get(entry.event.case)
    assert (made.assisted, made.outcome.course.status) == (True, "improved")
    assert entry.event.case not in {one.id for one in library.cases(assisted=False)}


def test_the_new_case_is_found_by_the_next_search_and_not_before() -> None:
    library, words, log = decided_log()
    log.decide("a", PNEUMONIA, user="dr", time=1500)

    def found() -> set[str]:
        asked = question("fever", "cough")
        one = question_case(asked, words, "x", 0)
        return {c.case for c in make_answer("b", asked, one, library, words, time=0, user="dr").cases}

    before = found()
    entry = follow_up(library, log, "a", FollowedUp("resolved", 1700), user="dr", time=1700)
    assert isinstance(entry.event, Retained)
    assert found() - before == {entry.event.case}


def test_nothing_is_preselected_and_a_decision_is_made_once() -> None:
    _, _, log = decided_log()
    with pytest.raises(InvalidInput, match="name the diagnosis"):
        log.decide("a", Decided("confirm", "agrees"), user="dr", time=1500)
    log.decide("a", PNEUMONIA, user="dr", time=1500)
    with pytest.raises(Refused):
        log.decide("a", PNEUMONIA, user="dr", time=1600)


def test_a_rejected_answer_without_a_diagnosis_never_becomes_a_case() -> None:
    library, _, log = decided_log()
    log.decide("a", Decided("reject", "not-similar"), user="dr", time=1500)
    follow_up(library, log, "a", FollowedUp("resolved", 1700), user="dr", time=1700)
    assert len(library) == len(CASES)


@pytest.mark.parametrize("known", [1400, 1900])
def test_a_course_is_not_known_before_the_decision_nor_in_the_future(known: int) -> None:
    library, _, log = decided_log()
    log.decide("a", PNEUMONIA, user="dr", time=1500)
    with pytest.raises(InvalidInput):
        follow_up(library, log, "a", FollowedUp("resolved", known), user="dr", time=1800)


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM entry WHERE number = 1", "UPDATE entry SET content = (SELECT content FROM entry WHERE number = 1)"],
)
def test_a_changed_or_removed_entry_shows(tmp_path: Path, change: str) -> None:
    _, _, log = decided_log(tmp_path / "log.db")
    log.decide("a", PNEUMONIA, user="dr", time=1500)
    assert log.verify()[0] == 2
    log.close()
    with sqlite3.connect(tmp_path / "log.db") as raw:
        raw.execute(change)
    raw.close()
    with pytest.raises(Tampered):
        Decisions(tmp_path / "log.db").verify()


def test_a_withdrawn_consent_erases_what_was_asked_and_leaves_the_chain_whole() -> None:
    library, _, log = decided_log()
    log.decide("a", PNEUMONIA, user="dr", time=1500)
    withdraw_patient(library, log, "p-new")
    follow_up(library, log, "a", FollowedUp("resolved", 1700), user="dr", time=1700)
    assert len(library) == len(CASES)
    assert log.verify()[0] == 3


def test_the_page_says_the_answer_first_and_each_thing_asked_once() -> None:
    asked = question("fever", "cough", "fever")
    page = answer_page(asked, answered(asked))
    places = [page.index(f"<h2>{title}</h2>") for title in ("Diagnoses", "What similar patients received", "Asked")]
    assert places == sorted(places)
    assert page[places[-1] :].count("<td>fever</td>") == 1


def test_the_page_escapes_everything_and_runs_nothing() -> None:
    asked = question("fever", "cough", patient="<script>alert(1)</script>")
    nasty = Asked("<img src=x onerror=alert(1)>", "urn:other")
    page = answer_page(msgspec.structs.replace(asked, features=(*asked.features, nasty)), answered(asked))
    assert "<script" not in page
    assert "<img" not in page
    assert "Not a recommended dose" in page


@pytest.mark.parametrize("data", [b"", b"[]", b'{"patient": "secret-7", "features": [{"concept": 5}]}', b"\xff"])
def test_a_question_that_is_none_is_bad_input_that_repeats_no_value(data: bytes) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_question(data)
    assert "secret" not in str(error.value)
