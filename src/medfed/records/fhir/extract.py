"""One FHIR R4 resource in, one fact out, or the reason why not.

A resource whose meaning could be changed by something unknown here is refused whole: `implicitRules`, or a
`modifierExtension` at any depth. Statuses that say "this is not so" or "this did not happen" never become features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from medfed.records.case import Sex, Status
from medfed.records.coding import Coding
from medfed.records.fhir.dosage import read_administered, read_dosages
from medfed.records.fhir.elements import Json, Reading, Unusable, codes_of, objects, text_of
from medfed.records.fhir.facts import (
    AllergyFact,
    ConditionFact,
    DrugFact,
    EncounterFact,
    Fact,
    MedicationFact,
    PatientFact,
    ProcedureFact,
    Span,
)
from medfed.records.fhir.observation import read_observation

__all__ = ["Extracted", "extract", "refuse_modifiers"]

_SEXES: Final[dict[str, Sex]] = {"female": "female", "male": "male", "other": "other", "unknown": ""}
_SEVERITIES: Final = {
    "255604002": 1,
    "6736007": 2,
    "24484000": 3,
    "442452003": 4,
    "mild": 1,
    "moderate": 2,
    "severe": 3,
}
_DEATHS: Final = {"exp", "aadvice-exp"}
_CAUSES: Final = ("condition-dueTo", "condition-occurredFollowing")
_ORDERS: Final = {"order", "original-order", "reflex-order", "filler-order", "instance-order"}
_DEEPEST: Final = 60


class Extracted(NamedTuple):
    """A fact and whom and what it belongs to, as keys."""

    fact: Fact
    patient: str
    encounter: str


def extract(resource: Json, reading: Reading) -> Extracted:
    """The fact that `resource` states.

    Raises:
        Unusable: it is of a type that is not used, or cannot or must not be used; with the field and the reason.
    """
    kind = text_of(resource.get("resourceType"))
    reader = _READERS.get(kind)
    if reader is None:
        raise Unusable("", "resources of this type are not used")
    return reader(resource, reading)


def refuse_modifiers(resource: Json) -> None:
    """Refuse what may mean something else than it says.

    Raises:
        Unusable: the resource has `implicitRules` or, at any depth, a `modifierExtension`.
    """
    if "implicitRules" in resource:
        raise Unusable("implicitRules", "rules that are not known here may change what the resource means")
    _search(resource, 0)


def _search(value: object, depth: int) -> None:
    if depth > _DEEPEST:
        raise Unusable("", "nested too deeply")
    if isinstance(value, dict):
        fields = cast(Json, value)
        if fields.get("modifierExtension"):
            raise Unusable(
                "modifierExtension", "an extension that is not known here may change what the resource means"
            )
        for inner in fields.values():
            _search(inner, depth + 1)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            _search(inner, depth + 1)


def _patient(resource: Json, reading: Reading) -> Extracted:
    links: dict[str, list[str]] = {"replaced-by": [], "replaces": []}
    for number, link in enumerate(objects(resource.get("link"), "link")):
        kind = text_of(link.get("type"))
        if kind in links:
            links[kind].append(reading.reference(link.get("other"), f"link[{number}].other"))
    gender = text_of(resource.get("gender"))
    if gender not in ("", *_SEXES):
        raise Unusable("gender", "not a code of AdministrativeGender")
    birth = reading.past(resource.get("birthDate"), "birthDate")
    death = reading.past(resource.get("deceasedDateTime"), "deceasedDateTime")
    if birth and death and death[1] < birth[0]:
        raise Unusable("deceasedDateTime", "is before the birth")
    fact = PatientFact(
        birth,
        _SEXES.get(gender, ""),
        death is not None or resource.get("deceasedBoolean") is True,
        death,
        tuple(links["replaced-by"]),
        tuple(links["replaces"]),
    )
    return Extracted(fact, "", "")


def _encounter(resource: Json, reading: Reading) -> Extracted:
    status = text_of(resource.get("status"))
    if status in ("planned", "cancelled", "entered-in-error"):
        raise Unusable("status", f"{status}: it did not take place")
    start, end = reading.period(resource["period"], "period") if "period" in resource else (None, None)
    if start and reading.now is not None and start[0] > reading.now:
        raise Unusable("period.start", "date: lies in the future")
    diagnoses: list[tuple[str, int]] = []
    for number, item in enumerate(objects(resource.get("diagnosis"), "diagnosis")):
        rank = item.get("rank", 0)
        where = f"diagnosis[{number}].condition"
        diagnoses.append((reading.reference(item.get("condition"), where), rank if isinstance(rank, int) else 0))
    reasons = [reading.concept(item, "reasonCode") for item in objects(resource.get("reasonCode"), "reasonCode")]
    leaving = objects(resource.get("hospitalization"), "hospitalization")
    disposition = codes_of(leaving[0].get("dischargeDisposition"), "hospitalization") if leaving else set[str]()
    fact = EncounterFact(
        start,
        end,
        _reference(resource, "partOf", reading),
        tuple(pair for pair in diagnoses if pair[0]),
        tuple(reason for reason in reasons if reason is not None),
        bool(disposition & _DEATHS),
    )
    return Extracted(fact, _subject(resource, reading), "")


def _condition(resource: Json, reading: Reading) -> Extracted:
    verified = codes_of(resource.get("verificationStatus"), "verificationStatus")
    if "entered-in-error" in verified:
        raise Unusable("verificationStatus", "entered in error")
    status: Status = "refuted" if "refuted" in verified else "present"
    if status == "present" and verified & {"unconfirmed", "differential", "provisional"}:
        raise Unusable("verificationStatus", "not confirmed")
    onset = _either(resource, "onset", reading)
    abatement = _either(resource, "abatement", reading)
    if onset and abatement and abatement[1] < onset[0]:
        raise Unusable("abatement", "is before the onset")
    causes = [text_of(item.get("url")) for item in objects(resource.get("extension"), "extension")]
    fact = ConditionFact(
        reading.required_concept(resource.get("code"), "code"),
        status,
        next(iter(sorted(codes_of(resource.get("clinicalStatus"), "clinicalStatus") - {""})), "")[:40],
        _severity(resource.get("severity"), "severity"),
        onset,
        abatement,
        reading.past(resource.get("recordedDate"), "recordedDate"),
        any(url.endswith(_CAUSES) for url in causes),
        "problem-list-item" in codes_of(resource.get("category"), "category"),
    )
    return Extracted(fact, _subject(resource, reading), _reference(resource, "encounter", reading))


def _observation(resource: Json, reading: Reading) -> Extracted:
    fact = read_observation(resource, reading)
    return Extracted(fact, _subject(resource, reading), _reference(resource, "encounter", reading))


def _request(resource: Json, reading: Reading) -> Extracted:
    if text_of(resource.get("intent")) not in _ORDERS:
        raise Unusable("intent", "not an order")
    return _drug(resource, reading, "authoredOn", "encounter", "dosageInstruction")


def _statement(resource: Json, reading: Reading) -> Extracted:
    field = "effectivePeriod" if "effectivePeriod" in resource else "effectiveDateTime"
    return _drug(resource, reading, field, "context", "dosage")


def _administration(resource: Json, reading: Reading) -> Extracted:
    field = "effectivePeriod" if "effectivePeriod" in resource else "effectiveDateTime"
    return _drug(resource, reading, field, "context", "")


def _drug(resource: Json, reading: Reading, when: str, visit: str, dosage: str) -> Extracted:
    status = text_of(resource.get("status"))
    if status in ("cancelled", "entered-in-error", "not-taken", "not-done", "draft", "unknown", "intended"):
        raise Unusable("status", f"{status}: not a treatment that took place")
    if resource.get("doNotPerform") is True:
        raise Unusable("doNotPerform", "an order not to give the drug")
    code, reference = resource.get("medicationCodeableConcept"), resource.get("medicationReference")
    medication = reading.reference(reference, "medicationReference")
    drug: Coding | None = None
    if medication.startswith("#"):
        drug = reading.required_concept(_contained(resource, medication[1:]).get("code"), "contained.code")
        medication = ""
    elif not medication:
        drug = reading.required_concept(code, "medicationCodeableConcept")
    if when.endswith("Period"):
        time = reading.period(resource[when], when)[0]
    else:
        time = reading.past(resource.get(when), when)
    doses = (
        read_dosages(resource.get(dosage), reading, dosage)
        if dosage
        else read_administered(resource.get("dosage"), reading, "dosage")
    )
    fact = DrugFact(drug, medication, time, doses)
    return Extracted(fact, _subject(resource, reading), _reference(resource, visit, reading))


def _procedure(resource: Json, reading: Reading) -> Extracted:
    status = text_of(resource.get("status"))
    if status not in ("completed", "in-progress", "stopped"):
        raise Unusable("status", "not a procedure that took place")
    fact = ProcedureFact(
        reading.required_concept(resource.get("code"), "code"), _either(resource, "performed", reading)
    )
    return Extracted(fact, _subject(resource, reading), _reference(resource, "encounter", reading))


def _allergy(resource: Json, reading: Reading) -> Extracted:
    verified = codes_of(resource.get("verificationStatus"), "verificationStatus")
    if "entered-in-error" in verified:
        raise Unusable("verificationStatus", "entered in error")
    # An inactive or resolved allergy is kept: to leave one out is the more dangerous mistake.
    reactions = objects(resource.get("reaction"), "reaction")
    severities = [_SEVERITIES.get(text_of(reaction.get("severity")), 0) for reaction in reactions]
    concept = reading.concept(resource["code"], "code") if "code" in resource else None
    if concept is None:
        substances = [reading.concept(r["substance"], "reaction.substance") for r in reactions if "substance" in r]
        concept = next((found for found in substances if found is not None), None)
    if concept is None:
        raise Unusable("code", "neither code nor substance has a coding with system and code")
    status: Status = "refuted" if "refuted" in verified else "present"
    fact = AllergyFact(
        concept, status, max(severities, default=0) or None, reading.past(_recorded(resource), "recordedDate")
    )
    return Extracted(fact, _subject(resource, reading, "patient"), _reference(resource, "encounter", reading))


def _medication(resource: Json, reading: Reading) -> Extracted:
    if text_of(resource.get("status")) == "entered-in-error":
        raise Unusable("status", "entered in error")
    return Extracted(MedicationFact(reading.required_concept(resource.get("code"), "code")), "", "")


def _recorded(resource: Json) -> object:
    return resource.get("recordedDate", resource.get("onsetDateTime"))


def _subject(resource: Json, reading: Reading, field: str = "subject") -> str:
    if field not in resource:
        raise Unusable(field, "names no patient")
    key = reading.reference(resource[field], field)
    if not key:
        raise Unusable(field, "names no patient by reference")
    if key.startswith("#"):
        raise Unusable(field, "a contained patient has no identity of its own")
    if not key.startswith("urn:") and "Patient/" not in key:
        raise Unusable(field, "is not a patient")
    return key


def _reference(resource: Json, field: str, reading: Reading) -> str:
    return reading.reference(resource[field], field) if field in resource else ""


def _either(resource: Json, prefix: str, reading: Reading) -> Span | None:
    """The moment in `<prefix>DateTime`, or the start of `<prefix>Period`; ages, ranges and words are no moments."""
    if f"{prefix}Period" in resource:
        return reading.period(resource[f"{prefix}Period"], f"{prefix}Period")[0]
    return reading.past(resource.get(f"{prefix}DateTime"), f"{prefix}DateTime")


def _severity(value: object, where: str) -> int | None:
    found = [_SEVERITIES[code] for code in codes_of(value, where) if code in _SEVERITIES]
    return max(found, default=None)


def _contained(resource: Json, name: str) -> Json:
    """The contained resource of that id; one level only, so nothing can go in circles."""
    for item in objects(resource.get("contained"), "contained"):
        if item.get("id") == name:
            return item
    raise Unusable("medicationReference", "refers to a contained resource that is not there")


_READERS: Final[dict[str, Callable[[Json, Reading], Any]]] = {
    "Patient": _patient,
    "Encounter": _encounter,
    "Condition": _condition,
    "Observation": _observation,
    "MedicationRequest": _request,
    "MedicationStatement": _statement,
    "MedicationAdministration": _administration,
    "Procedure": _procedure,
    "AllergyIntolerance": _allergy,
    "Medication": _medication,
}
