"""Cases as columns: one small array an attribute, so a search reads a few bytes a case in one pass.

Codes are bytes, numbers 16-bit steps of the attribute's range, sets and flags bits. Row numbers follow the order in
which the cases were given, which for a library is the order of ids. Columns describe patients: they stay at the site.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.records.rows import NOT_ASSESSED, PRESENT, REFUTED, Flag, Row, Value
from medfed.records.vocabulary import Attribute, CodedAttribute, FlagAttribute, NumberAttribute, SetAttribute

__all__ = ["NUMBER_MISSING", "NUMBER_STEPS", "CaseColumns", "Details", "Flags", "number_step"]

NUMBER_STEPS: Final = 16_383
"""Steps in an attribute's range. One range below and one above are kept as well; further out is clipped."""
NUMBER_MISSING: Final = 65_535
"""Further than a range from every step, so its similarity to anything is 0 without being asked about."""

Codes = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Bits = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Details:
    """What cases say beyond present, for one flag: cases in order, and a code each, 0 for unknown."""

    rows: npt.NDArray[np.uint32]
    severity: Bytes
    duration: Bytes
    condition: Bytes


@dataclass(frozen=True)
class Flags:
    """All flags as bits: byte `b` of case `i` is `present[b, i]`, flag `f` is bit `f % 8` of byte `f // 8`."""

    places: tuple[int, ...]
    """Which attribute each flag is."""
    present: Bytes
    refuted: Bytes | None
    not_assessed: Bytes | None
    details: dict[int, Details]
    """By flag, only flags of which some case has any."""


