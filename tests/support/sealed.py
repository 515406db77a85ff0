"""Studies whose updates are sealed to an aggregator: driven by hand for the contracts, and plans for real agents."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from tests.support.ledger import FOUR, StudyWorld, World, make_terms
from tests.support.study import small_plan

from medfed.encoding import encode
from medfed.federation.plan import Plan, Protection
from medfed.federation.robust import RobustStrategy
from medfed.identifiers import Code, Name, sha256
from medfed.ledger.contracts.aggregates import (
    ConfirmSealed,
    DisputeAggregate,
    IssueSessionKeys,
    PublishAggregate,
    ReportUpdates,
    Verdict,
)
from medfed.ledger.contracts.offices import Offices, VoteOnSuccessor, need_offices
from medfed.ledger.contracts.studies import SealedSecret
from medfed.ledger.contracts.terms import SealedTerms, Terms

AGGREGATOR: Name = "server"


def sealed_terms(
    names: tuple[Name, ...] = FOUR, aggregator: Name = AGGREGATOR, most_left_out: int = 0, **others: object
) -> Terms:
    """Terms with an aggregator that opens every update."""
    return replace(make_terms(names, **others), sealed=SealedTerms(aggregator, most_left_out))  # type: ignore[arg-type]


def sealed_plan(aggregation: RobustStrategy | None = None, aggregator: Name = AGGREGATOR, **others: Any) -> Plan:
    """`small_plan`, sealed."""
    protection = Protection("sealed", aggregators=(aggregator,))
    if aggregation is not None:
        protection = replace(protection, aggregation=aggregation)
    return replace(small_plan(**others), protection=protection)


class SealedStudyWorld(StudyWorld):
    """One sealed study, driven by hand."""

    def __init__(self, world: World, terms: Terms | None = None) -> None:
        super().__init__(world, terms or sealed_terms())

    @property
    def offices(self) -> Offices:
        return need_offices(self.world.view, self.record)

    @property
    def aggregator(self) -> Name:
        return self.offices.key_holder

    def keys(self, mark: bytes = b"first") -> IssueSessionKeys:
        return IssueSessionKeys(self.study, tuple(SealedSecret(name, mark) for name in self.record.roster))

    def to_running(self, *complaints: tuple[Name, Name]) -> SealedStudyWorld:
        self.to_sealing()
        self.world.accept(self.aggregator, self.keys())
        return self

    def sealed_confirmation(self) -> ConfirmSealed:
        now = self.round
        return ConfirmSealed(self.study, now.number, now.attempt, now.survivors_digest or bytes(32))

    def confirm_all(self, *, without: tuple[Name, ...] = ()) -> SealedStudyWorld:  # type: ignore[override]
        for name in self.round.survivors:
            if name not in set(without):
                self.world.accept(name, self.sealed_confirmation())
        return self

    def publication(
        self, left_out: tuple[tuple[Name, Code], ...] = (), shortened: tuple[Name, ...] = ()
    ) -> PublishAggregate:
        now = self.round
        total = sha256(encode(("total", now.number)))
        verdicts = tuple(Verdict(name, code) for name, code in left_out)
        digest = now.survivors_digest or bytes(32)
        return PublishAggregate(self.study, now.number, now.attempt, digest, total, 400, verdicts, shortened)

    def bad(self, *who: Name, code: Code = "does-not-open") -> ReportUpdates:
        now = self.round
        return ReportUpdates(self.study, now.number, now.attempt, tuple(Verdict(name, code) for name in who))

    def dispute(self, number: int | None = None) -> DisputeAggregate:
        return DisputeAggregate(self.study, self.record.base_round if number is None else number, "count-without-mine")

    def successor(self, leaves: Name, name: Name) -> VoteOnSuccessor:
        return VoteOnSuccessor(self.study, leaves, name)

    def run_round(self, *, without: tuple[Name, ...] = ()) -> SealedStudyWorld:  # type: ignore[override]
        self.update_all(without=without)
        self.confirm_all()
        self.world.accept(self.aggregator, self.publication())
        return self
