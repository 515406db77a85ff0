"""Folds and intervals for the accuracy figures: how patients are divided, and how sure a difference is.

Patients are the unit of resampling everywhere; models that are compared are judged on the same resampled
patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % percentile interval over resampled patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def folds(strata: Array, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each patient one of `count` folds, each stratum spread evenly. `strata` (n,) of integers."""
    fold = np.empty(len(strata), dtype=np.int64)
    offset = 0
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        fold[rows] = (np.arange(len(rows)) + offset) % count
        offset += len(rows)
    return fold


def bootstrap_weights(hospitals: Array, rng: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """(resamples + 1, n): how often each patient is drawn, each hospital keeping its size; row 0 is all ones."""
    weights = np.ones((resamples + 1, len(hospitals)))
    for hospital in np.unique(hospitals):
        rows = np.flatnonzero(hospitals == hospital)
        weights[1:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=resamples)
    return weights


def accuracy(scores: Array, ill: Array, weights: Array) -> Array:
    """(resamples + 1,) accuracies at .5."""
    right = ((scores >= 0.5) == (ill > 0.5)).astype(np.float64)
    return weights @ right / weights.sum(axis=1)


def balanced_accuracy(scores: Array, ill: Array, weights: Array) -> Array:
    """(resamples + 1,) means of sensitivity and specificity at .5; NaN where a class was not drawn."""
    sick = ill > 0.5
    parts = [accuracy(scores[rows], ill[rows], weights[:, rows]) for rows in (sick, ~sick)]
    return (parts[0] + parts[1]) / 2


def auc(scores: Array, ill: Array, weights: Array) -> Array:
    """(resamples + 1,) areas under the ROC curve, ties at half; NaN where a class was not drawn."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    sick = (ill[order] > 0.5).astype(np.float64)
    drawn = weights[:, order]
    positive = np.add.reduceat(drawn * sick, starts, axis=1)
    negative = np.add.reduceat(drawn * (1 - sick), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positive * below).sum(axis=1) / pairs


def figure(samples: Array) -> Figure:
    """Row 0 is the figure, the rest its bootstrap distribution."""
    low, high = np.nanpercentile(samples[1:], [2.5, 97.5])
    return Figure(float(samples[0]), float(low), float(high))


def mean_over(samples: Sequence[Array]) -> Array:
    """The mean of several figures (seeds, or models) within each resample."""
    return np.mean(np.stack(samples), axis=0)


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [list(head), *texts]) for at in range(len(head))]
    print(f"\n{title}")
    for row in [list(head), ["-" * width for width in widths], *texts]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def concatenated(parts: Mapping[str, Array]) -> Array:
    """Arrays of hospitals one after the other, in order of name."""
    return np.concatenate([parts[name] for name in sorted(parts)])
