"""Rows of a table as the cases of a blind test: what is sent of a row, and what a model of tables says of it.

What is sent are the features that the model's plan names, as the model sees them: numbers inside their bounds, the
position of a candidate, nothing of a value that is no candidate. Names, other columns and the target stay. This module
must never put a value into an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.diagnosis.blind_sides import BlindCase, Diagnosis
from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.federation.features import MISSING, RawFeatures, encode_features, read_features
from medfed.federation.model_file import Model
from medfed.federation.plan import Plan
from medfed.federation.study import learner_of
from medfed.federation.tables import Table
from medfed.federation.targets import read_targets
from medfed.hospital.blind_labels import diagnosis_named, diagnosis_scored

__all__ = ["diagnose_rows", "diagnosed_rows", "row_cases"]

_KIND: Final = "row of a table"


class BlindRow(Record):
    """The features of one row, as the plan lists numbers and categories."""

    numbers: tuple[float | None, ...]
    """None where missing."""
    categories: tuple[int, ...]
    """The candidate's position; their number for any other value; -1 where missing."""


def row_cases(plan: Plan, table: Table) -> list[BlindCase]:
    """Every row of a table as a case.

    Raises:
        InvalidInput: a column is missing, or a cell is not of the feature's kind.
    """
    raw = read_features(table, plan.data)
    low = np.array([feature.low for feature in plan.data.numbers])
    high = np.array([feature.high for feature in plan.data.numbers])
    rows: list[BlindCase] = []
    for numbers, categories in zip(np.clip(raw.numbers, low, high), raw.categories, strict=True):
        values = tuple(None if np.isnan(value) else float(value) for value in numbers)
        rows.append(BlindCase(encode(BlindRow(values, tuple(map(int, categories)))), _KIND))
    return rows


def diagnosed_rows(plan: Plan, table: Table) -> list[tuple[BlindCase, Diagnosis]]:
    """The rows whose diagnosis the table has, each different row once.

    Two patients whose rows are alike in everything that is sent cannot both be in a test; the first stands for both.

    Raises:
        InvalidInput: as `row_cases`.
    """
    targets = read_targets(table, plan.data.target)
    found: dict[bytes, tuple[BlindCase, Diagnosis]] = {}
    for case, value, usable in zip(row_cases(plan, table), targets.values, targets.usable, strict=True):
        if usable:
            found.setdefault(case.data, (case, diagnosis_named(plan.data.target, value)))
    return list(found.values())


def diagnose_rows(model: Model, cases: Sequence[bytes], operating: float) -> list[Diagnosis]:
    """What the model says of each case.

    Args:
        model: of tables.
        cases: `BlindRow`s, from somebody who is not trusted.
        operating: the probability from which a binary target or a label is said to be there.

    Raises:
        InvalidInput: a case is not a row of the plan's features.
    """
    raw = _raw(model.plan, [decode(case, BlindRow) for case in cases])
    features = encode_features(raw, model.plan, model.standardisation)
    scores: NDArray[Any] = learner_of(model.plan).predict(model.parameters, features)
    return [diagnosis_scored(model.plan.data.target, values, operating) for values in scores]


def _raw(plan: Plan, rows: Sequence[BlindRow]) -> RawFeatures:
    numbers, categories = plan.data.numbers, plan.data.categories
    for at, row in enumerate(rows):
        fits = len(row.numbers) == len(numbers) and len(row.categories) == len(categories)
        if not fits or not all(
            MISSING <= code <= len(feature.values) for code, feature in zip(row.categories, categories, strict=True)
        ):
            raise InvalidInput(f"blind test, position {at}: not a row of this model's features")
        if any(value is not None and not abs(value) < np.inf for value in row.numbers):
            raise InvalidInput(f"blind test, position {at}: a number that is not finite")
    values = np.array([[np.nan if v is None else v for v in row.numbers] for row in rows], dtype=np.float64)
    codes = np.array([row.categories for row in rows], dtype=np.int16)
    return RawFeatures(values.reshape(len(rows), len(numbers)), codes.reshape(len(rows), len(categories)))
