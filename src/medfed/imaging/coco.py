"""COCO annotations: one JSON file for all pictures. A box is (left, top, width, height) in pixels from 0.

Identifiers are numbers that the file chose; ours never depend on them. A picture without annotations is a picture
without findings: COCO lists every picture, so nothing is guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import orjson

from medfed.errors import InvalidInput, Unavailable
from medfed.imaging.annotation import MOST_FINDINGS, Box, Described, DescribedBox, Picture

__all__ = ["read_coco", "write_coco"]

_LONGEST_FILE: Final = 1 << 30


def read_coco(path: Path, number: int = 1) -> Iterator[Described]:
    """What the file says about each picture, in its order; what belongs to no picture comes last, with its problem.

    Raises:
        InvalidInput: it is not JSON, or not COCO. Unavailable: it cannot be read.
    """
    document = _document(path)
    categories, double = _categories(document)
    by_image: dict[Any, list[DescribedBox]] = defaultdict(list)
    seen: set[Any] = set()
    for index, entry in enumerate(_list(document, "annotations"), start=1):
        box = _box(entry, index, categories)
        mark = entry.get("id")
        if _is_id(mark) and mark in seen:
            box = DescribedBox(box.label, box.box, box.place, problem="another annotation has the same id")
        seen.add(mark if _is_id(mark) else None)
        by_image[entry.get("image_id") if _is_id(entry.get("image_id")) else None].append(box)
    known: set[Any] = set()
    for entry in _list(document, "images"):
        yield _image(entry, number, known, by_image, double)
    strays = [box for image, boxes in by_image.items() if image not in known for box in boxes]
    if strays:
        stray = "it belongs to no picture of the file"
        lost = tuple(DescribedBox(box.label, box.box, box.place, problem=stray) for box in strays)
        yield Described("", number, lost, problem="annotations without a picture")


def write_coco(pictures: Sequence[Picture], labels: Sequence[str]) -> bytes:
    """A COCO file of pictures; categories count from 1 in the order of `labels`, identifiers from 1 in order.

    Raises:
        InvalidInput: a finding's label is not among `labels`.
    """
    ids = {label: index for index, label in enumerate(labels, start=1)}
    annotations: list[dict[str, Any]] = []
    for image, picture in enumerate(pictures, start=1):
        for finding in picture.findings:
            if finding.label not in ids:
                raise InvalidInput(f"class {finding.label!r} is not among the {len(ids)} classes of the set")
            box = finding.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": ids[finding.label],
                    "bbox": [box.left, box.top, box.width, box.height],
                    "area": box.area,
                    "iscrowd": int(finding.crowd),
                    "difficult": int(finding.difficult),
                }
            )
    images = [
        {"id": index, "file_name": picture.file, "width": picture.width, "height": picture.height}
        for index, picture in enumerate(pictures, start=1)
    ]
    categories = [{"id": index, "name": label} for label, index in ids.items()]
    return orjson.dumps({"images": images, "annotations": annotations, "categories": categories})


def _document(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > _LONGEST_FILE:
            raise InvalidInput(f"the COCO file has {size} bytes; at most {_LONGEST_FILE} are read")
        text = path.read_bytes()
    except FileNotFoundError:
        raise InvalidInput("the COCO file does not exist") from None
    except OSError as error:
        raise Unavailable(f"the COCO file cannot be read ({type(error).__name__})") from None
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the COCO file is not JSON ({error.msg}, line {error.lineno})") from None
    if not isinstance(document, dict) or "images" not in document or "annotations" not in document:
        raise InvalidInput("the JSON is not COCO: images and annotations were expected")
    return cast("dict[str, Any]", document)


def _list(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = document.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", entries)):
        raise InvalidInput(f"the COCO file's {name} are not a list of objects")
    return cast("list[dict[str, Any]]", entries)


def _categories(document: dict[str, Any]) -> tuple[dict[Any, str], tuple[str, ...]]:
    names: dict[Any, str] = {}
    notes: list[str] = []
    for entry in _list(document, "categories"):
        mark, name = entry.get("id"), entry.get("name")
        if not _is_id(mark) or not isinstance(name, str) or not name.strip():
            raise InvalidInput("a category of the COCO file has no id or no name")
        if mark in names:
            raise InvalidInput(f"two categories of the COCO file have the id {mark}")
        if name.strip() in names.values():
            notes.append("two categories have the same name and are taken as one")
        names[mark] = name.strip()
    return names, tuple(notes)


def _image(
    entry: dict[str, Any],
    number: int,
    known: set[Any],
    by_image: dict[Any, list[DescribedBox]],
    notes: tuple[str, ...],
) -> Described:
    mark, name = entry.get("id"), entry.get("file_name")
    if not _is_id(mark) or not isinstance(name, str) or not name:
        return Described("", number, (), problem="a picture of the COCO file has no id or no file name")
    if mark in known:
        return Described(name, number, (), problem="another picture has the same id")
    known.add(mark)
    boxes = tuple(by_image.get(mark, ()))
    if len(boxes) > MOST_FINDINGS:
        return Described(name, number, (), problem=f"more than {MOST_FINDINGS} annotations")
    return Described(name, number, boxes, _size(entry, "width"), _size(entry, "height"), notes=notes)


def _box(entry: dict[str, Any], index: int, categories: dict[Any, str]) -> DescribedBox:
    mark, values = entry.get("category_id"), entry.get("bbox")
    place = f"annotation {index}"
    label = categories.get(mark, "") if _is_id(mark) else ""
    crowd, difficult = entry.get("iscrowd") in (1, True), entry.get("difficult") in (1, True)
    box, problem = Box(0.0, 0.0, 0.0, 0.0), ""
    if not label:
        problem = "its category is not in the file"
    elif values is None:
        problem = "it has no box (an outline alone is not read)"
    elif not _are_numbers(values):
        problem = "its box is not four numbers"
    else:
        left, top, width, height = (float(value) for value in values)
        box = Box(left, top, left + width, top + height)
        if width <= 0 or height <= 0:
            problem = "the box is thinner than a pixel: its width or height is not above 0"
    return DescribedBox(label, box, place, difficult, crowd, problem=problem)


def _are_numbers(values: object) -> bool:
    if not isinstance(values, list):
        return False
    numbers = cast("list[Any]", values)
    return len(numbers) == 4 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)


def _is_id(value: object) -> bool:
    """COCO's identifiers are integers; some tools write texts."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def _size(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 16 else 0
