"""Concordance counts against the definition, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.models.concordance import concordance_counts, concordance_index


def counts_by_loop(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> tuple[int, int, int]:
    concordant = discordant = tied = 0
    for i in range(len(risk)):
        for j in range(len(risk)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                concordant += int(risk[i] > risk[j])
                discordant += int(risk[i] < risk[j])
                tied += int(risk[i] == risk[j])
    return concordant, discordant, tied


@pytest.mark.parametrize("examples", [0, 1, 2, 3, 8, 9, 64, 200])
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_counts_agree_with_the_loop_over_pairs(examples: int, levels: int):
    rng = np.random.default_rng(examples * 7 + levels)
    for _ in range(5):
        risk = rng.integers(0, levels, examples) / 4 - 3
        time = rng.integers(0, max(2, levels // 2), examples).astype(float)
        event = rng.random(examples) < 0.6
        assert concordance_counts(risk, time, event) == counts_by_loop(risk, time, event)


def test_an_event_comes_before_a_censoring_at_the_same_time_and_two_events_do_not_compare():
    risk, time = np.array([2.0, 1.0]), np.array([5.0, 5.0])
    assert concordance_counts(risk, time, np.array([1, 0])) == (1, 0, 0)
    assert concordance_counts(risk, time, np.array([0, 1])) == (0, 1, 0)
    assert concordance_counts(risk, time, np.array([1, 1])) == (0, 0, 0)


def test_negating_risks_swaps_concordant_and_discordant():
    rng = np.random.default_rng(2)
    risk, time, event = rng.normal(size=5000), rng.exponential(size=5000), rng.random(5000) < 0.3
    concordant, discordant, tied = concordance_counts(risk, time, event)
    assert concordance_counts(-risk, time, event) == (discordant, concordant, tied)
    assert concordance_index(concordant, discordant, tied) == pytest.approx(0.5, abs=0.02)


def test_index_counts_a_tie_as_half():
    assert concordance_index(2, 1, 1) == 0.625


def test_no_comparable_pair_has_no_index():
    with pytest.raises(InvalidInput, match="no pair"):
        concordance_index(*concordance_counts(np.ones(3), np.arange(3.0), np.zeros(3)))


def test_shapes_that_differ_and_values_that_are_not_finite_are_refused():
    with pytest.raises(InvalidInput, match="shapes"):
        concordance_counts(np.ones(3), np.ones(2), np.ones(3))
    with pytest.raises(InvalidInput, match="finite"):
        concordance_counts(np.array([np.nan]), np.ones(1), np.ones(1))
