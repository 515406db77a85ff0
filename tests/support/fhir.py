"""Small FHIR resources for tests, and an import of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from medfed.crypto import seeded_entropy
from medfed.records.case import Case
from medfed.records.fhir.importer import FhirSettings, import_fhir
from medfed.records.library import Library
from medfed.records.report import ImportReport
from medfed.records.units import UnitConverter

Json = dict[str, Any]
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"


def concept(code: str, system: str = SNOMED) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def patient(name: str = "p", **fields: Any) -> Json:
    return {"resourceType": "Patient", "id": name, "gender": "female", "birthDate": "1980-06-01", **fields}


def encounter(name: str = "e", **fields: Any) -> Json:
    period = {"start": "2020-03-10T08:00:00Z", "end": "2020-03-14T08:00:00Z"}
    return {
        "resourceType": "Encounter",
        "id": name,
        "status": "finished",
        "subject": {"reference": "Patient/p"},
        "period": period,
        **fields,
    }


def condition(name: str = "c", code: str = "233604007", **fields: Any) -> Json:
    return {
        "resourceType": "Condition",
        "id": name,
        "code": concept(code),
        "subject": {"reference": "Patient/p"},
        "encounter": {"reference": "Encounter/e"},
        "recordedDate": "2020-03-11T12:00:00Z",
        **fields,
    }


def observation(name: str = "o", code: str = "8310-5", **fields: Any) -> Json:
    value = {} if any(key.startswith(("value", "component", "dataAbsent")) for key in fields) else {
        "valueQuantity": {"value": 38.5, "unit": "Cel", "system": UCUM, "code": "Cel"}
    }  # fmt: skip
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": concept(code, LOINC),
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2020-03-11T07:00:00Z",
        **value,
        **fields,
    }


def request(name: str = "m", **fields: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": "completed",
        "intent": "order",
        "medicationCodeableConcept": concept("27658006"),
        "subject": {"reference": "Patient/p"},
        "encounter": {"reference": "Encounter/e"},
        "authoredOn": "2020-03-11T13:00:00Z",
        **fields,
    }


def dose(value: float, code: str = "mg", **fields: Any) -> Json:
    return {"doseAndRate": [{"doseQuantity": {"value": value, "system": UCUM, "code": code}}], **fields}


STORY = (patient(), encounter(), condition())
"""A patient with a visit and a diagnosis: enough for a case."""


class Imported:
    """A library with a report of its last import."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library = Library(folder / "library.db", seeded_entropy(b"fhir tests"))
        self.report = ImportReport()
        self._number = 0

    def take(
        self, *resources: Json, settings: FhirSettings | None = None, units: UnitConverter | None = None
    ) -> ImportReport:
        """Import resources as lines of one file."""
        return self.take_bytes(b"\n".join(orjson.dumps(r) for r in resources), ".ndjson", settings, units)

    def take_bytes(
        self, data: bytes, ending: str, settings: FhirSettings | None = None, units: UnitConverter | None = None
    ) -> ImportReport:
        """Import a file of these bytes."""
        self._number += 1
        path = self.folder / f"import{self._number}{ending}"
        path.write_bytes(data)
        self.report = import_fhir(self.library, [path], settings, units)
        assert self.report.is_balanced, self.report.summary()
        return self.report

    @property
    def case(self) -> Case:
        """The only case."""
        (case,) = self.library.cases()
        return case

    def reasons(self) -> dict[str, str]:
        """Why records were not used: kind and path to reason."""
        return {f"{line.kind} {line.path}": line.reason for line in self.report.lines()}


def bundle(*resources: Json, **fields: Any) -> Json:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources], **fields}
