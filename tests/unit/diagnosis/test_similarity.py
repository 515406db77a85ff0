"""What the similarity means: readings, mismatches, coverage, thresholds, and speed-independent bounds."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.diagnosis.votes import count_votes
from medfed.errors import InvalidInput
from medfed.records.coding import local_coding
from medfed.records.columns import CaseColumns
from medfed.records.rows import NOT_ASSESSED, PRESENT, REFUTED, Flag, Row
from medfed.records.vocabulary import CodedAttribute, FlagAttribute, NumberAttribute

YES, NO, ASKED = Flag(PRESENT), Flag(REFUTED), Flag(NOT_ASSESSED)
FLAGS = tuple(FlagAttribute(local_coding("t", name), details=True) for name in "abcd")
MIXED = (
    NumberAttribute(local_coding("t", "n"), 0.0, 10.0),
    CodedAttribute(local_coding("t", "c"), (local_coding("t", "x"), local_coding("t", "y"))),
    *FLAGS[:2],
)


def similarity(query: Row, case: Row, beta: float = 0.25, attributes: tuple[object, ...] = FLAGS) -> float | None:
    columns = CaseColumns.build(attributes, [case])  # type: ignore[arg-type]
    hits = CaseIndex(columns, np.ones(len(attributes)), beta).search(Query(query))
    return float(hits.scores[0]) if len(hits.scores) else None


@pytest.mark.parametrize(
    ("beta", "expected"),
    [(0.0, 1 / 2), (1.0, 1 / 4), (0.25, 1 / (1 + 1 + 0.25 * 2))],
    ids=["all attributes of the new case", "all of either", "the default"],
)
def test_the_readings_of_the_denominator(beta: float, expected: float) -> None:
    assert similarity((YES, YES, None, None), (YES, None, YES, YES), beta) == pytest.approx(expected)


def test_absent_on_both_sides_never_counts() -> None:
    assert similarity((YES, None, None, None), (YES, None, None, None)) == 1.0
    assert similarity((YES, NO, None, None), (YES, NO, None, None)) == 1.0


def test_refuted_against_present_is_worse_than_not_mentioned() -> None:
    query = (YES, YES, None, None)
    assert similarity(query, (YES, NO, None, None)) == pytest.approx(1 / (2 + 0.25))
    assert similarity(query, (YES, None, None, None)) == pytest.approx(1 / 2)
    assert similarity((YES, NO, None, None), (YES, YES, None, None)) == pytest.approx(1 / (2 + 0.25))


def test_not_assessed_drops_out_on_either_side() -> None:
    assert similarity((YES, ASKED, None, None), (YES, YES, None, None)) == 1.0
    assert similarity((YES, YES, None, None), (YES, ASKED, None, None)) == 1.0


def test_details_make_a_shared_symptom_less_alike() -> None:
    assert similarity((Flag(PRESENT, 1), None, None, None), (Flag(PRESENT, 4), None, None, None)) == pytest.approx(0)
    half = similarity((Flag(PRESENT, 2, 1), None, None, None), (Flag(PRESENT, 2, 8), None, None, None), 0.0)
    assert half == pytest.approx((1 + 0) / 2)
    assert similarity((Flag(PRESENT, 2), None, None, None), (YES, None, None, None)) == 1.0


def test_a_measurement_missing_on_either_side_drops_out_of_both_sums() -> None:
    assert similarity((5.0, 0, None, None), (5.0, None, None, None), attributes=MIXED) == pytest.approx(1, abs=1e-4)
    assert similarity((None, 0, None, None), (5.0, 0, None, None), attributes=MIXED) == 1.0
    assert similarity((2.0, 0, None, None), (7.0, 0, None, None), attributes=MIXED) == pytest.approx(0.75, abs=1e-4)


def test_nothing_to_compare_is_not_found() -> None:
    assert similarity((5.0, None, None, None), (None, 1, None, None), attributes=MIXED) is None
    assert similarity((None,) * 4, (YES,) * 4) is not None  # what only the case has counts a quarter: similarity 0
    assert similarity((None,) * 4, (YES,) * 4) == 0.0
    assert similarity((None,) * 4, (None,) * 4) is None


def test_coverage_is_the_part_of_the_query_that_could_be_compared_and_bounds_what_is_found() -> None:
    columns = CaseColumns.build(MIXED, [(5.0, None, YES, None), (5.0, 0, None, None)])
    index = CaseIndex(columns, np.array([1.0, 2.0, 1.0, 1.0]))
    hits = index.search(Query((5.0, 0, YES, None)))
    assert dict(zip(hits.rows.tolist(), hits.coverage.tolist(), strict=True)) == {0: 0.5, 1: 1.0}
    assert index.search(Query((5.0, 0, YES, None), least_coverage=0.75)).rows.tolist() == [1]


def test_nothing_below_the_threshold_is_found() -> None:
    columns = CaseColumns.build(FLAGS, [(YES, None, None, None), (YES, YES, None, None)])
    index = CaseIndex(columns, np.ones(4), 0.0)
    assert index.search(Query((YES, YES, None, None), threshold=0.75)).rows.tolist() == [1]
    assert index.search(Query((None, None, YES, None), threshold=0.5)).rows.tolist() == []


def test_an_empty_library_finds_nothing() -> None:
    hits = CaseIndex(CaseColumns.build(FLAGS, []), np.ones(4)).search(Query((YES, None, None, None)))
    assert hits.rows.tolist() == []


@pytest.mark.parametrize("weights", [[1.0], [1, 1, 1, -1], [1, 1, 1, float("nan")], [1, 1, 1, float("inf")]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(InvalidInput):
        CaseIndex(CaseColumns.build(FLAGS, []), np.array(weights))


def test_a_query_that_does_not_fit_is_refused() -> None:
    index = CaseIndex(CaseColumns.build(FLAGS, []), np.ones(4))
    with pytest.raises(InvalidInput):
        index.search(Query((YES,)))
    with pytest.raises(InvalidInput):
        index.search(Query((YES,) * 4, nearest=0))


def test_votes_are_the_eighth_powers_as_shares() -> None:
    found = count_votes(np.array([1.0, 0.9, 0.9]), [("a",), ("b",), ("b", "c")])
    total = 1 + 3 * 0.9**8
    shares = {"a": 1 / total, "b": 2 * 0.9**8 / total, "c": 0.9**8 / total}
    assert dict(found) == pytest.approx(shares)
    assert [name for name, _ in found] == sorted(shares, key=lambda name: -shares[name])
    assert sum(share for _, share in found) == pytest.approx(1)
    assert count_votes(np.array([0.0]), [("a",)]) == []
    assert count_votes(np.zeros(0), []) == []
