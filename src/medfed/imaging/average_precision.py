"""How good detections are: average precision as COCO defines it, and as Pascal VOC does.

COCO (Lin et al., ECCV 2014, and its evaluation code): for each class and overlap, the detections of all pictures in
order of falling score, each matched to the free true box that it overlaps most; precision made monotone and read at
101 recalls. True boxes that do not count (crowds, other sizes) absorb detections without harm. VOC (Everingham et al.,
IJCV 2010): each detection is held against the true box it overlaps most, free or not.

Ties of score keep the order of pictures, then of detections, as the reference does. Pure: arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput

__all__ = ["COCO_OVERLAPS", "SIZES", "Detected", "Truth", "coco_average_precision", "overlaps", "voc_average_precision"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

COCO_OVERLAPS: Final = tuple(float(v) for v in np.linspace(0.5, 0.95, 10))
SIZES: Final = {"all": (0.0, 1e10), "small": (0.0, 1024.0), "medium": (1024.0, 9216.0), "large": (9216.0, 1e10)}
"""Square pixels, both ends included."""
_RECALLS: Final = np.linspace(0.0, 1.0, 101)
_MOST: Final = 100


class Truth(NamedTuple):
    """The true boxes of one class in one picture."""

    boxes: Array
    """[n, 4] left, top, right, bottom in pixels."""
    ignored: Flags
    """[n] do not count: COCO's crowds, VOC's difficult objects."""


class Detected(NamedTuple):
    """The detections of one class in one picture."""

    boxes: Array
    """[m, 4] left, top, right, bottom in pixels."""
    scores: Array
    """[m]"""


def overlaps(detected: Array, true: Array, crowd: Flags | None = None) -> Array:
    """Intersection over union [m, n]; over the detection's own area where the true box is a crowd."""
    low = np.maximum(detected[:, None, :2], true[None, :, :2])
    high = np.minimum(detected[:, None, 2:], true[None, :, 2:])
    sides = np.maximum(high - low, 0.0)
    inside = sides[..., 0] * sides[..., 1]
    own = _areas(detected)[:, None]
    union = own + _areas(true)[None, :] - inside
    if crowd is not None:
        union = np.where(crowd[None, :], own, union)
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def coco_average_precision(
    truths: Sequence[Truth],
    detections: Sequence[Detected],
    thresholds: Sequence[float] = COCO_OVERLAPS,
    size: str = "all",
    most: int = _MOST,
) -> Array:
    """Average precision of one class at each threshold of overlap; all -1 where nothing counts.

    Args:
        truths: a picture each.
        detections: of the same pictures.
        thresholds: least overlaps of a match.
        size: a key of `SIZES`; other true boxes do not count, nor do unmatched detections of another size.
        most: detections of a picture that are looked at, best first.

    Raises:
        InvalidInput: not the same number of pictures, an unknown size, or arrays of unequal lengths.
    """
    _check(truths, detections)
    if size not in SIZES:
        raise InvalidInput(f"size {size!r}: expected one of {', '.join(SIZES)}")
    least = np.asarray(thresholds, dtype=np.float64)
    parts = [_coco_picture(t, d, least, SIZES[size], most) for t, d in zip(truths, detections, strict=True)]
    counted = sum(part.counted for part in parts)
    if not counted:
        return np.full(len(least), -1.0)
    order = np.argsort(-np.concatenate([part.scores for part in parts]), kind="stable")
    matched = np.concatenate([part.matched for part in parts], axis=1)[:, order]
    ignored = np.concatenate([part.ignored for part in parts], axis=1)[:, order]
    return np.array([_read_at_recalls(m & ~i, ~m & ~i, counted) for m, i in zip(matched, ignored, strict=True)])


