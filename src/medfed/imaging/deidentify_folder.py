"""A folder of DICOM files de-identified, and a page of those that a person has to look at first.

Files come out under new names. What could not be de-identified has a line, by number and never by name. The page of
held pictures shows what may be a patient's name: it is for the site alone and is not written among the results.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Final, Literal

from medfed.errors import InvalidInput, Unavailable
from medfed.imaging.deidentify import Examined, Pseudonyms, deidentify, examine
from medfed.imaging.dicom_file import is_dicom
from medfed.imaging.dicom_pixels import decode_frame
from medfed.imaging.picture_file import encode_png, thumbnail
from medfed.input_file import read_input

__all__ = ["FolderReport", "HeldPicture", "deidentify_folder", "held_page", "read_marks"]

_LONGEST_FILE: Final = 1 << 30
_SHOWN_SIDE: Final = 480
_MOST_SHOWN: Final = 8
"""Frames of one file on the page; where there are more, they are evenly spread."""


@dataclass(frozen=True)
class HeldPicture:
    """A picture that a person has to look at."""

    source: int
    mark: str
    reason: str
    shown: tuple[bytes, ...]
    """PNG files of some of its frames."""


@dataclass
class FolderReport:
    """What became of every file, by number in the order of their names."""

    files: int = 0
    written: int = 0
    cleared: int = 0
    held: list[HeldPicture] = field(default_factory=list[HeldPicture])
    left_out: list[str] = field(default_factory=list[str])


def deidentify_folder(
    folder: Path,
    output: Path,
    pseudonyms: Pseudonyms,
    dates: Literal["empty", "shift"] = "empty",
    cleared: Collection[str] = (),
) -> FolderReport:
    """De-identify every DICOM picture below `folder` into the new folder `output`.

    Raises:
        InvalidInput: no such folder, or `output` is not empty. Unavailable: a disk failed, or pydicom is not there.
    """
    if not folder.is_dir():
        raise InvalidInput("the folder of DICOM files does not exist")
    if output.exists() and any(output.iterdir()):
        raise InvalidInput(f"{output.name}: the folder is not empty")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    report = FolderReport(len(paths))
    output.mkdir(mode=0o700, parents=True, exist_ok=True)
    for source, path in enumerate(paths, start=1):
        try:
            data = read_input(path, _LONGEST_FILE, f"file {source}")
            if not is_dicom(data):
                raise InvalidInput("not a DICOM file")
            picture = examine(data)
            if picture.text and picture.mark not in cleared:
                report.held.append(_held(source, picture))
                continue
            made = deidentify(picture, pseudonyms, dates, cleared)
            target = output / f"{made.uid}.dcm"
            if target.exists():
                raise InvalidInput("another file is the same object (its identifier is there already)")
        except InvalidInput as error:
            report.left_out.append(f"file {source}: {error}")
            continue
        _store(target, made.data)
        report.written += 1
        report.cleared += made.cleared
    return report


def held_page(held: list[HeldPicture]) -> str:
    """One HTML page without a script that shows every held picture with its mark."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Pictures to look at</title><style>'
        "body{font:15px/1.45 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}"
        "figure{margin:1.5rem 0;border-top:1px solid #c9d1db;padding-top:1rem}img{max-width:100%;margin-right:.5rem}"
        "code{font-size:1.1rem}</style></head><body><h1>Pictures to look at</h1><p>Each may have text burnt in. Where "
        "you have looked and there is none that names anybody, write the picture's mark on a line of a text file and "
        "give it with <code>--cleared</code>. This page may show a patient's name: it stays at the site.</p>"
    ]
    for one in held:
        images = "".join(
            f'<img alt="a frame" src="data:image/png;base64,{b64encode(png).decode("ascii")}">' for png in one.shown
        )
        text = f"<figcaption>picture {one.source}, mark <code>{one.mark}</code>: {escape(one.reason)}</figcaption>"
        parts.append(f"<figure>{images}{text}</figure>")
    return "".join([*parts, "</body></html>\n"])


def read_marks(path: Path) -> frozenset[str]:
    """The marks of a text file, one a line; what follows a mark on its line is a remark.

    Raises:
        InvalidInput: a line does not begin with 16 hexadecimal digits.
    """
    marks: set[str] = set()
    text = read_input(path, 16 << 20, "--cleared").decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        mark = line.split()[0].lower() if line.strip() else ""
        if mark and (len(mark) != 16 or any(digit not in "0123456789abcdef" for digit in mark)):
            raise InvalidInput(f"--cleared, line {number}: expected a mark of 16 hexadecimal digits")
        marks.add(mark)
    return frozenset(marks - {""})


def _held(source: int, picture: Examined) -> HeldPicture:
    step = max(1, -(-picture.file.frames // _MOST_SHOWN))
    frames = [decode_frame(picture.file, index).values for index in range(0, picture.file.frames, step)]
    shown = tuple(encode_png(thumbnail(values, _SHOWN_SIDE)) for values in frames)
    return HeldPicture(source, picture.mark, picture.text, shown)


def _store(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
        path.chmod(0o600)
    except OSError as error:
        raise Unavailable(f"a de-identified file cannot be written ({type(error).__name__})") from None
