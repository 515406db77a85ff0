"""Everything that a report says, gathered from a finished study before a word is written.

A report must never hold a figure that is not in here, and nothing in here is about one patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medfed.encoding import Record
from medfed.federation.baselines import Comparison
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import BinaryTarget, Plan, SurvivalTarget
from medfed.federation.prepared import PreparedData
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.studies import Study
from medfed.simulation.report.ledger_facts import LedgerFacts

__all__ = ["CurvePoint", "Estimate", "Extras", "Gain", "HospitalFacts", "ReportFacts", "Story", "hospital_facts"]


class Estimate(Record):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Gain(Record):
    """One hospital's own model against the federated one, on the same resampled patients."""

    hospital: Name
    patients: str
    """`own` or `others`."""
    metric: str
    own: Estimate
    federated: Estimate
    difference: Estimate
    """Federated less own."""


class CurvePoint(Record):
    """The same comparison where one hospital has only `kept` training patients."""

    kept: int
    metric: str
    own: Estimate
    federated: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Story:
    """A paragraph that a demonstration adds, with a heading."""

    heading: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Extras:
    """What only some callers know."""

    gains: Sequence[Gain] = ()
    gains_method: str = ""
    curve: Sequence[CurvePoint] = ()
    curve_hospital: Name = ""
    curve_method: str = ""
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds by part of the work."""
    commands: Sequence[str] = ()
    """How to verify this very study."""
    stories: Sequence[Story] = ()
    source: str = ""
    """Where the data are from."""


@dataclass(frozen=True)
class HospitalFacts:
    """One hospital's patients, as counts."""

    name: Name
    rows: int
    train: int
    validation: int
    test: int
    positive: int | None
    """Ill, or with an event; None where the target is neither."""


@dataclass(frozen=True)
class ReportFacts:
    """All of it."""

    plan: Plan
    study: Study
    state: LearningState
    model: Digest
    ledger: LedgerFacts
    comparison: Sequence[Comparison]
    hospitals: Sequence[HospitalFacts]
    seconds: float
    extras: Extras = Extras()


def hospital_facts(plan: Plan, prepared: Mapping[Name, PreparedData]) -> list[HospitalFacts]:
    """The hospitals in order of name."""
    has_positive = isinstance(plan.data.target, (BinaryTarget, SurvivalTarget))
    return [
        HospitalFacts(
            name=name,
            rows=data.report.usable,
            train=data.report.splits["train"],
            validation=data.report.splits["validation"],
            test=data.report.splits["test"],
            positive=data.report.targets[0] if has_positive else None,
        )
        for name, data in sorted(prepared.items())
    ]
