"""Pictures to learn from, read one at a time when they are asked for, so that a large set never lies in memory.

A `PictureDataset` never says which patient a picture is of, nor where it lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset

__all__ = ["PictureDataset", "Sample", "pictures_in"]

Array = NDArray[Any]


class Sample(NamedTuple):
    """An image with its findings."""

    pixels: NDArray[np.uint8]
    """[h, w] or [h, w, 3]."""
    boxes: NDArray[np.float64]
    """[n, 4] left, top, right, bottom in pixels."""
    labels: NDArray[np.int64]
    """[n], from 0."""
    ignored: NDArray[np.bool_] | None = None
    """[n]: findings that count neither for nor against anyone; None where all count."""

    @property
    def counted(self) -> NDArray[np.bool_]:
        """[n]: the findings that count."""
        return ~self.ignored if self.ignored is not None else np.ones(len(self.labels), dtype=bool)


@dataclass(frozen=True, eq=False, slots=True)
class PictureDataset(Dataset):
    """`n` pictures: `features` has no column, and `targets` is a class, or for detection counts of boxes (n, k)."""

    readers: tuple[Callable[[], Sample], ...] = ()
    """One for each picture; raises `Tampered` or `Unavailable` where the file is not what was imported."""

    def __post_init__(self) -> None:
        Dataset.__post_init__(self)
        if len(self.readers) != len(self.targets):
            raise InvalidInput(f"pictures: {len(self.readers)} of them, {len(self.targets)} targets")

    @classmethod
    def of_samples(cls, samples: Sequence[Sample], classes: int) -> PictureDataset:
        """Pictures that are in memory already, with counts of the boxes of so many classes.

        Raises:
            InvalidInput: a label is none of the classes.
        """
        targets = np.zeros((len(samples), classes), dtype=np.float32)
        for index, sample in enumerate(samples):
            if len(sample.labels) and not 0 <= sample.labels.min() <= sample.labels.max() < classes:
                raise InvalidInput(f"pictures, image {index}: a label is not one of the {classes} classes")
            np.add.at(targets[index], sample.labels[sample.counted], 1)
        readers = tuple(partial(_itself, sample) for sample in samples)
        return cls(np.empty((len(samples), 0), dtype=np.float32), targets, readers)

    def sample(self, index: int) -> Sample:
        """One picture with its findings, read now."""
        return self.readers[index]()

    def samples(self) -> Iterator[Sample]:
        """All of them in order, one in memory at a time."""
        return (reader() for reader in self.readers)

    def take(self, indices: Array | slice) -> PictureDataset:
        """The pictures at `indices`, as in `Dataset.take`."""
        try:
            rows = np.arange(len(self))[indices]
        except IndexError as error:
            raise InvalidInput(f"dataset of {len(self)} pictures: {error}") from None
        readers = tuple(self.readers[int(row)] for row in rows)
        return PictureDataset(self.features[rows], self.targets[rows], readers)

    def joined(self, others: Sequence[Dataset]) -> PictureDataset:
        """As in `Dataset.joined`; all must be pictures."""
        parts = [pictures_in(part) for part in (self, *others)]
        targets = np.concatenate([part.targets for part in parts])
        features = np.empty((len(targets), 0), dtype=np.float32)
        return PictureDataset(features, targets, tuple(reader for part in parts for reader in part.readers))


def pictures_in(data: Dataset) -> PictureDataset:
    """`data` as pictures.

    Raises:
        InvalidInput: it is a table.
    """
    if not isinstance(data, PictureDataset):
        raise InvalidInput("dataset: expected pictures, found rows of a table")
    return data


def _itself(sample: Sample) -> Sample:
    return sample
