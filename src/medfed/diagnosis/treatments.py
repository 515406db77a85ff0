"""What similar patients received, and how it went. Never a recommended dose, and nothing is preselected.

Only identical ingredient, route, dimension of the unit, basis and age band are summed up, scheduled apart from as
needed: median and quartiles over at least five cases, otherwise each case's dose is listed. A patient whose course was
worse, or who died, is counted against the drug, and that dose is not among the doses. Orders that were cancelled or
entered in error never became treatments (the import leaves them out with a reason). What is not known is `unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from medfed.diagnosis.question import Question
from medfed.encoding import Record
from medfed.errors import InvalidInput, Refused
from medfed.records.case import Case, Treatment
from medfed.records.coding import ATC, Coding, ConceptKey
from medfed.records.taxonomy import code_levels
from medfed.records.units import UnitConverter

__all__ = ["LEAST_CASES", "Flags", "Received", "age_band", "parse_treatments", "received_treatments"]

LEAST_CASES: Final = 5
_BANDS: Final = ((1, "under 1"), (5, "1 to 4"), (12, "5 to 11"), (18, "12 to 17"), (65, "18 to 64"))
_ATC_CLASS: Final = 3
"""Levels of an ATC code down to a pharmacological subgroup, such as `J01C`."""

Known = Literal["yes", "no", "unknown", "does not apply"]


class Flags(Record, frozen=True):
    """What stands beside a drug. `unknown` means that nobody said, and is printed."""

    allergy: Known
    """yes: to this ingredient or its class by the codes; no: somebody asked and no recorded allergy fits."""
    pregnancy: Known
    age: Literal["child", "adult", "65 or older", "unknown"]


class Received(Record, frozen=True):
    """One way in which similar patients received one ingredient."""

    drug: Coding
    kind: Literal["drug", "procedure"]
    route: Coding | None
    unit: str
    basis: str
    as_needed: bool
    age_band: str
    cases: tuple[str, ...]
    """Who received it and did not fare worse."""
    against: tuple[str, ...]
    """Who received it and got worse or died: counter-evidence."""
    doses: tuple[float, ...]
    """Each case's dose, where fewer than five are known; otherwise empty."""
    median: float | None
    lower: float | None
    upper: float | None
    """Quartiles, over `measured` cases."""
    measured: int
    is_own_age_band: bool
    flags: Flags


@dataclass
class _Group:
    treatment: Treatment
    band: str
    cases: dict[str, float | None]
    against: dict[str, None]


def parse_treatments(data: bytes) -> tuple[Treatment, ...]:
    """What a doctor ordered, from a JSON list of treatments: `{"drug": {"system", "code"}, "dose", "dose_unit", …}`.

    Raises:
        InvalidInput: it is no such list, or a dose has no unit; the message names the field and never its value.
    """
    try:
        treatments = msgspec.json.decode(data, type=Annotated[tuple[Treatment, ...], Meta(max_length=256)])
    except msgspec.ValidationError as error:
        place = str(error).rpartition("`$")[2].strip("`")[:200] if "`$" in str(error) else ""
        raise InvalidInput(f"treatments: {place.lstrip('.') or 'document'}: not what is expected there") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("treatments: not JSON in UTF-8") from None
    for number, one in enumerate(treatments):
        if (one.dose is not None or one.dose_high is not None) and not one.dose_unit:
            raise InvalidInput(f"treatments: [{number}].dose_unit: missing; a dose means nothing without it")
        if one.dose_high is not None and (one.dose is None or one.dose_high < one.dose):
            raise InvalidInput(f"treatments: [{number}].dose_high: expected the upper end of a range above dose")
    return treatments


