"""Concordance counts: equal to the loop over pairs, additive over hospitals, blind to monotone changes of risk."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medfed.models.concordance import concordance_counts

EXAMPLES = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4), st.booleans()), max_size=40)


def columns(examples: list[tuple[int, int, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(examples, float).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


@given(EXAMPLES)
def test_counts_equal_the_loop_over_pairs(examples: list[tuple[int, int, bool]]):
    expected = [0, 0, 0]
    for risk, time, event in examples:
        for other_risk, other_time, other_event in examples:
            if event and (time < other_time or (time == other_time and not other_event)):
                expected[0 if risk > other_risk else 1 if risk < other_risk else 2] += 1
    assert list(concordance_counts(*columns(examples))) == expected


@given(EXAMPLES)
def test_only_the_order_of_risks_matters_and_not_the_order_of_examples(examples: list[tuple[int, int, bool]]):
    risk, time, event = columns(examples)
    expected = concordance_counts(risk, time, event)
    assert concordance_counts(np.exp(risk) * 1e-5, time, event) == expected
    assert concordance_counts(risk[::-1], time[::-1], event[::-1]) == expected
