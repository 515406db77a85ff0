"""Text that may be burnt into pixels: what a file says about it, and what its pixels look like.

The test finds short rows of letters: many steps between two levels, close together, in a row about as high as a letter.
It is there to stop a picture until a person has looked. It can miss text, above all faint, blurred or handwritten text,
and must never be taken for a proof that there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.imaging.dicom_file import DicomFile, text_value
from medfed.imaging.dicom_pixels import decode_frame

__all__ = ["burnt_in_by_header", "looks_like_text", "possible_text"]

_USUAL: Final = frozenset({"US", "ES", "OT", "SC", "XC", "GM", "DG", "DOC", "IVUS", "BMD", "OPT", "ECG", "RF"})
"""Modalities whose pictures are mostly shots of a screen, or carry a caption."""
_ROW: Final = 10
"""Pixels: how high a letter is taken to be, at each scale."""
_WIDTH: Final = 48
_STEP: Final = 40
"""Of 255: how far two pixels must differ, two apart, to be a step."""
_LEAST_STEPS: Final = 0.12
"""Steps a pixel of a window; a window of letters has more."""
_LEVEL: Final = 24
"""Of 255: how far from a level a pixel may be and still belong to it."""
_APART: Final = 56
"""Of 255: how far ink must be from its background; noise is nearer."""
_LEAST_IN_LEVELS: Final = 0.72
_MOST_WINDOWS: Final = 64


def possible_text(file: DicomFile) -> str:
    """Why a person has to look at a file's pictures before they go anywhere; empty where nothing points to text.

    The pixels are asked even where the header says that there is no text in them.

    Raises:
        InvalidInput: a frame cannot be decoded.
    """
    if reason := burnt_in_by_header(file.dataset):
        return reason
    if any(looks_like_text(decode_frame(file, index).values) for index in range(file.frames)):
        return "something in it looks like a row of letters"
    return ""


def burnt_in_by_header(dataset: Any) -> str:
    """Why the header makes text likely; empty where it does not, or where it says that there is none."""
    said = text_value(dataset, "BurnedInAnnotation").upper()
    if said == "NO":
        return ""
    if said == "YES":
        return "the file says that text is burnt in"
    modality = text_value(dataset, "Modality").upper()
    if modality in _USUAL:
        return f"the file does not say that there is none, and pictures of its kind ({modality}) often have text"
    if str(dataset.get("SOPClassUID", "")).startswith("1.2.840.10008.5.1.4.1.1.7"):
        return "the file does not say that there is none, and it is a secondary capture"
    return ""


def looks_like_text(values: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
    """Whether some window of a picture, as in `Pixels.values`, looks like a row of letters, 8 to 64 pixels high.

    Of a picture in colour each colour is looked at by itself: yellow on light grey is as light as its ground.
    """
    return any(_has_letters(light) for light in _lights(values))


def _lights(values: NDArray[Any]) -> Iterator[NDArray[np.int16]]:
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
    if values.ndim == 2:
        yield values.astype(np.int16)
        return
    for colour in range(3):
        yield np.ascontiguousarray(values[:, :, colour]).astype(np.int16)


def _has_letters(grey: NDArray[np.int16]) -> bool:
    for _ in range(3):
        if min(grey.shape) < _ROW or grey.shape[1] < _WIDTH:
            return False
        if _has_row(grey) or _has_row(np.ascontiguousarray(grey.T[::-1])):
            return True
        grey = _halved(grey)
    return False


def _halved(grey: NDArray[np.int16]) -> NDArray[np.int16]:
    height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    cut = grey[:height, :width].astype(np.int32)
    return ((cut[::2, ::2] + cut[1::2, ::2] + cut[::2, 1::2] + cut[1::2, 1::2]) // 4).astype(np.int16)


def _has_row(grey: NDArray[np.int16]) -> bool:
    if grey.shape[0] < _ROW or grey.shape[1] < _WIDTH:
        return False
    change = grey[:, 2:] - grey[:, :-2]
    steps = _starts(change >= _STEP).astype(np.int32) + _starts(change <= -_STEP)
    total = np.zeros((steps.shape[0] + 1, steps.shape[1] + 1), np.int32)
    total[1:, 1:] = steps.cumsum(0).cumsum(1)
    width = _WIDTH - 2
    found = total[_ROW:, width:] - total[:-_ROW, width:] - total[_ROW:, :-width] + total[:-_ROW, :-width]
    dense = np.argwhere(found[::2, ::4] >= _LEAST_STEPS * _ROW * _WIDTH) * (2, 4)
    # The densest first, so that a bound on how many are looked at costs little.
    order = np.argsort(-found[dense[:, 0], dense[:, 1]], kind="stable")[:_MOST_WINDOWS]
    return any(_is_two_levels(grey[top : top + _ROW, left : left + _WIDTH]) for top, left in dense[order])


def _starts(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    starts = edges.copy()
    starts[:, 1:] &= ~edges[:, :-1]
    return starts


def _is_two_levels(window: NDArray[np.int16]) -> bool:
    """Whether most of it is one background and one ink, with ink the rarer."""
    counts = np.bincount(window.ravel() // 8, minlength=32)
    background = int(counts.argmax()) * 8 + 4
    near = np.abs(window - background) <= _LEVEL
    rest = window[~near]
    if not 0.05 * window.size <= rest.size <= 0.55 * window.size:
        return False
    ink = int(np.bincount(rest // 8, minlength=32).argmax()) * 8 + 4
    in_ink = int((np.abs(rest - ink) <= _LEVEL).sum())
    return abs(ink - background) >= _APART and int(near.sum()) + in_ink >= _LEAST_IN_LEVELS * window.size
