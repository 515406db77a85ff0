"""What an evaluation round says: one record a task, holding the summed counters and deriving every figure
from them.

All comparisons that decide something (best round, early stopping, rejection) are on fractions of integers, so
every hospital decides alike. It must never hold anything but sums over hospitals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.federation.metrics import (
    Confusion,
    PairCounts,
    Proportion,
    auc_fraction,
    auc_interval,
    calibration_error,
    concordance_interval,
    confusion_at_half,
    mean_loss,
    wilson_interval,
)

__all__ = [
    "BinaryEvaluation",
    "DetectionEvaluation",
    "Evaluation",
    "Fraction",
    "Histograms",
    "MulticlassEvaluation",
    "MultilabelEvaluation",
    "SurvivalEvaluation",
    "histograms",
    "is_greater",
]

Fraction = tuple[int, int]
"""Numerator and denominator; a denominator of 0 means that nothing was counted."""


def is_greater(a: Fraction, b: Fraction) -> bool:
    """Whether a > b, exactly. False when either has a denominator of 0. Denominators are never negative."""
    return a[1] > 0 and b[1] > 0 and a[0] * b[1] > b[0] * a[1]


def _counts(values: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)


class Histograms(Record):
    """Score histograms of the two outcomes."""

    negative: tuple[int, ...]
    """Examples without the outcome by bin of their score."""
    positive: tuple[int, ...]
    """Examples with it."""

    @property
    def confusion(self) -> Confusion:
        return confusion_at_half(_counts(self.negative), _counts(self.positive))

    @property
    def auc(self) -> Proportion:
        return auc_interval(_counts(self.negative), _counts(self.positive))

    @property
    def auc_fraction(self) -> Fraction:
        return auc_fraction(_counts(self.negative), _counts(self.positive))[:2]

    @property
    def auc_ties(self) -> float:
        """The share of pairs within one bin: the exact AUC is nearer than this to the one of the bins."""
        _, twice_pairs, ties = auc_fraction(_counts(self.negative), _counts(self.positive))
        return 2 * ties / twice_pairs if twice_pairs else math.nan

    @property
    def calibration_error(self) -> float:
        return calibration_error(_counts(self.negative), _counts(self.positive))


class BinaryEvaluation(Histograms, tag_field="task", tag="binary"):
    """Ill or well. Every figure follows from two 256-bin histograms and the loss counter."""

    loss_units: int
    """Sum of the log losses in units of 1 / metrics.LOSS_UNIT nats."""

    @property
    def examples(self) -> int:
        return sum(self.negative) + sum(self.positive)

    @property
    def accuracy(self) -> Proportion:
        return self.confusion.accuracy

    @property
    def loss(self) -> float:
        return mean_loss(self.loss_units, self.examples)

    @property
    def preference(self) -> Fraction:
        """Greater is better: minus the mean log loss."""
        return -self.loss_units, self.examples

    @property
    def score(self) -> Fraction:
        """In [0, 1]: the AUC of the bins."""
        return self.auc_fraction

    def summary(self) -> dict[str, Proportion]:
        """Named figures with intervals."""
        confusion = self.confusion
        return {
            "accuracy": confusion.accuracy,
            "balanced accuracy": confusion.balanced_accuracy,
            "sensitivity": confusion.sensitivity,
            "specificity": confusion.specificity,
            "AUC": self.auc,
        }


class MulticlassEvaluation(Record, tag_field="task", tag="multiclass"):
    """One of k classes."""

    classes: int
    confusion: tuple[int, ...]
    """k * k counts, row = true class, column = predicted class."""
    loss_units: int
    one_against_rest: tuple[Histograms, ...]
    """For each class, when there are few; else empty."""

    @property
    def matrix(self) -> NDArray[np.int64]:
        return _counts(self.confusion).reshape(self.classes, self.classes)

    @property
    def examples(self) -> int:
        return sum(self.confusion)

    @property
    def accuracy(self) -> Proportion:
        return wilson_interval(int(np.trace(self.matrix)), self.examples)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur; NaN when none does."""
        totals = self.matrix.sum(axis=1)
        seen = totals > 0
        return float((np.diag(self.matrix)[seen] / totals[seen]).mean()) if seen.any() else math.nan

    @property
    def loss(self) -> float:
        return mean_loss(self.loss_units, self.examples)

    @property
    def preference(self) -> Fraction:
        return -self.loss_units, self.examples

    @property
    def score(self) -> Fraction:
        """In [0, 1]: accuracy."""
        return int(np.trace(self.matrix)), self.examples

    def summary(self) -> dict[str, Proportion]:
        figures = {"accuracy": self.accuracy}
        figures |= {f"AUC of class {i}": one.auc for i, one in enumerate(self.one_against_rest)}
        return figures


