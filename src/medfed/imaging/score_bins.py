"""Average precision of a class over all hospitals from counts alone: how many detections of each score were right.

A hospital counts, for its own pictures, the detections that matched a true box and those that did not in bins of score,
and the true boxes. The counts are summed by a secure sum; nobody learns whose detection was wrong. Within a bin the
order is lost: with 256 bins the result differs from the exact one by less than the share of a bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.imaging.average_precision import Detected, Truth, overlaps

__all__ = ["BINS", "average_precision_of_bins", "count_detections"]

BINS: Final = 256
"""Of equal width over scores 0 to 1."""
Counts = NDArray[np.int64]


def count_detections(truths: Sequence[Truth], detections: Sequence[Detected], threshold: float = 0.5) -> Counts:
    """One class's counts [2 · BINS + 1]: matched by score bin, unmatched by score bin, true boxes.

    Matching is COCO's, best score first within a picture. What matches a box that does not count is not counted.

    Raises:
        InvalidInput: not the same number of pictures, or a score outside 0 to 1.
    """
    if len(truths) != len(detections):
        raise InvalidInput(f"{len(truths)} pictures with true boxes, {len(detections)} with detections")
    counts = np.zeros(2 * BINS + 1, dtype=np.int64)
    for truth, found in zip(truths, detections, strict=True):
        if len(found.scores) and not (found.scores.min() >= 0 and found.scores.max() <= 1):
            raise InvalidInput("a score lies outside 0 to 1")
        counts[-1] += int((~truth.ignored).sum())
        shared = overlaps(found.boxes, truth.boxes, truth.ignored)
        free = np.ones(len(truth.boxes), dtype=bool)
        for row in np.argsort(-found.scores, kind="stable"):
            fits = free & (shared[row] >= threshold)
            target = fits & ~truth.ignored if (fits & ~truth.ignored).any() else fits
            bin_ = min(int(found.scores[row] * BINS), BINS - 1)
            if not target.any():
                counts[BINS + bin_] += 1
                continue
            best = int(np.where(target, shared[row], -1.0).argmax())
            if not truth.ignored[best]:
                free[best] = False
                counts[bin_] += 1
    return counts


def average_precision_of_bins(counts: Counts) -> float:
    """The average precision that summed counts give, read at COCO's 101 recalls; -1 where no true box is.

    Raises:
        InvalidInput: another length, or more matches than true boxes.
    """
    if counts.shape != (2 * BINS + 1,):
        raise InvalidInput(f"counts of detections: expected {2 * BINS + 1} numbers, found {counts.shape}")
    right, wrong, true = counts[:BINS][::-1], counts[BINS : 2 * BINS][::-1], int(counts[-1])
    if (counts < 0).any() or int(right.sum()) > true:
        raise InvalidInput("counts of detections: more matches than true boxes, or a count below 0")
    if not true:
        return -1.0
    hits, misses = np.cumsum(right).astype(np.float64), np.cumsum(wrong).astype(np.float64)
    precision = np.divide(hits, hits + misses, out=np.zeros(BINS), where=hits + misses > 0)
    falling = np.concatenate([np.maximum.accumulate(precision[::-1])[::-1], [0.0]])
    at = np.searchsorted(hits / true, np.linspace(0.0, 1.0, 101), side="left")
    return float(falling[at].mean())
