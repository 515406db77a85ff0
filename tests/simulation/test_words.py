"""Hospitals agree on a vocabulary by a noisy vote over the ledger, from what each records."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest

import medfed
from medfed.errors import InvalidInput
from medfed.federation.plan import Plan, Words
from medfed.federation.plan_check import check_plan
from medfed.federation.plan_rules import verify_plan
from medfed.federation.prepared import prepare
from medfed.federation.word_study import (
    agreed_vocabulary,
    concept_list,
    concepts_of,
    word_plan,
    word_table,
    word_votes,
)
from medfed.hospital.aggregation import recompute_state
from medfed.identifiers import sha256
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import ICD10, Coding, local_coding
from medfed.records.draft import draft_vocabulary
from medfed.records.taxonomy import Level
from medfed.records.vocabulary import FlagAttribute, SetAttribute, Vocabulary

NAMES = tuple(f"h{n}" for n in range(9))
COMMON, RARE = [f"common-{n}" for n in range(8)], [f"rare-{n}" for n in range(8)]


def case(patient: str, *names: str, diagnosis: str = "flu") -> Case:
    features = tuple(Feature(local_coding("t", name)) for name in names)
    outcome = Outcome((local_coding("t", diagnosis),))
    return Case(patient, patient, 0, 50.0, "female", features, outcome, patient)


def held() -> dict[str, list[Case]]:
    """Everybody records what is common; each rare concept is one hospital's, but of many patients there."""
    cases: dict[str, list[Case]] = {}
    for at, name in enumerate(NAMES):
        mine = [one for n, one in enumerate(RARE) if n % len(NAMES) == at]
        cases[name] = [case(f"{name}-{n}", *COMMON, *mine) for n in range(40)]
    return cases


CANDIDATES = draft_vocabulary([one for cases in held().values() for one in cases])


def plan(**changes: object) -> Plan:
    return word_plan(CANDIDATES, NAMES, title="words", **changes)  # type: ignore[arg-type]


def test_what_most_record_is_agreed_on_and_what_one_records_stays_hidden(tmp_path: Path) -> None:
    (tmp_path / "concepts.csv").write_bytes(concept_list(CANDIDATES))
    tables = {name: word_table(cases, CANDIDATES) for name, cases in held().items()}
    study = medfed.simulate(plan(), tables, seed=3, cases=tmp_path / "concepts.csv")  # type: ignore[arg-type]
    assert study.study.phase == "completed"
    assert study.state.votes is not None
    agreed = agreed_vocabulary(CANDIDATES, study.state.votes.labels)
    named = {concept[1] for concept in concepts_of(agreed)}
    assert named == {*COMMON, "flu"}
    assert agreed.attributes[:2] == CANDIDATES.attributes[:2]  # age and sex are nobody's secret
    again = recompute_state(study.ledger.view, study.study.study, study.blobs)
    assert again.votes == study.state.votes  # whoever has ledger and blobs gets the same words


