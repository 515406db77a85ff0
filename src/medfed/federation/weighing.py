"""What a statistics round sums so that the weights of attributes can be learned: each value's cases with each outcome.

The counts are of training patients and add up to what they would be in one place, so that a small hospital has weights
as good as a large one's. They are exact, and part of the learning state and of the model. What they mean is for who has
the vocabulary (`diagnosis.weights`); here a value is a number.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.plan import Plan, Weighing
from medfed.federation.tables import MAX_ROWS, Table
from medfed.secure_sum.manifest import Entry

__all__ = ["COUNTS", "MAX_COUNTS", "count_values", "counts_length", "read_values", "value_columns", "weighing_entries"]

COUNTS: Final = "outcomes.counts"
MAX_COUNTS: Final = 1 << 20

Integers = NDArray[np.int64]


def counts_length(weighing: Weighing) -> int:
    """How many numbers are summed: all cases of each outcome, then each attribute's values with each outcome."""
    return weighing.outcomes * (1 + sum(weighing.sizes))


def value_columns(weighing: Weighing) -> tuple[str, ...]:
    """The columns that a hospital's table must have besides the plan's own: the outcome, then a value each."""
    return ("outcome", *(f"value_{place}" for place in range(len(weighing.sizes))))


def weighing_entries(plan: Plan) -> list[Entry]:
    """What the statistics round sums besides; nothing where the plan learns no weights."""
    if not isinstance(plan.weighing, Weighing):
        return []
    return [Entry(name=COUNTS, kind="count", length=counts_length(plan.weighing), bound=MAX_ROWS, limbs=1)]


def read_values(table: Table, plan: Plan, rows: Integers) -> Integers | None:
    """Outcome and values of some rows, `(rows, 1 + attributes)`, -1 where there is none; None: no weights are learned.

    Raises:
        InvalidInput: a column is missing, or a cell is no place among the values.
    """
    weighing = plan.weighing
    if not isinstance(weighing, Weighing):
        return None
    columns = value_columns(weighing)
    found = np.empty((len(rows), len(columns)), np.int64)
    for at, (name, size) in enumerate(zip(columns, (weighing.outcomes, *weighing.sizes), strict=True)):
        cells = table.numbers(name)[rows]
        cells = np.where(np.isnan(cells), -1, cells)
        wrong = (cells != np.floor(cells)) | (cells < -1) | (cells >= size)
        if wrong.any():
            place = table.place(int(rows[int(wrong.argmax())]), name)
            raise InvalidInput(f"{place}: expected a whole number from 0 to {size - 1}, or nothing")
        found[:, at] = cells
    return found


def count_values(plan: Plan, values: Integers | None) -> dict[str, Integers]:
    """This hospital's counts from its training rows' outcome and values, by entry; nothing where none are summed.

    A row without an outcome is not counted.
    """
    weighing = plan.weighing
    if not isinstance(weighing, Weighing):
        return {}
    if values is None:
        raise InvalidInput("table: has no values of attributes, and the plan learns their weights")
    told = values[values[:, 0] >= 0]
    outcome = told[:, 0]
    counts = [np.bincount(outcome, minlength=weighing.outcomes)]
    for size, column in zip(weighing.sizes, told[:, 1:].T, strict=True):
        kept = column >= 0
        counts.append(np.bincount(outcome[kept] * size + column[kept], minlength=weighing.outcomes * size))
    return {COUNTS: np.concatenate(counts).astype(np.int64)}
