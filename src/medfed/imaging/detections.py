"""What a detector found in an image set, as a file: COCO's list of results, by the set's own COCO file.

`image_id` counts the set's pictures from 1 in the order of their digests and `category_id` its classes, as in
`annotations.coco.json`; `bbox` is left, top, width and height in pixels, and `score` lies between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import orjson

from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.imaging.annotation import MOST_FINDINGS, Box, checked_box
from medfed.imaging.image_set import ImageSet
from medfed.input_file import read_input

__all__ = ["Detected", "read_detections", "write_detections"]

_LONGEST_FILE: Final = 1 << 28


class Detected(Record):
    """One box that a detector drew."""

    label: str
    box: Box
    score: float


def read_detections(path: Path, images: ImageSet) -> dict[str, tuple[Detected, ...]]:
    """From each picture's file to what was detected in it, best first.

    Raises:
        InvalidInput: not such a list, or an entry without a picture, a class, or a box inside its picture.
    """
    try:
        document: Any = orjson.loads(read_input(path, _LONGEST_FILE, "detections"))
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"detections: not JSON ({error.msg}, line {error.lineno})") from None
    if not isinstance(document, list):
        raise InvalidInput("detections: expected COCO's list of results")
    found: dict[str, list[Detected]] = {picture.file: [] for picture in images.pictures}
    for number, entry in enumerate(cast("list[Any]", document), start=1):
        try:
            file, detected = _detected(entry, images)
        except InvalidInput as error:
            raise InvalidInput(f"detections, entry {number}: {error}") from None
        found[file].append(detected)
        if len(found[file]) > MOST_FINDINGS:
            raise InvalidInput(f"detections: more than {MOST_FINDINGS} in one picture")
    return {file: tuple(sorted(entries, key=lambda one: -one.score)) for file, entries in found.items()}


def write_detections(found: Mapping[str, Sequence[Detected]], images: ImageSet) -> bytes:
    """The file that `read_detections` reads."""
    entries: list[dict[str, Any]] = []
    for number, picture in enumerate(images.pictures, start=1):
        for one in found.get(picture.file, ()):
            box = one.box
            entries.append(
                {
                    "image_id": number,
                    "category_id": images.labels.index(one.label) + 1,
                    "bbox": [box.left, box.top, box.width, box.height],
                    "score": one.score,
                }
            )
    return orjson.dumps(entries)


def _detected(entry: Any, images: ImageSet) -> tuple[str, Detected]:
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    picture = _one_of(images.pictures, fields.get("image_id"), "picture")
    label = _one_of(images.labels, fields.get("category_id"), "class")
    score, values = fields.get("score"), fields.get("bbox")
    if not _is_number(score) or not 0 <= cast("float", score) <= 1:
        raise InvalidInput("the score is not between 0 and 1")
    if not isinstance(values, list) or len(cast("list[Any]", values)) != 4 or not all(map(_is_number, values)):  # pyright: ignore[reportUnknownArgumentType]
        raise InvalidInput("the box is not four numbers")
    left, top, width, height = (float(value) for value in cast("list[float]", values))
    box, said = checked_box(Box(left, top, left + width, top + height), picture.width, picture.height)
    if box is None:
        raise InvalidInput(said)
    return picture.file, Detected(label, box, float(cast("float", score)))


def _one_of(entries: Sequence[Any], number: object, what: str) -> Any:
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= len(entries):
        raise InvalidInput(f"it belongs to no {what} of the set")
    return entries[number - 1]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
