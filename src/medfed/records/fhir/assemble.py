"""One patient's facts become cases: one a visit with a diagnosis, and one a diagnosis outside any visit.

The index time is when the first diagnosis of the visit was made. Features are what was known by then; the visit's
conditions, drugs and procedures are the outcome. A reason for the visit that is the diagnosis itself is no feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from medfed.records.case import Case, Course, Feature, Outcome, Treatment
from medfed.records.coding import Coding
from medfed.records.fhir.facts import (
    AllergyFact,
    ConditionFact,
    Dose,
    DrugFact,
    EncounterFact,
    MedicationFact,
    ObservationFact,
    PatientFact,
    ProcedureFact,
    Span,
)
from medfed.records.fhir.staging import Row
from medfed.records.fhir.timeline import Drug, Timeline
from medfed.records.moments import Moment, age_at

__all__ = ["USED", "Assembled", "assemble"]

USED: Final = "used"
_NO_CASE: Final = "its patient has no diagnosis that makes a case"
_UNSEEN: Final = "not known before any diagnosis, too long before it, or replaced by a later one"
_RANKLESS: Final = 1 << 30
_DEATH_WINDOW: Final = 30 * 86_400
_COURSES: Final = {
    "resolved": "resolved",
    "inactive": "resolved",
    "remission": "improved",
    "relapse": "worse",
    "recurrence": "worse",
}


@dataclass
class Assembled:
    """The cases of one patient, and what became of each resource by key."""

    cases: list[Case] = field(default_factory=list[Case])
    states: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Kind and reason of what a used resource lacks."""


@dataclass
class _Visit:
    """A visit, or a diagnosis outside any, on its way to a case."""

    source: str
    start: int | None = None
    end: int | None = None
    encounters: list[tuple[str, EncounterFact]] = field(default_factory=list[tuple[str, EncounterFact]])
    conditions: dict[str, tuple[int, ConditionFact]] = field(default_factory=dict[str, tuple[int, ConditionFact]])
    drugs: list[tuple[str, DrugFact, Coding]] = field(default_factory=list[tuple[str, DrugFact, Coding]])
    procedures: list[tuple[str, ProcedureFact]] = field(default_factory=list[tuple[str, ProcedureFact]])
    index: int | None = None


def assemble(
    owner: str, rows: list[Row], medication: Callable[[str], Row | None], id_of: Callable[[str], str], lookback: int
) -> Assembled:
    """The cases of `owner` from all of its resources."""
    return _Assembly(owner, rows, medication, id_of, lookback).run()


