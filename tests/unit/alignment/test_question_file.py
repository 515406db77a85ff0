from __future__ import annotations

from pathlib import Path

import pytest

from medfed.alignment.patients import PatientQuestion
from medfed.alignment.question_file import describe_question, load_question
from medfed.alignment.signature import SignatureQuestion
from medfed.errors import InvalidInput


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "question.toml"
    path.write_text(text)
    return path


def test_without_a_file_everything_has_its_default() -> None:
    assert SignatureQuestion.decode(load_question("signatures", None)) == SignatureQuestion()
    assert PatientQuestion.decode(load_question("patients", None)) == PatientQuestion()


def test_a_question_is_read_and_described(tmp_path: Path) -> None:
    text = """
kinds = ["finding", "history"]
key_concepts = [["urn:x", "J18"]]
age_bands = [18, 65]
severity_bands = []
[[levels]]
system = "urn:x"
taxonomy = "icd-10"
depth = 3
"""
    question = load_question("signatures", write(tmp_path, text))
    assert SignatureQuestion.decode(question).key_concepts == (("urn:x", "J18"),)
    assert describe_question("signatures", question) == [
        "cases, by which features of 1 concepts they have: finding, history",
        "codes of urn:x to level 3",
        "age in bands from 18, 65",
    ]
    people = load_question("patients", write(tmp_path, 'fields = ["family", "birth_date"]\nsystem = "urn:y"'))
    assert describe_question("patients", people) == ["people, known by family and birth date, issued by urn:y"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age_band = [18]", "age_band: unknown"),
        ("age_bands = [18, 18]", "bands that grow"),
        ("kinds = []", "length >= 1"),
        ("kinds = [", "question.toml"),
    ],
)
def test_a_file_that_is_no_question_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        load_question("signatures", write(tmp_path, text))


def test_a_question_longer_than_the_ledger_takes_is_refused(tmp_path: Path) -> None:
    rows = ", ".join(f'["urn:x", "{"c" * 60}{n}"]' for n in range(1_000))
    with pytest.raises(InvalidInput, match="at most 49152"):
        load_question("signatures", write(tmp_path, f"key_concepts = [{rows}]"))
