"""What a released detector finds in an image set, in the set's own pixels and classes.

What a model says of a picture is for the site that asked. This module must never put a file's name into an error.
"""

from __future__ import annotations

from medfed.errors import InvalidInput
from medfed.federation.model_file import Model
from medfed.federation.plan import BoxesTarget
from medfed.imaging.annotation import MOST_FINDINGS, Box, checked_box
from medfed.imaging.detections import Detected
from medfed.imaging.image_set import ImageSet

__all__ = ["boxes_by_picture"]


def boxes_by_picture(model: Model, images: ImageSet, least: float = 0.0) -> dict[str, tuple[Detected, ...]]:
    """From each picture's file to the boxes found in it with a score of at least `least`, best first.

    Boxes are in pixels of the picture, cut at its edges; what is thinner than a pixel then is no box.

    Raises:
        InvalidInput: the model finds no boxes, or the set lacks one of its classes.
    """
    target = model.plan.data.target
    if not isinstance(target, BoxesTarget):
        raise InvalidInput("model: it finds no boxes")
    lacking = [label for label in target.classes if label not in images.labels]
    if lacking:
        raise InvalidInput(f"image set {images.folder.name}: it lacks the model's class {lacking[0]!r}")
    found: dict[str, tuple[Detected, ...]] = {}
    for picture, one in zip(images.pictures, model.detect(images), strict=True):
        kept: list[Detected] = []
        for corners, label, score in zip(one.boxes, one.labels, one.scores, strict=True):
            box, _ = checked_box(Box(*map(float, corners)), picture.width, picture.height)
            if score >= least and box is not None:
                kept.append(Detected(target.classes[int(label)], box, float(score)))
        found[picture.file] = tuple(kept[:MOST_FINDINGS])
    return found
