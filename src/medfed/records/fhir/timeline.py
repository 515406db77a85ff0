"""What is known of a patient at a moment: findings so far, the latest of each measurement, drugs taken, allergies.

Only what was certainly known before that moment counts: where a date is a whole year, its last second decides. This is
where V1 is kept free of what came later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from medfed.records.case import Feature
from medfed.records.coding import Coding, ConceptKey
from medfed.records.fhir.facts import AllergyFact, ConditionFact, Measured, ObservationFact, Span

__all__ = ["Drug", "Timeline"]

_DAY: Final = 86_400


@dataclass(frozen=True)
class Drug:
    """A drug taken at a time, from the resource of that key."""

    key: str
    concept: Coding
    time: Span | None


@dataclass
class Timeline:
    """One patient's facts by key. `advance` has to be called with growing moments."""

    lookback: int
    """Seconds before the moment that measurements and drugs may lie back."""
    conditions: list[tuple[str, ConditionFact]] = field(default_factory=list[tuple[str, ConditionFact]])
    allergies: list[tuple[str, AllergyFact]] = field(default_factory=list[tuple[str, AllergyFact]])
    drugs: list[Drug] = field(default_factory=list[Drug])
    observations: list[tuple[str, ObservationFact]] = field(default_factory=list[tuple[str, ObservationFact]])
    _latest: dict[ConceptKey, tuple[int, str, Measured]] = field(
        default_factory=dict[ConceptKey, tuple[int, str, Measured]]
    )
    _next: int = 0

    def sort(self) -> None:
        """Put the observations into the order in which they became known."""
        self.observations = sorted(
            ((key, fact) for key, fact in self.observations if fact.taken is not None), key=lambda item: _known(item[1])
        )

    def advance(self, moment: int) -> None:
        """Take in every observation known by `moment`."""
        while self._next < len(self.observations) and _known(self.observations[self._next][1]) <= moment:
            key, fact = self.observations[self._next]
            assert fact.taken is not None
            for result in fact.results:
                held = self._latest.get(result.concept.key)
                if held is None or fact.taken[0] >= held[0]:
                    self._latest[result.concept.key] = (fact.taken[0], key, result)
            self._next += 1

    def features(self, moment: int, start: int, leave_out: set[str]) -> Iterator[tuple[str, Feature]]:
        """Every feature known at `moment` with the key of its resource, but for the resources in `leave_out`.

        `start` is when the visit began: findings of the visit itself are its outcome, unless they are refuted.
        """
        for taken, key, result in self._latest.values():
            if moment - taken <= self.lookback:
                yield key, _measured(result, taken)
        for key, fact in self.conditions:
            if key not in leave_out and (feature := _condition(fact, moment, start)) is not None:
                yield key, feature
        for key, fact in self.allergies:
            if fact.recorded is None or fact.recorded[1] <= moment:
                onset = None if fact.recorded is None else fact.recorded[0]
                yield key, Feature(fact.concept, "allergy", fact.status, severity=fact.severity, time=onset)
        taken_drugs: set[ConceptKey] = set()
        for drug in self.drugs:
            if drug.key in leave_out or drug.time is None or drug.concept.key in taken_drugs:
                continue
            if drug.time[1] < start and moment - drug.time[0] <= self.lookback:
                taken_drugs.add(drug.concept.key)
                yield drug.key, Feature(drug.concept, "medication", time=drug.time[0])


def _known(fact: ObservationFact) -> int:
    """The last second at which it can have become known: when taken or, if that is later, when issued."""
    taken = fact.taken[1] if fact.taken else 0
    return max(taken, fact.known[1] if fact.known else taken)


def _measured(result: Measured, taken: int) -> Feature:
    kind = "measurement" if result.value is not None or result.status == "not-assessed" else "finding"
    return Feature(
        result.concept, kind, result.status, result.value, result.unit, comparator=result.comparator, time=taken
    )


def _condition(fact: ConditionFact, moment: int, start: int) -> Feature | None:
    """A condition as a feature, if it was known: before the visit, or refuted by now."""
    known = fact.recorded or fact.onset
    if known is None:
        return None
    if fact.status == "refuted":
        return Feature(fact.concept, "finding", "refuted", time=known[0]) if known[1] <= moment else None
    if known[1] >= start:
        return None
    onset = fact.onset[0] if fact.onset and fact.onset[1] <= moment else None
    ended = fact.abatement is not None and fact.abatement[1] <= moment
    duration = None
    if onset is not None and fact.abatement is not None and ended:
        duration = max(0.0, (fact.abatement[0] - onset) / _DAY)
    elif onset is not None:
        duration = (moment - onset) / _DAY
    if duration is not None and duration > 60_000:
        duration = None
    return Feature(fact.concept, "history", severity=fact.severity, duration=duration, onset=onset, time=known[0])
