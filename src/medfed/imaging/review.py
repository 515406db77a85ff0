"""What a person decided about boxes: read from the file that the review page saves, and turned into an image set.

A box that was annotated stays unless it is rejected; a box that a detector drew counts only if it was accepted. The
file names the set that was shown, so a review is never applied to other pictures.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput, Unavailable
from medfed.imaging.annotation import MOST_FINDINGS, Box, Finding, Picture, checked_box
from medfed.imaging.image_set import ImageSet, read_origins, read_suspected, save_image_set
from medfed.input_file import read_input

__all__ = ["Review", "ReviewedBox", "ReviewedPicture", "apply_review", "load_review"]

_LONGEST_FILE: Final = 1 << 28
_Text = Annotated[str, Meta(max_length=80)]


class ReviewedBox(Record):
    """A box and what was decided about it."""

    label: _Text
    box: Box
    origin: Literal["annotated", "detected", "drawn"]
    decision: Literal["undecided", "accepted", "rejected"]
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    changed: bool = False
    """Its box or class was edited by the person."""
    difficult: bool = False
    crowd: bool = False


class ReviewedPicture(Record):
    """All boxes that a picture was left with, the rejected included."""

    file: _Text
    boxes: Annotated[tuple[ReviewedBox, ...], Meta(max_length=MOST_FINDINGS)]


class Review(Record):
    """The file that the page saves."""

    set: Annotated[str, Meta(min_length=64, max_length=64)]
    reviewer: _Text
    pictures: tuple[ReviewedPicture, ...]


def load_review(path: Path, images: ImageSet) -> Review:
    """The review of exactly this set.

    Raises:
        InvalidInput: not a review, or one of another set, or a box or class that the set cannot have.
    """
    try:
        review = msgspec.json.decode(read_input(path, _LONGEST_FILE, "review"), type=Review)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"review: not a file that the page saves ({error})") from None
    if review.set != images.digest.hex():
        raise InvalidInput("review: it was made of another image set, or of this one before it changed")
    pictures = {picture.file: picture for picture in images.pictures}
    if len({one.file for one in review.pictures}) != len(review.pictures):
        raise InvalidInput("review: a picture is there twice")
    for one in review.pictures:
        if one.file not in pictures:
            raise InvalidInput("review: it has a picture that the set has not")
        _check_boxes(one, pictures[one.file], images)
    return review


def apply_review(images: ImageSet, review: Review, target: Path) -> tuple[ImageSet, Mapping[str, int]]:
    """Make a new image set in the empty folder `target` as the reviewer left it.

    Pictures that were not on the page are taken over as they are.

    Returns: the set, and how many boxes were kept, accepted, drawn, changed, rejected and left undecided.

    Raises:
        InvalidInput: the folder is not empty. Unavailable, Tampered: a picture cannot be read or was changed.
    """
    if target.exists() and any(target.iterdir()):
        raise InvalidInput(f"image set {target.name}: the folder is not empty")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    reviewed = {one.file: one.boxes for one in review.pictures}
    counts: Counter[str] = Counter()
    pictures: list[Picture] = []
    for picture in images.pictures:
        images.data(picture)  # never carry on what was changed
        try:
            shutil.copyfile(images.folder / picture.file, target / picture.file)
            os.chmod(target / picture.file, 0o600)  # noqa: PTH101 - Path.chmod follows links as well
        except OSError as error:
            raise Unavailable(f"picture {picture.file}: it cannot be copied ({type(error).__name__})") from None
        findings = picture.findings
        if picture.file in reviewed:
            findings = tuple(dict.fromkeys(_kept(reviewed[picture.file], counts)))
        pictures.append(Picture(picture.file, picture.digest, picture.width, picture.height, findings))
    made = ImageSet(target, images.labels, pictures)
    save_image_set(made, read_origins(images.folder), read_suspected(images.folder))
    return made, counts


def _kept(boxes: tuple[ReviewedBox, ...], counts: Counter[str]) -> list[Finding]:
    kept: list[Finding] = []
    for one in boxes:
        if one.decision == "rejected":
            counts["rejected"] += 1
        elif one.decision == "undecided" and one.origin == "detected":
            counts["undecided"] += 1
        else:
            what = {"annotated": "kept", "detected": "accepted", "drawn": "drawn"}[one.origin]
            counts[what] += 1
            counts["changed"] += one.changed
            kept.append(Finding(one.label, one.box, one.difficult, one.crowd))
    return kept


def _check_boxes(reviewed: ReviewedPicture, picture: Picture, images: ImageSet) -> None:
    for number, one in enumerate(reviewed.boxes, start=1):
        box, said = checked_box(one.box, picture.width, picture.height)
        if box != one.box or said:
            raise InvalidInput(f"review, picture {picture.file[:12]}, box {number}: {said}")
        if one.label not in images.labels:
            raise InvalidInput(f"review, picture {picture.file[:12]}, box {number}: a class that the set lacks")
