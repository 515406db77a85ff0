"""One hospital's table or pictures made ready for a study: features, targets, splits, and a report of what is left out.

What is here stays at the hospital. The report holds counts only; this module must never log or raise a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import digest_of
from medfed.errors import InvalidInput
from medfed.federation.cases import salted_root
from medfed.federation.features import MISSING, RawFeatures, Standardisation, encode_features, read_features
from medfed.federation.hiding import hidden_questions
from medfed.federation.picture_table import PictureRows, PictureTable
from medfed.federation.plan import BoxesTarget, Plan, Weighing
from medfed.federation.splits import SPLITS, TRAIN, Split, pseudonyms_of, read_splits, split_patients
from medfed.federation.tables import Table
from medfed.federation.targets import read_targets, target_counts
from medfed.federation.weighing import read_values, value_columns
from medfed.identifiers import Digest
from medfed.models.dataset import Dataset

__all__ = ["PreparationReport", "PreparedData", "cases_root", "picture_rows", "prepare", "schema_digest"]


@dataclass(frozen=True)
class PreparationReport:
    """What became of a table's rows, for the hospital's own eyes. Counts only."""

    rows: int
    usable: int
    missing_target: int
    unknown_target: int
    """Rows whose target the plan does not name; left out."""
    patients: int
    unused_columns: int
    splits: Mapping[Split, int]
    """Usable rows in each split."""
    targets: tuple[int, ...]
    """`targets.target_counts` of the usable rows."""
    missing: Mapping[str, int]
    """For each feature, usable rows in which it is missing."""
    out_of_range: Mapping[str, int]
    """For each number, usable rows outside [low, high]; they are clipped."""
    unknown: Mapping[str, int]
    """For each category, usable rows whose value is no candidate; they read as "other"."""
    single_target: bool
    """All usable rows have one and the same class (or nobody had an event)."""


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A hospital's usable rows under one plan. All arrays have one length: the usable rows."""

    plan: Plan
    features: RawFeatures
    targets: NDArray[Any]
    """As in `models.dataset.Dataset`."""
    patients: NDArray[np.int64]
    """(rows,): equal for rows of one patient; the numbers mean nothing else."""
    split: NDArray[np.uint8]
    """(rows,): positions in `splits.SPLITS`."""
    pseudonyms: NDArray[np.uint64]
    """(rows,): a hash of the row's patient under the site's key, the same in every study that names the same patient
    column; without one, of the row itself. It never leaves the hospital."""
    report: PreparationReport
    pictures: PictureRows | None = None
    """The rows' pictures, in a study over an image set."""
    values: NDArray[np.int64] | None = None
    """(rows, 1 + attributes): outcome and values, where the plan learns weights; see `weighing.read_values`."""
    _standardised: dict[Digest, dict[Split, Dataset]] = field(
        default_factory=dict[Digest, dict[Split, Dataset]], init=False, repr=False
    )
    """The last `datasets`: every round of a study asks for the same ones."""

    def __len__(self) -> int:
        return len(self.split)

    @property
    def examples(self) -> int:
        """Usable training rows: what the hospital declares on enrolling."""
        return int(np.count_nonzero(self.split == TRAIN))

    def datasets(self, standardisation: Standardisation) -> dict[Split, Dataset]:
        """The rows of each split as a model sees them; those that judge it as the plan has it asked (`hiding`)."""
        if standardisation.digest not in self._standardised:
            self._standardised.clear()
            self._standardised[standardisation.digest] = self._encoded(standardisation)
        return dict(self._standardised[standardisation.digest])

    def _encoded(self, standardisation: Standardisation) -> dict[Split, Dataset]:
        parts: dict[Split, NDArray[np.bool_]] = {name: self.split == code for code, name in enumerate(SPLITS)}
        if self.pictures is not None:
            return {name: self.pictures.take(rows).dataset(self.targets[rows]) for name, rows in parts.items()}
        encoded = encode_features(self.features, self.plan, standardisation)
        made: dict[Split, Dataset] = {name: Dataset(encoded[rows], self.targets[rows]) for name, rows in parts.items()}
        made["validation"] = hidden_questions(self.plan, standardisation, made["validation"])
        made["test"] = hidden_questions(self.plan, standardisation, made["test"])
        return made

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> PreparedData:
        """Some of the rows, by positions or by a mask; the report stays that of the whole table."""
        return replace(
            self,
            features=self.features.take(rows),
            targets=self.targets[rows],
            patients=self.patients[rows],
            split=self.split[rows],
            pseudonyms=self.pseudonyms[rows],
            pictures=self.pictures.take(rows) if self.pictures is not None else None,
            values=self.values[rows] if self.values is not None else None,
        )

    def with_split(self, split: NDArray[np.uint8]) -> PreparedData:
        """The same rows, divided in another way (cross-validation).

        Raises:
            InvalidInput: not one code of `splits.SPLITS` for each row.
        """
        if split.shape != self.split.shape or (split >= len(SPLITS)).any():
            raise InvalidInput(f"split: expected {len(self)} codes below {len(SPLITS)}")
        return replace(self, split=split.astype(np.uint8))


