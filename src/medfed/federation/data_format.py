"""The training-set format of a plan: which features and which target every hospital's table or image set must have."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from medfed.encoding import Record

ColumnName = Annotated[str, Meta(min_length=1, max_length=100)]


class NumberFeature(Record, frozen=True, tag_field="kind", tag="number"):
    """A measured quantity. Values outside [low, high] are counted and clipped; `missing_values` read as missing."""

    name: ColumnName
    low: float
    high: float
    unit: str = "1"
    code: str = ""
    missing_values: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Columns it gives the model: value and missing indicator."""
        return 2


class CategoryFeature(Record, frozen=True, tag_field="kind", tag="category"):
    """One of a list of candidates, compared as text after numbers are written shortest ("1.0" is "1")."""

    name: ColumnName
    values: Annotated[tuple[str, ...], Meta(min_length=2, max_length=256)]
    code: str = ""
    missing_values: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Columns it gives the model: one for each candidate, "other" and missing."""
        return len(self.values) + 2


class PictureFeature(Record, frozen=True, tag_field="kind", tag="picture"):
    """A picture of the site's image set, in place of columns. It is the only feature of a plan that has one."""

    name: ColumnName = "picture"
    side: Annotated[int, Meta(ge=16, le=2048)] = 320
    """Pixels. Detectors get pictures whose longer side is this; classifiers squares, numbers from 0 to 1."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour; detectors look at three."""
    code: str = ""

    @property
    def width(self) -> int:
        """Numbers of a square picture."""
        return self.channels * self.side * self.side


class PixelsFeature(Record, frozen=True, tag_field="kind", tag="pixels"):
    """A small square image in a table's cell: base64 of its bytes, a line after the other, a pixel's channels together.

    Nothing but pixels has room in it. An image classifier takes it, and no other feature beside it.
    """

    name: ColumnName
    side: Annotated[int, Meta(ge=8, le=128)]
    channels: Literal[1, 3] = 1
    code: str = ""

    @property
    def width(self) -> int:
        """Columns it gives the model: every pixel of every channel."""
        return self.channels * self.side**2


Feature = NumberFeature | CategoryFeature | PictureFeature | PixelsFeature


class BinaryTarget(Record, frozen=True, tag_field="kind", tag="binary"):
    """Ill (1) when the column's value is one of `positive`, well (0) when one of `negative`."""

    column: ColumnName
    positive: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
    negative: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return (self.column,)


class MulticlassTarget(Record, frozen=True, tag_field="kind", tag="multiclass"):
    """One of `classes`."""

    column: ColumnName
    classes: Annotated[tuple[str, ...], Meta(min_length=2, max_length=256)]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return (self.column,)


class MultilabelTarget(Record, frozen=True, tag_field="kind", tag="multilabel"):
    """Several columns of 0 and 1, each predicted."""

    columns: Annotated[tuple[ColumnName, ...], Meta(min_length=1, max_length=1024)]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return self.columns


class SurvivalTarget(Record, frozen=True, tag_field="kind", tag="survival"):
    """Time to an event, right-censored: `event` is 1 where it was seen, 0 where follow-up ended."""

    time: ColumnName
    event: ColumnName

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return (self.time, self.event)


class BoxesTarget(Record, frozen=True, tag_field="kind", tag="boxes"):
    """Boxes of `classes` in a picture; boxes of other classes are background."""

    classes: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=80)], ...], Meta(min_length=1, max_length=80)]

    @property
    def names(self) -> tuple[str, ...]:
        """No column: boxes come with the picture."""
        return ()


Target = BinaryTarget | MulticlassTarget | MultilabelTarget | SurvivalTarget | BoxesTarget


class DataFormat(Record, frozen=True):
    """The training-set format: what every hospital's table must have."""

    features: Annotated[tuple[Feature, ...], Meta(min_length=1, max_length=10_000)]
    target: Target
    patient: ColumnName | None = None
    """Column that identifies the patient (rows of one patient stay together); without it each row is one patient."""
    split: ColumnName | None = None
    """Column that says train, validation or test; without it a hash under the site's key splits the patients."""
    validation_fraction: Annotated[float, Meta(ge=0, lt=0.5)] = 0.15
    test_fraction: Annotated[float, Meta(ge=0, lt=0.5)] = 0.2
    rare_category: Annotated[int, Meta(ge=1, le=10_000)] = 10
    """Categories that fewer patients than this have, over all hospitals, become "other"."""
    least_scale: Annotated[float, Meta(gt=0, le=1e9)] | UnsetType = UNSET
    """No number is divided by less than this, so that one which is nearly always the same is not blown up."""

    @property
    def numbers(self) -> tuple[NumberFeature, ...]:
        """The measured quantities, in order."""
        return tuple(feature for feature in self.features if isinstance(feature, NumberFeature))

    @property
    def categories(self) -> tuple[CategoryFeature, ...]:
        """The categories, in order."""
        return tuple(feature for feature in self.features if isinstance(feature, CategoryFeature))

    @property
    def pixels(self) -> tuple[PixelsFeature, ...]:
        """The images in cells, in order."""
        return tuple(feature for feature in self.features if isinstance(feature, PixelsFeature))

    @property
    def picture(self) -> PictureFeature | None:
        """The picture, in a study over an image set."""
        return next((feature for feature in self.features if isinstance(feature, PictureFeature)), None)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a hospital's table must have."""
        others = [name for name in (self.patient, self.split) if name is not None]
        return (*(feature.name for feature in self.features), *self.target.names, *others)