def test_nothing_that_left_a_site_names_a_concept_a_patient_or_a_hospitals_vote(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ledger, blobs and logs at every level. Votes: no blob is what the exact histogram would be if it were masked by
    nothing."""
    caplog.set_level(logging.DEBUG)
    (tmp_path / "concepts.csv").write_bytes(concept_list(CANDIDATES))
    cases, run = held(), tmp_path / "run"
    tables = {name: word_table(listed, CANDIDATES) for name, listed in cases.items()}
    asked = plan()
    study = medfed.simulate(asked, tables, seed=4, cases=tmp_path / "concepts.csv", directory=run)  # type: ignore[arg-type]
    left = b"".join(wire for block in study.ledger.engine.blocks() for wire in block.transactions)
    blobs = [path.read_bytes() for path in (run / "blobs").rglob("*") if path.is_file()]
    left += b"".join(blobs) + "\n".join(f"{one.getMessage()} {one.__dict__}" for one in caplog.records).encode()
    assert len(blobs) > len(NAMES)
    told = {key[1] for key in concepts_of(CANDIDATES)} | {one.patient for listed in cases.values() for one in listed}
    assert len(told) == 17 + 40 * len(NAMES)
    for word in told:
        assert word.encode() not in left
        assert sha256(word.encode()) not in left
    assert isinstance(asked.words, Words)
    for table in tables.values():
        votes = word_votes(prepare(asked, table, bytes(32)), len(concepts_of(CANDIDATES)), asked.words)
        for width in ("<u4", "<i8"):
            assert votes.astype(width).tobytes() not in left


def test_a_vote_says_whether_enough_patients_have_a_concept_and_nothing_of_how_many() -> None:
    asked = plan(least_patients=3, most_concepts=20)
    cases = [case(f"p{n}", "common-0") for n in range(3)] + [case("p0", "common-1") for _ in range(9)]
    refuted = Feature(local_coding("t", "common-2"), status="refuted")
    cases += [Case(f"r{n}", f"r{n}", 0, 50.0, "", (refuted,), Outcome(), f"r{n}") for n in range(9)]
    prepared = prepare(asked, word_table(cases, CANDIDATES), bytes(32))
    assert isinstance(asked.words, Words)
    votes = word_votes(prepared, len(concepts_of(CANDIDATES)), asked.words)
    said = {concept[1] for concept, (_, yes) in zip(concepts_of(CANDIDATES), votes, strict=True) if yes}
    assert said == {"common-0", "flu"}
    assert (votes.sum(axis=1) == 1).all()
    with pytest.raises(InvalidInput, match="below 2"):
        word_votes(prepared, 2, asked.words)


def test_a_patient_counts_for_so_many_concepts_and_turns_no_other_patients() -> None:
    few = plan(least_patients=1, most_concepts=2, gamma=2.0)
    assert isinstance(few.words, Words)
    count = len(concepts_of(CANDIDATES))

    def votes(*patients: str) -> np.ndarray:
        table = word_table([case(name, *COMMON) for name in patients], CANDIDATES)
        return word_votes(prepare(few, table, bytes(32)), count, few.words)[:, 1]  # type: ignore[arg-type]

    alone = {name: votes(name) for name in ("a", "b", "c")}
    assert all(one.sum() == 2 for one in alone.values())
    assert len({tuple(one) for one in alone.values()}) > 1
    assert (votes("a", "b", "c") == np.maximum.reduce(list(alone.values()))).all()
    costs = [plan(most_concepts=most).labelling.epsilon for most in (1, 4)]  # type: ignore[union-attr]
    assert 3.9 < costs[1] / costs[0] < 4.1


def test_concepts_are_recorded_at_the_level_of_the_candidates() -> None:
    words = Vocabulary((FlagAttribute(Coding(ICD10, "J18")),), levels=(Level(ICD10, "icd-10", 3),))
    one = Case("c", "p", 0, 50.0, "", (Feature(Coding(ICD10, "J18.9")),), Outcome(), "c")
    assert word_table([one], words).texts("patient") == ["p"]
    with pytest.raises(InvalidInput, match="none has any"):
        word_table([case("p", "fever")], words)


def test_sets_and_outcomes_are_cut_to_what_was_agreed() -> None:
    one, two = local_coding("t", "one"), local_coding("t", "two")
    words = Vocabulary((SetAttribute("history", "history", (one, two)), FlagAttribute(two)), diagnoses=(one, two))
    assert [key[1] for key in concepts_of(words)] == ["one", "two"]
    agreed = agreed_vocabulary(words, (1, 0))
    assert agreed == Vocabulary((SetAttribute("history", "history", (one,)),), diagnoses=(one,))
    assert agreed_vocabulary(words, (-1, -1)) == Vocabulary(())
    with pytest.raises(InvalidInput, match="one for each of 2"):
        agreed_vocabulary(words, (1,))


def test_a_plan_pays_for_every_concept_and_says_what_becomes_known() -> None:
    asked = plan()
    verify_plan(asked)
    assert asked.labelling.queries == len(concepts_of(CANDIDATES))  # type: ignore[union-attr]
    assert any("9 hospitals say yes" in line for line in check_plan(asked).reveals)
    with pytest.raises(InvalidInput, match="this noise needs"):
        verify_plan(plan(gamma=0.1))


def test_words_are_voted_on_with_one_vote_each_in_a_labelling_study() -> None:
    asked = plan()
    several = msgspec.structs.replace(asked.labelling, teachers=(2,) * len(NAMES))  # type: ignore[type-var]
    with pytest.raises(InvalidInput, match="one vote on a word"):
        verify_plan(msgspec.structs.replace(asked, labelling=several))
    with pytest.raises(InvalidInput, match=r"expected a section \[labelling\]"):
        verify_plan(msgspec.structs.replace(asked, labelling=msgspec.UNSET))
    with pytest.raises(InvalidInput, match="no concept"):
        word_plan(Vocabulary(()), NAMES, title="none")
    assert np.isfinite(asked.labelling.epsilon)  # type: ignore[union-attr]
