"""A picture with its boxes drawn on it: green as annotated, orange as a detector found them, with class and score.

What is drawn shows a patient's picture and stays at the site. This module must never change the picture of a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import Unavailable
from medfed.imaging.annotation import Box, Finding
from medfed.imaging.detections import Detected

__all__ = ["draw_boxes"]

_ANNOTATED: Final = (0, 158, 66)
_DETECTED: Final = (230, 110, 0)
_SCALE: Final = 2
_LETTERS: Final = 15
"""Pixels."""


def draw_boxes(
    values: NDArray[np.uint8] | NDArray[np.uint16], annotated: Sequence[Finding], detected: Sequence[Detected]
) -> NDArray[np.uint8]:
    """The picture at twice its size with all boxes, uint8 [2 · height, 2 · width, 3]. 16 bits show their upper 8.

    Raises:
        Unavailable: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise Unavailable("pictures need Pillow: install medfed[imaging]") from None
    shown = values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
    image = Image.fromarray(shown).convert("RGB")
    image = image.resize((image.width * _SCALE, image.height * _SCALE), Image.Resampling.BILINEAR)
    pen: Any = ImageDraw.Draw(image)
    font = ImageFont.load_default(_LETTERS)
    for finding in annotated:
        pen.rectangle(_corners(finding.box), outline=_ANNOTATED, width=2)
    for one in detected:
        left, top, right, bottom = _corners(one.box)
        pen.rectangle((left, top, right, bottom), outline=_DETECTED, width=2)
        text = f"{one.label} {one.score:.2f}"
        area = pen.textbbox((left + 3, top + 1), text, font=font)
        pen.rectangle((left, top, area[2] + 2, area[3] + 2), fill=_DETECTED)
        pen.text((left + 3, top + 1), text, fill="white", font=font)
    return np.asarray(image, dtype=np.uint8)


def _corners(box: Box) -> tuple[float, float, float, float]:
    """The outermost pixels that belong to the box."""
    left, top = box.left * _SCALE, box.top * _SCALE
    return left, top, max(box.right * _SCALE - 1, left), max(box.bottom * _SCALE - 1, top)