def voc_average_precision(
    truths: Sequence[Truth], detections: Sequence[Detected], threshold: float = 0.5, eleven_points: bool = False
) -> float:
    """Average precision of one class as VOC has it; -1 where nothing counts.

    Args:
        truths: a picture each.
        detections: of the same pictures.
        threshold: an overlap above this is a match.
        eleven_points: as until 2009; else the whole area under the monotone curve.

    Raises:
        InvalidInput: not the same number of pictures, or arrays of unequal lengths.
    """
    _check(truths, detections)
    counted = sum(int((~truth.ignored).sum()) for truth in truths)
    if not counted:
        return -1.0
    scores = np.concatenate([found.scores for found in detections] or [np.zeros(0)])
    sizes = [len(found.scores) for found in detections]
    pictures, rows = np.repeat(np.arange(len(sizes)), sizes), np.concatenate([np.arange(n) for n in [0, *sizes]])
    shared = [overlaps(found.boxes, truth.boxes) for truth, found in zip(truths, detections, strict=True)]
    taken = [np.zeros(len(truth.boxes), dtype=bool) for truth in truths]
    right, wrong = np.zeros(len(scores), dtype=bool), np.zeros(len(scores), dtype=bool)
    for rank, index in enumerate(np.argsort(-scores, kind="stable")):
        picture, row = int(pictures[index]), int(rows[index])
        line = shared[picture][row]
        best = int(line.argmax()) if len(line) else -1
        if best < 0 or line[best] <= threshold:
            wrong[rank] = True
        elif not truths[picture].ignored[best]:
            wrong[rank] = taken[picture][best]
            right[rank] = not taken[picture][best]
            taken[picture][best] = True
    recall, precision = _curve(right, wrong, counted)
    if eleven_points:
        tops = [precision[recall >= at].max(initial=0.0) for at in np.linspace(0.0, 1.0, 11)]
        return float(np.mean(tops))
    steps = np.diff(recall, prepend=0.0)
    return float((steps * _monotone(precision)).sum())


class _Part(NamedTuple):
    """A picture's detections, best first: [thresholds, m]."""

    scores: Array
    matched: Flags
    ignored: Flags
    counted: int


def _coco_picture(truth: Truth, found: Detected, least: Array, size: tuple[float, float], most: int) -> _Part:
    best = np.argsort(-found.scores, kind="stable")[:most]
    boxes, scores = found.boxes[best], found.scores[best]
    areas = _areas(truth.boxes)
    unwanted = truth.ignored | (areas < size[0]) | (areas > size[1])
    order = np.argsort(unwanted, kind="stable")  # those that count first
    unwanted, crowd = unwanted[order], truth.ignored[order]
    shared = overlaps(boxes, truth.boxes[order], crowd)
    matched = np.zeros((len(least), len(boxes)), dtype=bool)
    ignored = np.zeros_like(matched)
    free = np.ones((len(least), len(unwanted)), dtype=bool)
    for row in range(len(boxes)):
        for level, threshold in enumerate(least):
            column = _match(shared[row], free[level], unwanted, min(float(threshold), 1 - 1e-10))
            if column >= 0:
                matched[level, row], ignored[level, row] = True, unwanted[column]
                free[level, column] = crowd[column]
    own = _areas(boxes)
    ignored |= ~matched & ((own < size[0]) | (own > size[1]))[None, :]
    return _Part(scores, matched, ignored, int((~unwanted).sum()))


def _match(line: Array, free: Flags, unwanted: Flags, threshold: float) -> int:
    """The free true box overlapped most, one that counts before any that does not, the last of equals; or -1."""
    for group in (~unwanted, unwanted):
        allowed = free & group & (line >= threshold)
        if allowed.any():
            reached = np.where(allowed, line, -1.0)
            return len(reached) - 1 - int(reached[::-1].argmax())
    return -1


def _read_at_recalls(right: Flags, wrong: Flags, counted: int) -> float:
    recall, precision = _curve(right, wrong, counted)
    at = np.searchsorted(recall, _RECALLS, side="left")
    padded = np.concatenate([_monotone(precision), [0.0]])
    return float(padded[at].mean())


def _curve(right: Flags, wrong: Flags, counted: int) -> tuple[Array, Array]:
    hits, misses = np.cumsum(right).astype(np.float64), np.cumsum(wrong).astype(np.float64)
    return hits / counted, hits / (hits + misses + np.spacing(1.0))


def _monotone(precision: Array) -> Array:
    return np.maximum.accumulate(precision[::-1])[::-1]


def _areas(boxes: Array) -> Array:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _check(truths: Sequence[Truth], detections: Sequence[Detected]) -> None:
    if len(truths) != len(detections):
        raise InvalidInput(f"{len(truths)} pictures with true boxes, {len(detections)} with detections")
    for truth, found in zip(truths, detections, strict=True):
        if truth.boxes.shape != (len(truth.ignored), 4) or found.boxes.shape != (len(found.scores), 4):
            raise InvalidInput("boxes: expected [n, 4] with as many flags or scores")
