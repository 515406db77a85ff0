"""YOLO annotations: a text file a picture, a line a box: class number, then centre and size in shares of the picture.

Class names are in a file beside (one a line). A picture without a text file may have no findings, or may never have
been looked at: only whoever imports knows, so it is an option and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput
from medfed.imaging.annotation import MOST_FINDINGS, Box, Described, DescribedBox, Picture

__all__ = ["read_names", "read_yolo", "write_yolo"]

_LONGEST_FILE: Final = 16 << 20
_TOLERANCE: Final = 1e-6
"""Shares that programs print with six digits may pass 1 by rounding."""


def read_names(path: Path) -> tuple[str, ...]:
    """The class names, one a line; number 0 is the first.

    Raises:
        InvalidInput: no such file, an empty or repeated name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the file of class names cannot be read ({type(error).__name__})") from None
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names) or len(set(names)) != len(names):
        raise InvalidInput("the file of class names: expected a distinct name on every line")
    return tuple(names)


def read_yolo(
    pictures: Iterable[Path], folder: Path, labels: Path, names: Sequence[str], empty_if_absent: bool = False
) -> Iterator[Described]:
    """What the text file of each picture says.

    Args:
        pictures: the files of the pictures, below `folder`.
        folder: what the names of pictures are relative to.
        labels: the folder of text files, laid out as that of the pictures.
        names: of the classes, by number.
        empty_if_absent: a picture without a text file has no findings; else it is not used.
    """
    for number, path in enumerate(pictures, start=1):
        relative = path.relative_to(folder)
        text = labels / relative.with_suffix(".txt")
        if not text.exists():
            absent = "" if empty_if_absent else "there is no text file for the picture"
            yield Described(relative.as_posix(), number, (), problem=absent)
            continue
        try:
            boxes = tuple(_boxes(text, names))
        except InvalidInput as error:
            yield Described(relative.as_posix(), number, (), problem=str(error))
        else:
            yield Described(relative.as_posix(), number, boxes)


def write_yolo(picture: Picture, names: Sequence[str]) -> bytes:
    """The text file of a picture.

    Raises:
        InvalidInput: a finding's label is not among `names`.
    """
    numbers = {name: index for index, name in enumerate(names)}
    lines: list[str] = []
    for finding in picture.findings:
        if finding.label not in numbers:
            raise InvalidInput(f"class {finding.label!r} is not among the {len(numbers)} classes of the set")
        box = finding.box
        centre = ((box.left + box.right) / 2 / picture.width, (box.top + box.bottom) / 2 / picture.height)
        size = (box.width / picture.width, box.height / picture.height)
        lines.append(f"{numbers[finding.label]} " + " ".join(f"{value:.9f}" for value in (*centre, *size)))
    return "".join(f"{line}\n" for line in lines).encode()


def _boxes(path: Path, names: Sequence[str]) -> Iterator[DescribedBox]:
    try:
        if path.stat().st_size > _LONGEST_FILE:
            raise InvalidInput(f"the text file is longer than {_LONGEST_FILE} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the text file cannot be read ({type(error).__name__})") from None
    if len(lines) > MOST_FINDINGS:
        raise InvalidInput(f"the text file has more than {MOST_FINDINGS} lines")
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words:
            yield _box(words, f"line {number}", names)


def _box(words: list[str], place: str, names: Sequence[str]) -> DescribedBox:
    nothing = Box(0.0, 0.0, 0.0, 0.0)
    if len(words) > 6:
        return DescribedBox("", nothing, place, problem="it is an outline, not a box")
    if len(words) != 5:
        return DescribedBox("", nothing, place, problem="expected a class number and four shares")
    number = int(words[0]) if words[0].isdecimal() and len(words[0]) < 7 else -1
    if not 0 <= number < len(names):
        return DescribedBox("", nothing, place, problem="its class number is not among the names")
    try:
        x, y, width, height = (float(word) for word in words[1:])
    except ValueError:
        return DescribedBox(names[number], nothing, place, problem="a share is not a number")
    if max(x, y, width, height) > 1 + _TOLERANCE:
        return DescribedBox(names[number], nothing, place, problem="a share is above 1: pixels were written")
    if not (width > 0 and height > 0 and x >= 0 and y >= 0):
        return DescribedBox(names[number], nothing, place, problem="the box has no width or height, or starts below 0")
    box = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return DescribedBox(names[number], box, place, relative=True)
