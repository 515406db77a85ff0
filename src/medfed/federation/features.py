"""From a table's columns to the numbers a model sees, by the plan alone and the federated statistics.

Layout of an encoded row, in the plan's order of features:
- a number gives two columns: its standardised value (where missing, that of the federated median) and 1 where missing;
- a category with K candidates gives K + 2: one for each candidate, one for "other" (a value that is no candidate,
  or a candidate too rare over all hospitals), one for missing. Exactly one of them is 1.
- an image gives its pixels, from -1 (black) to 1, a channel after the other.
The width is the same at every hospital whatever its rows hold. This module must never look at more than one
hospital's table, and never learn a statistic by itself.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from typing import Annotated, Final

import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

from medfed.encoding import Record, digest_of
from medfed.errors import InvalidInput
from medfed.federation.cells import shortest_text
from medfed.federation.plan import CategoryFeature, DataFormat, NumberFeature, PixelsFeature, Plan
from medfed.federation.tables import Table
from medfed.identifiers import Digest

__all__ = [
    "MISSING",
    "NumberScale",
    "RawFeatures",
    "Standardisation",
    "encode_features",
    "feature_names",
    "read_features",
]

MISSING: Final = -1
"""The code of a missing category."""


class NumberScale(Record, frozen=True):
    """How one number is standardised: `(value - mean) / scale`, `median` standing in where it is missing."""

    mean: float
    scale: Annotated[float, Meta(gt=0)]
    median: float


class Standardisation(Record, frozen=True):
    """What the federated statistics say about encoding; the same at every hospital."""

    numbers: tuple[NumberScale, ...]
    """One for each number, in the plan's order."""
    kept: tuple[tuple[bool, ...], ...]
    """For each category its candidates: False where too rare, so that the candidate reads as "other"."""
    outcome_counts: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=1 << 20)] | UnsetType = UNSET
    """Which values go with which outcome, where the plan learns weights; in the order of `weighing`."""

    @property
    def digest(self) -> Digest:
        """Names these values exactly."""
        return digest_of("medfed/standardisation", self)


