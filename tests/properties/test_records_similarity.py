"""The search finds what a ten-line loop written from the formula finds, for any cases, weights and beta."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.records.coding import local_coding
from medfed.records.columns import CaseColumns
from medfed.records.rows import NOT_ASSESSED, PRESENT, REFUTED, Flag, Row, Value
from medfed.records.vocabulary import Attribute, CodedAttribute, FlagAttribute, NumberAttribute, SetAttribute

FLAGS = 11
ATTRIBUTES: tuple[Attribute, ...] = (
    CodedAttribute(local_coding("t", "c"), tuple(local_coding("t", f"{n}") for n in range(4))),
    CodedAttribute(
        local_coding("t", "p"), tuple(local_coding("t", code) for code in ("a|b|c", "a|b|d", "a|x", "y|b|c")), "path"
    ),
    NumberAttribute(local_coding("t", "n"), -2.0, 6.0),
    SetAttribute("s", "history", tuple(local_coding("t", f"m{n}") for n in range(70))),
    *(FlagAttribute(local_coding("t", f"f{n}"), details=True) for n in range(FLAGS)),
)

values: list[st.SearchStrategy[Value]] = [
    st.none() | st.integers(0, 3),
    st.none() | st.integers(0, 3),
    st.none() | st.integers(-8, 12).map(float),
    st.none() | st.frozensets(st.integers(0, 69), max_size=6),
    *(
        st.none()
        | st.builds(Flag, st.just(PRESENT), st.integers(0, 4), st.integers(0, 8), st.integers(0, 2))
        | st.sampled_from([Flag(PRESENT), Flag(REFUTED), Flag(NOT_ASSESSED)])
        for _ in range(FLAGS)
    ),
]
rows = st.tuples(*values)


def loop(query: Row, case: Row, weights: np.ndarray, beta: float) -> float | None:
    """The formula of the clinical page, one pair at a time."""
    above = below = 0.0
    for attribute, w, a, b in zip(ATTRIBUTES, weights, query, case, strict=True):
        if isinstance(attribute, FlagAttribute):
            sides = (a.status if a else 0, b.status if b else 0)
            if NOT_ASSESSED in sides or PRESENT not in sides:
                continue
            shared = pair(a, b) if sides == (PRESENT, PRESENT) else 0.0
            mine, theirs = float(sides[0] != 0), float(sides[1] != 0)
            above, below = above + w * shared, below + w * (mine + beta * (theirs - shared))
        elif a is not None and b is not None:
            above, below = above + w * alike(attribute, a, b), below + w
    return above / below if below > 1e-12 else None


def pair(a: Flag, b: Flag) -> float:
    parts = [1 - abs(a.severity - b.severity) / 3] if a.severity and b.severity else []
    parts += [1 - abs(a.duration - b.duration) / 7] if a.duration and b.duration else []
    parts += [float(a.condition == b.condition)] if a.condition and b.condition else []
    return sum(max(0.0, part) for part in parts) / len(parts) if parts else 1.0


def alike(attribute: Attribute, a: Value, b: Value) -> float:
    if isinstance(attribute, NumberAttribute):
        return max(0.0, 1 - abs(a - b) / (attribute.high - attribute.low))
    if isinstance(attribute, SetAttribute):
        return len(a & b) / len(a | b) if a | b else 1.0
    if not attribute.taxonomy:
        return float(a == b)
    first, second = (attribute.values[n].code.split("|") for n in (a, b))
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    return same / max(len(first), len(second))


@settings(max_examples=80, deadline=None)
@given(
    cases=st.lists(rows, min_size=1, max_size=12),
    query=rows,
    weights=st.lists(st.sampled_from([0.0, 0.25, 1.0, 2.5]), min_size=len(ATTRIBUTES), max_size=len(ATTRIBUTES)),
    beta=st.sampled_from([0.0, 0.25, 1.0]),
    threshold=st.sampled_from([0.0, 0.5]),
)
def test_the_search_finds_what_a_loop_over_the_formula_finds(
    cases: list[Row], query: Row, weights: list[float], beta: float, threshold: float
) -> None:
    w = np.array(weights)
    hits = CaseIndex(CaseColumns.build(ATTRIBUTES, cases), w, beta).search(Query(query, 50, threshold))
    wanted = {n: s for n, case in enumerate(cases) if (s := loop(query, case, w, beta)) is not None}
    found = dict(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True))
    for number, score in wanted.items():
        if abs(score - threshold) > 1e-3 or threshold == 0:
            assert (number in found) == (score >= threshold), (number, score)
    for number, score in found.items():
        assert abs(score - wanted[number]) < 1e-4  # numbers are kept in steps of 1/16383 of their range
    assert np.allclose(hits.contributions.sum(axis=1), hits.scores)
    assert all(a > b - 1e-9 for a, b in zip(hits.scores, hits.scores[1:], strict=False))
    assert all(0 <= c <= 1 + 1e-9 for c in hits.coverage)


@settings(max_examples=25, deadline=None)
@given(cases=st.lists(rows, min_size=1, max_size=8))
def test_columns_give_back_the_rows_they_were_made_of(cases: list[Row]) -> None:
    columns = CaseColumns.build(ATTRIBUTES, cases)
    for number, case in enumerate(cases):
        for attribute, got, want in zip(ATTRIBUTES, columns.row(number), case, strict=True):
            if isinstance(attribute, NumberAttribute) and want is not None:
                assert abs(got - want) < 8.0 / 16_383
            else:
                assert got == want


@settings(max_examples=20, deadline=None)
@given(cases=st.lists(rows, min_size=2, max_size=8), query=rows)
def test_a_part_of_the_columns_scores_its_cases_as_the_whole_does(cases: list[Row], query: Row) -> None:
    columns = CaseColumns.build(ATTRIBUTES, cases)
    ones = np.ones(len(ATTRIBUTES))
    whole = CaseIndex(columns, ones).search(Query(query, 50))
    part = CaseIndex(columns.take(np.arange(1, len(cases))), ones).search(Query(query, 50))
    scores = dict(zip(whole.rows.tolist(), whole.scores.tolist(), strict=True))
    assert {row + 1: score for row, score in zip(part.rows.tolist(), part.scores.tolist(), strict=True)} == {
        row: score for row, score in scores.items() if row
    }


@settings(max_examples=20, deadline=None)
@given(case=rows, query=rows, copies=st.integers(100, 300))
def test_equal_cases_come_in_the_order_of_their_rows(case: Row, query: Row, copies: int) -> None:
    columns = CaseColumns.build(ATTRIBUTES, [case] * copies)
    hits = CaseIndex(columns, np.ones(len(ATTRIBUTES))).search(Query(query, 10))
    assert hits.rows.tolist() == list(range(len(hits.rows)))
