"""What is kept of a FHIR resource: the few fields that cases are made from, checked and in one notation.

References are keys as `references.py` makes them. Moments are intervals, `(earliest, latest)`. Facts hold patients'
values: they live in the site's library and nowhere else.
"""

from __future__ import annotations

from typing import Literal

from medfed.encoding import Record
from medfed.records.case import Comparator, Sex, Status
from medfed.records.coding import Coding

__all__ = [
    "AllergyFact",
    "ConditionFact",
    "Dose",
    "DrugFact",
    "EncounterFact",
    "Fact",
    "Measured",
    "MedicationFact",
    "ObservationFact",
    "PatientFact",
    "ProcedureFact",
    "Span",
]

Span = tuple[int, int]
"""A moment: first and last second that the text allows."""


class PatientFact(Record, frozen=True, tag="patient"):
    """A person, and the records that are the same person's."""

    birth: Span | None
    sex: Sex
    died: bool
    death: Span | None
    replaced_by: tuple[str, ...]
    replaces: tuple[str, ...]


class EncounterFact(Record, frozen=True, tag="encounter"):
    """A visit or stay."""

    start: Span | None
    end: Span | None
    part_of: str
    diagnoses: tuple[tuple[str, int], ...]
    """References to Conditions with their rank, 0 where none is given."""
    reasons: tuple[Coding, ...]
    died: bool


class ConditionFact(Record, frozen=True, tag="condition"):
    """A finding or diagnosis, present or refuted."""

    concept: Coding
    status: Status
    clinical: str
    severity: int | None
    onset: Span | None
    abatement: Span | None
    recorded: Span | None
    is_complication: bool
    on_list: bool
    """An item of the problem list: without a visit it is history, never the diagnosis of a case."""


class Measured(Record, frozen=True):
    """One result of an Observation: its own, or a component's."""

    concept: Coding
    status: Status
    value: float | Coding | None
    unit: str
    comparator: Comparator


class ObservationFact(Record, frozen=True, tag="observation"):
    """Results taken at one moment."""

    taken: Span | None
    known: Span | None
    results: tuple[Measured, ...]


class Dose(Record, frozen=True):
    """One line of dosage instructions."""

    route: Coding | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    basis: Literal["absolute", "per-kg", "per-m2"] = "absolute"
    frequency: float | None = None
    as_needed: bool = False
    days: float | None = None


class DrugFact(Record, frozen=True, tag="drug"):
    """A drug ordered, taken or given."""

    drug: Coding | None
    medication: str
    """A reference to the Medication where `drug` is None."""
    time: Span | None
    doses: tuple[Dose, ...]


class ProcedureFact(Record, frozen=True, tag="procedure"):
    """A procedure that was done."""

    concept: Coding
    time: Span | None


class AllergyFact(Record, frozen=True, tag="allergy"):
    """What a patient does not tolerate, or was found to tolerate."""

    concept: Coding
    status: Status
    severity: int | None
    recorded: Span | None


class MedicationFact(Record, frozen=True, tag="medication"):
    """A drug that others refer to."""

    concept: Coding


Fact = (
    PatientFact
    | EncounterFact
    | ConditionFact
    | ObservationFact
    | DrugFact
    | ProcedureFact
    | AllergyFact
    | MedicationFact
)
