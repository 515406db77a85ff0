from __future__ import annotations

import pytest

from medfed.alignment.patients import PatientQuestion, keeps, normalise_identifier, patients_of
from medfed.errors import InvalidInput


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("identifier", " 943-476 5919 ", "9434765919"),
        ("identifier", "ab.12", "AB12"),
        ("identifier", "-- ", None),
        ("family", "Müller-Lüdenscheidt", "mullerludenscheidt"),
        ("family", "O'Neill", "oneill"),
        ("given", "", None),
        ("birth_date", "1961-02-03", "1961-02-03"),
        ("birth_date", "1961-02", None),
        ("birth_date", "1961-02-30", None),
        ("sex", "Female", "f"),
    ],
)
def test_fields_are_normalised(field: str, text: str, expected: str | None) -> None:
    assert normalise_identifier(field, text) == expected  # type: ignore[arg-type]


def test_a_person_is_the_same_whatever_the_spelling() -> None:
    question = PatientQuestion(("family", "given", "birth_date"))
    rows = {
        "p1": {"family": "Müller", "given": "Ana Maria", "birth_date": "1961-02-03"},
        "p2": {"family": "MULLER ", "given": "Ana-Maria", "birth_date": "1961-02-03"},
        "p3": {"family": "Muller", "given": "Ana Maria", "birth_date": "1961-02-04"},
        "p4": {"family": "Muller", "given": "Ana Maria", "birth_date": ""},
        "p5": {"family": "Muller"},
    }
    assert sorted(patients_of(rows, question).values()) == [["p1", "p2"], ["p3"]]


def test_another_issuer_is_another_person() -> None:
    rows = {"p": {"identifier": "1"}}
    assert (
        not patients_of(rows, PatientQuestion(system="a")).keys()
        & patients_of(rows, PatientQuestion(system="b")).keys()
    )


def test_the_bytewise_first_hospital_keeps_a_person() -> None:
    assert keeps("alpha", ("alpha", "beta"))
    assert not keeps("beta", ("alpha", "beta"))
    assert keeps("beta", ("beta",))
    assert keeps("beta", ())


def test_a_question_goes_through_its_bytes_and_names_no_field_twice() -> None:
    question = PatientQuestion(("family", "birth_date"), "urn:x")
    assert PatientQuestion.decode(question.encode()) == question
    with pytest.raises(InvalidInput, match="named twice"):
        PatientQuestion.decode(PatientQuestion(("family", "family")).encode())