@dataclass(frozen=True, eq=False)
class RawFeatures:
    """The features of some rows as they were read, neither clipped nor standardised."""

    numbers: NDArray[np.float64]
    """(rows, numbers of the plan), in the feature's unit, NaN where missing."""
    categories: NDArray[np.int16]
    """(rows, categories of the plan): the candidate's position, K for a value that is no candidate, -1 missing."""
    pixels: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0), dtype=np.uint8))
    """(rows, pixels of all images of the plan), as they lie in the cell; left out where a plan has none."""

    def __post_init__(self) -> None:
        if not self.pixels.size:
            object.__setattr__(self, "pixels", np.empty((len(self.numbers), 0), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> RawFeatures:
        """Some of the rows, by positions or by a mask."""
        return RawFeatures(self.numbers[rows], self.categories[rows], self.pixels[rows])


def read_features(table: Table, data: DataFormat) -> RawFeatures:
    """The plan's features out of a table that may have other columns too.

    Raises:
        InvalidInput: a column is missing, or a cell is not of the feature's kind.
    """
    numbers = [_read_number(table, feature) for feature in data.numbers]
    categories = [_read_category(table, feature) for feature in data.categories]
    pixels = [_read_pixels(table, feature) for feature in data.pixels]
    rows = len(table)
    return RawFeatures(
        np.stack(numbers, axis=1) if numbers else np.empty((rows, 0), dtype=np.float64),
        np.stack(categories, axis=1) if categories else np.empty((rows, 0), dtype=np.int16),
        np.concatenate(pixels, axis=1) if pixels else np.empty((rows, 0), dtype=np.uint8),
    )


def encode_features(raw: RawFeatures, plan: Plan, standardisation: Standardisation) -> NDArray[np.float32]:
    """The model's inputs, float32 (rows, plan.inputs); numbers outside [low, high] are clipped.

    Raises:
        InvalidInput: the features or the standardisation do not belong to the plan, or lead to no finite number.
    """
    _verify_shapes(raw, plan.data, standardisation)
    encoded = np.zeros((len(raw), plan.inputs), dtype=np.float32)
    at = number = category = pixel = 0
    every_row = np.arange(len(raw))
    for feature in plan.data.features:
        if isinstance(feature, NumberFeature):
            values = raw.numbers[:, number]
            scale = standardisation.numbers[number]
            missing = np.isnan(values)
            clipped = np.clip(np.where(missing, scale.median, values), feature.low, feature.high)
            with np.errstate(over="ignore", invalid="ignore"):
                encoded[:, at] = (clipped - scale.mean) / scale.scale
            if not np.isfinite(encoded[:, at]).all():
                raise InvalidInput(f"feature {feature.name!r}: standardised, a number is beyond float32")
            encoded[:, at + 1] = missing
            number += 1
        elif isinstance(feature, PixelsFeature):
            encoded[:, at : at + feature.width] = _scaled_pixels(raw.pixels[:, pixel : pixel + feature.width], feature)
            pixel += feature.width
        elif isinstance(feature, CategoryFeature):
            positions = _positions(standardisation.kept[category])
            encoded[every_row, at + positions[raw.categories[:, category]]] = 1.0
            category += 1
        at += feature.width
    return encoded


def feature_names(plan: Plan) -> tuple[str, ...]:
    """What each of the model's inputs is, in order; `plan.inputs` names."""
    names: list[str] = []
    for feature in plan.data.features:
        if isinstance(feature, NumberFeature):
            names.append(feature.name)
        elif isinstance(feature, PixelsFeature):
            names.extend(f"{feature.name} pixel {at}" for at in range(feature.width))
            continue
        elif isinstance(feature, CategoryFeature):
            names.extend(f"{feature.name}={value}" for value in feature.values)
            names.append(f"{feature.name}=other")
        else:
            raise InvalidInput("features: a picture has no named inputs")
        names.append(f"{feature.name} missing")
    return tuple(names)


def _read_number(table: Table, feature: NumberFeature) -> NDArray[np.float64]:
    values = table.numbers(feature.name)
    for missing in feature.missing_values:
        values[values == missing] = np.nan
    return values


def _read_category(table: Table, feature: CategoryFeature) -> NDArray[np.int16]:
    codes: dict[str | None, int] = {shortest_text(value): code for code, value in enumerate(feature.values)}
    codes |= dict.fromkeys((shortest_text(value) for value in feature.missing_values), MISSING)
    codes[None] = MISSING
    other = len(feature.values)
    texts = table.texts(feature.name)
    return np.fromiter((codes.get(text, other) for text in texts), dtype=np.int16, count=len(texts))


def _read_pixels(table: Table, feature: PixelsFeature) -> NDArray[np.uint8]:
    found = np.empty((len(table), feature.width), dtype=np.uint8)
    for row, text in enumerate(table.texts(feature.name)):
        try:
            pixels = base64.b64decode(text or "", validate=True)
        except ValueError:
            pixels = b""
        if len(pixels) != feature.width:
            size = f"{feature.side} x {feature.side} x {feature.channels}"
            raise InvalidInput(f"{table.place(row, feature.name)}: expected base64 of {size} pixels, a byte each")
        found[row] = np.frombuffer(pixels, dtype=np.uint8)
    return found


def _scaled_pixels(pixels: NDArray[np.uint8], feature: PixelsFeature) -> NDArray[np.float32]:
    images = pixels.reshape(len(pixels), feature.side**2, feature.channels).transpose(0, 2, 1)
    return (images.astype(np.float32) / np.float32(127.5) - np.float32(1)).reshape(len(pixels), feature.width)


def _positions(kept: tuple[bool, ...]) -> NDArray[np.int64]:
    """Code -> column within the category's block; the code -1 (missing) indexes the last."""
    other = len(kept)
    return np.array([code if keep else other for code, keep in enumerate(kept)] + [other, other + 1])


def _verify_shapes(raw: RawFeatures, data: DataFormat, standardisation: Standardisation) -> None:
    numbers, categories = len(data.numbers), len(data.categories)
    if raw.pixels.shape[1] != sum(feature.width for feature in data.pixels):
        raise InvalidInput(f"features: {raw.pixels.shape[1]} pixels; the plan has another number")
    if raw.numbers.shape[1] != numbers or raw.categories.shape[1] != categories:
        raise InvalidInput(
            f"features: {raw.numbers.shape[1]} numbers and {raw.categories.shape[1]} categories; "
            f"the plan has {numbers} and {categories}"
        )
    widths = [len(feature.values) for feature in data.categories]
    if len(standardisation.numbers) != numbers or [len(kept) for kept in standardisation.kept] != widths:
        raise InvalidInput("standardisation: made for another plan")
    for feature, scale in zip(data.numbers, standardisation.numbers, strict=True):
        if not (math.isfinite(scale.mean) and math.isfinite(scale.median) and 0 < scale.scale < math.inf):
            raise InvalidInput(f"standardisation of {feature.name!r}: expected finite numbers and a scale above 0")
