"""Pair counts against the loop over pairs, against `models.concordance`, and their interval against the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.federation.metrics import concordance_interval
from medfed.federation.pairs import pair_counts
from medfed.models.concordance import concordance_counts


def cohort(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    risk = np.round(rng.normal(size=n), 1)
    time = np.ceil(rng.exponential(np.exp(-risk)) * 5)
    return risk, time, (rng.random(n) < 0.6).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_pair_counts_are_those_of_the_loop_over_pairs(seed: int) -> None:
    risk, time, event = cohort(seed, 40)
    won, pairs = np.zeros(40, dtype=int), np.zeros(40, dtype=int)
    for i in range(40):
        for j in range(40):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                points = 2 if risk[i] > risk[j] else 1 if risk[i] == risk[j] else 0
                won[[i, j]] += points
                pairs[[i, j]] += 1
    found = pair_counts(risk, time, event)
    assert (found.twice_won, found.pairs) == (won.sum() // 2, pairs.sum() // 2)
    assert (found.won_won, found.won_pairs, found.pairs_pairs) == (won @ won, won @ pairs, pairs @ pairs)


def test_pair_counts_agree_with_the_models_package_on_a_larger_cohort() -> None:
    risk, time, event = cohort(9, 1500)
    concordant, discordant, tied = concordance_counts(risk, time, event)
    found = pair_counts(risk, time, event)
    assert found.twice_won == 2 * concordant + tied
    assert found.pairs == concordant + discordant + tied


def test_nobody_or_no_event_gives_no_pair() -> None:
    empty = np.zeros(0)
    assert pair_counts(empty, empty, empty).pairs == 0
    assert pair_counts(np.arange(3.0), np.arange(3.0), np.zeros(3)).pairs == 0


def test_the_interval_is_as_wide_as_the_bootstrap_over_patients_says() -> None:
    risk, time, event = cohort(10, 200)
    rng = np.random.default_rng(11)
    draws = []
    for _ in range(400):
        rows = rng.integers(0, 200, 200)
        counts = pair_counts(risk[rows], time[rows], event[rows])
        draws.append(counts.twice_won / (2 * counts.pairs))
    found = concordance_interval(pair_counts(risk, time, event))
    width, bootstrap = found.high - found.low, np.percentile(draws, 97.5) - np.percentile(draws, 2.5)
    assert width == pytest.approx(bootstrap, rel=0.2)
