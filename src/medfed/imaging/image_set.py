"""An image set: one folder of PNG pictures named by their digests, and one COCO file that says what is in them.

What is in the folder is only pixels and findings. Where each picture came from is in a file of its own, `origins.json`,
which is for the site alone. Every reading checks the digest, so a picture that was changed is never trained on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from medfed.encoding import digest_of
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.identifiers import Digest, sha256
from medfed.imaging.annotation import Described, Finding, Picture, checked_box
from medfed.imaging.coco import read_coco, write_coco
from medfed.imaging.picture_file import decode_picture

__all__ = ["ImageSet", "load_image_set", "picture_name", "read_origins", "read_suspected", "save_image_set"]

ANNOTATIONS: Final = "annotations.coco.json"
LABELS: Final = "labels.json"
ORIGINS: Final = "origins.json"
SUSPECTED: Final = "suspected.json"


class ImageSet:
    """Pictures with findings, in the order of their digests. Immutable."""

    def __init__(self, folder: Path, labels: Sequence[str], pictures: Sequence[Picture]) -> None:
        self.folder: Final = folder
        self.labels: Final = tuple(labels)
        self.pictures: Final = tuple(sorted(pictures, key=lambda picture: picture.digest))

    @property
    def digest(self) -> Digest:
        """What names the set: its classes, pictures and findings."""
        return digest_of("medfed/image-set", self.labels, self.pictures)

    def data(self, picture: Picture) -> bytes:
        """The PNG file of a picture.

        Raises:
            Unavailable: the file is gone. Tampered: it was changed.
        """
        try:
            data = (self.folder / picture.file).read_bytes()
        except OSError as error:
            raise Unavailable(f"picture {picture.file}: it cannot be read ({type(error).__name__})") from None
        if sha256(data) != picture.digest:
            raise Tampered(f"picture {picture.file}: its bytes are not those that were imported")
        return data

    def values(self, picture: Picture) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """The pixels of a picture, as in `Pixels.values`.

        Raises:
            Unavailable: the file is gone. Tampered: it was changed.
        """
        return decode_picture(self.data(picture)).values

    def counts(self) -> dict[str, int]:
        """How many findings of each class, those that do not count left out."""
        counted = dict.fromkeys(self.labels, 0)
        for picture in self.pictures:
            for finding in picture.findings:
                counted[finding.label] += not (finding.difficult or finding.crowd)
        return counted


def picture_name(digest: Digest) -> str:
    """How the file of a picture is called: nothing of what the source was called."""
    return f"{digest.hex()}.png"


def save_image_set(images: ImageSet, origins: Mapping[str, str], suspected: Mapping[str, str] | None = None) -> None:
    """Write the set's files beside its pictures, each at once or not at all.

    Args:
        images: the set; its pictures are in the folder already.
        origins: for the site's eyes, from the picture's file to where it came from.
        suspected: from a picture's file to why its source makes burnt-in text likely.
    """
    _write(images.folder / SUSPECTED, orjson.dumps(dict(suspected or {}), option=orjson.OPT_SORT_KEYS), 0o600)
    _write(images.folder / ORIGINS, orjson.dumps(dict(origins), option=orjson.OPT_SORT_KEYS), 0o600)
    _write(images.folder / LABELS, orjson.dumps(images.labels), 0o600)
    _write(images.folder / ANNOTATIONS, write_coco(images.pictures, images.labels), 0o600)


def read_origins(folder: Path) -> dict[str, str]:
    """For the site's eyes: from a picture's file to where it came from.

    Raises:
        InvalidInput: the file is gone or is not what `save_image_set` wrote.
    """
    return _texts(folder, ORIGINS)


def read_suspected(folder: Path) -> dict[str, str]:
    """From a picture's file to why its source makes burnt-in text likely; empty for a set from before this was noted.

    Raises:
        InvalidInput: the file is not what `save_image_set` wrote.
    """
    return _texts(folder, SUSPECTED) if (folder / SUSPECTED).exists() else {}


def _texts(folder: Path, name: str) -> dict[str, str]:
    try:
        found: Any = orjson.loads((folder / name).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        raise InvalidInput(f"image set {folder.name}: {name} cannot be read") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in cast("dict[Any, Any]", found).values()):
        raise InvalidInput(f"image set {folder.name}: {name} is not what the program writes")
    return cast("dict[str, str]", found)


def load_image_set(folder: Path) -> ImageSet:
    """The set that `save_image_set` wrote. Pictures are opened when they are asked for.

    Raises:
        InvalidInput: no image set is there, or somebody has edited it into something else.
    """
    labels = _labels(folder)
    pictures = [_picture(described, labels) for described in read_coco(folder / ANNOTATIONS)]
    if len({picture.digest for picture in pictures}) != len(pictures):
        raise InvalidInput(f"image set {folder.name}: a picture is listed twice")
    return ImageSet(folder, labels, pictures)


def _labels(folder: Path) -> tuple[str, ...]:
    try:
        found: Any = orjson.loads((folder / LABELS).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        raise InvalidInput(f"image set {folder.name}: there is no set here that can be read ({LABELS})") from None
    if not isinstance(found, list) or not all(isinstance(label, str) and label for label in found):  # pyright: ignore[reportUnknownVariableType]
        raise InvalidInput(f"image set {folder.name}: {LABELS} is not a list of classes")
    return tuple(found)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _picture(described: Described, labels: Sequence[str]) -> Picture:
    stem = described.file.removesuffix(".png")
    if described.problem or len(stem) != 64 or not described.width or not described.height:
        raise InvalidInput(f"image set: an entry is not of this program's making ({described.problem or 'no digest'})")
    findings: list[Finding] = []
    for entry in described.boxes:
        box, said = checked_box(entry.box, described.width, described.height)
        if entry.problem or box is None or said or entry.label not in labels:
            raise InvalidInput(f"image set, {entry.place}: {entry.problem or said or 'a class that the set lacks'}")
        findings.append(Finding(entry.label, box, entry.difficult, entry.crowd))
    try:
        digest = bytes.fromhex(stem)
    except ValueError:
        raise InvalidInput("image set: a picture's file is not named by its digest") from None
    return Picture(described.file, digest, described.width, described.height, tuple(findings))


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
