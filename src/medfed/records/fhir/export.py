"""Cases back to FHIR R4: one transaction Bundle a case, which the importer reads as the same case again.

For the hospital's own systems: a Bundle names the patient by the site's key. Nothing but the case's words is written,
and an assisted case carries a tag that says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from medfed.errors import InvalidInput
from medfed.identifiers import sha256
from medfed.records.case import Case, Feature, Treatment
from medfed.records.coding import SNOMED, UCUM, Coding

__all__ = ["ASSISTED_TAG", "export_case"]

ASSISTED_TAG: Final = {"system": "urn:medfed:tag", "code": "assisted"}
_SEVERITY: Final = {1: "255604002", 2: "6736007", 3: "24484000", 4: "442452003"}
_REACTION: Final = {1: "mild", 2: "moderate", 3: "severe", 4: "severe"}
_CLINICAL: Final = {"resolved": "resolved", "improved": "remission", "worse": "relapse"}
_TERMS: Final = "http://terminology.hl7.org/CodeSystem"
_VERIFICATION: Final = f"{_TERMS}/condition-ver-status"
_DAY: Final = 86_400

Json = dict[str, Any]


def export_case(case: Case) -> Json:
    """A Bundle of the case's Patient, Encounter, Conditions, Observations, allergies, drugs and procedures.

    The birth date is the day that the age points to; an age is exact to the day. Coding of basis and frequency is
    that of `dosage`. What FHIR has no place for (a measurement's comparator has one; a condition of occurrence has
    not) is kept in the resource's text only where it has no code, so a coded condition of occurrence is left out.

    Raises:
        InvalidInput: a time outside the years 1 to 9999.
    """
    patient, visit = f"urn:uuid:{_uuid(case, 'patient')}", f"urn:uuid:{_uuid(case, 'visit')}"
    resources: list[tuple[str, Json]] = [(patient, _patient(case)), (visit, _encounter(case, patient, visit))]
    for number, feature in enumerate(case.features):
        resources.append((f"urn:uuid:{_uuid(case, f'feature {number}')}", _feature(feature, patient, case.index_time)))
    for number, coding in enumerate(case.outcome.diagnoses):
        resources.append((_condition_url(case, number), _diagnosis(case, coding, patient, visit, False)))
    for number, coding in enumerate(case.outcome.complications, len(case.outcome.diagnoses)):
        resources.append((_condition_url(case, number), _diagnosis(case, coding, patient, visit, True)))
    for number, treatment in enumerate(case.outcome.treatments):
        url = f"urn:uuid:{_uuid(case, f'treatment {number}')}"
        resources.append((url, _treatment(treatment, patient, visit)))
    return {"resourceType": "Bundle", "type": "transaction", "entry": [_entry(case, *item) for item in resources]}


def _entry(case: Case, url: str, resource: Json) -> Json:
    tagged = {"meta": {"tag": [ASSISTED_TAG]}, **resource} if case.assisted else resource
    identified = {"resourceType": tagged["resourceType"], "id": url.removeprefix("urn:uuid:"), **tagged}
    request = {"method": "PUT", "url": f"{tagged['resourceType']}/{identified['id']}"}
    return {"fullUrl": url, "resource": identified, "request": request}


def _patient(case: Case) -> Json:
    made: Json = {"resourceType": "Patient", "gender": case.sex or "unknown"}
    if case.age is not None:
        born = case.index_time - round(case.age * 31_556_952)
        made["birthDate"] = _moment(born).date().isoformat()
    if case.outcome.course.status == "died":
        time = case.outcome.course.time
        made |= {"deceasedBoolean": True} if time is None else {"deceasedDateTime": _time(time)}
    return made


def _encounter(case: Case, patient: str, visit: str) -> Json:
    made: Json = {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"system": f"{_TERMS}/v3-ActCode", "code": "IMP"},
        "subject": {"reference": patient},
        "period": {"start": _time(case.index_time)},
        "diagnosis": [
            {"condition": {"reference": _condition_url(case, number)}, "rank": number + 1}
            for number in range(len(case.outcome.diagnoses))
        ],
    }
    if not made["diagnosis"]:
        del made["diagnosis"]
    if case.outcome.course.status == "died":
        system = f"{_TERMS}/discharge-disposition"
        made["hospitalization"] = {"dischargeDisposition": {"coding": [{"system": system, "code": "exp"}]}}
    return made


def _diagnosis(case: Case, coding: Coding, patient: str, visit: str, is_complication: bool) -> Json:
    made: Json = {
        "resourceType": "Condition",
        "verificationStatus": {"coding": [{"system": _VERIFICATION, "code": "confirmed"}]},
        "code": _concept(coding),
        "subject": {"reference": patient},
        "encounter": {"reference": visit},
        "recordedDate": _time(case.index_time),
    }
    clinical = _CLINICAL.get(case.outcome.course.status, "active")
    system = f"{_TERMS}/condition-clinical"
    made["clinicalStatus"] = {"coding": [{"system": system, "code": clinical}]}
    if case.outcome.course.status == "resolved" and case.outcome.course.time is not None:
        made["abatementDateTime"] = _time(case.outcome.course.time)
    if is_complication:
        url = "http://hl7.org/fhir/StructureDefinition/condition-dueTo"
        made["extension"] = [{"url": url, "valueReference": {"reference": _condition_url(case, 0)}}]
    return made


def _feature(feature: Feature, patient: str, index: int) -> Json:
    if feature.kind == "allergy":
        status = "refuted" if feature.status == "refuted" else "confirmed"
        made: Json = {
            "resourceType": "AllergyIntolerance",
            "verificationStatus": {"coding": [{"system": f"{_TERMS}/allergyintolerance-verification", "code": status}]},
            "code": _concept(feature.concept),
            "patient": {"reference": patient},
        }
        if feature.time is not None:
            made["recordedDate"] = _time(feature.time)
        if feature.severity is not None:
            made["reaction"] = [
                {
                    "manifestation": [{"text": "not stated"}],
                    "severity": _REACTION[feature.severity],
                }
            ]
        return made
    if feature.kind == "history":
        return _history(feature, patient, index)
    if feature.kind == "medication":
        time = {} if feature.time is None else {"effectiveDateTime": _time(feature.time)}
        return {
            "resourceType": "MedicationStatement",
            "status": "completed",
            "medicationCodeableConcept": _concept(feature.concept),
            "subject": {"reference": patient},
            **time,
        }
    return _observation(feature, patient, index)


def _history(feature: Feature, patient: str, index: int) -> Json:
    made: Json = {
        "resourceType": "Condition",
        "verificationStatus": {
            "coding": [{"system": _VERIFICATION, "code": "refuted" if feature.status == "refuted" else "confirmed"}]
        },
        "category": [{"coding": [{"system": f"{_TERMS}/condition-category", "code": "problem-list-item"}]}],
        "code": _concept(feature.concept),
        "subject": {"reference": patient},
        "recordedDate": _time(index - _DAY if feature.time is None else feature.time),
    }
    if feature.severity is not None:
        made["severity"] = {"coding": [{"system": SNOMED, "code": _SEVERITY[feature.severity]}]}
    if feature.onset is not None:
        made["onsetDateTime"] = _time(feature.onset)
        ended = feature.onset + round((feature.duration or 0) * _DAY)
        if feature.duration is not None and ended < index - 1:
            made["abatementDateTime"] = _time(ended)
    return made


def _observation(feature: Feature, patient: str, index: int) -> Json:
    made: Json = {
        "resourceType": "Observation",
        "status": "final",
        "code": _concept(feature.concept),
        "subject": {"reference": patient},
        "effectiveDateTime": _time(index if feature.time is None else feature.time),
    }
    if feature.status == "not-assessed":
        system = f"{_TERMS}/data-absent-reason"
        made["dataAbsentReason"] = {"coding": [{"system": system, "code": "not-performed"}]}
    elif isinstance(feature.value, Coding):
        made["valueCodeableConcept"] = _concept(feature.value)
    elif feature.value is not None:
        made["valueQuantity"] = _quantity(feature.value, feature.unit)
        if feature.comparator:
            made["valueQuantity"]["comparator"] = feature.comparator
    else:
        made["valueBoolean"] = feature.status == "present"
    return made


def _treatment(treatment: Treatment, patient: str, visit: str) -> Json:
    shared: Json = {"subject": {"reference": patient}, "encounter": {"reference": visit}}
    if treatment.kind == "procedure":
        made: Json = {"resourceType": "Procedure", "status": "completed", "code": _concept(treatment.drug), **shared}
        if treatment.time is not None:
            made["performedDateTime"] = _time(treatment.time)
        return made
    made = {
        "resourceType": "MedicationRequest",
        "status": "completed",
        "intent": "order",
        "medicationCodeableConcept": _concept(treatment.drug),
        **shared,
    }
    if treatment.time is not None:
        made["authoredOn"] = _time(treatment.time)
    dosage = _dosage(treatment)
    if dosage:
        made["dosageInstruction"] = [dosage]
    return made


def _dosage(treatment: Treatment) -> Json:
    made: Json = {}
    if treatment.route is not None:
        made["route"] = _concept(treatment.route)
    if treatment.as_needed:
        made["asNeededBoolean"] = True
    if treatment.dose is not None:
        unit = treatment.dose_unit + {"absolute": "", "per-kg": "/kg", "per-m2": "/m2"}[treatment.basis]
        low = _quantity(treatment.dose, unit)
        if treatment.dose_high is None:
            made["doseAndRate"] = [{"doseQuantity": low}]
        else:
            made["doseAndRate"] = [{"doseRange": {"low": low, "high": _quantity(treatment.dose_high, unit)}}]
    repeat: Json = {}
    if treatment.frequency is not None:
        repeat |= {"frequency": 1, "period": 1 / treatment.frequency, "periodUnit": "d"}
    if treatment.duration is not None:
        repeat["boundsDuration"] = {"value": treatment.duration, "system": UCUM, "code": "d"}
    if repeat:
        made["timing"] = {"repeat": repeat}
    return made


def _quantity(value: float, unit: str) -> Json:
    if not unit:
        return {"value": value}
    if unit.startswith("{") and unit.endswith("}"):
        return {"value": value, "unit": unit[1:-1]}
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _concept(coding: Coding) -> Json:
    made = {"system": coding.system, "code": coding.code}
    return {"coding": [{**made, "display": coding.display} if coding.display else made]}


def _condition_url(case: Case, number: int) -> str:
    return f"urn:uuid:{_uuid(case, f'condition {number}')}"


def _uuid(case: Case, part: str) -> str:
    """A stable identifier, version 8 (RFC 9562): the same case gives the same Bundle.

    The patient's is the patient's.
    """
    seed = f"patient\0{case.patient}" if part == "patient" else f"{case.id}\0{part}"
    digits = sha256(seed.encode()).hex()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


def _time(seconds: int) -> str:
    return f"{_moment(seconds).isoformat()}Z"


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput("case: a time outside the years 1 to 9999, which FHIR cannot say") from None
