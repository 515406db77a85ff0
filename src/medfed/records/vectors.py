"""V1 and V2: a case's row as numbers for a network, and back.

Codes are one-hot, numbers scaled to about -1 to 1 over their range, severities and durations ordinal from 0 to 1;
what is not known is 0 with a 0 beside it that says so. V2 has a place for each diagnosis, complication and drug, and
for each drug's dose with a mask. `describe` says in words what a vector holds; for what `vectorise` made, it is the
same row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput, Refused
from medfed.records.case import Case, Treatment
from medfed.records.coding import Coding, ConceptKey
from medfed.records.rows import NOT_ASSESSED, PRESENT, REFUTED, Flag, Row, RowReader, Value
from medfed.records.units import UnitConverter
from medfed.records.vocabulary import (
    Attribute,
    CodedAttribute,
    DrugEntry,
    FlagAttribute,
    NumberAttribute,
    SetAttribute,
    Vocabulary,
    name_of,
)

__all__ = ["Described", "Vector", "Vectoriser"]

Array = npt.NDArray[np.float32]
_STATUSES: Final = (PRESENT, REFUTED, NOT_ASSESSED)
_SEVERITIES: Final = 4
_LARGEST: Final = 1e30
"""float32 holds it; what lies so far outside a vocabulary's range says no more than that."""


@dataclass(frozen=True)
class Vector:
    """One case. `v1` `(width,)`; `v2` `(labels,)` of 0 and 1; `doses` and `dose_known` `(drugs,)`. All float32."""

    v1: Array
    v2: Array
    doses: Array
    dose_known: Array
    unknown: tuple[Coding, ...]
    """What the vocabulary has no word for. Local: it describes a patient."""
    left_out: Mapping[str, int]


class Described(NamedTuple):
    """What a vector says, for people: a name and a value each."""

    name: str
    value: str


