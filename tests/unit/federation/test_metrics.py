"""Metrics against loops and formulae written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfed.errors import InvalidInput
from medfed.federation.metrics import (
    BINS,
    LOSS_UNIT,
    Confusion,
    PairCounts,
    auc_fraction,
    auc_interval,
    bin_scores,
    calibration_curve,
    calibration_error,
    concordance_interval,
    confusion_at_half,
    loss_counter,
    mean_loss,
    roc_points,
    wilson_interval,
)

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=25)


def histogram(scores: np.ndarray) -> np.ndarray:
    return np.bincount(bin_scores(scores), minlength=BINS)


def loop_auc(negatives: np.ndarray, positives: np.ndarray) -> float:
    won = 0.0
    for up in positives:
        for down in negatives:
            won += 1.0 if up > down else 0.5 if up == down else 0.0
    return won / (len(negatives) * len(positives))


@given(SCORES, SCORES)
def test_auc_of_the_bins_is_the_pair_loop_on_binned_scores(well: list[float], ill: list[float]) -> None:
    down, up = bin_scores(np.array(well)), bin_scores(np.array(ill))
    twice, pairs, ties = auc_fraction(histogram(np.array(well)), histogram(np.array(ill)))
    assert twice / pairs == pytest.approx(loop_auc(down, up), abs=1e-12)
    assert ties == sum(int(a == b) for a in down for b in up)


@given(SCORES, SCORES)
def test_auc_of_the_scores_is_within_the_ties_of_that_of_the_bins(well: list[float], ill: list[float]) -> None:
    twice, pairs, ties = auc_fraction(histogram(np.array(well)), histogram(np.array(ill)))
    assert abs(twice / pairs - loop_auc(np.array(well), np.array(ill))) <= ties / (pairs / 2) + 1e-12


def test_auc_variance_is_delongs_on_placements_written_out() -> None:
    rng = np.random.default_rng(0)
    down, up = bin_scores(rng.beta(2, 3, 80)), bin_scores(rng.beta(3, 2, 50))
    auc = loop_auc(down, up)
    of_up = np.array([np.mean((down < x) + 0.5 * (down == x)) for x in up])
    of_down = np.array([np.mean((up > x) + 0.5 * (up == x)) for x in down])
    variance = of_up.var(ddof=1) / len(up) + of_down.var(ddof=1) / len(down)
    found = auc_interval(np.bincount(down, minlength=BINS), np.bincount(up, minlength=BINS))
    half = 1.959963984540054 * math.sqrt(variance) / (auc * (1 - auc))
    logit = math.log(auc / (1 - auc))
    assert found.value == pytest.approx(auc)
    assert found.low == pytest.approx(1 / (1 + math.exp(half - logit)))
    assert found.high == pytest.approx(1 / (1 + math.exp(-half - logit)))


def test_auc_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    truth = 0.5 + 0.5 * math.erf(0.5)  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    covered = 0
    for _ in range(400):
        down, up = rng.normal(0, 1, 60), rng.normal(1, 1, 60)
        squashed = [1 / (1 + np.exp(-x)) for x in (down, up)]
        found = auc_interval(histogram(squashed[0]), histogram(squashed[1]))
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_a_perfect_separation_keeps_a_width_and_no_pair_gives_the_whole_range() -> None:
    well, ill = histogram(np.full(10, 0.1)), histogram(np.full(10, 0.9))
    perfect = auc_interval(well, ill)
    assert perfect.value == 1.0
    assert 0.7 < perfect.low < 1.0
    nothing = auc_interval(well, np.zeros(BINS, dtype=np.int64))
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0.0, 1.0)


def test_confusion_and_its_figures_are_the_usual_ratios() -> None:
    rng = np.random.default_rng(2)
    scores, ill = rng.random(300), rng.random(300) < 0.3
    confusion = confusion_at_half(histogram(scores[~ill]), histogram(scores[ill]))
    called = scores >= 0.5
    assert confusion.accuracy.value == pytest.approx(np.mean(called == ill))
    assert confusion.sensitivity.value == pytest.approx(called[ill].mean())
    assert confusion.specificity.value == pytest.approx((~called[~ill]).mean())
    balanced = (called[ill].mean() + (~called[~ill]).mean()) / 2
    assert confusion.balanced_accuracy.value == pytest.approx(balanced)
    assert confusion.balanced_accuracy.low < balanced < confusion.balanced_accuracy.high


def test_a_score_of_exactly_one_half_is_called_ill_and_one_of_one_is_counted() -> None:
    assert bin_scores(np.array([0.5, np.nextafter(0.5, 0), 1.0, 0.0])).tolist() == [128, 127, 255, 0]


def test_wilson_interval_has_the_published_value() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 gives .2553 to .3662; 0 of 20 gives 0 to .1611."""
    found = wilson_interval(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    none = wilson_interval(0, 20)
    assert (none.low, round(none.high, 4)) == (0.0, 0.1611)
    with pytest.raises(InvalidInput):
        wilson_interval(3, 2)


def test_roc_points_climb_from_the_origin_and_enclose_the_auc() -> None:
    rng = np.random.default_rng(3)
    well, ill = histogram(rng.beta(2, 4, 90)), histogram(rng.beta(4, 2, 70))
    points = roc_points(well, ill)
    twice, pairs, _ = auc_fraction(well, ill)
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert (np.diff(points, axis=0) >= 0).all()
    area = (np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1])).sum() / 2
    assert area == pytest.approx(twice / pairs)


def test_calibration_error_is_the_weighted_gap_and_nil_for_a_calibrated_score() -> None:
    rng = np.random.default_rng(4)
    scores = rng.random(200_000)
    ill = rng.random(200_000) < scores
    assert calibration_error(histogram(scores[~ill]), histogram(scores[ill])) < 0.01
    pushed = np.clip(scores + 0.2, 0, 1)
    assert calibration_error(histogram(pushed[~ill]), histogram(pushed[ill])) > 0.1
    curve = calibration_curve(histogram(scores[~ill]), histogram(scores[ill]))
    assert sum(count for _, _, count in curve) == 200_000
    assert all(abs(mean - share.value) < 0.02 for mean, share, _ in curve)


def test_loss_counter_adds_up_over_hospitals_and_caps_one_example() -> None:
    losses = np.array([0.5, 0.25, 1e9, 0.0])
    assert loss_counter(losses) == loss_counter(losses[:2]) + loss_counter(losses[2:])
    assert loss_counter(losses) == round(0.75 * LOSS_UNIT) + 32 * LOSS_UNIT
    assert mean_loss(loss_counter(losses[:2]), 2) == pytest.approx(0.375)
    assert math.isnan(mean_loss(0, 0))


def test_no_pair_gives_the_whole_range_and_all_won_gives_one() -> None:
    nothing = concordance_interval(PairCounts(0, 0, 0, 0, 0))
    assert math.isnan(nothing.value)
    all_won = concordance_interval(PairCounts(twice_won=20, pairs=10, won_won=80, won_pairs=40, pairs_pairs=20))
    assert all_won.value == 1.0
    assert 0.5 < all_won.low < 1.0


def test_empty_confusion_has_no_figure_but_a_whole_range() -> None:
    empty = Confusion(0, 0, 0, 0)
    assert math.isnan(empty.accuracy.value)
    assert math.isnan(empty.balanced_accuracy.value)
    assert empty.accuracy.high == 1.0
