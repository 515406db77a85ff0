"""What is said about a picture: boxes with classes, as an annotation file has them and as they are once checked.

A box is in pixels of the upright picture, measured from its upper left corner: `left` and `top` belong to the box,
`right` and `bottom` are where it has ended, so a box over the whole of a picture is (0, 0, width, height). Every format
is turned into this at its reader, and nowhere else. A box that is wrong is never repaired in silence.
"""

from __future__ import annotations

import math
from typing import Annotated, Final

from msgspec import Meta

from medfed.encoding import Record
from medfed.identifiers import Digest

__all__ = ["MOST_FINDINGS", "Box", "Described", "DescribedBox", "Finding", "Picture", "checked_box"]

MOST_FINDINGS: Final = 10_000
"""Of one picture."""
SMALLEST_SIDE: Final = 1.0
"""Pixels. Thinner than this is a slip of the mouse, and a detector learns nothing from it."""

Label = Annotated[str, Meta(min_length=1, max_length=80)]


class Box(Record, array_like=True):
    """Pixels; see the module."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height


class Finding(Record):
    """One thing in a picture."""

    label: Label
    box: Box
    difficult: bool = False
    """VOC: neither finding it nor missing it counts."""
    crowd: bool = False
    """COCO: a region of many; detections inside it do not count against anyone."""


class Picture(Record):
    """A picture of an image set."""

    file: Annotated[str, Meta(max_length=80)]
    """Its name in the set's folder, made from its digest."""
    digest: Digest
    """SHA-256 of the file."""
    width: Annotated[int, Meta(ge=1, le=1 << 16)]
    height: Annotated[int, Meta(ge=1, le=1 << 16)]
    findings: Annotated[tuple[Finding, ...], Meta(max_length=MOST_FINDINGS)] = ()


class DescribedBox(Record):
    """A box as a reader found it, turned into our convention but not checked."""

    label: str
    box: Box
    place: str
    """Where in its file: `object 3`, `line 7`, `annotation 12`."""
    difficult: bool = False
    crowd: bool = False
    relative: bool = False
    """The box is in shares of width and height, and becomes pixels once the picture is open."""
    problem: str = ""
    """Why the reader could make no box of it."""


class Described(Record):
    """What an annotation file says about one picture."""

    file: str
    """The picture's name, relative to the folder of pictures."""
    source: int
    """Number of the annotation file, from 1."""
    boxes: tuple[DescribedBox, ...]
    width: int = 0
    """As the annotation says; 0 where it says nothing."""
    height: int = 0
    problem: str = ""
    """Why the reader could not use it."""
    notes: tuple[str, ...] = ()


def checked_box(box: Box, width: int, height: int) -> tuple[Box | None, str]:
    """The part of `box` inside a picture of `width` by `height` pixels, and what had to be said about it.

    Without a box the text is why there is none; with one it is empty, or says that the box was cut.
    """
    if not all(math.isfinite(value) for value in (box.left, box.top, box.right, box.bottom)):
        return None, "a coordinate is not a number"
    if box.right < box.left or box.bottom < box.top:
        return None, "the box ends before it begins: corners are swapped"
    if box.width < SMALLEST_SIDE or box.height < SMALLEST_SIDE:
        return None, "the box is thinner than a pixel"
    if box.left >= width or box.top >= height or box.right <= 0 or box.bottom <= 0:
        return None, "the box lies outside the picture"
    cut = Box(max(box.left, 0.0), max(box.top, 0.0), min(box.right, float(width)), min(box.bottom, float(height)))
    if cut == box:
        return box, ""
    if cut.width < SMALLEST_SIDE or cut.height < SMALLEST_SIDE:
        return None, "what of the box lies inside the picture is thinner than a pixel"
    return cut, "the box reached beyond the picture and was cut at its edge"
