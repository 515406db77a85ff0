"""What the aggregator of sealed updates makes of them, and what a hospital can check of it. Pure.

Counts are always added, over everybody whose update counts at all, so that they mean the same whatever the strategy.
Model updates are added as in the other modes for FedAvg: the total is the masked mode's, bit for bit. A robust strategy
(`robust`) takes each hospital's own mean out of its vector, makes one of all, and puts it back on the same integers, so
that what is published decodes like a sum over the survivors. This module must never see a key or the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfed.federation.robust import RobustStrategy, aggregate_updates
from medfed.identifiers import Code
from medfed.secure_sum import Manifest, decode_sum, fixed_scale, implausible_entries

__all__ = ["EXAMPLES", "SealedAggregate", "aggregate_vectors", "own_numbers_doubt", "update_problem"]

EXAMPLES: Final = "examples"
"""The entry of a statistics round that counts training rows, which every hospital has said on enrolling."""

Weight = tuple[int, int]
Vector = NDArray[np.uint32]


class SealedAggregate(NamedTuple):
    """What is published."""

    total: Vector
    """uint32 [manifest length], to be decoded as a sum over all survivors."""
    left_out: tuple[tuple[int, Code], ...]
    """(row, code) of hospitals whose model update does not count; their counts do."""
    shortened: tuple[int, ...]


def update_problem(manifest: Manifest, vector: Vector, weight: Weight, hospitals: int, examples: int) -> Code | None:
    """Why no honest hospital could have sent this vector, or None.

    `implausible`: a coordinate beyond the clip, or a count beyond its bound. `other-examples`: statistics over another
    number of rows than it enrolled with.
    """
    own = decode_sum(manifest, vector, weight, hospitals)
    if implausible_entries(manifest, own, weight, 1):
        return "implausible"
    if EXAMPLES in own and int(own[EXAMPLES][0]) != examples:
        return "other-examples"
    return None


def aggregate_vectors(
    manifest: Manifest, strategy: RobustStrategy, vectors: Sequence[Vector], weights: Sequence[Weight], hospitals: int
) -> SealedAggregate:
    """One vector of many.

    Args:
        manifest: what the vectors hold.
        strategy: what to make of the `fixed` entries, all of them as one update.
        vectors: of the survivors, in the order of their names, each checked by `update_problem`.
        weights: (n_i, N) of the same.
        hospitals: the size of the study roster.

    Raises:
        InvalidInput: fewer hospitals than the strategy needs.
    """
    total = np.zeros(manifest.length, dtype=np.uint32)
    for vector in vectors:
        np.add(total, vector, out=total)
    fixed = [entry for entry in manifest.entries if entry.kind == "fixed"]
    if strategy.kind == "fedavg" or not fixed:
        return SealedAggregate(total, (), ())
    rows: list[NDArray[np.float64]] = []
    for vector, weight in zip(vectors, weights, strict=True):
        own = decode_sum(manifest, vector, weight, hospitals)
        rows.append(np.concatenate([own[entry.name] for entry in fixed]))
    made = aggregate_updates(strategy, rows, [float(part) for part, _ in weights])
    share = sum(part for part, _ in weights) / weights[0][1]
    offsets, at = manifest.offsets, 0
    for entry in fixed:
        mean = np.clip(made.update[at : at + entry.length], -entry.bound, entry.bound)
        mean *= fixed_scale(entry.bound, hospitals) * share
        start = offsets[entry.name]
        total[start : start + entry.length] = np.rint(mean).astype(np.int32).view(np.uint32)
        at += entry.length
    return SealedAggregate(total, made.left_out, made.clipped)


def own_numbers_doubt(manifest: Manifest, total: Vector, own: Vector) -> Code | None:
    """Why a hospital whose vector is `own` cannot believe `total`, or None: `count-without-mine`.

    No count over hospitals of which it is one is below its own.
    """
    for entry in manifest.entries:
        if entry.kind != "count":
            continue
        one = Manifest((entry,))
        start = manifest.offsets[entry.name]
        part = slice(start, start + entry.elements)
        everybody = decode_sum(one, np.ascontiguousarray(total[part]), (1, 1), 1)[entry.name]
        mine = decode_sum(one, np.ascontiguousarray(own[part]), (1, 1), 1)[entry.name]
        if bool((everybody < mine).any()):
            return "count-without-mine"
    return None
