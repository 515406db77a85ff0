"""An image set as a table with a picture in every row, so that a study over pictures goes the way of any other.

Columns are `picture` (the digest), `class` (of a picture that is one finding as a whole), one of 0 and 1 for each class
of the set (whether the picture shows it), and those of a file beside the set that says more of each picture, such as
its patient or its split. Pixels are read when they are learned from, and never before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.federation.data_format import PictureFeature
from medfed.federation.tables import MAX_ROWS, Table, TableSource, read_csv, table_from
from medfed.imaging.annotation import Finding, Picture
from medfed.imaging.image_set import ImageSet, load_image_set
from medfed.imaging.picture_file import square_of
from medfed.models.dataset import Dataset
from medfed.models.picture_dataset import PictureDataset, Sample

__all__ = [
    "CLASS_COLUMN",
    "PICTURE_COLUMN",
    "PictureRows",
    "PictureTable",
    "load_picture_table",
    "picture_table",
    "read_source",
]

PICTURE_COLUMN: Final = "picture"
CLASS_COLUMN: Final = "class"
CASES: Final = "cases.csv"
"""Beside the pictures: a column `picture`, and whatever else is known of each."""
_MOST_NUMBERS: Final = 1 << 29
"""Of all squares of one split: 2 GiB."""
_CACHE_BYTES: Final = 256 << 20
"""Decoded pixels of one image set that are kept in memory."""


@dataclass(frozen=True, eq=False)
class PictureTable(Table):
    """A table whose rows are the pictures of `images`, in their order."""

    images: ImageSet


@dataclass(frozen=True, eq=False)
class PictureRows:
    """Some pictures of an image set, with the classes that a plan wants of them."""

    images: ImageSet
    positions: NDArray[np.int64]
    """(rows,): places in `images.pictures`."""
    classes: tuple[str, ...]
    """The plan's, for boxes; empty where classes of whole pictures are learned."""
    picture: PictureFeature
    _pixels: dict[int, NDArray[np.uint8]] = field(default_factory=dict[int, NDArray[np.uint8]], repr=False)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> PictureRows:
        """Some of the rows, by positions or by a mask."""
        return PictureRows(self.images, self.positions[rows], self.classes, self.picture, self._pixels)

    def identities(self) -> list[bytes]:
        """Each row's picture, by digest and findings."""
        pictures = (self.images.pictures[int(at)] for at in self.positions)
        return [encode((picture.digest, picture.findings)) for picture in pictures]

    def dataset(self, targets: NDArray[Any]) -> Dataset:
        """The rows as a model sees them: pictures with boxes, or squares of numbers with a class.

        Raises:
            InvalidInput: together the squares are too large for memory.
        """
        if not self.classes:
            return Dataset(self._squares(), targets)
        readers: list[Callable[[], Sample]] = [partial(self._read, int(at)) for at in self.positions]
        return PictureDataset(np.empty((len(targets), 0), dtype=np.float32), targets, tuple(readers))

    def _squares(self) -> NDArray[np.float32]:
        width = self.picture.width
        if len(self.positions) * width > _MOST_NUMBERS:
            raise InvalidInput(
                f"{len(self.positions)} pictures of {width} numbers: too many for memory; a smaller side"
            )
        rows = np.empty((len(self.positions), width), dtype=np.float32)
        for row, position in enumerate(self.positions):
            values = self.images.values(self.images.pictures[int(position)])
            rows[row] = square_of(values, self.picture.side, self.picture.channels).reshape(-1)
        return rows

    def _read(self, position: int) -> Sample:
        picture = self.images.pictures[position]
        wanted = [finding for finding in picture.findings if finding.label in self.classes]
        boxes = np.array([tuple(_corners(finding)) for finding in wanted], dtype=np.float64).reshape(-1, 4)
        labels = np.array([self.classes.index(finding.label) for finding in wanted], dtype=np.int64)
        ignored = np.array([finding.difficult or finding.crowd for finding in wanted], dtype=bool)
        return Sample(self._pixels_of(position, picture), boxes, labels, ignored)

    def _pixels_of(self, position: int, picture: Picture) -> NDArray[np.uint8]:
        known = self._pixels.get(position)
        if known is not None:
            return known
        values = self.images.values(picture)
        pixels = values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
        if (len(self._pixels) + 1) * pixels.nbytes <= _CACHE_BYTES:
            self._pixels[position] = pixels  # pyright: ignore[reportArgumentType]
        return pixels  # pyright: ignore[reportReturnType]


