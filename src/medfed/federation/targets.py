"""From a table's columns to what a model learns to predict.

A row without a target cannot be learnt from: it is dropped and counted. This module must never guess a target, and
never put a value into an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.cells import shortest_text
from medfed.federation.picture_table import PictureTable
from medfed.federation.plan import (
    BinaryTarget,
    BoxesTarget,
    MulticlassTarget,
    MultilabelTarget,
    SurvivalTarget,
    Target,
)
from medfed.federation.tables import MAX_ROWS, Table

__all__ = ["Targets", "read_targets", "target_counts"]


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of a table's rows, before rows without one are dropped."""

    values: NDArray[Any]
    """As in `models.dataset.Dataset`: binary float32 (rows,), multiclass int64 (rows,), multilabel float32 (rows,
    labels), survival float32 (rows, 2) of time and event, boxes float32 (rows, classes) of how many. Rows that
    are not usable hold zeros."""
    usable: NDArray[np.bool_]
    """(rows,): False where the target is missing or none of those the plan names."""
    missing: int
    unknown: int
    """Rows whose value the plan does not name: neither positive nor negative, or no class; boxes of such a class."""


def read_targets(table: Table, target: Target) -> Targets:
    """The target of every row.

    Raises:
        InvalidInput: a column is missing; a label or event is neither 0 nor 1; a survival time is negative.
    """
    if isinstance(target, BoxesTarget):
        return _read_boxes(table, target)
    if isinstance(target, BinaryTarget):
        codes = dict.fromkeys(map(shortest_text, target.negative), 0)
        codes |= dict.fromkeys(map(shortest_text, target.positive), 1)
        return _read_codes(table, target.column, codes, np.dtype(np.float32))
    if isinstance(target, MulticlassTarget):
        codes = {shortest_text(value): code for code, value in enumerate(target.classes)}
        return _read_codes(table, target.column, codes, np.dtype(np.int64))
    if isinstance(target, MultilabelTarget):
        columns = [_read_zero_or_one(table, column) for column in target.columns]
    else:
        columns = [_read_times(table, target.time), _read_zero_or_one(table, target.event)]
    return _stacked(columns)


def target_counts(target: Target, values: NDArray[Any]) -> NDArray[np.int64]:
    """What statistics count of targets: binary [ill], multiclass [each class], multilabel [each label's ones],
    survival [events], boxes [those of each class]."""
    if isinstance(target, BoxesTarget):
        return values.sum(axis=0).astype(np.int64)
    if isinstance(target, MulticlassTarget):
        return np.bincount(values, minlength=len(target.classes)).astype(np.int64)
    if isinstance(target, MultilabelTarget):
        return np.count_nonzero(values, axis=0).astype(np.int64)
    seen = values[:, 1] if isinstance(target, SurvivalTarget) else values
    return np.array([np.count_nonzero(seen)], dtype=np.int64)


def _read_boxes(table: Table, target: BoxesTarget) -> Targets:
    if not isinstance(table, PictureTable):
        raise InvalidInput(f"{table.source}: a table has no boxes; the plan wants pictures")
    values = np.zeros((len(table), len(target.classes)), dtype=np.float32)
    unknown = 0
    for row, picture in enumerate(table.images.pictures):
        for finding in picture.findings:
            if finding.label not in target.classes:
                unknown += 1
            elif not (finding.difficult or finding.crowd):
                values[row, target.classes.index(finding.label)] += 1
    if values.sum() > MAX_ROWS:
        raise InvalidInput(f"{table.source}: more than {MAX_ROWS} boxes")
    return Targets(values, np.ones(len(table), dtype=bool), missing=0, unknown=unknown)


def _read_codes(table: Table, column: str, codes: dict[str, int], dtype: np.dtype[Any]) -> Targets:
    missing_code, unknown_code = -1, -2
    by_text: dict[str | None, int] = {**codes, None: missing_code}
    texts = table.texts(column)
    found = np.fromiter((by_text.get(text, unknown_code) for text in texts), np.int64, count=len(texts))
    usable = found >= 0
    return Targets(
        np.where(usable, found, 0).astype(dtype),
        usable,
        missing=int(np.count_nonzero(found == missing_code)),
        unknown=int(np.count_nonzero(found == unknown_code)),
    )


def _read_zero_or_one(table: Table, column: str) -> NDArray[np.float64]:
    values = table.numbers(column)
    _refuse_where(~(np.isnan(values) | (values == 0) | (values == 1)), table, column, "expected 0 or 1")
    return values


def _read_times(table: Table, column: str) -> NDArray[np.float64]:
    values = table.numbers(column)
    # 0 is allowed: follow-up that ends on the first day is in real registries (TCGA-BRCA has 13 such rows).
    _refuse_where(values < 0, table, column, "expected a time of 0 or more")
    return values


def _refuse_where(bad: NDArray[np.bool_], table: Table, column: str, expected: str) -> None:
    if bad.any():
        raise InvalidInput(f"{table.place(int(bad.argmax()), column)}: {expected}")


def _stacked(columns: list[NDArray[np.float64]]) -> Targets:
    values = np.stack(columns, axis=1)
    usable = np.logical_not(np.isnan(values).any(axis=1))
    values[~usable] = 0.0
    return Targets(values.astype(np.float32), usable, missing=int(np.count_nonzero(~usable)), unknown=0)