def received_treatments(
    question: Question, cases: Sequence[Case], units: UnitConverter | None = None
) -> tuple[Received, ...]:
    """The treatments of `cases`, the patient's own age band first, then by how many cases received them.

    Without `units` only doses in the same unit are alike. A case counts once in each group, with its first dose.
    """
    groups: dict[tuple[object, ...], _Group] = {}
    seen: dict[tuple[ConceptKey, str], list[str]] = {}
    for case in cases:
        for treatment in case.outcome.treatments:
            known = seen.setdefault((treatment.drug.key, treatment.basis), [])
            unit, factor_dose = _in_known_unit(treatment, known, units)
            _add(groups, case, treatment, unit, factor_dose)
    own = age_band(question.age)
    made = [_received(question, group, unit=str(key[2]), own=own) for key, group in groups.items()]
    return tuple(sorted(made, key=_order))


def age_band(age: float | None) -> str:
    """The band of an age in years."""
    if age is None:
        return "unknown"
    return next((name for limit, name in _BANDS if age < limit), "65 or older")


def _order(one: Received) -> tuple[bool, int, str, str]:
    return (not one.is_own_age_band, -len(one.cases), one.drug.code, one.unit)


def _in_known_unit(treatment: Treatment, known: list[str], units: UnitConverter | None) -> tuple[str, float | None]:
    """The unit of the group, and the dose in it: of a range, no dose."""
    dose = treatment.dose if treatment.dose_high is None else None
    unit = treatment.dose_unit
    for other in known:
        if other == unit:
            return other, dose
        if units is None or not unit or not other:
            continue
        try:
            converted = units.convert(treatment.dose or 1.0, unit, other)
        except (InvalidInput, Refused):
            continue
        return other, None if dose is None else converted
    known.append(unit)
    return unit, dose


def _add(
    groups: dict[tuple[object, ...], _Group], case: Case, treatment: Treatment, unit: str, dose: float | None
) -> None:
    band = age_band(case.age)
    route = treatment.route.key if treatment.route else None
    key = (treatment.drug.key, route, unit, treatment.basis, treatment.as_needed, treatment.kind, band)
    group = groups.setdefault(key, _Group(treatment, band, {}, {}))
    if case.outcome.course.status in ("worse", "died"):
        group.against[case.id] = None
    elif group.cases.get(case.id) is None:
        group.cases[case.id] = dose


def _received(question: Question, group: _Group, unit: str, own: str) -> Received:
    doses = [dose for dose in group.cases.values() if dose is not None]
    lower, median, upper = (
        (float(q) for q in np.quantile(doses, [0.25, 0.5, 0.75])) if len(doses) >= LEAST_CASES else (None,) * 3
    )
    one = group.treatment
    return Received(
        one.drug, one.kind, one.route, unit, one.basis, one.as_needed, group.band, tuple(group.cases),
        tuple(group.against), () if median is not None else tuple(doses), median, lower, upper, len(doses),
        group.band == own and own != "unknown", _flags(question, one.drug),
    )  # fmt: skip


def _flags(question: Question, drug: Coding) -> Flags:
    allergies = [f for f in question.features if f.kind == "allergy" and f.status == "present"]
    fits = any(_is_same_class(asked.concept, asked.system, drug) for asked in allergies)
    allergy: Known = "yes" if fits else ("no" if question.allergies_asked else "unknown")
    pregnancy: Known = "does not apply" if question.sex == "male" else question.pregnant
    if question.age is None:
        return Flags(allergy, pregnancy, "unknown")
    return Flags(
        allergy, pregnancy, "child" if question.age < 18 else ("65 or older" if question.age >= 65 else "adult")
    )


def _is_same_class(concept: str, system: str, drug: Coding) -> bool:
    """Whether an allergy is to this drug: the same code or name, or the same ATC subgroup or one above the drug."""
    names = {drug.code.lower(), drug.display.lower()} - {""}
    if concept.lower() in names and system in ("", drug.system):
        return True
    if drug.system != ATC or system not in ("", ATC):
        return False
    told, given = code_levels("atc", concept), code_levels("atc", drug.code)
    # A subgroup or one above it, but not the first level: an organ system is no allergy.
    shared = sum(mine == theirs for mine, theirs in zip(told, given, strict=False))
    return shared >= 2 and (shared == len(told) or shared >= _ATC_CLASS)
