"""From annotation files and pictures to one image set; whatever cannot be used as it is gets a line in the report.

A picture is used as a whole or not at all; a wrong box is left out and the rest of its picture used, because a missing
finding is a smaller lie than a box over nothing. What is decided by no file is asked of whoever imports, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput, Unavailable
from medfed.identifiers import sha256
from medfed.imaging.annotation import Box, Described, DescribedBox, Finding, Picture, checked_box
from medfed.imaging.burnt_in import burnt_in_by_header
from medfed.imaging.dicom_file import DicomFile, is_dicom, open_dicom
from medfed.imaging.dicom_pixels import Window, decode_frame
from medfed.imaging.image_set import ImageSet, picture_name, save_image_set
from medfed.imaging.picture_file import Pixels, decode_picture, encode_png
from medfed.imaging.report import ImageReport

__all__ = ["import_images", "read_unannotated", "split_frame"]

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".dcm")
_LONGEST_FILE: Final = 1 << 30
_FRAME: Final = re.compile(r"(.+)#([1-9][0-9]{0,5})")
"""A frame of a DICOM file, counted from 1, after the file's name."""


@dataclass
class _Import:
    """One import under way."""

    pictures_folder: Path
    target: Path
    wanted: frozenset[str] | None
    window: Window | None
    opened: tuple[Path, DicomFile] | None = None
    """The last DICOM file, because its frames come one after the other."""
    report: ImageReport = field(default_factory=ImageReport)
    pictures: dict[bytes, Picture] = field(default_factory=dict[bytes, Picture])
    first_seen: dict[bytes, int] = field(default_factory=dict[bytes, int])
    origins: dict[str, str] = field(default_factory=dict[str, str])
    suspected: dict[str, str] = field(default_factory=dict[str, str])


def import_images(
    described: Iterable[Described],
    pictures: Path,
    target: Path,
    labels: Sequence[str] = (),
    window: Window | None = None,
) -> tuple[ImageSet, ImageReport]:
    """Make an image set in the new folder `target`.

    Args:
        described: what a reader of annotations yields.
        pictures: the folder that file names are relative to; none outside it is opened.
        target: where the set goes; made, and empty.
        labels: the classes in their order; boxes of others are left out. Empty: all that occur, sorted.
        window: for grey DICOM pictures, in place of the one that each file states.

    Raises:
        InvalidInput: the target is not empty, or no picture could be used. Unavailable: a disk failed.
    """
    if target.exists() and any(target.iterdir()):
        raise InvalidInput(f"image set {target.name}: the folder is not empty")
    if not pictures.is_dir():
        raise InvalidInput("the folder of pictures does not exist")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    work = _Import(pictures.resolve(), target, frozenset(labels) or None, window)
    for entry in described:
        _take(work, entry)
    if not work.pictures:
        raise InvalidInput(f"no picture could be used:\n{work.report.summary()}")
    found = {finding.label for picture in work.pictures.values() for finding in picture.findings}
    images = ImageSet(target, tuple(labels) or tuple(sorted(found)), tuple(work.pictures.values()))
    save_image_set(images, work.origins, work.suspected)
    return images, work.report


def read_unannotated(pictures: Path) -> Iterator[Described]:
    """Every file below a folder, and every frame of those that have several, without any finding.

    Whoever imports says so: a detector that trains on such pictures learns that nothing is to be found in them.

    Raises:
        InvalidInput: the folder does not exist.
    """
    if not pictures.is_dir():
        raise InvalidInput("the folder of pictures does not exist")
    files = sorted(path for path in pictures.rglob("*") if path.is_file())
    for number, path in enumerate(files, start=1):
        name = path.relative_to(pictures).as_posix()
        try:
            data = _read(path)
            frames = open_dicom(data).frames if is_dicom(data) else 1
        except InvalidInput as error:
            yield Described(name, number, (), problem=str(error))
            continue
        for frame in range(1, frames + 1):
            yield Described(name if frames == 1 else f"{name}#{frame}", number, ())


def split_frame(name: str) -> tuple[str, int]:
    """A file's name and the number of the frame after `#`; 0 where there is none."""
    named = _FRAME.fullmatch(name)
    return (name, 0) if named is None else (named[1], int(named[2]))


