"""Reads the data types of FHIR R4 out of parsed JSON: concepts, quantities, moments, references, periods.

Each function is given an element and says where it stands. What cannot be read raises `Unusable` with the field and a
reason, never the value.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final, cast

from medfed.errors import InvalidInput, Unavailable
from medfed.records.case import Comparator
from medfed.records.coding import PREFERRED_SYSTEMS, UCUM, Coding
from medfed.records.fhir.facts import Span
from medfed.records.moments import parse_moment
from medfed.records.units import UnitConverter, annotate

__all__ = ["Json", "Reading", "Unusable", "codes_of", "object_of", "objects", "text_of"]

Json = dict[str, Any]
_ABSENT_VALUES: Final = ("dataAbsentReason", "http://hl7.org/fhir/StructureDefinition/data-absent-reason")
_RANK: Final = {system: rank for rank, system in enumerate(PREFERRED_SYSTEMS)}
_REFERENCE: Final = re.compile(
    r"(?:(?P<base>https?://\S+?)/)?(?P<key>[A-Z][A-Za-z]{2,40}/[A-Za-z0-9.\-]{1,64})(?:/_history/\S+)?\Z"
)
_COMPARATORS: Final[dict[str, Comparator]] = {"": "", "<": "<", "<=": "<=", ">=": ">=", ">": ">"}
_LONGEST_REFERENCE: Final = 300
_GREATEST: Final = 1e15


class Unusable(InvalidInput):
    """A resource, or a part of one, that cannot be used. `where` is the field, `reason` a sentence without values."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.where = where
        self.reason = reason


def objects(value: object, where: str) -> list[Json]:
    """A list of objects; nothing is an empty one.

    Raises:
        Unusable: it is something else.
    """
    if value is None:
        return []
    items: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise Unusable(where, "expected objects")
    return cast("list[Json]", items)


def object_of(value: object) -> Json | None:
    """An object, or None for anything else."""
    return cast(Json, value) if isinstance(value, dict) else None


def text_of(value: object) -> str:
    """A string, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def codes_of(concept: object, where: str) -> set[str]:
    """Every code of a CodeableConcept (or of several), whatever the system: for status-like fields."""
    return {
        text_of(coding.get("code")) for one in objects(concept, where) for coding in objects(one.get("coding"), where)
    }


@dataclass(frozen=True)
class Reading:
    """How to read: the site's zone, its own base addresses, and a converter to check units with where there is one."""

    base: str = ""
    """The address before `Type/id` of the resource that is read."""
    own_bases: tuple[str, ...] = ()
    zone_minutes: int = 0
    units: UnitConverter | None = None
    now: int | None = None
    """Moments after this are impossible."""

    def moment(self, value: object, where: str) -> Span | None:
        """A date or time; None where there is none."""
        if value is None:
            return None
        try:
            span = parse_moment(value, self.zone_minutes)
        except InvalidInput as error:
            raise Unusable(where, str(error)) from None
        return (span.earliest, span.latest)

    def past(self, value: object, where: str) -> Span | None:
        """A moment that has to lie in the past."""
        span = self.moment(value, where)
        if span is not None and self.now is not None and span[0] > self.now:
            raise Unusable(where, "date: lies in the future")
        return span

    def period(self, value: object, where: str) -> tuple[Span | None, Span | None]:
        """Start and end of a Period."""
        period = _object(value, where)
        start, end = self.moment(period.get("start"), f"{where}.start"), self.moment(period.get("end"), f"{where}.end")
        if start and end and end[1] < start[0]:
            raise Unusable(where, "ends before it starts")
        return start, end

    def concept(self, value: object, where: str) -> Coding | None:
        """The concept of a CodeableConcept: what a user chose, else the best known system's, else the first written.

        None where no coding has a system and a code; text alone is no concept.
        """
        codings = [found for item in objects(_object(value, where).get("coding"), where) if (found := _coding(item))]
        if not codings:
            return None
        chosen = [coding for coding, selected in codings if selected] or [coding for coding, _ in codings]
        return min(chosen, key=lambda coding: _RANK.get(coding.system, len(_RANK)))

    def required_concept(self, value: object, where: str) -> Coding:
        """The concept; Unusable where there is none."""
        if value is None:
            raise Unusable(where, "is missing")
        found = self.concept(value, where)
        if found is None:
            raise Unusable(where, "has no coding with system and code")
        return found

    def quantity(self, value: object, where: str) -> tuple[float, str, Comparator]:
        """Value, unit and comparator of a Quantity; the UCUM code counts, not the display unit beside it.

        Raises:
            Unusable: no number, or code and display are different units.
        """
        quantity = _object(value, where)
        if any(key in quantity for key in ("_value", *_ABSENT_VALUES)) and "value" not in quantity:
            raise Unusable(where, "its value is absent")
        number = quantity.get("value")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise Unusable(where, "has no number")
        if not math.isfinite(number) or abs(number) > _GREATEST:
            raise Unusable(where, "number out of bounds")
        comparator = _COMPARATORS.get(text_of(quantity.get("comparator")))
        if comparator is None:
            raise Unusable(where, "unknown comparator")
        return float(number), self._unit(quantity, where), comparator

    def reference(self, value: object, where: str) -> str:
        """The key of what a Reference points to, `` where there is none; `#id` stays as it is."""
        text = text_of(_object(value, where).get("reference")) if value is not None else ""
        return self.key_of(text, where) if text else ""

    def key_of(self, text: str, where: str) -> str:
        """A reference or fullUrl as a key: `Type/id` at home, with its address elsewhere, or `urn:...` as it is."""
        if len(text) > _LONGEST_REFERENCE:
            raise Unusable(where, f"reference longer than {_LONGEST_REFERENCE} characters")
        if text.startswith(("#", "urn:")):
            return text
        match = _REFERENCE.match(text)
        if match is None:
            raise Unusable(where, "not a reference to a resource")
        base = match["base"] if match["base"] is not None else self.base
        return match["key"] if not base or base in self.own_bases else f"{base}/{match['key']}"

    def _unit(self, quantity: Json, where: str) -> str:
        shown, code = text_of(quantity.get("unit")), text_of(quantity.get("code"))
        if len(shown) > 200 or len(code) > 80:
            raise Unusable(where, "unit longer than its bound")
        if code and quantity.get("system") == UCUM:
            if shown and shown != code and self._contradicts(code, shown):
                raise Unusable(where, "the UCUM code and the unit shown are different units")
            return code
        if not shown and not code:
            return ""
        if not code and self._is_unit(shown):
            return shown
        return annotate(code or shown)

    def _contradicts(self, code: str, shown: str) -> bool:
        """Whether the unit shown is itself UCUM and means something else."""
        return self._is_unit(shown) and self.units is not None and not self.units.is_same(code, shown)

    def _is_unit(self, text: str) -> bool:
        if self.units is None:
            return False
        try:
            return self.units.is_unit(text)
        except Unavailable:
            return False


def _coding(item: Json) -> tuple[Coding, bool] | None:
    system, code = item.get("system"), item.get("code")
    if (
        not isinstance(system, str)
        or not isinstance(code, str)
        or not 0 < len(system) <= 200
        or not 0 < len(code) <= 200
    ):
        return None
    return Coding(system, code.strip() or code, text_of(item.get("display"))[:300]), item.get("userSelected") is True


def _object(value: object, where: str) -> Json:
    if not isinstance(value, dict):
        raise Unusable(where, "expected an object")
    return cast(Json, value)
