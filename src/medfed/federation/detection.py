"""How a detector is judged over all hospitals: counts of right and wrong boxes by score, of which only sums are known.

Average precision is COCO's, at overlaps from .50 to .95, worked out from 256 bins of score; see `imaging.score_bins`.
What decides something is in integers. This module must never emit a box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.figures import DetectionEvaluation
from medfed.federation.plan import BoxesTarget, Target
from medfed.imaging.average_precision import COCO_OVERLAPS, Detected, Truth
from medfed.imaging.score_bins import BINS, count_detections
from medfed.models.dataset import Dataset
from medfed.models.learner import Learner
from medfed.models.parameters import Parameters
from medfed.models.picture_dataset import PictureDataset
from medfed.models.torch_detection import Detections

__all__ = ["Detector", "count_boxes", "decode_boxes", "detection_rows", "detector_of"]

_MOST: Final = 100
"""Boxes of one picture and class that are looked at, best first, as COCO does."""
_LEVELS: Final = len(COCO_OVERLAPS)

Counts = NDArray[np.int64]


class Detector(Protocol):
    """A learner that finds boxes."""

    def detections(self, parameters: Parameters, data: Dataset) -> Iterator[Detections]:
        """What it finds in each picture, best first; one picture after the other."""
        ...


def detection_rows(classes: int) -> list[tuple[str, int]]:
    """The counters of an evaluation with their lengths: by overlap, then class, then bin."""
    size = _LEVELS * classes * BINS
    return [("matched", size), ("unmatched", size), ("boxes", classes), ("examples", 1)]


def count_boxes(learner: Learner, parameters: Parameters, data: PictureDataset, classes: int) -> dict[str, Counts]:
    """One hospital's counters, by the names of `detection_rows`.

    Raises:
        InvalidInput: the learner finds no boxes.
    """
    totals = np.zeros((_LEVELS, classes, 2 * BINS + 1), dtype=np.int64)
    if len(data):
        for sample, found in zip(data.samples(), detector_of(learner).detections(parameters, data), strict=True):
            for label in range(classes):
                mine, seen = sample.labels == label, np.flatnonzero(found.labels == label)[:_MOST]
                truth = Truth(sample.boxes[mine], ~sample.counted[mine])
                detected = Detected(found.boxes[seen], found.scores[seen])
                for level, overlap in enumerate(COCO_OVERLAPS):
                    totals[level, label] += count_detections([truth], [detected], overlap)
    return {
        "matched": totals[:, :, :BINS].reshape(-1),
        "unmatched": totals[:, :, BINS : 2 * BINS].reshape(-1),
        "boxes": totals[0, :, -1].copy(),
        "examples": np.array([len(data)], dtype=np.int64),
    }


def decode_boxes(target: Target, counts: Mapping[str, Counts]) -> DetectionEvaluation:
    """The evaluation of summed counters.

    Raises:
        InvalidInput: the target is not boxes.
    """
    if not isinstance(target, BoxesTarget):
        raise InvalidInput("evaluation: boxes are counted where the plan's target is boxes")
    return DetectionEvaluation(
        labels=target.classes,
        examples=int(counts["examples"][0]),
        boxes=tuple(counts["boxes"].tolist()),
        matched=tuple(counts["matched"].tolist()),
        unmatched=tuple(counts["unmatched"].tolist()),
    )


def detector_of(learner: Any) -> Detector:
    """The learner as what finds boxes.

    Raises:
        InvalidInput: it finds none.
    """
    if not hasattr(learner, "detections"):
        raise InvalidInput("model: it finds no boxes")
    return learner
