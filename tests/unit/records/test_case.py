"""A case's bounds: what is out of them is refused, and the message does not repeat it."""

from __future__ import annotations

import msgspec
import pytest

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.records.case import Case, Course, Feature, Outcome, Treatment, check_case
from medfed.records.coding import Coding, local_coding

COUGH = local_coding("t", "cough")
CASE = Case("c", "p", 0, 40.0, "male", (Feature(COUGH),), Outcome((COUGH,)), "s")


def test_a_case_comes_back_from_its_bytes() -> None:
    assert decode(encode(CASE), Case) == CASE
    assert check_case(CASE) == CASE


@pytest.mark.parametrize(
    "change",
    [
        {"age": 131.0},
        {"age": -1.0},
        {"age": float("nan")},
        {"id": ""},
        {"index_time": 2**40},
        {"sex": "f"},
        {"features": (Feature(COUGH, status="maybe"),)},  # type: ignore[arg-type]
        {"features": (Feature(COUGH, severity=5),)},
        {"features": (Feature(COUGH, duration=-1.0),)},
        {"features": (Feature(COUGH, value=float("inf")),)},
        {"features": (Feature(COUGH, comparator="~"),)},  # type: ignore[arg-type]
        {"features": (Feature(Coding("", "x")),)},
        {"features": (Feature(COUGH),) * 9000},
        {"outcome": Outcome(treatments=(Treatment(COUGH, dose=-5.0),))},
        {"outcome": Outcome(treatments=(Treatment(COUGH, dose=0.0),))},
        {"outcome": Outcome(treatments=(Treatment(COUGH, frequency=2000.0),))},
        {"outcome": Outcome(course=Course("fine"))},  # type: ignore[arg-type]
    ],
)
def test_what_is_out_of_bounds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=r"case: .* out of its bounds"):
        check_case(msgspec.structs.replace(CASE, **change))


def test_two_codings_are_one_concept_whatever_they_show() -> None:
    assert Coding("s", "1", "one").key == Coding("s", "1", "eins").key
    assert Coding("s", "1").key != Coding("t", "1").key
