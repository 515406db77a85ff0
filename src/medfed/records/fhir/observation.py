"""Observations and their components as results: numbers with units, codes, yes and no, and what was not assessed.

A result without a value says why (`dataAbsentReason`) or is none. Preliminary, cancelled and erroneous ones are none.
"""

from __future__ import annotations

from typing import Final

from medfed.records.coding import Coding
from medfed.records.fhir.elements import Json, Reading, Unusable, codes_of, objects, text_of
from medfed.records.fhir.facts import Measured, ObservationFact, Span

__all__ = ["read_observation"]

_FINAL: Final = ("final", "amended", "corrected")
_NOT_ASSESSED: Final = {
    "unknown",
    "asked-unknown",
    "temp-unknown",
    "not-asked",
    "asked-declined",
    "not-performed",
    "masked",
}
_NO: Final = {"260385009", "2667000", "373067005", "N", "NEG", "LA6577-6", "LA32-8", "neg"}
"""SNOMED CT negative, absent, no; HL7 N and NEG; LOINC Negative and No."""
_NOT_DETECTED: Final = {"260415000", "ND", "LA11883-8"}
_VALUES: Final = (
    "valueString", "valueRange", "valueRatio", "valueSampledData", "valueTime", "valueDateTime", "valuePeriod",
    "valueAttachment",
)  # fmt: skip
_MOST: Final = 256


def read_observation(resource: Json, reading: Reading) -> ObservationFact:
    """The results of an Observation.

    Raises:
        Unusable: it is not final, or has neither a usable value of its own nor a usable component.
    """
    status = text_of(resource.get("status"))
    if status not in _FINAL:
        raise Unusable("status", "expected final, amended or corrected")
    taken = _taken(resource, reading)
    known = reading.past(resource.get("issued"), "issued") or taken
    results: list[Measured] = []
    first: Unusable | None = None
    components = objects(resource.get("component"), "component")
    if len(components) > _MOST:
        raise Unusable("component", f"more than {_MOST}")
    parts = [("", resource), *((f"component[{number}].", part) for number, part in enumerate(components))]
    for where, part in parts:
        if part is resource and components and not _has_value(part):
            continue
        try:
            results.append(_result(part, reading, where))
        except Unusable as error:
            first = first or error
    if not results:
        raise first or Unusable("value", "has no value")
    return ObservationFact(taken, known, tuple(results))


def _taken(resource: Json, reading: Reading) -> Span | None:
    if "effectivePeriod" in resource:
        start, end = reading.period(resource["effectivePeriod"], "effectivePeriod")
        return end or start
    for field in ("effectiveDateTime", "effectiveInstant"):
        if field in resource:
            return reading.past(resource[field], field)
    return None


def _has_value(part: Json) -> bool:
    return "dataAbsentReason" in part or any(key.startswith("value") for key in part)


def _result(part: Json, reading: Reading, where: str) -> Measured:
    concept = reading.required_concept(part.get("code"), f"{where}code")
    if "dataAbsentReason" in part:
        if codes_of(part["dataAbsentReason"], f"{where}dataAbsentReason") & _NOT_ASSESSED:
            return Measured(concept, "not-assessed", None, "", "")
        raise Unusable(f"{where}dataAbsentReason", "its value is absent because of an error or does not apply")
    if "valueQuantity" in part:
        number, unit, comparator = reading.quantity(part["valueQuantity"], f"{where}valueQuantity")
        return Measured(concept, "present", number, unit, comparator)
    if "valueInteger" in part:
        number = part["valueInteger"]
        if isinstance(number, bool) or not isinstance(number, int) or abs(number) > 2**31:
            raise Unusable(f"{where}valueInteger", "no integer")
        return Measured(concept, "present", float(number), "1", "")
    if "valueBoolean" in part:
        return Measured(concept, "present" if part["valueBoolean"] is True else "refuted", None, "", "")
    if "valueCodeableConcept" in part:
        value = reading.required_concept(part["valueCodeableConcept"], f"{where}valueCodeableConcept")
        return _coded(concept, value)
    kind = next((key for key in _VALUES if key in part), "value")
    raise Unusable(f"{where}{kind}", "has no value" if kind == "value" else "values of this type are not used")


def _coded(concept: Coding, value: Coding) -> Measured:
    if value.code in _NO or value.code in _NOT_DETECTED:
        return Measured(concept, "refuted", None, "", "")
    return Measured(concept, "present", value, "", "")
