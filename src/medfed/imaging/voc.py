"""Pascal VOC annotations: one XML file a picture. Its pixels are counted from 1 and its corners are both inside.

So `xmin` 1 is our 0, and `xmax` is ours as it stands (VOC2012 development kit, section 3.1). Some programs count from 0
and still call it VOC; whoever imports says which, because no file does. Entities are refused: an annotation needs none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from medfed.errors import InvalidInput
from medfed.imaging.annotation import MOST_FINDINGS, Box, Described, DescribedBox, Picture

__all__ = ["read_voc", "write_voc"]

_LONGEST_FILE: Final = 16 << 20
_SIDES: Final = ("xmin", "ymin", "xmax", "ymax")


def read_voc(files: Iterable[Path], first_pixel: int = 1) -> Iterator[Described]:
    """What each annotation file says; one that cannot be read gives its problem.

    Args:
        files: the XML files.
        first_pixel: 1 as VOC says, or 0.
    """
    for number, path in enumerate(files, start=1):
        try:
            yield _described(_parsed(path), path, number, first_pixel)
        except InvalidInput as error:
            yield Described("", number, (), problem=str(error))


def write_voc(picture: Picture) -> bytes:
    """The annotation of a picture as VOC has it; corners are rounded to whole pixels, never to nothing."""
    root = Element("annotation")
    SubElement(root, "filename").text = picture.file
    size = SubElement(root, "size")
    for name, value in (("width", picture.width), ("height", picture.height)):
        SubElement(size, name).text = str(value)
    for finding in picture.findings:
        entry = SubElement(root, "object")
        SubElement(entry, "name").text = finding.label
        SubElement(entry, "difficult").text = str(int(finding.difficult))
        box = SubElement(entry, "bndbox")
        left, top = round(finding.box.left), round(finding.box.top)
        corners = (left + 1, top + 1, max(round(finding.box.right), left + 1), max(round(finding.box.bottom), top + 1))
        for name, value in zip(_SIDES, corners, strict=True):
            SubElement(box, name).text = str(value)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _parsed(path: Path) -> Element:
    try:
        if path.stat().st_size > _LONGEST_FILE:
            raise InvalidInput(f"the annotation is longer than {_LONGEST_FILE} bytes")
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the annotation cannot be read ({type(error).__name__})") from None
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or not _is_plain(text):
        raise InvalidInput("the annotation declares a document type or is not UTF-8; neither is read")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - entities were refused above
    except ElementTree.ParseError as error:
        raise InvalidInput(f"the annotation is not well-formed XML (line {error.position[0]})") from None
    if root.tag != "annotation":
        raise InvalidInput("the XML is not a VOC annotation")
    return root


def _is_plain(text: bytes) -> bool:
    """Whether it is UTF-8: in another encoding a document type would not be seen."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in text


def _described(root: Element, path: Path, number: int, first_pixel: int) -> Described:
    objects = root.findall("object")
    if len(objects) > MOST_FINDINGS:
        raise InvalidInput(f"the annotation has more than {MOST_FINDINGS} objects")
    name = _text(root, "filename")
    notes: list[str] = []
    if not name:
        name = path.stem
        notes.append("no file name is given; the annotation's own is taken")
    elif Path(name).stem != path.stem:
        # Copies of annotations keep the name of the picture that they were made for: the annotation's own name decides.
        name = path.stem + Path(name).suffix
        notes.append("the file name inside is another than the annotation's own, which is taken")
    boxes = tuple(_box(entry, index, first_pixel) for index, entry in enumerate(objects, start=1))
    return Described(name, number, boxes, _size(root, "width"), _size(root, "height"), notes=tuple(notes))


def _box(entry: Element, index: int, first_pixel: int) -> DescribedBox:
    label, place = _text(entry, "name"), f"object {index}"
    corners: list[float] = []
    problem = "" if label else "no class is named"
    for side in _SIDES:
        try:
            value = float(_text(entry, f"bndbox/{side}"))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            problem = problem or "a corner is missing or not a number"
            value = 0.0
        corners.append(value)
    left, top, right, bottom = corners
    box = Box(left - first_pixel, top - first_pixel, right - first_pixel + 1, bottom - first_pixel + 1)
    if not problem and (right < left or bottom < top):
        problem = "the box ends before it begins: corners are swapped"
    elif not problem and (right == left or bottom == top):
        # By the letter a box of one pixel; in practice a click without a drag.
        problem = "the box is thinner than a pixel: its corners are the same"
    return DescribedBox(label, box, place, difficult=_text(entry, "difficult") == "1", problem=problem)


def _text(root: Element, path: str) -> str:
    found = root.find(path)
    return "" if found is None or found.text is None else found.text.strip()


def _size(root: Element, name: str) -> int:
    text = _text(root, f"size/{name}")
    return int(text) if text.isdecimal() and len(text) < 7 else 0
