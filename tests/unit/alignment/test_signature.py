from __future__ import annotations

import pytest

from medfed.alignment.signature import SignatureQuestion, case_signature, signatures_of
from medfed.errors import InvalidInput
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import ICD10, Coding
from medfed.records.taxonomy import Level

FEVER, COUGH = Coding("urn:x", "fever"), Coding("urn:x", "cough")


def case(*features: Feature, age: float | None = 50.0, diagnosis: str = "", identifier: str = "c1") -> Case:
    outcome = Outcome((Coding(ICD10, diagnosis),) if diagnosis else ())
    return Case(identifier, "p" + identifier, 0, age, "female", features, outcome, "s" + identifier)


def test_the_same_features_in_another_order_are_the_same_signature() -> None:
    question = SignatureQuestion()
    one = case_signature(case(Feature(FEVER), Feature(COUGH)), question)
    assert one == case_signature(case(Feature(COUGH), Feature(FEVER), identifier="c2"), question)
    assert one != case_signature(case(Feature(FEVER)), question)


def test_refuted_features_and_other_kinds_are_not_in_it() -> None:
    question = SignatureQuestion()
    plain = case_signature(case(Feature(FEVER)), question)
    more = case(Feature(FEVER), Feature(COUGH, status="refuted"), Feature(COUGH, kind="medication"))
    assert case_signature(more, question) == plain


def test_coded_results_count_and_numbers_do_not() -> None:
    question = SignatureQuestion(kinds=("measurement",))

    def measured(value: Coding | float) -> bytes | None:
        return case_signature(case(Feature(FEVER, kind="measurement", value=value)), question)

    assert measured(38.5) == measured(40.0)
    assert measured(COUGH) == measured(COUGH)
    assert len({measured(COUGH), measured(FEVER), measured(38.5)}) == 3


def test_ages_of_one_band_are_the_same_and_a_band_begins_at_its_limit() -> None:
    question = SignatureQuestion(age_bands=(18.0, 65.0))
    at = {age: case_signature(case(Feature(FEVER), age=age), question) for age in (17.9, 18.0, 64.9, 65.0)}
    assert at[18.0] == at[64.9]
    assert len({at[17.9], at[18.0], at[65.0]}) == 3
    assert case_signature(case(Feature(FEVER), age=None), question) is None
    ageless = SignatureQuestion(age_bands=())
    assert case_signature(case(Feature(FEVER), age=None), ageless) == case_signature(case(Feature(FEVER)), ageless)


def test_severities_are_banded() -> None:
    question = SignatureQuestion(severity_bands=(3,))
    by = [case_signature(case(Feature(FEVER, severity=n)), question) for n in (1, 2, 3, 4)]
    assert by[0] == by[1] != by[2] == by[3]


def test_codes_are_cut_to_the_level_of_their_system() -> None:
    question = SignatureQuestion(levels=(Level(ICD10, "icd-10", 3),))
    one, other = Feature(Coding(ICD10, "J18.9")), Feature(Coding(ICD10, "J181"))
    assert case_signature(case(one), question) == case_signature(case(other), question)
    block = SignatureQuestion(levels=(Level(ICD10, "icd-10", 2),))
    assert case_signature(case(one), block) == case_signature(case(Feature(Coding(ICD10, "J12.0"))), block)


def test_only_key_concepts_count_and_a_case_without_them_has_no_signature() -> None:
    question = SignatureQuestion(key_concepts=(FEVER.key,))
    assert case_signature(case(Feature(FEVER), Feature(COUGH)), question) == case_signature(
        case(Feature(FEVER)), question
    )
    assert case_signature(case(Feature(COUGH)), question) is None


def test_the_main_diagnosis_counts_where_the_question_says_so() -> None:
    question = SignatureQuestion(main_diagnosis=True)
    one, other = case(Feature(FEVER), diagnosis="J18"), case(Feature(FEVER), diagnosis="J20")
    assert case_signature(one, question) != case_signature(other, question)
    assert case_signature(case(Feature(FEVER)), question) is None
    assert case_signature(one, SignatureQuestion()) == case_signature(other, SignatureQuestion())


def test_cases_are_listed_under_their_signature() -> None:
    cases = [case(Feature(FEVER), identifier="1"), case(Feature(FEVER), identifier="2"), case(identifier="3")]
    assert list(signatures_of(cases, SignatureQuestion()).values()) == [["1", "2"]]


def test_a_question_goes_through_its_bytes() -> None:
    question = SignatureQuestion(key_concepts=(FEVER.key,), levels=(Level(ICD10, "icd-10", 3),))
    assert SignatureQuestion.decode(question.encode()) == question


@pytest.mark.parametrize(
    "question",
    [
        SignatureQuestion(age_bands=(18.0, 18.0)),
        SignatureQuestion(severity_bands=(3, 2)),
        SignatureQuestion(levels=(Level(ICD10, "icd-10", 3), Level(ICD10, "path", 1))),
    ],
)
def test_a_question_that_does_not_hold_together_is_refused(question: SignatureQuestion) -> None:
    with pytest.raises(InvalidInput, match="signature question"):
        SignatureQuestion.decode(question.encode())
