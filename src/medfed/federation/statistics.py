"""The federated statistics: integer counts over each hospital's training rows, of which only the sums are known.

A number is put on a grid of 2^16 points between the plan's low and high before anything is summed, so sums and squares
are exact integers, and everybody derives the same standardisation from them bit for bit. No maximum and no minimum ever
leaves a hospital. This module must never look at validation or test rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.federation.features import NumberScale, RawFeatures, Standardisation
from medfed.federation.plan import DataFormat, NumberFeature, Plan
from medfed.federation.prepared import PreparedData
from medfed.federation.splits import TRAIN
from medfed.federation.tables import MAX_ROWS
from medfed.federation.targets import target_counts
from medfed.federation.weighing import COUNTS, count_values, weighing_entries
from medfed.secure_sum.manifest import Entry

__all__ = [
    "BINS",
    "GRID",
    "standardisation_from",
    "standardisation_of",
    "statistics_contribution",
    "statistics_entries",
]

GRID: Final = 2**16 - 1
"""A number's `high` on the integer grid; its `low` is 0."""
BINS: Final = 64
_POINTS_PER_BIN: Final = (GRID + 1) // BINS


def statistics_entries(plan: Plan) -> list[Entry]:
    """What a statistics round sums. With F numbers, and C candidates plus one "other" for each category:

    `examples` (1); `numbers.count`, `numbers.sum`, `numbers.squares_high`, `numbers.squares_low` (a square is
    high * 2^16 + low: whole, its sum could pass what two limbs hold), `numbers.out_of_range` (F each);
    `numbers.histogram` (64 F, a number after the other); `categories.counts` (C, patients for each value);
    `target.counts` (see `targets.target_counts`); and what `weighing` says. Entries of no length are left out.
    """
    numbers = len(plan.data.numbers)
    categories = sum(len(feature.values) + 1 for feature in plan.data.categories)
    lengths = {
        "examples": (1, 1),
        "numbers.count": (numbers, 1),
        "numbers.sum": (numbers, GRID),
        "numbers.squares_high": (numbers, GRID),
        "numbers.squares_low": (numbers, GRID),
        "numbers.out_of_range": (numbers, 1),
        "numbers.histogram": (numbers * BINS, 1),
        "categories.counts": (categories, 1),
        "target.counts": (_target_length(plan), 1),
    }
    return [
        Entry(name=name, kind="count", length=length, bound=MAX_ROWS * each, limbs=1 if each == 1 else 2)
        for name, (length, each) in lengths.items()
        if length
    ] + weighing_entries(plan)


def statistics_contribution(plan: Plan, prepared: PreparedData) -> dict[str, NDArray[np.int64]]:
    """This hospital's counts, by the names of `statistics_entries`, over its training rows only."""
    training = prepared.take(prepared.split == TRAIN)
    counts = {
        "examples": np.array([len(training)], dtype=np.int64),
        **_number_counts(training.features, plan.data),
        "categories.counts": _category_counts(training.features, training.patients, plan.data),
        "target.counts": target_counts(plan.data.target, training.targets),
        **count_values(plan, training.values),
    }
    return {name: values for name, values in counts.items() if len(values)}


def standardisation_from(plan: Plan, sums: Mapping[str, NDArray[Any]]) -> Standardisation:
    """Means, scales, medians and kept categories, from the sums over all hospitals.

    Integers first, then single float64 operations, so every hospital gets the same bits. A number that nobody has, or
    that never varies, gets the plan's range as its scale: no later value can then be encoded beyond 1. A scale below
    the plan's `least_scale` becomes that.
    """
    numbers = plan.data.numbers
    histograms = sums["numbers.histogram"].reshape(len(numbers), BINS) if numbers else np.empty((0, BINS))
    scales = tuple(
        _number_scale(
            feature,
            int(sums["numbers.count"][at]),
            int(sums["numbers.sum"][at]),
            (int(sums["numbers.squares_high"][at]) << 16) + int(sums["numbers.squares_low"][at]),
            [int(count) for count in histograms[at]],
            plan.data.least_scale if isinstance(plan.data.least_scale, float) else 0.0,
        )
        for at, feature in enumerate(numbers)
    )
    kept: list[tuple[bool, ...]] = []
    start = 0
    for category in plan.data.categories:
        counts = sums["categories.counts"][start : start + len(category.values)]
        kept.append(tuple(int(count) >= plan.data.rare_category for count in counts))
        start += len(category.values) + 1
    if COUNTS not in sums:
        return Standardisation(scales, tuple(kept))
    return Standardisation(scales, tuple(kept), tuple(int(count) for count in sums[COUNTS]))