@dataclass(frozen=True)
class CaseColumns:
    """The columns of `count` cases, by attribute."""

    attributes: tuple[Attribute, ...]
    count: int
    codes: dict[int, Codes]
    """uint8 (255 missing) or uint16 (65535 missing)."""
    numbers: dict[int, npt.NDArray[np.uint16]]
    sets: dict[int, Bits]
    """`(words, count)`; all zero where missing or empty."""
    sizes: dict[int, npt.NDArray[np.uint16] | Bytes]
    """Members of each set."""
    known: Bytes
    """`(bytes, count)`: bit `m % 8` of byte `m // 8` says that the `m`-th measurement is known."""
    measurements: tuple[int, ...]
    """Attributes that are not flags, in order."""
    flags: Flags | None

    @classmethod
    def build(cls, attributes: Sequence[Attribute], rows: Iterable[Row]) -> CaseColumns:
        """The columns of rows, one a case.

        Raises:
            InvalidInput: a row does not fit the attributes.
        """
        listed = list(rows)
        for row in listed:
            if len(row) != len(attributes):
                raise InvalidInput(f"row: expected {len(attributes)} values, found {len(row)}")
        by_place = [[row[place] for row in listed] for place in range(len(attributes))]
        return cls.from_values(attributes, by_place, len(listed))

    @classmethod
    def from_values(cls, attributes: Sequence[Attribute], values: Sequence[Sequence[Value]], count: int) -> CaseColumns:
        """The columns of values given by attribute."""
        codes: dict[int, Codes] = {}
        numbers: dict[int, npt.NDArray[np.uint16]] = {}
        sets: dict[int, Bits] = {}
        sizes: dict[int, Any] = {}
        measurements = [place for place, a in enumerate(attributes) if not isinstance(a, FlagAttribute)]
        known = np.zeros((-(-len(measurements) // 8), count), np.uint8)
        for number, place in enumerate(measurements):
            attribute, column = attributes[place], values[place]
            given = np.fromiter((value is not None for value in column), bool, count)
            known[number // 8] |= given.astype(np.uint8) << np.uint8(number % 8)
            if isinstance(attribute, CodedAttribute):
                codes[place] = _code_column(attribute, column, count)
            elif isinstance(attribute, NumberAttribute):
                floats = np.fromiter((np.nan if v is None else v for v in column), np.float64, count)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
                numbers[place] = number_step(attribute, floats)
            elif isinstance(attribute, SetAttribute):
                sets[place], sizes[place] = _set_column(attribute, column, count)
        places = tuple(place for place, a in enumerate(attributes) if isinstance(a, FlagAttribute))
        flags = _flag_columns(places, values, count) if places else None
        return cls(tuple(attributes), count, codes, numbers, sets, sizes, known, tuple(measurements), flags)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays: list[Any] = [*self.codes.values(), *self.numbers.values(), *self.sets.values(), *self.sizes.values()]
        arrays.append(self.known)
        if self.flags is not None:
            arrays += [a for a in (self.flags.present, self.flags.refuted, self.flags.not_assessed) if a is not None]
            for one in self.flags.details.values():
                arrays += [one.rows, one.severity, one.duration, one.condition]
        return sum(int(array.nbytes) for array in arrays)

    def take(self, rows: npt.NDArray[np.intp]) -> CaseColumns:
        """The columns of some of the cases, in ascending order of their rows."""
        rows = np.unique(rows)
        flags = self.flags
        if flags is not None:
            flags = Flags(
                flags.places,
                flags.present[:, rows],
                None if flags.refuted is None else flags.refuted[:, rows],
                None if flags.not_assessed is None else flags.not_assessed[:, rows],
                {flag: kept for flag, told in flags.details.items() if len((kept := _take_details(told, rows)).rows)},
            )
        return CaseColumns(
            self.attributes,
            len(rows),
            {place: column[rows] for place, column in self.codes.items()},
            {place: column[rows] for place, column in self.numbers.items()},
            {place: column[:, rows] for place, column in self.sets.items()},
            {place: column[rows] for place, column in self.sizes.items()},
            self.known[:, rows],
            self.measurements,
            flags,
        )

    def row(self, number: int) -> Row:
        """A case as its columns say it: numbers are rounded to their steps."""
        values: list[Value] = [None] * len(self.attributes)
        for order, place in enumerate(self.measurements):
            if not self.known[order // 8, number] >> (order % 8) & 1:
                continue
            attribute = self.attributes[place]
            if isinstance(attribute, NumberAttribute):
                span = attribute.high - attribute.low
                values[place] = attribute.low + (int(self.numbers[place][number]) / NUMBER_STEPS - 1.0) * span
            elif isinstance(attribute, CodedAttribute):
                values[place] = int(self.codes[place][number])
            else:
                words = np.ascontiguousarray(self.sets[place][:, number])
                bits = np.unpackbits(words.view(np.uint8), bitorder="little")
                values[place] = frozenset(np.flatnonzero(bits).tolist())
        if self.flags is not None:
            for flag, place in enumerate(self.flags.places):
                values[place] = _flag_of(self.flags, flag, number)
        return tuple(values)


def number_step(attribute: NumberAttribute, values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Numbers as steps of the range, NaN as missing."""
    scaled = (values - attribute.low) / (attribute.high - attribute.low) + 1.0
    steps = np.rint(np.clip(scaled, 0.0, 3.0) * NUMBER_STEPS)
    return np.where(np.isnan(values), NUMBER_MISSING, steps).astype(np.uint16)


def _code_column(attribute: CodedAttribute, column: Sequence[Value], count: int) -> Codes:
    kind = np.uint8 if len(attribute.values) < 255 else np.uint16
    missing = int(np.iinfo(kind).max)
    found = np.fromiter((missing if v is None else v for v in column), np.int64, count)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
    if count and (found.min() < 0 or ((found >= len(attribute.values)) & (found != missing)).any()):
        raise InvalidInput(f"attribute {attribute.concept.code!r}: a code outside its {len(attribute.values)} values")
    return found.astype(np.uint8) if kind is np.uint8 else found.astype(np.uint16)


def _set_column(attribute: SetAttribute, column: Sequence[Value], count: int) -> tuple[Bits, Any]:
    words = -(-len(attribute.members) // 64)
    dense = np.zeros((count, words * 64), np.uint8)
    for row, value in enumerate(column):
        if isinstance(value, frozenset) and value:
            dense[row, list(value)] = 1
    packed = np.packbits(dense, axis=1, bitorder="little").view("<u8")
    sizes = dense.sum(axis=1, dtype=np.int64)
    kind = np.uint8 if len(attribute.members) < 256 else np.uint16
    return np.ascontiguousarray(packed.T).astype(np.uint64), sizes.astype(kind)


def _flag_columns(places: tuple[int, ...], values: Sequence[Sequence[Value]], count: int) -> Flags:
    status = np.zeros((3, -(-len(places) // 8), count), np.uint8)
    details: dict[int, Details] = {}
    for flag, place in enumerate(places):
        column = values[place]
        for row, value in enumerate(column):
            if isinstance(value, Flag):
                status[value.status - 1, flag // 8, row] |= 1 << (flag % 8)
        told = [
            (row, v)
            for row, v in enumerate(column)
            if isinstance(v, Flag) and (v.severity or v.duration or v.condition)
        ]
        if told:
            details[flag] = Details(
                np.array([row for row, _ in told], np.uint32),
                np.array([v.severity for _, v in told], np.uint8),
                np.array([v.duration for _, v in told], np.uint8),
                np.array([v.condition for _, v in told], np.uint8),
            )
    present, refuted, not_assessed = status[PRESENT - 1], status[REFUTED - 1], status[NOT_ASSESSED - 1]
    return Flags(
        places, present, refuted if refuted.any() else None, not_assessed if not_assessed.any() else None, details
    )


def _take_details(details: Details, rows: npt.NDArray[np.intp]) -> Details:
    places = np.minimum(np.searchsorted(rows, details.rows), max(len(rows) - 1, 0))
    kept = rows[places] == details.rows if len(rows) else np.zeros(len(details.rows), bool)
    return Details(
        places[kept].astype(np.uint32), details.severity[kept], details.duration[kept], details.condition[kept]
    )


def _flag_of(flags: Flags, flag: int, row: int) -> Flag | None:
    def has(bits: Bytes | None) -> bool:
        return bits is not None and bool(bits[flag // 8, row] >> (flag % 8) & 1)

    if has(flags.refuted):
        return Flag(REFUTED)
    if has(flags.not_assessed):
        return Flag(NOT_ASSESSED)
    if not has(flags.present):
        return None
    details = flags.details.get(flag)
    if details is None:
        return Flag(PRESENT)
    place = int(np.searchsorted(details.rows, row))
    if place == len(details.rows) or details.rows[place] != row:
        return Flag(PRESENT)
    return Flag(PRESENT, int(details.severity[place]), int(details.duration[place]), int(details.condition[place]))
