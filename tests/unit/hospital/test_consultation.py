"""Asking at a site: the log knows what was shown before anybody sees it, and nothing of a question that was refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.targets_models import model

from medfed.crypto import seeded_entropy
from medfed.diagnosis.question import Asked, Question
from medfed.errors import InvalidInput, Refused
from medfed.hospital.consultation import ask, open_decisions, withdraw_patient
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import local_coding
from medfed.records.draft import draft_vocabulary
from medfed.records.library import Library
from medfed.records.vocabulary import Vocabulary


def case(number: int, findings: str, diagnosis: str) -> Case:
    features = tuple(Feature(local_coding("t", name)) for name in findings.split())
    outcome = Outcome((local_coding("t", diagnosis),))
    return Case(f"c{number}", f"p{number}", 0, 40.0, "female", features, outcome, f"s{number}")


@pytest.fixture
def library() -> Library:
    library = Library(None, seeded_entropy(b"consultation"))
    for number in range(4):
        library.put(case(number, "fever cough", "pneumonia" if number < 3 else "influenza"), "test")
    return library


@pytest.fixture
def words(library: Library) -> Vocabulary:
    return draft_vocabulary(list(library.cases()), person=False)


def question(patient: str = "p-new") -> Question:
    return Question(patient, (Asked("fever"), Asked("cough")), 45.0, "female")


def test_what_was_shown_is_in_the_log(library: Library, words: Vocabulary, tmp_path: Path) -> None:
    log = open_decisions(tmp_path)
    answer = ask(
        library, log, question(), words, model=None, time=1_000, user="dr", entropy=seeded_entropy(b"an answer")
    )
    assert {found.case for found in answer.cases} == {"c0", "c1", "c2", "c3"}
    assert answer.answer in {entry.answer for entry in log.entries()}
    assert (tmp_path / "decisions.db").stat().st_mode & 0o777 == 0o600


def test_two_questions_get_two_identifiers(library: Library, words: Vocabulary, tmp_path: Path) -> None:
    log, entropy = open_decisions(tmp_path), seeded_entropy(b"two")
    both = [ask(library, log, question(), words, model=None, time=1, user="dr", entropy=entropy) for _ in range(2)]
    assert both[0].answer != both[1].answer


def test_a_model_of_another_vocabulary_is_refused_and_nothing_is_logged(
    library: Library, words: Vocabulary, tmp_path: Path
) -> None:
    log = open_decisions(tmp_path)
    with pytest.raises(InvalidInput, match="vocabulary"):
        ask(library, log, question(), words, model=model(), time=1, user="dr", entropy=seeded_entropy(b"m"))
    assert list(log.entries()) == []


def test_a_patient_who_has_withdrawn_is_not_asked_about(library: Library, words: Vocabulary, tmp_path: Path) -> None:
    log = open_decisions(tmp_path)
    assert withdraw_patient(library, log, "p1") == 1
    with pytest.raises(Refused) as refused:
        ask(library, log, question("p1"), words, model=None, time=1, user="dr", entropy=seeded_entropy(b"w"))
    assert refused.value.code == "consent-withdrawn"
    assert list(log.entries()) == []
