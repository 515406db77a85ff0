"""A case in the words of a vocabulary: one value an attribute, and a list of what the vocabulary has no word for.

A value is None where nothing is known. Units are converted into the vocabulary's or the value is left out and counted;
numbers known only as `<` or `>` something are not numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from medfed.errors import InvalidInput, Refused
from medfed.records.case import Case, Feature
from medfed.records.coding import Coding, ConceptKey
from medfed.records.taxonomy import cut_key
from medfed.records.units import UnitConverter
from medfed.records.vocabulary import (
    AGE,
    SEX,
    SEXES,
    CodedAttribute,
    FlagAttribute,
    NumberAttribute,
    SetAttribute,
    Vocabulary,
)

__all__ = ["NOT_ASSESSED", "PRESENT", "REFUTED", "Flag", "Row", "RowReader", "Value", "Words"]

PRESENT: Final = 1
REFUTED: Final = 2
NOT_ASSESSED: Final = 3
_STATUS: Final = {"present": PRESENT, "refuted": REFUTED, "not-assessed": NOT_ASSESSED}


class Flag(NamedTuple):
    """What a case says of a finding. Details are 0 where unknown, else counted from 1."""

    status: int = PRESENT
    severity: int = 0
    duration: int = 0
    """1 + the number of duration bands reached."""
    condition: int = 0


Value = Flag | float | int | frozenset[int] | None
"""Of a flag, a number, a code (its place among the values), a set (places of its members)."""

Row = tuple[Value, ...]
"""A value for each attribute, in order."""


@dataclass(frozen=True)
class Words:
    """A case's row, and what could not be said in it."""

    row: Row
    unknown: tuple[Coding, ...]
    """Concepts and coded values that the vocabulary has no word for. Local: they describe a patient."""
    left_out: Mapping[str, int]
    """Reasons why features that have a word were left out, counted; no values."""


class RowReader:
    """Reads cases in the words of one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, units: UnitConverter | None = None) -> None:
        """Without `units`, only numbers that are already in the vocabulary's unit are taken."""
        self._vocabulary = vocabulary
        self._units = units
        self._cut = partial(cut_key, levels=vocabulary.levels_by_system)
        self._by_concept: dict[ConceptKey, list[int]] = {}
        self._sets: list[tuple[int, SetAttribute, dict[ConceptKey, int]]] = []
        self._codes: dict[int, dict[ConceptKey, int]] = {}
        self._conditions = {coding.key: n for n, coding in enumerate(vocabulary.conditions, 1)}
        for place, attribute in enumerate(vocabulary.attributes):
            if isinstance(attribute, SetAttribute):
                members = {coding.key: n for n, coding in enumerate(attribute.members)}
                self._sets.append((place, attribute, members))
                continue
            self._by_concept.setdefault(attribute.concept.key, []).append(place)
            if isinstance(attribute, CodedAttribute):
                self._codes[place] = {coding.key: n for n, coding in enumerate(attribute.values)}

    def read(self, case: Case) -> Words:
        """The words of `case`. Of several features of one concept the latest counts, then the one that says more."""
        values: list[Value] = [None] * len(self._vocabulary.attributes)
        unknown: dict[ConceptKey, Coding] = {}
        left_out: Counter[str] = Counter()
        features = sorted(case.features, key=_precedence)
        cut = self._cut
        for feature in features:
            known = False
            key = cut(feature.key)
            for place in self._by_concept.get(key, ()):
                known |= self._set_value(values, place, feature, unknown, left_out)
            if not known and not any(a.kind == feature.kind and key in m for _, a, m in self._sets):
                unknown[feature.key] = feature.concept
        for place, attribute, members in self._sets:
            mine = [feature for feature in features if feature.kind == attribute.kind]
            if mine:
                told = (cut(f.key) for f in mine if f.status == "present")
                values[place] = frozenset(members[key] for key in told if key in members)
        self._set_person(values, case)
        return Words(tuple(values), tuple(unknown.values()), left_out)

    def _set_person(self, values: list[Value], case: Case) -> None:
        for place in self._by_concept.get(AGE.key, ()):
            values[place] = case.age
        sexes = {"female": SEXES[0].key, "male": SEXES[1].key, "other": SEXES[2].key}
        for place in self._by_concept.get(SEX.key, ()):
            values[place] = self._codes[place].get(sexes[case.sex]) if case.sex and place in self._codes else None

    def _set_value(
        self,
        values: list[Value],
        place: int,
        feature: Feature,
        unknown: dict[ConceptKey, Coding],
        left_out: Counter[str],
    ) -> bool:
        """Put a feature into the row; whether its attribute is a word for it."""
        attribute = self._vocabulary.attributes[place]
        if isinstance(attribute, FlagAttribute):
            if attribute.kind and attribute.kind != feature.kind:
                return False
            values[place] = self._flag(attribute, feature)
        elif isinstance(attribute, NumberAttribute):
            number = self._number(attribute, feature, left_out)
            if number is not None:
                values[place] = number
        elif isinstance(feature.value, Coding):
            code = self._codes[place].get(self._cut(feature.value.key))
            if code is None:
                unknown[feature.value.key] = feature.value
            else:
                values[place] = code
        return True

    def _flag(self, attribute: FlagAttribute, feature: Feature) -> Flag:
        status = _STATUS[feature.status]
        if not attribute.details or status != PRESENT:
            return Flag(status)
        days = feature.duration
        duration = 0 if days is None else 1 + bisect_right(self._vocabulary.duration_bands, days)
        condition = feature.occurrence_condition
        return Flag(
            status, feature.severity or 0, duration, 0 if condition is None else self._conditions.get(condition.key, 0)
        )

    def _number(self, attribute: NumberAttribute, feature: Feature, left_out: Counter[str]) -> float | None:
        if feature.status == "not-assessed":
            return None
        if not isinstance(feature.value, float):
            left_out["expected a number"] += 1
            return None
        if feature.comparator:
            left_out["a number known only by a bound"] += 1
            return None
        if feature.unit == attribute.unit:
            return feature.value
        if self._units is None:
            left_out["another unit, and no converter"] += 1
            return None
        try:
            return self._units.convert(feature.value, feature.unit, attribute.unit)
        except (InvalidInput, Refused):
            left_out["a unit that does not convert"] += 1
            return None


def _precedence(feature: Feature) -> tuple[float, int]:
    """Later ones come last and win; of one time, present wins over refuted, and that over not assessed."""
    moment = float("-inf") if feature.time is None else float(feature.time)
    return (moment, -_STATUS[feature.status])