class MultilabelEvaluation(Record, tag_field="task", tag="multilabel"):
    """Several yes-or-no labels."""

    examples: int
    loss_units: int
    """The losses of an example's labels are added."""
    labels: tuple[Histograms, ...]
    """Histograms of each label, when there are few; else empty."""
    confusions: tuple[Confusion, ...]
    """Confusion counts at .5 of each label."""

    @property
    def accuracy(self) -> Proportion:
        return wilson_interval(*self.score)

    @property
    def loss(self) -> float:
        return mean_loss(self.loss_units, self.examples)

    @property
    def preference(self) -> Fraction:
        return -self.loss_units, self.examples

    @property
    def score(self) -> Fraction:
        """In [0, 1]: the share of labels called right."""
        right = sum(one.true_positive + one.true_negative for one in self.confusions)
        return right, sum(one.total for one in self.confusions)

    def summary(self) -> dict[str, Proportion]:
        figures = {"accuracy over labels": self.accuracy}
        figures |= {f"AUC of label {i}": one.auc for i, one in enumerate(self.labels)}
        return figures


class SurvivalEvaluation(Record, tag_field="task", tag="survival"):
    """Time to an event."""

    examples: int
    events: int
    pairs: PairCounts

    @property
    def concordance(self) -> Proportion:
        return concordance_interval(self.pairs)

    @property
    def loss(self) -> float:
        """NaN: a partial likelihood does not add up over hospitals."""
        return math.nan

    @property
    def preference(self) -> Fraction:
        return self.score

    @property
    def score(self) -> Fraction:
        """In [0, 1]: the C-index."""
        return self.pairs.twice_won, 2 * self.pairs.pairs

    def summary(self) -> dict[str, Proportion]:
        return {"C-index": self.concordance}


class DetectionEvaluation(Record, tag_field="task", tag="detection"):
    """Boxes in pictures. Average precision is read off counts of right and wrong boxes in bins of score."""

    labels: tuple[str, ...]
    """The classes."""
    examples: int
    """Pictures."""
    boxes: tuple[int, ...]
    """True boxes of each class."""
    matched: tuple[int, ...]
    """Detections that match a true box: by overlap (.50 to .95 in ten steps), class and bin of score."""
    unmatched: tuple[int, ...]
    """Those that match none."""

    @property
    def precisions(self) -> NDArray[np.int64]:
        """(overlaps, classes): 101 times the average precision in units of 2^-30; -1 for a class without a box."""
        k = len(self.labels)
        right = _counts(self.matched).reshape(-1, k, len(self.matched) // (_OVERLAPS * k))
        wrong = _counts(self.unmatched).reshape(right.shape)
        found = [
            [_precision_units(right[level, at], wrong[level, at], self.boxes[at]) for at in range(k)]
            for level in range(len(right))
        ]
        return np.array(found, dtype=np.int64)

    @property
    def loss(self) -> float:
        """NaN: nobody counts it."""
        return math.nan

    @property
    def preference(self) -> Fraction:
        return self.score

    @property
    def score(self) -> Fraction:
        """In [0, 1]: AP50, the mean over the classes that occur."""
        at_half = self.precisions[0]
        known = at_half[at_half >= 0]
        return int(known.sum()), _AP_UNIT * len(known)

    def summary(self) -> dict[str, Proportion]:
        """AP50 and AP (COCO's mean over overlaps) over all classes, then AP50 of each. No interval is known."""
        units = self.precisions
        known = units[:, units[0] >= 0] / _AP_UNIT
        whole = {"AP50": known[0], "AP": known}
        figures = {name: _point(float(part.mean()) if part.size else math.nan) for name, part in whole.items()}
        each = zip(self.labels, units[0], strict=True)
        return figures | {f"AP50 of {label}": _point(ap / _AP_UNIT if ap >= 0 else math.nan) for label, ap in each}


_OVERLAPS: Final = 10
_AP_UNIT: Final = 101 << 30


def _point(value: float) -> Proportion:
    return Proportion(value, math.nan, math.nan)


def _precision_units(right: NDArray[np.int64], wrong: NDArray[np.int64], boxes: int) -> int:
    """COCO's average precision from counts in bins, in integers so that all hospitals agree on it."""
    if not boxes:
        return -1
    hits, all_found = np.cumsum(right[::-1]), np.cumsum((right + wrong)[::-1])
    precision = np.where(all_found > 0, (hits << 30) // np.maximum(all_found, 1), 0)
    falling = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    at = np.searchsorted(hits * 100, np.arange(101) * boxes, side="left")
    return int(falling[at].sum())


Evaluation = BinaryEvaluation | MulticlassEvaluation | MultilabelEvaluation | SurvivalEvaluation | DetectionEvaluation


def histograms(negative: NDArray[np.int64], positive: NDArray[np.int64]) -> Histograms:
    """The record of two histograms of 256 counts."""
    return Histograms(tuple(negative.tolist()), tuple(positive.tolist()))