def _take(work: _Import, entry: Described) -> None:
    report, place = work.report, ""
    report.pictures_read += 1
    report.boxes_read += len(entry.boxes)
    try:
        if entry.problem:
            raise InvalidInput(entry.problem)
        path, frame = _picture_path(work.pictures_folder, entry.file)
        place = f"frame {frame}" if frame else ""
        pixels = _decoded(work, path, frame)
        _check_size(entry, pixels)
        data = encode_png(pixels.values)
        digest = sha256(data)
        if digest in work.pictures:
            raise InvalidInput(f"the same picture as source {work.first_seen[digest]}")
    except InvalidInput as error:
        report.leave_out(entry.source, place, "picture", str(error))
        for box in entry.boxes:
            report.leave_out(entry.source, box.place, "box", box.problem or "its picture is not used")
        return
    for note in (*entry.notes, *pixels.notes):
        report.change(entry.source, place, "picture", note)
    height, width = pixels.values.shape[:2]
    picture = Picture(picture_name(digest), digest, width, height, _findings(work, entry, width, height))
    _store(work.target / picture.file, data)
    work.pictures[digest] = picture
    work.first_seen[digest] = entry.source
    origin = path.relative_to(work.pictures_folder).as_posix()
    work.origins[picture.file] = f"{origin}#{frame}" if frame else origin
    if work.opened is not None and work.opened[0] == path and (reason := burnt_in_by_header(work.opened[1].dataset)):
        work.suspected[picture.file] = reason
    report.pictures_used += 1


def _findings(work: _Import, entry: Described, width: int, height: int) -> tuple[Finding, ...]:
    kept: list[Finding] = []
    for found in entry.boxes:
        finding, reason = _finding(work, found, width, height)
        if finding is not None and finding in kept:
            finding, reason = None, "the same box with the same class is there already"
        if finding is None:
            work.report.leave_out(entry.source, found.place, "box", reason)
            continue
        if reason:
            work.report.change(entry.source, found.place, "box", reason)
        kept.append(finding)
        work.report.boxes_used += 1
    return tuple(kept)


def _finding(work: _Import, found: DescribedBox, width: int, height: int) -> tuple[Finding | None, str]:
    if found.problem:
        return None, found.problem
    if len(found.label) > 80:
        return None, "the name of its class is longer than 80 characters"
    if work.wanted is not None and found.label not in work.wanted:
        return None, "its class is not among those asked for"
    box = found.box
    if found.relative:
        box = Box(box.left * width, box.top * height, box.right * width, box.bottom * height)
        box = _rounded_inside(box, width, height)
    checked, said = checked_box(box, width, height)
    return (None, said) if checked is None else (Finding(found.label, checked, found.difficult, found.crowd), said)


def _rounded_inside(box: Box, width: int, height: int) -> Box:
    """Shares are printed with few digits: less than a hundredth of a pixel outside is rounding, not a mistake."""
    near = 0.01
    left = 0.0 if -near < box.left < 0 else box.left
    top = 0.0 if -near < box.top < 0 else box.top
    right = float(width) if 0 < box.right - width < near else box.right
    bottom = float(height) if 0 < box.bottom - height < near else box.bottom
    return Box(left, top, right, bottom)


def _picture_path(folder: Path, name: str) -> tuple[Path, int]:
    """The file of that name below `folder`, and the frame after `#`, else 0.

    Where the suffix is wrong or missing, it is the only picture of that stem.
    """
    frame = 0
    try:
        path = (folder / name).resolve()
        if not path.is_file():
            stem, frame = split_frame(name)
            path = (folder / stem).resolve()
        if not path.is_relative_to(folder):
            raise InvalidInput("its file name leads out of the folder of pictures")
        if path.is_file():
            return path, frame
        twins = [found for suffix in SUFFIXES for found in (path.with_suffix(suffix), path.with_suffix(suffix.upper()))]
        present = sorted({found for found in twins if found.is_file()})
    except (OSError, ValueError, RuntimeError):  # too long, with a zero byte, or links in a circle
        raise InvalidInput("its file name is none that a file can have") from None
    if not present:
        raise InvalidInput("there is no such picture")
    if len(present) > 1:
        raise InvalidInput("several pictures have this name with different endings")
    return present[0], frame


def _decoded(work: _Import, path: Path, frame: int) -> Pixels:
    if work.opened is not None and work.opened[0] == path:
        file = work.opened[1]
    else:
        work.opened = None
        data = _read(path)
        if not is_dicom(data):
            if frame > 1:
                raise InvalidInput(f"only DICOM files have a frame {frame}")
            return decode_picture(data)
        file = open_dicom(data)
        work.opened = (path, file)
    if not frame and file.frames > 1:
        raise InvalidInput(f"the file has {file.frames} frames; say which by #1, #2, … after its name")
    return decode_frame(file, max(frame, 1) - 1, work.window)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LONGEST_FILE:
            raise InvalidInput(f"the picture's file is longer than {_LONGEST_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the picture cannot be read ({type(error).__name__})") from None


def _check_size(entry: Described, pixels: Pixels) -> None:
    if not entry.width or not entry.height:
        return
    height, width = pixels.values.shape[:2]
    if (entry.width, entry.height) == (width, height):
        return
    if pixels.turned and (entry.height, entry.width) == (width, height):
        raise InvalidInput("the boxes were drawn on the picture as it lay, but its orientation tag turns it")
    raise InvalidInput("the annotation is for a picture of another size")


def _store(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
        path.chmod(0o600)
    except OSError as error:
        raise Unavailable(f"picture {path.name}: it cannot be written ({type(error).__name__})") from None