class _Assembly:
    def __init__(
        self,
        owner: str,
        rows: list[Row],
        medication: Callable[[str], Row | None],
        id_of: Callable[[str], str],
        lookback: int,
    ) -> None:
        self._owner, self._rows, self._medication, self._id_of = owner, rows, medication, id_of
        self._out = Assembled()
        self._timeline = Timeline(lookback)
        self._visits: dict[str, _Visit] = {}
        self._by_name: dict[str, Row] = {}
        for row in rows:
            self._by_name[row.key] = row
            if row.alias:
                self._by_name[row.alias] = row

    def run(self) -> Assembled:
        person = next((row.fact for row in self._rows if row.key == self._owner), None)
        if not isinstance(person, PatientFact):
            return self._out
        self._make_visits()
        for row in self._rows:
            self._place(row)
        self._claim_by_reference()
        self._timeline.sort()
        ready = [visit for visit in self._visits.values() if self._find_index(visit)]
        for visit in sorted(ready, key=lambda visit: (visit.index, visit.source)):
            self._out.cases.append(self._case(visit, person))
        for row in self._rows:
            if row.key not in self._out.states:
                self._out.states[row.key] = self._why_not(row)
        if self._out.cases:
            for row in self._rows:
                if isinstance(row.fact, PatientFact):
                    self._out.states[row.key] = USED
        return self._out

    def _make_visits(self) -> None:
        for row in self._rows:
            if isinstance(row.fact, EncounterFact):
                root = self._root(row)
                if root is None:
                    self._out.states[row.key] = "visits that are part of each other go in circles"
                    continue
                visit = self._visits.setdefault(root.key, _Visit(root.key))
                visit.encounters.append((row.key, row.fact))
                if row.fact.start:
                    visit.start = min(visit.start or row.fact.start[0], row.fact.start[0])
                if row.fact.end:
                    visit.end = max(visit.end or row.fact.end[1], row.fact.end[1])

    def _root(self, row: Row) -> Row | None:
        seen = {row.key}
        while isinstance(row.fact, EncounterFact) and row.fact.part_of:
            parent = self._by_name.get(row.fact.part_of)
            if parent is None or not isinstance(parent.fact, EncounterFact):
                self._out.notes.append(("Encounter", "partOf refers to a visit that is not here"))
                return row
            row = parent
            if row.key in seen:
                return None
            seen.add(row.key)
        return row

    def _place(self, row: Row) -> None:
        """Put a fact on the timeline and into its visit."""
        fact = row.fact
        if isinstance(fact, ObservationFact):
            self._timeline.observations.append((row.key, fact))
        elif isinstance(fact, AllergyFact):
            self._timeline.allergies.append((row.key, fact))
        elif isinstance(fact, ConditionFact):
            self._timeline.conditions.append((row.key, fact))
            if fact.status == "present":
                self._place_condition(row, fact)
        elif isinstance(fact, DrugFact):
            drug = fact.drug or self._named_drug(row, fact)
            if drug is not None:
                self._timeline.drugs.append(Drug(row.key, drug, fact.time))
                visit = self._visit_of(row, fact.time)
                if visit is not None:
                    visit.drugs.append((row.key, fact, drug))
        elif isinstance(fact, ProcedureFact):
            visit = self._visit_of(row, fact.time)
            if visit is not None:
                visit.procedures.append((row.key, fact))

    def _place_condition(self, row: Row, fact: ConditionFact) -> None:
        if fact.on_list and not row.encounter:
            return
        visit = self._visit_of(row, fact.recorded or fact.onset)
        if visit is None:
            visit = self._visits[row.key] = _Visit(row.key)
        visit.conditions[row.key] = (_RANKLESS, fact)

    def _named_drug(self, row: Row, fact: DrugFact) -> Coding | None:
        found = self._medication(fact.medication)
        if found is None or not isinstance(found.fact, MedicationFact):
            self._out.states[row.key] = "refers to a Medication that is not here"
            return None
        self._out.states[found.key] = USED
        return found.fact.concept

    def _visit_of(self, row: Row, time: Span | None) -> _Visit | None:
        """The visit a resource names; without one, the visit during which it certainly happened."""
        if row.encounter:
            named = self._by_name.get(row.encounter)
            root = self._root(named) if named is not None and isinstance(named.fact, EncounterFact) else None
            if root is not None:
                return self._visits.get(root.key)
            self._out.notes.append(("reference", "refers to a visit that is not here"))
        if time is None:
            return None
        for visit in self._visits.values():
            if visit.start is not None and visit.end is not None and visit.start <= time[0] and time[1] <= visit.end:
                return visit
        return None

    def _claim_by_reference(self) -> None:
        """Conditions that a visit lists as its diagnoses are its own, whatever they refer to."""
        for visit in list(self._visits.values()):
            for _, encounter in visit.encounters:
                for name, rank in encounter.diagnoses:
                    row = self._by_name.get(name)
                    if row is None or not isinstance(row.fact, ConditionFact):
                        self._out.notes.append(("Encounter", "a diagnosis refers to a condition that is not here"))
                    elif row.fact.status == "present":
                        for other in self._visits.values():
                            if other is not visit and row.key in other.conditions and not other.encounters:
                                del other.conditions[row.key]
                        visit.conditions[row.key] = (rank or _RANKLESS, row.fact)

    def _find_index(self, visit: _Visit) -> bool:
        """Set the moment of the first diagnosis; False where there is no diagnosis, or no moment for it."""
        moments: list[int] = []
        for _, fact in visit.conditions.values():
            known = fact.recorded or fact.onset
            if known is not None and not fact.is_complication:
                moments.append(max(known[0], visit.start) if visit.start is not None else known[0])
        diagnosed = [fact for _, fact in visit.conditions.values() if not fact.is_complication]
        if diagnosed and not moments and visit.start is not None:
            moments = [visit.start]
        visit.index = min(moments, default=None)
        return visit.index is not None

    def _case(self, visit: _Visit, person: PatientFact) -> Case:
        index = visit.index or 0
        ordered = sorted(visit.conditions.items(), key=lambda item: (item[1][0], _order(item[1][1]), item[0]))
        diagnoses = _distinct(fact.concept for _, (_, fact) in ordered if not fact.is_complication)
        complications = _distinct(fact.concept for _, (_, fact) in ordered if fact.is_complication)
        mine = {*visit.conditions, *(key for key, _, _ in visit.drugs)}
        self._timeline.advance(index)
        features: list[Feature] = []
        start = index if visit.start is None else min(index, visit.start)
        for key, feature in self._timeline.features(index, start, mine):
            features.append(feature)
            self._out.states[key] = USED
        outcome_keys = {concept.key for concept in (*diagnoses, *complications)}
        for key, encounter in visit.encounters:
            self._out.states[key] = USED
            features.extend(
                Feature(reason, time=start) for reason in encounter.reasons if reason.key not in outcome_keys
            )
        for key in (*mine, *(key for key, _ in visit.procedures)):
            self._out.states[key] = USED
        age = None if person.birth is None else age_at(Moment(*person.birth), index)
        if person.birth is not None and (age is None or age > 130):
            age = None
            self._out.notes.append(("Patient", "the birth date does not fit the time of the diagnosis"))
        outcome = Outcome(diagnoses, complications, tuple(_treatments(visit)), _course(visit, person, ordered[0][1][1]))
        return Case(
            self._id_of(visit.source), self._owner, index, age, person.sex, tuple(features), outcome, visit.source
        )

    def _why_not(self, row: Row) -> str:
        if not self._out.cases:
            return _NO_CASE
        fact = row.fact
        if isinstance(fact, ObservationFact) and fact.taken is None:
            return "has no time"
        if isinstance(fact, ConditionFact) and fact.recorded is None and fact.onset is None:
            return "has no time and no visit"
        if isinstance(fact, EncounterFact):
            return "a visit without a diagnosis"
        return _UNSEEN


