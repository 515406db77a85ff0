"""From integer counters to the figures that clinicians read: what a federated evaluation says, and how
surely.

Everything here is a pure function of counts that hospitals may sum: confusion counts, score histograms,
fixed-point losses and pair counts. It must never see a score, a label or a time of one patient.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.errors import InvalidInput

__all__ = [
    "BINS",
    "LOSS_CAP",
    "LOSS_UNIT",
    "NORMAL_95",
    "Confusion",
    "PairCounts",
    "Proportion",
    "auc_fraction",
    "auc_interval",
    "bin_scores",
    "calibration_curve",
    "calibration_error",
    "concordance_interval",
    "confusion_at_half",
    "loss_counter",
    "mean_loss",
    "roc_points",
    "wilson_interval",
]

Counts = NDArray[np.int64]

BINS: Final = 256
"""Bins of a score histogram: bin b holds the scores in [b/256, (b+1)/256), the last one 1 as well."""
LOSS_UNIT: Final = 1 << 16
"""A loss counter holds sums of `round(loss * LOSS_UNIT)`, in nats."""
LOSS_CAP: Final = 32.0
"""Largest loss of one example, in nats; beyond it counts as this."""
NORMAL_95: Final = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


class Proportion(Record):
    """A figure in [0, 1] with its 95 % interval. NaN, [0, 1] when nothing was counted."""

    value: float
    low: float
    high: float


class Confusion(Record):
    """Counts at one threshold: an example is called ill when its score reaches it."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @property
    def total(self) -> int:
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative

    @property
    def accuracy(self) -> Proportion:
        return wilson_interval(self.true_positive + self.true_negative, self.total)

    @property
    def sensitivity(self) -> Proportion:
        return wilson_interval(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> Proportion:
        return wilson_interval(self.true_negative, self.true_negative + self.false_positive)

    @property
    def balanced_accuracy(self) -> Proportion:
        """Mean of sensitivity and specificity; interval from their independent binomial variances
        (Agresti-Coull
        adjusted, so that 0 and 1 keep a width)."""
        parts = (self.sensitivity, self.specificity)
        value = (parts[0].value + parts[1].value) / 2
        sizes = (self.true_positive + self.false_negative, self.true_negative + self.false_positive)
        hits = (self.true_positive, self.true_negative)
        variance = 0.0
        for hit, size in zip(hits, sizes, strict=True):
            p = (hit + 2) / (size + 4)
            variance += p * (1 - p) / (size + 4)
        return _clipped(value, NORMAL_95 * math.sqrt(variance) / 2)


class PairCounts(Record):
    """Comparable pairs of survival times (the shorter one an observed event), each within one hospital.

    With, for patient i, w_i = 2 * (pairs of i in the right order of risk) + (pairs of i with equal risks) and
    p_i = pairs of i:
    """

    twice_won: int
    """The sum of w_i / 2: twice the concordant pairs plus the tied ones."""
    pairs: int
    """The sum of p_i / 2."""
    won_won: int
    """The sum of w_i^2."""
    won_pairs: int
    """The sum of w_i * p_i."""
    pairs_pairs: int
    """The sum of p_i^2."""


def wilson_interval(hits: int, total: int) -> Proportion:
    """The proportion `hits / total` with Wilson's score interval (Wilson, JASA 22, 1927)."""
    if not 0 <= hits <= total:
        raise InvalidInput(f"proportion: expected 0 <= hits <= total, found {hits} of {total}")
    if total == 0:
        return Proportion(math.nan, 0.0, 1.0)
    z2 = NORMAL_95 * NORMAL_95
    p = hits / total
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = NORMAL_95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return Proportion(p, max(0.0, centre - half), min(1.0, centre + half))


def bin_scores(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The histogram bin of each score in [0, 1]. Exact, so `score >= .5` is `bin >= 128`."""
    return np.minimum((scores.astype(np.float64) * BINS).astype(np.int64), BINS - 1)


def confusion_at_half(negatives: Counts, positives: Counts) -> Confusion:
    """Confusion counts at the threshold .5, read off the two score histograms ((256,) int64 each)."""
    half = BINS // 2
    return Confusion(
        true_positive=int(positives[half:].sum()),
        false_positive=int(negatives[half:].sum()),
        true_negative=int(negatives[:half].sum()),
        false_negative=int(positives[:half].sum()),
    )


def auc_fraction(negatives: Counts, positives: Counts) -> tuple[int, int, int]:
    """The area under the ROC curve as integers: (twice the pairs won plus the ties, twice all pairs, the
    ties).

    The AUC of the binned scores is the first over the second; that of the scores themselves differs by at
    most ties / all pairs, since only order within a bin is lost. Python integers: no overflow.
    """
    below = 0
    twice = ties = 0
    for lower, upper in zip(negatives.tolist(), positives.tolist(), strict=True):
        twice += upper * (2 * below + lower)
        ties += upper * lower
        below += lower
    return twice, 2 * below * int(positives.sum()), ties


def auc_interval(negatives: Counts, positives: Counts) -> Proportion:
    """AUC with a 95 % interval by DeLong's variance (Biometrics 44, 1988), computed on the bins.

    The placement of a positive in bin b is (negatives below b + half those in b) / all negatives, alike for
    negatives; the variances of the placements are taken with their counts. On the logit scale, so that the
    interval stays in [0, 1]; where the variance is nil (perfect separation) it is Hanley and McNeil's
    exponential one at the AUC that half a pair less would give.
    """
    twice, pairs, _ = auc_fraction(negatives, positives)
    if pairs == 0:
        return Proportion(math.nan, 0.0, 1.0)
    n, m = negatives.astype(np.float64), positives.astype(np.float64)
    total_n, total_m = float(n.sum()), float(m.sum())
    auc = twice / pairs
    of_positive = (np.cumsum(n) - n / 2) / total_n
    of_negative = 1 - (np.cumsum(m) - m / 2) / total_m
    variance = _placement_variance(of_positive, m, auc) / total_m + _placement_variance(of_negative, n, auc) / total_n
    if variance <= 0 or auc in (0.0, 1.0):
        inner = min(max(auc, 1 / pairs), 1 - 1 / pairs)
        variance = _hanley_mcneil(inner, total_m, total_n)
        return _clipped(auc, NORMAL_95 * math.sqrt(variance))
    half = NORMAL_95 * math.sqrt(variance) / (auc * (1 - auc))
    logit = math.log(auc / (1 - auc))
    return Proportion(auc, _logistic(logit - half), _logistic(logit + half))


def roc_points(negatives: Counts, positives: Counts) -> NDArray[np.float64]:
    """(257, 2) points (false positive rate, true positive rate), from threshold 1 down to 0."""
    points = np.zeros((BINS + 1, 2))
    for column, counts in enumerate((negatives, positives)):
        points[1:, column] = np.cumsum(counts[::-1]) / max(int(counts.sum()), 1)
    return points


def calibration_curve(negatives: Counts, positives: Counts, groups: int = 10) -> list[tuple[float, Proportion, int]]:
    """For each of `groups` equal ranges of the score that is not empty: mean score (bin centres), share ill, count."""
    centres = (np.arange(BINS) + 0.5) / BINS
    edges = [round(i * BINS / groups) for i in range(groups + 1)]
    curve: list[tuple[float, Proportion, int]] = []
    for low, high in itertools.pairwise(edges):
        ill, well = positives[low:high], negatives[low:high]
        both = ill + well
        count = int(both.sum())
        if count:
            mean = float((both * centres[low:high]).sum()) / count
            curve.append((mean, wilson_interval(int(ill.sum()), count), count))
    return curve


def calibration_error(negatives: Counts, positives: Counts, groups: int = 10) -> float:
    """Expected calibration error: mean distance of score and share ill over `calibration_curve`'s groups."""
    curve = calibration_curve(negatives, positives, groups)
    total = sum(count for _, _, count in curve)
    if total == 0:
        return math.nan
    return sum(count * abs(mean - share.value) for mean, share, count in curve) / total


def loss_counter(losses: NDArray[np.floating]) -> int:
    """The sum of non-negative `losses` (nats) in units of 1 / LOSS_UNIT, each capped at LOSS_CAP."""
    units = np.rint(np.clip(losses.astype(np.float64), 0.0, LOSS_CAP) * LOSS_UNIT)
    return int(units.astype(np.int64).sum())


def mean_loss(counter: int, examples: int) -> float:
    """Mean loss in nats from a counter; NaN without examples."""
    return counter / LOSS_UNIT / examples if examples else math.nan


def concordance_interval(counts: PairCounts) -> Proportion:
    """Harrell's C-index with a 95 % interval, from pair counts summed over hospitals.

    The variance is that of a ratio of U-statistics of order two (Hoeffding 1948): the sum over patients of
    (won - C * pairs)^2 over (all pairs)^2, which the three sums of products give exactly. On the logit scale.
    """
    if counts.pairs == 0:
        return Proportion(math.nan, 0.0, 1.0)
    index = counts.twice_won / (2 * counts.pairs)
    spread = counts.won_won / 4 - index * counts.won_pairs + index * index * counts.pairs_pairs
    variance = max(spread, 0.0) / counts.pairs**2
    if variance == 0 or index in (0.0, 1.0):
        return wilson_interval(round(counts.twice_won / 2), counts.pairs)
    half = NORMAL_95 * math.sqrt(variance) / (index * (1 - index))
    logit = math.log(index / (1 - index))
    return Proportion(index, _logistic(logit - half), _logistic(logit + half))


def _placement_variance(placements: NDArray[np.float64], counts: NDArray[np.float64], mean: float) -> float:
    """Sample variance of placements, each occurring `counts` times; .25, the largest possible, for a sample of one."""
    total = float(counts.sum())
    if total < 2:
        return 0.25
    return float((counts * (placements - mean) ** 2).sum()) / (total - 1)


def _hanley_mcneil(auc: float, positives: float, negatives: float) -> float:
    """Variance of an AUC under exponential scores (Hanley and McNeil, Radiology 143, 1982)."""
    q1 = auc / (2 - auc)
    q2 = 2 * auc * auc / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
    return spread / (positives * negatives)


def _clipped(value: float, half: float) -> Proportion:
    return Proportion(value, max(0.0, value - half), min(1.0, value + half))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
