"""Robust aggregation for those who may see single updates: what to make of them when some are poisoned.

All strategies take updates as rows [hospitals, size] with the weights n_k / n, and say which hospitals they left out.
FedAvg has no defence: one hospital moves it as far as it likes. Median and trimmed mean (Yin et al., ICML 2018) hold
while fewer than half, or no more than were trimmed, are poisoned; Multi-Krum (Blanchard et al., NeurIPS 2017) while
n ≥ 2 f + 3; clipping bounds what each can do. Order of operations is fixed, so everybody gets the same bits: element by
element in float64, sums along hospitals in the order of their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.errors import InvalidInput

__all__ = ["Aggregated", "RobustStrategy", "aggregate_updates", "least_hospitals"]

Array = NDArray[np.float64]
_CHUNK: Final = 1 << 18


class RobustStrategy(Record):
    """How an aggregator makes one update of many, as a plan says it."""

    kind: Literal["fedavg", "median", "trimmed-mean", "multi-krum", "norm-clipping"] = "fedavg"
    faulty: Annotated[int, Meta(ge=0, le=24)] = 1
    """f: how many poisoned hospitals are reckoned with. Trimmed mean drops as many at either end of each number."""
    largest_norm: Annotated[float, Meta(gt=0)] | None = None
    """For clipping; None takes the median of the norms."""


class Aggregated(NamedTuple):
    """What became of the updates."""

    update: Array
    """[size]"""
    left_out: tuple[tuple[int, str], ...]
    """(row, code) of hospitals whose update does not count at all: `not-finite` or `outlier`."""
    clipped: tuple[int, ...]
    """Rows that were shortened."""


def aggregate_updates(
    strategy: RobustStrategy, updates: Sequence[NDArray[Any]], weights: Sequence[float]
) -> Aggregated:
    """One update of many.

    Args:
        strategy: how.
        updates: of one size, by hospital in the order of their names; the change of the parameters, not the parameters.
        weights: positive, of the same hospitals; scaled to sum to 1 over those that count. Median, trimmed mean and
            Multi-Krum choose without weights: a count is a claim like any other. Multi-Krum averages what it chose with
            equal weights for the same reason.

    Raises:
        InvalidInput: unequal sizes, weights that are not positive, or fewer hospitals than the strategy needs.
    """
    _check(updates, weights)
    finite = [row for row, update in enumerate(updates) if bool(np.isfinite(update).all())]
    left_out = tuple((row, "not-finite") for row in range(len(updates)) if row not in finite)
    _check_enough(strategy, len(finite))
    rows = [updates[row] for row in finite]
    share = np.array([weights[row] for row in finite], dtype=np.float64)
    if strategy.kind == "fedavg":
        return Aggregated(_mean(rows, share), left_out, ())
    if strategy.kind == "median":
        return Aggregated(_by_columns(rows, _median), left_out, ())
    if strategy.kind == "trimmed-mean":
        return Aggregated(_by_columns(rows, lambda part: _trimmed(part, strategy.faulty)), left_out, ())
    if strategy.kind == "norm-clipping":
        return _clipped(strategy, rows, share, finite, left_out)
    chosen = _krum(rows, strategy.faulty)
    outliers = tuple((finite[at], "outlier") for at in range(len(rows)) if at not in chosen)
    update = _mean([rows[at] for at in chosen], np.ones(len(chosen)))
    return Aggregated(update, tuple(sorted((*left_out, *outliers))), ())


def least_hospitals(strategy: RobustStrategy) -> int:
    """How many hospitals the strategy needs."""
    return {"trimmed-mean": 2 * strategy.faulty + 1, "multi-krum": 2 * strategy.faulty + 3}.get(strategy.kind, 1)


def _mean(rows: Sequence[NDArray[Any]], weights: Array) -> Array:
    """Weighted, added in order."""
    share = weights / math.fsum(weights)
    total = np.zeros(len(rows[0]), dtype=np.float64)
    for row, weight in zip(rows, share, strict=True):
        total += row.astype(np.float64) * weight
    return total


def _by_columns(rows: Sequence[NDArray[Any]], reduce: Callable[[Array], Array]) -> Array:
    """`reduce` of [hospitals, part] for all parts: memory does not grow with the number of hospitals."""
    out = np.empty(len(rows[0]), dtype=np.float64)
    for at in range(0, len(out), _CHUNK):
        out[at : at + _CHUNK] = reduce(np.stack([row[at : at + _CHUNK] for row in rows]).astype(np.float64))
    return out


def _median(part: Array) -> Array:
    part.sort(axis=0)
    middle = len(part) // 2
    return part[middle] if len(part) % 2 else (part[middle - 1] + part[middle]) / 2


def _trimmed(part: Array, faulty: int) -> Array:
    part.sort(axis=0)
    total = np.zeros(part.shape[1])
    for row in part[faulty : len(part) - faulty]:
        total += row
    return total / (len(part) - 2 * faulty)


def _clipped(
    strategy: RobustStrategy,
    rows: Sequence[NDArray[Any]],
    weights: Array,
    finite: Sequence[int],
    left_out: tuple[tuple[int, str], ...],
) -> Aggregated:
    norms = [_norm(row) for row in rows]
    bound = strategy.largest_norm if strategy.largest_norm is not None else sorted(norms)[(len(norms) - 1) // 2]
    shortened = tuple(finite[at] for at, norm in enumerate(norms) if norm > bound)
    factors = np.array([bound / norm if norm > bound else 1.0 for norm in norms])
    share = weights / math.fsum(weights)
    total = np.zeros(len(rows[0]), dtype=np.float64)
    for row, weight, factor in zip(rows, share, factors, strict=True):
        total += row.astype(np.float64) * (weight * factor)
    return Aggregated(total, left_out, shortened)


def _krum(rows: Sequence[NDArray[Any]], faulty: int) -> list[int]:
    """The n - f rows whose n - f - 2 nearest others are nearest; ties by order."""
    n = len(rows)
    between = [[0.0] * n for _ in range(n)]
    for a in range(n):
        for b in range(a + 1, n):
            between[a][b] = between[b][a] = _squared(rows[a], rows[b])
    nearest = n - faulty - 2
    scores = [math.fsum(sorted(row[:at] + row[at + 1 :])[:nearest]) for at, row in enumerate(between)]
    return sorted(sorted(range(n), key=lambda at: (scores[at], at))[: n - faulty])


def _squared(a: NDArray[Any], b: NDArray[Any]) -> float:
    parts: list[float] = []
    for at in range(0, len(a), _CHUNK):
        difference = a[at : at + _CHUNK].astype(np.float64) - b[at : at + _CHUNK]
        parts.append(float(np.square(difference, out=difference).sum()))
    return math.fsum(parts)


def _norm(row: NDArray[Any]) -> float:
    return math.sqrt(_squared(row, np.zeros_like(row)))


def _check(updates: Sequence[NDArray[Any]], weights: Sequence[float]) -> None:
    if not updates or len(weights) != len(updates):
        raise InvalidInput(f"aggregation: {len(updates)} updates and {len(weights)} weights")
    if any(update.ndim != 1 or update.shape != updates[0].shape for update in updates):
        raise InvalidInput("aggregation: the updates differ in size")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise InvalidInput("aggregation: a weight is not above 0")


def _check_enough(strategy: RobustStrategy, hospitals: int) -> None:
    least = least_hospitals(strategy)
    if hospitals < least:
        raise InvalidInput(
            f"aggregation: {strategy.kind} with {strategy.faulty} poisoned needs {least} hospitals, found {hospitals}"
        )