def _order(fact: ConditionFact) -> int:
    known = fact.recorded or fact.onset
    return known[0] if known else 0


def _distinct(codings: Iterator[Coding]) -> tuple[Coding, ...]:
    return tuple({coding.key: coding for coding in codings}.values())


def _treatments(visit: _Visit) -> Iterator[Treatment]:
    for _, fact, drug in visit.drugs:
        time = fact.time[0] if fact.time else None
        for dose in fact.doses or (Dose(),):
            yield Treatment(
                drug, "drug", dose.route, dose.low, dose.high, dose.unit if dose.low is not None else "", dose.basis,
                dose.frequency, dose.as_needed, time, dose.days,
            )  # fmt: skip
    for _, fact in visit.procedures:
        yield Treatment(fact.concept, "procedure", time=fact.time[0] if fact.time else None)


def _course(visit: _Visit, person: PatientFact, main: ConditionFact) -> Course:
    """Died in the visit or within 30 days of the diagnosis; else how the main diagnosis went, if recorded."""
    died = any(encounter.died for _, encounter in visit.encounters)
    end = visit.end if visit.end is not None else visit.index
    if person.death is not None and end is not None and person.death[0] <= end + _DEATH_WINDOW:
        return Course("died", person.death[0])
    if died:
        return Course("died", visit.end)
    abated = main.abatement[0] if main.abatement else None
    status = _COURSES.get(main.clinical, "resolved" if abated is not None else "unknown")
    return Course(status, abated)  # pyright: ignore[reportArgumentType]