def standardisation_of(plan: Plan, features: RawFeatures) -> Standardisation:
    """The same from public rows alone, a row a patient: what costs nobody's privacy and needs no round."""
    patients = np.arange(len(features), dtype=np.int64)
    counts = _category_counts(features, patients, plan.data)
    return standardisation_from(plan, {**_number_counts(features, plan.data), "categories.counts": counts})


def _number_counts(features: RawFeatures, data: DataFormat) -> dict[str, NDArray[np.int64]]:
    low = np.array([feature.low for feature in data.numbers], dtype=np.float64)
    high = np.array([feature.high for feature in data.numbers], dtype=np.float64)
    values = features.numbers
    present = ~np.isnan(values)
    outside = (values < low) | (values > high)
    scaled = np.clip((values - low) / (high - low), 0.0, 1.0) * GRID
    grid = np.where(present, np.rint(scaled), 0).astype(np.int64)
    squares = grid * grid
    histogram = np.zeros((len(low), BINS), dtype=np.int64)
    for at in range(len(low)):
        points = grid[present[:, at], at] // _POINTS_PER_BIN
        histogram[at] = np.bincount(points, minlength=BINS)
    return {
        "numbers.count": np.count_nonzero(present, axis=0).astype(np.int64),
        "numbers.sum": grid.sum(axis=0),
        "numbers.squares_high": (squares >> 16).sum(axis=0),
        "numbers.squares_low": (squares & 0xFFFF).sum(axis=0),
        "numbers.out_of_range": np.count_nonzero(outside, axis=0).astype(np.int64),
        "numbers.histogram": histogram.ravel(),
    }


def _category_counts(features: RawFeatures, patients: NDArray[np.int64], data: DataFormat) -> NDArray[np.int64]:
    """Patients, not rows, for each candidate and "other": one patient's many rows must not make a value common."""
    counts: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    for at, feature in enumerate(data.categories):
        width = len(feature.values) + 1
        codes = features.categories[:, at].astype(np.int64)
        present = codes >= 0
        pairs = np.unique(patients[present] * width + codes[present])
        counts.append(np.bincount(pairs % width, minlength=width))
    return np.concatenate(counts)


def _target_length(plan: Plan) -> int:
    return plan.outputs if plan.task in ("multiclass", "multilabel", "detection") else 1


def _number_scale(
    feature: NumberFeature, count: int, total: int, squares: int, histogram: list[int], least: float
) -> NumberScale:
    width = feature.high - feature.low
    spread = count * squares - total * total
    if count == 0:
        middle = feature.low + width / 2
        return NumberScale(mean=middle, scale=width, median=middle)
    mean = feature.low + width * (total / (GRID * count))
    if spread <= 0:
        return NumberScale(mean=mean, scale=width, median=mean)
    # Both divisions are of exact integers, which Python rounds once; math.sqrt rounds once as well.
    scale = max(least, width * math.sqrt(spread / (GRID * GRID * count * count)))
    return NumberScale(mean=mean, scale=scale, median=feature.low + width * _median(histogram, count))


def _median(histogram: list[int], count: int) -> float:
    """The median as a fraction of the range, values spread evenly within their bin."""
    below = 0
    for at, here in enumerate(histogram):
        if here and 2 * (below + here) >= count:
            return (2 * here * at + count - 2 * below) / (2 * here * BINS)
        below += here
    return 1.0