def read_source(source: TableSource, *, columns: Sequence[str] | None = None) -> Table:
    """A table from whatever `tables.table_from` reads, from an image set, or from the folder of one.

    Raises:
        InvalidInput: it is none of these, or damaged.
    """
    if isinstance(source, ImageSet):
        return picture_table(source)
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        return load_picture_table(Path(source))
    return table_from(source, columns=columns)


def load_picture_table(folder: Path, more: Path | None = None) -> PictureTable:
    """The image set in `folder`; the CSV file `more`, or `cases.csv` in the folder, says more of each picture.

    Raises:
        InvalidInput: no image set is there, or the file does not fit it.
    """
    file = more if more is not None else folder / CASES
    return picture_table(load_image_set(folder), read_csv(file) if more is not None or file.is_file() else None)


def picture_table(images: ImageSet, more: Table | None = None) -> PictureTable:
    """`images` as a table. In `more`, the column `picture` has the file's name or the digest in it.

    Raises:
        InvalidInput: `more` lacks a picture or names one twice, or has a column of the set's own.
    """
    count = len(images.pictures)
    if not 0 < count <= MAX_ROWS:
        raise InvalidInput(f"image set {images.folder.name}: {count} pictures; expected 1 to {MAX_ROWS}")
    columns: dict[str, NDArray[Any]] = {
        label: np.array([float(_shows(picture, label)) for picture in images.pictures]) for label in images.labels
    }
    columns[PICTURE_COLUMN] = _objects([picture.digest.hex() for picture in images.pictures])
    columns[CLASS_COLUMN] = _objects([_class_of(picture) for picture in images.pictures])
    if more is not None:
        for name, cells in _joined(images, more).items():
            if name in columns:
                raise InvalidInput(f"{more.source}: column {name!r} is the image set's own")
            columns[name] = cells
    source = f"image set {images.folder.name}"
    return PictureTable(source, columns, np.arange(1, count + 1, dtype=np.int64), False, images)


def _joined(images: ImageSet, more: Table) -> Mapping[str, NDArray[Any]]:
    row_of: dict[str, int] = {}
    for row, text in enumerate(more.texts(PICTURE_COLUMN)):
        stem = (text or "").removesuffix(".png")
        if stem in row_of:
            raise InvalidInput(f"{more.place(row, PICTURE_COLUMN)}: the picture is named twice")
        row_of[stem] = row
    lacking = sum(picture.digest.hex() not in row_of for picture in images.pictures)
    if lacking:
        raise InvalidInput(f"{more.source}: {lacking} of {len(images.pictures)} pictures are not in it")
    rows = np.array([row_of[picture.digest.hex()] for picture in images.pictures], dtype=np.int64)
    return {name: cells[rows] for name, cells in more.columns.items() if name != PICTURE_COLUMN}


def _class_of(picture: Picture) -> str | None:
    """The class of a picture that is one finding from edge to edge; None where it is something else."""
    if len(picture.findings) != 1:
        return None
    (finding,) = picture.findings
    return finding.label if tuple(_corners(finding)) == (0, 0, picture.width, picture.height) else None


def _shows(picture: Picture, label: str) -> bool:
    return any(finding.label == label for finding in picture.findings)


def _corners(finding: Finding) -> Sequence[float]:
    box = finding.box
    return box.left, box.top, box.right, box.bottom


def _objects(cells: Sequence[str | None]) -> NDArray[Any]:
    made = np.empty(len(cells), dtype=object)
    made[:] = cells
    return made