class Vectoriser:
    """Makes vectors in one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, units: UnitConverter | None = None) -> None:
        self._vocabulary = vocabulary
        self._reader = RowReader(vocabulary, units)
        self._units = units
        self.widths = tuple(_width(attribute, vocabulary) for attribute in vocabulary.attributes)
        """Columns of each attribute in V1."""
        self._starts = np.cumsum([0, *self.widths]).tolist()
        self.width: int = int(self._starts[-1])
        """Columns of V1."""
        outcomes = [*vocabulary.diagnoses, *vocabulary.complications, *(drug.concept for drug in vocabulary.drugs)]
        self.labels: int = len(outcomes)
        """Columns of V2: diagnoses, then complications, then drugs."""
        self._diagnoses = {c.key: n for n, c in enumerate(vocabulary.diagnoses)}
        after = len(vocabulary.diagnoses)
        self._complications = {c.key: after + n for n, c in enumerate(vocabulary.complications)}
        self._drugs = {d.concept.key: n for n, d in enumerate(vocabulary.drugs)}
        self._first_drug = after + len(vocabulary.complications)

    def vectorise(self, case: Case) -> Vector:
        """The vectors of a case."""
        words = self._reader.read(case)
        left_out: Counter[str] = Counter(words.left_out)
        unknown = {coding.key: coding for coding in words.unknown}
        v2 = np.zeros(self.labels, np.float32)
        outcome = case.outcome
        for codings, places in ((outcome.diagnoses, self._diagnoses), (outcome.complications, self._complications)):
            self._mark(v2, codings, places, unknown)
        doses = np.zeros(len(self._drugs), np.float32)
        known = np.zeros(len(self._drugs), np.float32)
        for treatment in outcome.treatments:
            place = self._drugs.get(self._vocabulary.cut_key(treatment.drug.key))
            if place is None:
                unknown[treatment.drug.key] = treatment.drug
                continue
            v2[self._first_drug + place] = 1.0
            dose = self._dose(treatment, self._vocabulary.drugs[place], left_out)
            if dose is not None and not known[place]:
                doses[place], known[place] = dose, 1.0
        return Vector(self.from_row(words.row), v2, doses, known, tuple(unknown.values()), left_out)

    def from_row(self, row: Row) -> Array:
        """V1 of a row, `(width,)` float32.

        Raises:
            InvalidInput: the row does not fit.
        """
        if len(row) != len(self._vocabulary.attributes):
            raise InvalidInput(f"row: expected {len(self._vocabulary.attributes)} values, found {len(row)}")
        v1 = np.zeros(self.width, np.float32)
        for attribute, value, start in zip(self._vocabulary.attributes, row, self._starts, strict=False):
            if value is not None:
                self._write(v1, start, attribute, value)
        return v1

    def to_row(self, v1: Array) -> Row:
        """The row of a V1 that `from_row` made; numbers are as exact as float32 is.

        Raises:
            InvalidInput: the vector does not fit.
        """
        if v1.shape != (self.width,):
            raise InvalidInput(f"V1: expected {self.width} numbers, found {v1.shape}")
        return tuple(
            self._read(v1, start, attribute)
            for attribute, start in zip(self._vocabulary.attributes, self._starts, strict=False)
        )

    def describe(self, v1: Array) -> list[Described]:
        """What a V1 says, attribute by attribute, without what it does not mention."""
        said: list[Described] = []
        for attribute, value in zip(self._vocabulary.attributes, self.to_row(v1), strict=True):
            if value is not None:
                said.append(Described(name_of(attribute), self._say(attribute, value)))
        return said

    def describe_outcome(self, v2: Array, least: float = 0.5) -> list[Described]:
        """The diagnoses, complications and drugs of a V2, or of a network's prediction of one, from `least` up.

        Raises:
            InvalidInput: the vector does not fit.
        """
        if v2.shape != (self.labels,):
            raise InvalidInput(f"V2: expected {self.labels} numbers, found {v2.shape}")
        vocabulary = self._vocabulary
        names = [("diagnosis", c) for c in vocabulary.diagnoses] + [
            ("complication", c) for c in vocabulary.complications
        ]
        names += [("drug", drug.concept) for drug in vocabulary.drugs]
        return [
            Described(kind, coding.words)
            for (kind, coding), value in zip(names, v2.tolist(), strict=True)
            if value >= least
        ]

    def _mark(
        self, v2: Array, codings: Sequence[Coding], places: dict[ConceptKey, int], unknown: dict[ConceptKey, Coding]
    ) -> None:
        for coding in codings:
            place = places.get(self._vocabulary.cut_key(coding.key))
            if place is None:
                unknown[coding.key] = coding
            else:
                v2[place] = 1.0

    def _dose(self, treatment: Treatment, entry: DrugEntry, left_out: Counter[str]) -> float | None:
        if treatment.dose is None or treatment.dose_high is not None or not entry.unit:
            return None
        if treatment.basis != entry.basis:
            left_out["a dose on another basis"] += 1
            return None
        dose = treatment.dose
        if treatment.dose_unit != entry.unit:
            try:
                dose = self._units.convert(dose, treatment.dose_unit, entry.unit) if self._units else None
            except (InvalidInput, Refused):
                dose = None
        if dose is None:
            left_out["a dose in a unit that does not convert"] += 1
            return None
        scaled = (dose - entry.center) / entry.scale
        if abs(scaled) > _LARGEST:
            left_out["a dose far beyond the vocabulary's scale"] += 1
            return None
        return scaled

    def _write(self, v1: Array, start: int, attribute: Attribute, value: Value) -> None:
        if isinstance(value, Flag):
            v1[start + value.status - 1] = 1.0
            if isinstance(attribute, FlagAttribute) and attribute.details:
                self._write_details(v1, start + 3, value)
        elif isinstance(attribute, NumberAttribute):
            middle, half = (attribute.low + attribute.high) / 2, (attribute.high - attribute.low) / 2
            scaled = (float(value) - middle) / half  # pyright: ignore[reportArgumentType]
            v1[start : start + 2] = (max(-_LARGEST, min(scaled, _LARGEST)), 1.0)
        elif isinstance(value, frozenset):
            v1[start] = 1.0
            v1[[start + 1 + member for member in value]] = 1.0
        else:
            v1[start + int(value)] = 1.0  # pyright: ignore[reportArgumentType]

    def _write_details(self, v1: Array, start: int, flag: Flag) -> None:
        bands = len(self._vocabulary.duration_bands) + 1
        if flag.severity:
            v1[start : start + 2] = (flag.severity / _SEVERITIES, 1.0)
        if flag.duration:
            v1[start + 2 : start + 4] = (flag.duration / bands, 1.0)
        if flag.condition:
            v1[start + 3 + flag.condition] = 1.0

    def _read(self, v1: Array, start: int, attribute: Attribute) -> Value:
        if isinstance(attribute, FlagAttribute):
            return self._read_flag(v1, start, attribute)
        if isinstance(attribute, NumberAttribute):
            middle, half = (attribute.low + attribute.high) / 2, (attribute.high - attribute.low) / 2
            return float(v1[start]) * half + middle if v1[start + 1] > 0.5 else None
        if isinstance(attribute, CodedAttribute):
            part = v1[start : start + len(attribute.values)]
            return int(part.argmax()) if part.max() > 0.5 else None
        if v1[start] <= 0.5:
            return None
        return frozenset(np.flatnonzero(v1[start + 1 : start + 1 + len(attribute.members)] > 0.5).tolist())

    def _read_flag(self, v1: Array, start: int, attribute: FlagAttribute) -> Flag | None:
        status = next((s for s in _STATUSES if v1[start + s - 1] > 0.5), None)
        if status is None:
            return None
        if not attribute.details:
            return Flag(status)
        bands = len(self._vocabulary.duration_bands) + 1
        at = start + 3
        severity = round(float(v1[at]) * _SEVERITIES) if v1[at + 1] > 0.5 else 0
        duration = round(float(v1[at + 2]) * bands) if v1[at + 3] > 0.5 else 0
        conditions = v1[at + 4 : at + 4 + len(self._vocabulary.conditions)]
        condition = int(conditions.argmax()) + 1 if len(conditions) and conditions.max() > 0.5 else 0
        return Flag(status, severity, duration, condition)

    def _say(self, attribute: Attribute, value: Value) -> str:
        if isinstance(value, Flag):
            words = [("present", "refuted", "not assessed")[value.status - 1]]
            if value.severity:
                words.append(("mild", "moderate", "severe", "critical")[value.severity - 1])
            if value.duration:
                reached = (0.0, *self._vocabulary.duration_bands)[value.duration - 1]
                words.append(f"for {reached:g} days or longer")
            if value.condition:
                condition = self._vocabulary.conditions[value.condition - 1]
                words.append(condition.words)
            return ", ".join(words)
        if isinstance(attribute, NumberAttribute):
            return f"{value:.6g} {attribute.unit}".strip()
        if isinstance(attribute, SetAttribute) and isinstance(value, frozenset):
            members = [attribute.members[n] for n in sorted(value)]
            return ", ".join(member.words for member in members) or "none"
        assert isinstance(attribute, CodedAttribute)
        coding = attribute.values[int(value)]  # pyright: ignore[reportArgumentType]
        return coding.words


def _width(attribute: Attribute, vocabulary: Vocabulary) -> int:
    if isinstance(attribute, FlagAttribute):
        return 3 + (4 + len(vocabulary.conditions) if attribute.details else 0)
    if isinstance(attribute, NumberAttribute):
        return 2
    return len(attribute.values) if isinstance(attribute, CodedAttribute) else 1 + len(attribute.members)
