"""Counts of each attribute's values with each outcome: integers that add up over hospitals.

They hold everything that pairs of cases say about an attribute, pairs between hospitals too, so weights learned from
their sum are those of all cases in one place. Sets have no counts: how alike two of them are is no matter of one value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.records.columns import NUMBER_MISSING, NUMBER_STEPS, CaseColumns
from medfed.records.vocabulary import Attribute, CodedAttribute, FlagAttribute, NumberAttribute

__all__ = ["STEPS", "OutcomeCounts", "attribute_values", "count_outcomes", "value_sizes"]

STEPS: Final = 63
"""A similarity of 1 as an integer; numbers are counted in as many bins and one more."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OutcomeCounts:
    """For each attribute `(outcomes, values)` counts of cases, none for sets; and `(outcomes,)` counts of all cases."""

    counts: tuple[Integers | None, ...]
    cases: Integers

    def __add__(self, other: OutcomeCounts) -> OutcomeCounts:
        """Both together. Exact: they are integers."""
        added = [None if a is None or b is None else a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return OutcomeCounts(tuple(added), self.cases + other.cases)

    @staticmethod
    def unpack(flat: Sequence[int], sizes: Sequence[int], number: int) -> OutcomeCounts:
        """Counts out of one row of numbers: all cases of each of `number` outcomes, then attribute after attribute, of
        each the values of the first outcome, of the second, and so on.

        Raises:
            InvalidInput: another length.
        """
        if len(flat) != number * (1 + sum(sizes)):
            raise InvalidInput(f"counts: expected {number * (1 + sum(sizes))}, found {len(flat)}")
        row = np.array(flat, np.int64)
        counts: list[Integers | None] = []
        at = number
        for size in sizes:
            counts.append(row[at : at + number * size].reshape(number, size) if size else None)
            at += number * size
        return OutcomeCounts(tuple(counts), row[:number])


def value_sizes(attributes: Sequence[Attribute]) -> tuple[int, ...]:
    """How many values each attribute is counted by: a flag absent and present, a number 64 bins of its range, a code
    its codes; 0 for a set."""
    return tuple(_size(attribute) for attribute in attributes)


def attribute_values(columns: CaseColumns) -> Integers:
    """Each case's value of each attribute as a place in the counts, `(cases, attributes)`; -1 where it has none.

    That is where it is missing, where a flag is refuted or not assessed, and for every set.
    """
    values = np.full((columns.count, len(columns.attributes)), -1, np.int64)
    for place, attribute in enumerate(columns.attributes):
        if isinstance(attribute, NumberAttribute):
            steps = columns.numbers[place].astype(np.int64)
            inside = np.clip(steps - NUMBER_STEPS, 0, NUMBER_STEPS)
            bins = (inside * STEPS + NUMBER_STEPS // 2) // NUMBER_STEPS
            values[:, place] = np.where(steps == NUMBER_MISSING, -1, bins)
        elif isinstance(attribute, CodedAttribute):
            codes = columns.codes[place].astype(np.int64)
            values[:, place] = np.where(codes < len(attribute.values), codes, -1)
        elif isinstance(attribute, FlagAttribute):
            values[:, place] = _flag_values(columns, place)
    return values


def count_outcomes(columns: CaseColumns, outcomes: Integers, number: int) -> OutcomeCounts:
    """How often each value of each attribute goes with each of `number` outcomes. `(count,)` outcomes from 0.

    Raises:
        InvalidInput: outcomes do not fit the columns.
    """
    if outcomes.shape != (columns.count,) or (len(outcomes) and not 0 <= outcomes.min() <= outcomes.max() < number):
        raise InvalidInput(f"outcomes: expected one from 0 to {number - 1} for each of {columns.count} cases")
    counted: list[Integers | None] = []
    for size, values in zip(value_sizes(columns.attributes), attribute_values(columns).T, strict=True):
        if not size:
            counted.append(None)
            continue
        kept = values >= 0
        cells = np.bincount(outcomes[kept] * size + values[kept], minlength=number * size)
        counted.append(cells.reshape(number, size).astype(np.int64))
    return OutcomeCounts(tuple(counted), np.bincount(outcomes, minlength=number).astype(np.int64))


def _size(attribute: Attribute) -> int:
    if isinstance(attribute, NumberAttribute):
        return STEPS + 1
    if isinstance(attribute, CodedAttribute):
        return len(attribute.values)
    return 2 if isinstance(attribute, FlagAttribute) else 0


def _flag_values(columns: CaseColumns, place: int) -> Integers:
    flags = columns.flags
    assert flags is not None  # columns with a flag among their attributes have them
    flag = flags.places.index(place)

    def bit(bits: npt.NDArray[np.uint8]) -> Integers:
        return (bits[flag // 8] >> np.uint8(flag % 8) & np.uint8(1)).astype(np.int64)

    values = bit(flags.present)
    for other in (flags.refuted, flags.not_assessed):
        if other is not None:
            values = np.where(bit(other) == 1, -1, values)
    return values
