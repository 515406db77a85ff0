"""Pictures as the cases of a blind test: what is sent of one, and what a model of pictures says of it.

What is sent are pixels in one encoding, with nothing beside them. A diagnosis is the picture's class, or the set of
the classes of its findings; a service says the classes whose score is above its operating point. This module must
never put a file's name into an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.diagnosis.blind_sides import BlindCase, Diagnosis
from medfed.errors import InvalidInput, Refused
from medfed.federation.picture_table import load_picture_table
from medfed.federation.plan import BoxesTarget, PictureFeature, Plan
from medfed.federation.study import learner_of
from medfed.federation.targets import read_targets
from medfed.hospital.blind_labels import diagnosis_named, diagnosis_scored
from medfed.imaging.burnt_in import looks_like_text
from medfed.imaging.picture_file import decode_picture, encode_png, square_of
from medfed.imaging.release import check_release
from medfed.models.parameters import Parameters
from medfed.models.picture_dataset import PictureDataset, Sample

__all__ = ["diagnose_pictures", "diagnosed_pictures", "picture_case"]

_NO_BOXES: Final = np.empty((0, 4), dtype=np.float64)


def picture_case(file: Path, *, cleared: bool = False) -> BlindCase:
    """The undiagnosed picture in a PNG or JPEG file: its pixels, and nothing else of the file.

    `cleared` says that a person has looked, and that no text in it names anybody.

    Raises:
        InvalidInput: it cannot be read or decoded. Unavailable: Pillow is not installed. Refused: `burnt-in-text`:
            there may be text in it, and nobody has looked.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the undiagnosed picture cannot be read: {error.strerror}") from None
    values = decode_picture(data).values
    if not cleared and looks_like_text(values):
        raise Refused("burnt-in-text", "the undiagnosed picture may have text burnt in; look at it, then use --cleared")
    return _case(values)


def diagnosed_pictures(plan: Plan, folder: Path) -> list[tuple[BlindCase, Diagnosis]]:
    """The pictures of an image set whose diagnosis it has.

    Raises:
        InvalidInput: no image set is there, or it lacks a column of the plan. Unavailable, Tampered: a picture is gone
            or was changed. Refused: `burnt-in-text`: see `check_release`.
    """
    table = load_picture_table(folder)
    check_release(table.images)
    target = plan.data.target
    if isinstance(target, BoxesTarget):
        return [
            (_case(table.images.values(picture)), _findings(target, [one.label for one in picture.findings]))
            for picture in table.images.pictures
        ]
    targets = read_targets(table, target)
    return [
        (_case(table.images.values(picture)), diagnosis_named(target, value))
        for picture, value, usable in zip(table.images.pictures, targets.values, targets.usable, strict=True)
        if usable
    ]


def diagnose_pictures(
    plan: Plan, picture: PictureFeature, parameters: Parameters, cases: Sequence[bytes], operating: float
) -> list[Diagnosis]:
    """What the model says of each PNG, from somebody who is not trusted.

    Raises:
        InvalidInput: a case is no picture. Unavailable: torch or Pillow is not installed.
    """
    pixels = [decode_picture(case).values for case in cases]
    learner = learner_of(plan)
    if isinstance(plan.data.target, BoxesTarget):
        data = PictureDataset.of_samples([_sample(values) for values in pixels], len(plan.data.target.classes))
        scores: NDArray[Any] = learner.answers(parameters, data)
    else:
        rows = [square_of(values, picture.side, picture.channels).reshape(-1) for values in pixels]
        scores = learner.predict(parameters, np.stack(rows))
    return [diagnosis_scored(plan.data.target, values, operating) for values in scores]


def _case(values: NDArray[np.uint8] | NDArray[np.uint16]) -> BlindCase:
    height, width = values.shape[:2]
    return BlindCase(encode_png(values), f"{width}x{height} {'RGB' if values.ndim == 3 else values.dtype.name}")


def _findings(target: BoxesTarget, labels: Sequence[str]) -> Diagnosis:
    return tuple(sorted(set(labels) & set(target.classes)))


def _sample(values: NDArray[np.uint8] | NDArray[np.uint16]) -> Sample:
    pixels: NDArray[Any] = values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
    return Sample(pixels, _NO_BOXES, np.empty(0, dtype=np.int64))