def prepare(plan: Plan, table: Table, split_key: bytes) -> PreparedData:
    """Read what the plan names out of a table and divide its patients into splits.

    Without a patient column a row is its own patient and known by what the plan names of it, so equal rows share a
    split, and a row whose values are corrected later may change it; name a patient column where there is one.

    Args:
        split_key: the site's 32 bytes; not used where the plan names a split column.

    Raises:
        InvalidInput: a column is missing, a cell is not of its kind, or no row has a target.
    """
    data = plan.data
    raw = read_features(table, data)
    targets = read_targets(table, data.target)
    usable = targets.usable
    if not usable.any():
        names = ", ".join(map(repr, data.target.names[:3]))
        raise InvalidInput(f"{table.source}: no row has a target that the plan names (column {names})")
    features, values = raw.take(usable), targets.values[usable]
    rows = np.flatnonzero(usable)
    identities = _read_identities(table, plan, rows)
    patients = _numbered(identities) if identities is not None else np.arange(len(rows), dtype=np.int64)
    pictures = picture_rows(plan, table).take(rows) if plan.data.picture is not None else None
    patient_bytes = identities if identities is not None else _row_bytes(features, values, pictures)
    if data.split is not None:
        split = read_splits(table, data.split)[usable]
        _verify_together(table, data.split, rows, patients, split)
    else:
        split = split_patients(patient_bytes, split_key, (data.validation_fraction, data.test_fraction))
    report = PreparationReport(
        rows=len(table),
        usable=len(rows),
        missing_target=targets.missing,
        unknown_target=targets.unknown,
        patients=int(patients.max()) + 1,
        unused_columns=len(table.columns.keys() - set(data.columns) - _counted_columns(plan)),
        splits={name: int(np.count_nonzero(split == code)) for code, name in enumerate(SPLITS)},
        targets=tuple(int(count) for count in target_counts(data.target, values)),
        **_feature_counts(features, plan),
        single_target=_is_single(plan, values),
    )
    pseudonyms = pseudonyms_of(patient_bytes, split_key)
    counted = read_values(table, plan, rows)
    return PreparedData(plan, features, values, patients, split, pseudonyms, report, pictures, counted)


def _counted_columns(plan: Plan) -> set[str]:
    return set(value_columns(plan.weighing)) if isinstance(plan.weighing, Weighing) else set()


def cases_root(prepared: PreparedData, salt: bytes) -> Digest:
    """The salted Merkle root over the training rows, the ones that `examples` counts; their order does not matter."""
    training = prepared.take(prepared.split == TRAIN)
    return salted_root(_row_bytes(training.features, training.targets, training.pictures), salt)


def schema_digest(plan: Plan) -> Digest:
    """Names the training-set format exactly."""
    return digest_of("medfed/schema", plan.data)


def _read_identities(table: Table, plan: Plan, rows: NDArray[np.int64]) -> list[bytes] | None:
    column = plan.data.patient
    if column is None:
        return None
    texts = table.texts(column)
    identities: list[bytes] = []
    for row in rows:
        text = texts[int(row)]
        if text is None:
            raise InvalidInput(f"{table.place(int(row), column)}: the patient is missing")
        identities.append(text.encode("utf-8", "surrogatepass"))
    return identities


def _numbered(identities: Sequence[bytes]) -> NDArray[np.int64]:
    numbers: dict[bytes, int] = {}
    found = (numbers.setdefault(identity, len(numbers)) for identity in identities)
    return np.fromiter(found, dtype=np.int64, count=len(identities))


def picture_rows(plan: Plan, table: Table) -> PictureRows:
    """All pictures of a table, as a plan over pictures sees them.

    Raises:
        InvalidInput: a table without pictures, or a plan without.
    """
    picture, target = plan.data.picture, plan.data.target
    if picture is None or not isinstance(table, PictureTable):
        raise InvalidInput(f"{table.source}: a table has no pictures; the plan wants an image set")
    rows = np.arange(len(table), dtype=np.int64)
    return PictureRows(table.images, rows, target.classes if isinstance(target, BoxesTarget) else (), picture)


def _row_bytes(features: RawFeatures, targets: NDArray[Any], pictures: PictureRows | None) -> list[bytes]:
    """Each row's canonical bytes: its features and target as little-endian float64, one NaN, no negative zero, then its
    pixels; of a picture its digest and findings."""
    if pictures is not None:
        return pictures.identities()
    wide = targets if targets.ndim == 2 else targets[:, np.newaxis]
    matrix = np.concatenate([features.numbers, features.categories, wide], axis=1, dtype="<f8")
    matrix += 0.0
    matrix[np.isnan(matrix)] = np.nan
    data, width = matrix.tobytes(), matrix.shape[1] * 8
    return [data[at * width : (at + 1) * width] + features.pixels[at].tobytes() for at in range(len(features))]


def _verify_together(
    table: Table, column: str, rows: NDArray[np.int64], patients: NDArray[np.int64], split: NDArray[np.uint8]
) -> None:
    first = np.zeros(int(patients.max()) + 1, dtype=np.uint8)
    first[patients[::-1]] = split[::-1]
    apart = first[patients] != split
    if apart.any():
        place = table.place(int(rows[apart.argmax()]), column)
        raise InvalidInput(f"{place}: rows of one patient are in two splits")


def _feature_counts(features: RawFeatures, plan: Plan) -> dict[str, dict[str, int]]:
    numbers, categories = plan.data.numbers, plan.data.categories
    missing: dict[str, int] = {}
    out_of_range: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for at, number in enumerate(numbers):
        values = features.numbers[:, at]
        missing[number.name] = int(np.count_nonzero(np.isnan(values)))
        out_of_range[number.name] = int(np.count_nonzero((values < number.low) | (values > number.high)))
    for at, category in enumerate(categories):
        codes = features.categories[:, at]
        missing[category.name] = int(np.count_nonzero(codes == MISSING))
        unknown[category.name] = int(np.count_nonzero(codes == len(category.values)))
    return {"missing": missing, "out_of_range": out_of_range, "unknown": unknown}


def _is_single(plan: Plan, values: NDArray[Any]) -> bool:
    if plan.task == "detection":
        return int(np.count_nonzero(values.any(axis=0))) <= 1 < values.shape[1]
    if plan.task == "survival":
        return not values[:, 1].any()
    return bool((values == values[0]).all())
