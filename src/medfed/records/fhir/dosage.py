"""Dosage and Timing of FHIR R4 as dose, basis and times a day, where the text allows exactly one reading.

A range stays a range, "as needed" is said, and a timing that would need a guess gives no frequency. Never a guess.
"""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from medfed.records.fhir.elements import Json, Reading, Unusable, codes_of, objects, text_of
from medfed.records.fhir.facts import Dose

__all__ = ["read_administered", "read_dosages"]

_DAYS: Final = {"s": 1 / 86400, "min": 1 / 1440, "h": 1 / 24, "d": 1.0, "wk": 7.0, "mo": 30.436875, "a": 365.2425}
_CODED: Final = {
    "QD": 1.0, "AM": 1.0, "PM": 1.0, "BED": 1.0, "BID": 2.0, "TID": 3.0, "QID": 4.0, "QOD": 0.5, "WK": 1 / 7,
    "Q1H": 24.0, "Q2H": 12.0, "Q3H": 8.0, "Q4H": 6.0, "Q6H": 4.0, "Q8H": 3.0, "MO": 1 / 30.436875,
}  # fmt: skip
"""GTSAbbreviation, times a day."""
_BASES: Final = (("/kg", "per-kg"), ("/m2", "per-m2"))
_MOST_LINES: Final = 32

Basis = Literal["absolute", "per-kg", "per-m2"]


def read_dosages(value: object, reading: Reading, where: str) -> tuple[Dose, ...]:
    """The lines of `dosageInstruction` or `dosage`.

    Raises:
        Unusable: a dose is negative or zero, a range is upside down, or there are more than 32 lines.
    """
    lines = objects(value, where)
    if len(lines) > _MOST_LINES:
        raise Unusable(where, f"more than {_MOST_LINES} lines")
    return tuple(_line(line, reading, f"{where}[{number}]") for number, line in enumerate(lines))


def read_administered(value: object, reading: Reading, where: str) -> tuple[Dose, ...]:
    """The dosage of a MedicationAdministration: one dose, once."""
    if value is None:
        return ()
    dosage = objects(value, where)[0]
    low, unit, basis = _quantity(dosage.get("dose"), reading, f"{where}.dose")
    return (Dose(_route(dosage, reading, where), low, None, unit, basis),)


def _line(line: Json, reading: Reading, where: str) -> Dose:
    rates = objects(line.get("doseAndRate"), f"{where}.doseAndRate")
    rate = rates[0] if rates else {}
    low, high, unit, basis = _dose(rate, reading, f"{where}.doseAndRate[0]")
    frequency, days = _timing(line.get("timing"), f"{where}.timing")
    needed = line.get("asNeededBoolean") is True or isinstance(line.get("asNeededCodeableConcept"), dict)
    return Dose(_route(line, reading, where), low, high, unit, basis, frequency, needed, days)


def _dose(rate: Json, reading: Reading, where: str) -> tuple[float | None, float | None, str, Basis]:
    if "doseRange" not in rate:
        low, unit, basis = _quantity(rate.get("doseQuantity"), reading, f"{where}.doseQuantity")
        return low, None, unit, basis
    limits = objects(rate["doseRange"], f"{where}.doseRange")[0]
    low, unit, basis = _quantity(limits.get("low"), reading, f"{where}.doseRange.low")
    high, high_unit, high_basis = _quantity(limits.get("high"), reading, f"{where}.doseRange.high")
    if low is None or high is None:
        return None, None, "", "absolute"
    if (unit, basis) != (high_unit, high_basis):
        raise Unusable(f"{where}.doseRange", "its ends have different units")
    if high < low:
        raise Unusable(f"{where}.doseRange", "its upper end is below its lower end")
    return low, high, unit, basis


def _quantity(value: object, reading: Reading, where: str) -> tuple[float | None, str, Basis]:
    if value is None:
        return None, "", "absolute"
    amount, unit, comparator = reading.quantity(value, where)
    if amount < 0:
        raise Unusable(where, "dose is negative")
    if amount == 0 or comparator:
        return None, "", "absolute"
    for ending, basis in _BASES:
        if ending in unit:
            return amount, unit.replace(ending, "", 1), cast(Basis, basis)
    return amount, unit, "absolute"


def _route(line: Json, reading: Reading, where: str) -> Any:
    return reading.concept(line["route"], f"{where}.route") if "route" in line else None


def _timing(value: object, where: str) -> tuple[float | None, float | None]:
    """Times a day and days, each None where the timing does not say it plainly."""
    if value is None:
        return None, None
    timing = objects(value, where)[0]
    found = objects(timing.get("repeat"), f"{where}.repeat")
    repeat = found[0] if found else {}
    frequency = _times(repeat, where)
    if frequency is None and not repeat:
        coded = [_CODED[code] for code in codes_of(timing.get("code"), f"{where}.code") if code in _CODED]
        frequency = coded[0] if len(coded) == 1 else None
    bounds = objects(repeat.get("boundsDuration"), where)
    days = _length(bounds[0].get("value"), bounds[0].get("code"), where) if bounds else None
    return (frequency if frequency and frequency <= 1440 else None), days


def _times(repeat: Json, where: str) -> float | None:
    days = _length(repeat.get("period"), repeat.get("periodUnit"), where)
    if not days or any(key in repeat for key in ("frequencyMax", "periodMax", "dayOfWeek")):
        return None
    count = repeat.get("frequency", 1)
    if isinstance(count, bool) or not isinstance(count, int | float) or count <= 0:
        raise Unusable(where, "frequency is not positive")
    events = _entries(repeat.get("when")) + _entries(repeat.get("timeOfDay"))
    return max(count, events) / days


def _entries(value: object) -> int:
    """How many entries a list of codes or times has."""
    return len(cast("list[object]", value)) if isinstance(value, list) else 0


def _length(value: object, unit: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e6:
        raise Unusable(where, "a length of time is negative or no number")
    days = _DAYS.get(text_of(unit))
    return None if days is None or value * days > 60_000 else value * days
