"""V1 and V2: round trips, masks, units, and what the vocabulary has no word for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfed.errors import InvalidInput
from medfed.records.case import Case, Feature, Outcome, Treatment
from medfed.records.coding import local_coding
from medfed.records.rows import NOT_ASSESSED, PRESENT, REFUTED, Flag, Row, RowReader
from medfed.records.units import UnitConverter
from medfed.records.vectors import Vectoriser
from medfed.records.vocabulary import (
    AGE,
    SEX,
    SEXES,
    CodedAttribute,
    DrugEntry,
    FlagAttribute,
    NumberAttribute,
    SetAttribute,
    Vocabulary,
)

VOCABULARY = Vocabulary(
    (
        NumberAttribute(AGE, 0.0, 100.0),
        CodedAttribute(SEX, SEXES),
        NumberAttribute(local_coding("t", "crp"), 0.0, 200.0, "mg/L"),
        CodedAttribute(local_coding("t", "colour"), (local_coding("t", "red"), local_coding("t", "green"))),
        SetAttribute("history", "history", (local_coding("t", "asthma"), local_coding("t", "gout"))),
        FlagAttribute(local_coding("t", "cough"), details=True),
        FlagAttribute(local_coding("t", "fever")),
    ),
    diagnoses=(local_coding("t", "flu"), local_coding("t", "cold")),
    complications=(local_coding("t", "sepsis"),),
    drugs=(
        DrugEntry(local_coding("t", "amoxicillin"), "mg", center=500.0, scale=250.0),
        DrugEntry(local_coding("t", "x")),
    ),
    conditions=(local_coding("t", "at night"), local_coding("t", "after meals")),
)


def case(*features: Feature, outcome: Outcome | None = None) -> Case:
    return Case("c", "p", 0, 50.0, "female", features, outcome or Outcome(), "s")


rows = st.tuples(
    st.none() | st.integers(0, 100).map(float),
    st.none() | st.integers(0, 2),
    st.none() | st.floats(-50, 300, width=32),
    st.none() | st.integers(0, 1),
    st.none() | st.frozensets(st.integers(0, 1)),
    st.none()
    | st.builds(Flag, st.just(PRESENT), st.integers(0, 4), st.integers(0, 8), st.integers(0, 2))
    | st.sampled_from([Flag(REFUTED), Flag(NOT_ASSESSED)]),
    st.none() | st.sampled_from([Flag(PRESENT), Flag(REFUTED), Flag(NOT_ASSESSED)]),
)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_a_row_comes_back_from_its_vector(row: Row) -> None:
    vectoriser = Vectoriser(VOCABULARY)
    back = vectoriser.to_row(vectoriser.from_row(row))
    for got, want in zip(back, row, strict=True):
        if isinstance(want, float):
            assert got == pytest.approx(want, abs=1e-4)
        else:
            assert got == want


def test_a_case_is_vectorised_and_described_in_its_own_words() -> None:
    features = (
        Feature(
            local_coding("t", "cough"), severity=3, duration=10.0, occurrence_condition=local_coding("t", "at night")
        ),
        Feature(local_coding("t", "fever"), status="refuted"),
        Feature(local_coding("t", "crp"), "measurement", value=120.0, unit="mg/L"),
        Feature(local_coding("t", "colour"), "measurement", value=local_coding("t", "green")),
        Feature(local_coding("t", "gout"), "history"),
    )
    vectoriser = Vectoriser(VOCABULARY)
    vector = vectoriser.vectorise(case(*features))
    assert vector.unknown == ()
    assert [tuple(said) for said in vectoriser.describe(vector.v1)] == [
        ("age", "50"), ("sex", "female"), ("crp", "120 mg/L"), ("colour", "green"), ("history", "gout"),
        ("cough", "present, severe, for 7 days or longer, at night"), ("fever", "refuted"),
    ]  # fmt: skip


def test_what_is_not_mentioned_is_zero_everywhere() -> None:
    vectoriser = Vectoriser(VOCABULARY)
    vector = vectoriser.from_row((None,) * 7)
    assert not vector.any()
    assert vectoriser.describe(vector) == []


def test_unknown_codes_are_reported() -> None:
    outcome = Outcome((local_coding("t", "gangrene"),), treatments=(Treatment(local_coding("t", "snake oil")),))
    features = (
        Feature(local_coding("t", "itch")),
        Feature(local_coding("t", "colour"), value=local_coding("t", "blue")),
    )
    vector = Vectoriser(VOCABULARY).vectorise(case(*features, outcome=outcome))
    assert {coding.code for coding in vector.unknown} == {"itch", "blue", "gangrene", "snake oil"}


def test_v2_has_diagnoses_complications_drugs_and_masked_doses() -> None:
    outcome = Outcome(
        (local_coding("t", "flu"),),
        (local_coding("t", "sepsis"),),
        (
            Treatment(local_coding("t", "amoxicillin"), dose=1000.0, dose_unit="mg"),
            Treatment(local_coding("t", "x"), dose=1.0),
        ),
    )
    vectoriser = Vectoriser(VOCABULARY)
    vector = vectoriser.vectorise(case(outcome=outcome))
    assert vector.v2.tolist() == [1, 0, 1, 1, 1]
    assert (vector.doses.tolist(), vector.dose_known.tolist()) == ([2, 0], [1, 0])
    assert [tuple(said) for said in vectoriser.describe_outcome(vector.v2)] == [
        ("diagnosis", "flu"), ("complication", "sepsis"), ("drug", "amoxicillin"), ("drug", "x"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"dose_unit": "{tablet}"}, {"basis": "per-kg"}, {"dose_high": 2000.0}], ids=["unit", "basis", "range"]
)
def test_a_dose_that_does_not_compare_is_masked(change: dict[str, object]) -> None:
    given = {"dose": 1000.0, "dose_unit": "mg", **change}
    outcome = Outcome(treatments=(Treatment(local_coding("t", "amoxicillin"), **given),))  # type: ignore[arg-type]
    vector = Vectoriser(VOCABULARY).vectorise(case(outcome=outcome))
    assert vector.dose_known.tolist() == [0, 0]
    assert vector.v2[3] == 1


def test_units_are_converted_into_the_vocabulary_s() -> None:
    pytest.importorskip("ucumvert")
    reader = RowReader(VOCABULARY, UnitConverter())
    words = reader.read(case(Feature(local_coding("t", "crp"), "measurement", value=12.0, unit="mg/dL")))
    assert words.row[2] == pytest.approx(120.0)
    bad = reader.read(case(Feature(local_coding("t", "crp"), "measurement", value=12.0, unit="mmol/L")))
    assert (bad.row[2], dict(bad.left_out)) == (None, {"a unit that does not convert": 1})


def test_numbers_that_are_none_are_left_out_and_counted() -> None:
    crp = local_coding("t", "crp")
    words = RowReader(VOCABULARY).read(case(Feature(crp, value=5.0, unit="mg/L", comparator="<")))
    assert (words.row[2], dict(words.left_out)) == (None, {"a number known only by a bound": 1})
    words = RowReader(VOCABULARY).read(case(Feature(crp, value=5.0, unit="g/L")))
    assert dict(words.left_out) == {"another unit, and no converter": 1}


def test_the_latest_of_several_features_counts_and_present_wins_a_tie() -> None:
    fever = local_coding("t", "fever")
    read = RowReader(VOCABULARY).read
    assert read(case(Feature(fever, time=5), Feature(fever, status="refuted", time=9))).row[6] == Flag(REFUTED)
    assert read(case(Feature(fever), Feature(fever, status="refuted"))).row[6] == Flag(PRESENT)


def test_a_vocabulary_comes_back_from_its_bytes_with_its_digest() -> None:
    again = Vocabulary.decode(VOCABULARY.encode())
    assert again == VOCABULARY
    assert again.digest == VOCABULARY.digest
    assert Vocabulary(VOCABULARY.attributes[1:]).digest != VOCABULARY.digest


@pytest.mark.parametrize(
    "broken",
    [
        Vocabulary((VOCABULARY.attributes[0], VOCABULARY.attributes[0])),
        Vocabulary((NumberAttribute(AGE, 1.0, 1.0),)),
        Vocabulary((NumberAttribute(AGE, 0.0, float("inf")),)),
        Vocabulary((), (local_coding("t", "a"), local_coding("t", "a"))),
        Vocabulary((), drugs=(DrugEntry(local_coding("t", "a"), scale=0.0),)),
        Vocabulary((), duration_bands=(3.0, 1.0)),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_refused(broken: Vocabulary) -> None:
    with pytest.raises(InvalidInput, match="vocabulary"):
        Vocabulary.decode(broken.encode())


def test_vectors_and_rows_that_do_not_fit_are_refused() -> None:
    vectoriser = Vectoriser(VOCABULARY)
    with pytest.raises(InvalidInput):
        vectoriser.from_row((None,))
    with pytest.raises(InvalidInput):
        vectoriser.to_row(np.zeros(3, np.float32))
    with pytest.raises(InvalidInput):
        vectoriser.describe_outcome(np.zeros(3, np.float32))
