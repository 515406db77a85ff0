"""What the aggregator does in a study whose updates are sealed to it: issue session keys, open, check, aggregate.

It sees every hospital's update, in memory only: nothing of a single one is stored or logged. What it publishes follows
from the blobs and the session keys alone, so that after a crash, or asked by an auditor, it comes to the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.federation.plan import Plan
from medfed.federation.robust import RobustStrategy
from medfed.federation.sealed_aggregate import SealedAggregate, aggregate_vectors, update_problem
from medfed.hospital.aggregation import manifest_of, plan_of, weight_of
from medfed.hospital.duties.adding import may_still_come
from medfed.hospital.duties.confirming import verify_survivors
from medfed.hospital.progress import study_key
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Name
from medfed.ledger.contracts.aggregates import IssueSessionKeys, PublishAggregate, ReportUpdates, Verdict
from medfed.ledger.contracts.offices import is_sealed, offices
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import SealedSecret, Study, enrolment, study_record
from medfed.ledger.contracts.updates import submission
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body
from medfed.secure_sum import encode_update
from medfed.secure_sum.sealed import Slot, issue_session_key, open_update, sealed_length

__all__ = ["AggregateUpdates", "IssueKeys", "SessionKeyStore", "opened_aggregate"]


class SessionKeyStore(Record):
    """The session keys that the aggregator has issued, by hospital."""

    keys: dict[Name, bytes]


class IssueKeys:
    """Draw a session key for every hospital; they are in the vault in the same commit as the transaction."""

    name: ClassVar[str] = "issue-session-keys"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to the aggregator while the study awaits its keys."""
        found = offices(view, study)
        if found is None or not is_sealed(study) or study.phase != "awaiting-key" or me.name not in found.aggregators:
            return ()
        return (Work(self.name, study.study, study.next_round, detail=f"{len(found.earlier_keys)}"),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """A hospital whose study key is none gets a key that it cannot open, and stays silent."""
        study = study_record(view, work.study)
        if study is None:
            return ()
        drawn: dict[Name, bytes] = {}
        sealed: list[SealedSecret] = []
        for name in study.roster:
            entry = enrolment(view, study.study, name)
            if entry is None:
                raise Unavailable(f"study {study.study.hex()}: the enrolment of {name} is missing")
            try:
                drawn[name], text = issue_session_key(
                    site.name, name, entry.study_key, view.chain, study.study, site.entropy
                )
            except InvalidInput:
                drawn[name], text = site.entropy(32), b"\0"
            sealed.append(SealedSecret(name, text))
        site.vault.store(_keys_place(study), SessionKeyStore(drawn))
        return (IssueSessionKeys(study.study, tuple(sealed)),)


class AggregateUpdates:
    """Open what all survivors have confirmed, check each, and publish what the plan's strategy makes of them."""

    name: ClassVar[str] = "aggregate-updates"
    is_atomic: ClassVar[bool] = False

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to the aggregator once all survivors have confirmed."""
        found = offices(view, study)
        if found is None or not is_sealed(study) or me.name not in found.aggregators or study.phase != "running":
            return ()
        if current is None or current.phase != "sum":
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Waits (`Unavailable`) for blobs that are not here, until half of the phase is over.

        Nothing if the vault has lost the session keys: then the study pauses, and a successor is voted in.
        """
        study, current = study_record(view, work.study), round_record(view, work.study, work.round)
        if study is None or current is None or current.survivors_digest is None:
            return ()
        verify_survivors(view, study, current)
        if current.confirmed != current.survivors:
            raise Tampered(f"round {current.number}: aggregating over survivors that not all have confirmed")
        keys = site.vault.load(_keys_place(study), SessionKeyStore)
        if keys is None:
            return ()
        place = (study.study, current.number, current.attempt)
        found = opened_aggregate(site, view, study, current, keys)
        if not isinstance(found, SealedAggregate):
            return (ReportUpdates(*place, found),)
        data = encode_update(found.total)
        digest = site.blobs.put(data)
        names = current.survivors
        left_out = tuple(Verdict(names[row], code) for row, code in found.left_out)
        shortened = tuple(names[row] for row in found.shortened)
        return (PublishAggregate(*place, current.survivors_digest, digest, len(data), left_out, shortened),)


def opened_aggregate(
    site: Site, view: StateView, study: Study, current: Round, keys: SessionKeyStore
) -> SealedAggregate | tuple[Verdict, ...]:
    """What follows from the survivors' blobs and the session keys: the aggregate, or whose updates are bad and why.

    Raises:
        Unavailable: a blob is not here, and may still come.
    """
    plan = plan_of(view, study.study)
    vectors: list[NDArray[np.uint32]] = []
    bad: list[Verdict] = []
    missing: list[Name] = []
    for name in current.survivors:
        try:
            vectors.append(_opened(site, view, study, plan, current, name, keys))
        except _Bad as found:
            bad.append(Verdict(name, found.code))
        except (Unavailable, Tampered):  # this copy; another may be had
            missing.append(name)
            bad.append(Verdict(name, "not-available"))
    if missing and may_still_come(site, study, current):
        raise Unavailable(f"round {current.number}: waiting for the updates of {', '.join(missing)}")
    if bad:
        return tuple(bad)
    weights = [weight_of(view, study, name) for name in current.survivors]
    return aggregate_vectors(manifest_of(view, plan, current), strategy_of(plan), vectors, weights, len(study.roster))


def strategy_of(plan: Plan) -> RobustStrategy:
    """How the plan's aggregator makes one update of many."""
    chosen: Any = plan.protection.aggregation
    return RobustStrategy() if chosen is UNSET else chosen


class _Bad(Exception):
    """An update that does not count."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _opened(
    site: Site, view: StateView, study: Study, plan: Plan, current: Round, name: Name, keys: SessionKeyStore
) -> NDArray[np.uint32]:
    submitted = submission(view, study.study, current.number, current.attempt, name)
    manifest = manifest_of(view, plan, current)
    if submitted is None or submitted.length != sealed_length(manifest.length):
        raise _Bad("wrong-length")
    slot = Slot(view.chain, study.study, name, current.number, current.attempt)
    if site.blobs.size(submitted.blob) != submitted.length:
        raise _Bad("wrong-length")
    try:
        with site.blobs.open_stream(submitted.blob) as stream:
            vector = open_update(keys.keys[name], slot, stream, submitted.seed_commitment, manifest.length)
    except InvalidInput:
        raise _Bad("does-not-open") from None
    entry = enrolment(view, study.study, name)
    examples = entry.examples if entry is not None else 0
    problem = update_problem(manifest, vector, weight_of(view, study, name), len(study.roster), examples)
    if problem:
        raise _Bad(problem)
    return vector


def _keys_place(study: Study) -> str:
    return study_key(study.study, "session-keys")
