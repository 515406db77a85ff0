"""Learned weights against a loop over all pairs, and exactness of sums over hospitals."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfed.diagnosis.weights import PairSums, learned_weights, pair_sums, sums_of_counts
from medfed.errors import InvalidInput
from medfed.records.coding import local_coding
from medfed.records.columns import CaseColumns
from medfed.records.outcome_counts import STEPS, count_outcomes
from medfed.records.rows import NOT_ASSESSED, PRESENT, REFUTED, Flag, Row
from medfed.records.vocabulary import Attribute, CodedAttribute, FlagAttribute, NumberAttribute, SetAttribute

ATTRIBUTES: tuple[Attribute, ...] = (
    CodedAttribute(local_coding("t", "c"), tuple(local_coding("t", f"{n}") for n in range(3))),
    CodedAttribute(local_coding("t", "p"), tuple(local_coding("t", code) for code in ("a|b", "a|c", "d|b")), "path"),
    NumberAttribute(local_coding("t", "n"), 0.0, 63.0),
    SetAttribute("s", "history", tuple(local_coding("t", f"m{n}") for n in range(5))),
    FlagAttribute(local_coding("t", "f")),
)
rows = st.tuples(
    st.none() | st.integers(0, 2),
    st.none() | st.integers(0, 2),
    st.none() | st.integers(0, 63).map(float),
    st.none() | st.frozensets(st.integers(0, 4)),
    st.none() | st.sampled_from([Flag(PRESENT), Flag(REFUTED), Flag(NOT_ASSESSED)]),
)
cases = st.lists(st.tuples(rows, st.integers(0, 2)), min_size=2, max_size=14)


def in_steps(attribute: Attribute, a: object, b: object) -> int | None:
    """Similarity of two values in steps of 1/63; None where the pair does not count."""
    if isinstance(attribute, FlagAttribute):
        states = [v.status if isinstance(v, Flag) else 0 for v in (a, b)]
        if REFUTED in states or NOT_ASSESSED in states or PRESENT not in states:
            return None
        return STEPS if states == [PRESENT, PRESENT] else 0
    if a is None or b is None:
        return None
    if isinstance(attribute, NumberAttribute):
        return round(STEPS * max(0.0, 1 - abs(a - b) / 63))  # type: ignore[operator]
    if isinstance(attribute, SetAttribute):
        return int(STEPS * len(a & b) / len(a | b) + 0.5) if a | b else STEPS  # type: ignore[operator, arg-type]
    if a == b:
        return STEPS
    if not attribute.taxonomy:
        return 0
    first, second = (attribute.values[v].code.split("|") for v in (a, b))  # type: ignore[index]
    return round(STEPS * 0.5) if first[0] == second[0] else 0


def by_loop(chosen: list[tuple[Row, int]]) -> np.ndarray:
    sums = np.zeros((len(ATTRIBUTES), 6), np.int64)
    for (first, y), (second, z) in combinations(chosen, 2):
        for place, attribute in enumerate(ATTRIBUTES):
            s = in_steps(attribute, first[place], second[place])
            if s is not None:
                a = int(y == z)
                sums[place] += [1, s, a, s * s, a * a, s * a]
    return sums


def sums_of(chosen: list[tuple[Row, int]]) -> PairSums:
    columns = CaseColumns.build(ATTRIBUTES, [row for row, _ in chosen])
    return pair_sums(columns, np.array([y for _, y in chosen]), 3)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_the_six_sums_are_those_of_a_loop_over_all_pairs(chosen: list[tuple[Row, int]]) -> None:
    found = sums_of(chosen)
    assert found.pairs == len(chosen) * (len(chosen) - 1) // 2
    assert (found.sums == by_loop(chosen)).all()


@settings(max_examples=40, deadline=None)
@given(cases, cases)
def test_weights_from_summed_counts_are_exactly_those_of_all_cases_pooled(
    here: list[tuple[Row, int]], there: list[tuple[Row, int]]
) -> None:
    def counts(chosen: list[tuple[Row, int]]) -> object:
        columns = CaseColumns.build(ATTRIBUTES, [row for row, _ in chosen])
        return count_outcomes(columns, np.array([y for _, y in chosen]), 3)

    summed = sums_of_counts(ATTRIBUTES, counts(here) + counts(there))  # type: ignore[operator, arg-type]
    pooled = sums_of_counts(ATTRIBUTES, counts(here + there))  # type: ignore[arg-type]
    assert summed.pairs == pooled.pairs
    assert (summed.sums == pooled.sums).all()
    assert (learned_weights(summed) == learned_weights(pooled)).all()
    loop = by_loop(here + there)
    loop[3] = 0  # sets are not counted by value
    assert (pooled.sums == loop).all()


@settings(max_examples=30, deadline=None)
@given(cases, cases)
def test_six_sums_of_two_hospitals_add_up_exactly_to_those_of_their_pairs(
    here: list[tuple[Row, int]], there: list[tuple[Row, int]]
) -> None:
    added = sums_of(here) + sums_of(there)
    assert (added.sums == by_loop(here) + by_loop(there)).all()
    assert added.sums.dtype == np.int64


def test_an_attribute_that_tells_the_outcome_weighs_more_than_one_that_does_not() -> None:
    rng = np.random.default_rng(1)
    outcomes = rng.integers(0, 3, 300)
    telling = [CodedAttribute(local_coding("t", name), ATTRIBUTES[0].values) for name in "ab"]  # type: ignore[union-attr]
    rows = [(int(y), int(x)) for y, x in zip(outcomes, rng.integers(0, 3, 300), strict=True)]
    weights = learned_weights(pair_sums(CaseColumns.build(telling, rows), outcomes, 3))
    assert weights[0] == 1.0
    assert weights[1] < 0.02


def test_a_rare_flag_that_happens_to_fit_is_shrunk() -> None:
    flags = [FlagAttribute(local_coding("t", name)) for name in ("common", "rare")]
    outcomes = np.repeat([0, 1], 50)
    rows = [(Flag() if y else None, Flag() if number >= 98 else None) for number, y in enumerate(outcomes)]
    sums = pair_sums(CaseColumns.build(flags, rows), outcomes, 2)
    n, pairs = sums.sums[:, 0], sums.pairs
    assert n[1] / (n[1] + 0.05 * pairs) < n[0] / (n[0] + 0.05 * pairs)
    weights = learned_weights(sums)
    assert weights[0] == 1.0
    assert weights[1] < weights[0]


def test_where_nothing_was_learned_all_weigh_the_same() -> None:
    assert learned_weights(PairSums(np.zeros((3, 6), np.int64), 0)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("outcomes", [[0], [0, 5], [-1, 0]])
def test_outcomes_that_do_not_fit_are_refused(outcomes: list[int]) -> None:
    columns = CaseColumns.build(ATTRIBUTES, [(None,) * 5] * 2)
    with pytest.raises(InvalidInput):
        count_outcomes(columns, np.array(outcomes), 3)
