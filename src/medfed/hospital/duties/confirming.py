"""Confirming the survivors: fetch every blob, ask the vault, sign once, and put the seeds in escrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from medfed.blobs import BlobStore
from medfed.crypto import hkdf_sha256
from medfed.crypto.escrow import Holder, make_escrow
from medfed.encoding import encode
from medfed.errors import Tampered, Unavailable
from medfed.federation.plan import Plan
from medfed.hospital.aggregation import manifest_of, plan_of
from medfed.hospital.duties.updating import attempt_seed
from medfed.hospital.noisy_update import may_sign_noisy, sign_noisy
from medfed.hospital.progress import (
    AttemptRecord,
    ChosenVector,
    OwnAttempt,
    PairSecretStore,
    Release,
    study_key,
)
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.membership import is_active
from medfed.ledger.contracts.offices import is_masked
from medfed.ledger.contracts.reveals import PairSeed, Seeds, escrow_context
from medfed.ledger.contracts.rounds import Round, dropped_of, escrow_threshold, holders_of, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.contracts.survivors import ConfirmSurvivors, RefuseSurvivors, ReportMissing
from medfed.ledger.contracts.updates import Submission, submission, survivors_digest
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = [
    "ConfirmProposedSurvivors",
    "Proposal",
    "has_to_confirm",
    "may_release",
    "own_seeds",
    "proposal_to_sign",
    "share_key",
    "sign_survivors",
    "verify_survivors",
]

_REPORT_AFTER: Final = 0.5
"""The part of the confirm phase after which a blob that cannot be had is reported."""


A = TypeVar("A", bound=OwnAttempt)


class Proposal(NamedTuple, Generic[A]):
    """Survivors that wait for this hospital's signature."""

    study: Study
    current: Round
    known: A


class ConfirmProposedSurvivors:
    """Confirm, report a missing blob, or refuse what the vault forbids."""

    name: ClassVar[str] = "confirm-survivors"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to survivors that have not confirmed."""
        if not is_masked(study) or current is None or not has_to_confirm(study, current, me):
            return ()
        reported = any(reporter == me.name for reporter, _ in current.reports)
        return (Work(self.name, study.study, current.number, current.attempt, "reported" if reported else ""),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The signed survivors are in the vault in the same commit as the transaction that says so."""
        found = proposal_to_sign(site, view, work, AttemptRecord)
        if found is None:
            return ()
        study, current, known = found
        verify_survivors(view, study, current)
        plan = plan_of(view, study.study)
        missing = _missing(site.blobs, view, study, current, plan)
        if missing:
            return self._report(site, study, current, missing, reported=work.detail == "reported")
        if not may_sign_noisy(site, plan, study, current):
            return (RefuseSurvivors(study.study, current.number, current.attempt, "budget-spent"),)
        refusal = sign_survivors(site, view, found)
        if refusal is not None:
            return (refusal,)
        sign_noisy(site, plan, study, current)
        return (self._confirmation(site, view, study, current, known),)

    def _report(
        self, site: Site, study: Study, current: Round, missing: list[Name], *, reported: bool
    ) -> Sequence[Body]:
        lasts = study.terms.deadlines.confirm
        if reported or site.clock() < current.deadline_ms - int(lasts * _REPORT_AFTER):
            raise Unavailable(f"round {current.number}: waiting for the updates of {', '.join(missing)}")
        return (ReportMissing(study.study, current.number, current.attempt, tuple(missing)),)

    def _confirmation(
        self, site: Site, view: StateView, study: Study, current: Round, known: AttemptRecord
    ) -> ConfirmSurvivors:
        secrets = _need_secrets(site, study)
        contents = encode(own_seeds(site, view, study, current, known))
        context = escrow_context(view.chain, study.study, current.number, current.attempt, site.name)
        holders = tuple(
            Holder(name, study.roster.index(name) + 1, share_key(secrets, site.name, name, site.name, context))
            for name in holders_of(study, site.name)
        )
        escrow = make_escrow(contents, escrow_threshold(study, site.name), holders, context, site.entropy)
        digest = current.survivors_digest or b""
        return ConfirmSurvivors(study.study, current.number, current.attempt, digest, escrow.ciphertext, escrow.shares)


def share_key(secrets: PairSecretStore, owner: Name, holder: Name, me: Name, context: bytes) -> bytes:
    """The key that seals the holder's share of the owner's escrow, known to these two only."""
    other = holder if me == owner else owner
    return hkdf_sha256(secrets.secrets[other], encode(("medfed/escrow-share", context, holder)))


def own_seeds(site: Site, view: StateView, study: Study, current: Round, known: AttemptRecord) -> Seeds:
    """What this survivor owes in the reveal phase."""
    secrets = _need_secrets(site, study)
    pairs = tuple(
        PairSeed(name, attempt_seed(view, study, current, site.name, name, secrets))
        for name in dropped_of(study, current, site.name)
    )
    return Seeds(known.self_seed, pairs)


def has_to_confirm(study: Study, current: Round, me: Me) -> bool:
    """Whether the round waits for the confirmation of this survivor, in whichever mode."""
    waits = study.phase == "running" and current.phase == "confirm"
    return waits and me.name in current.survivors and me.name not in current.confirmed


def proposal_to_sign(site: Site, view: StateView, work: Work, kind: type[A]) -> Proposal[A] | None:
    """What is proposed in an attempt, with what this vault has of it, a record of `kind`.

    None where nothing is proposed, or the update was sent before this vault was restored from a copy: what belongs to
    it is lost, so it must not be counted.
    """
    study, current = study_record(view, work.study), round_record(view, work.study, work.round)
    known = site.vault.load(_attempt_key(work.study, work.round, work.attempt), kind)
    if study is None or current is None or current.survivors_digest is None or known is None:
        return None
    submitted = submission(view, study.study, current.number, current.attempt, site.name)
    return Proposal(study, current, known) if submitted is not None and submitted.blob == known.blob else None


def sign_survivors(site: Site, view: StateView, proposal: Proposal[A]) -> RefuseSurvivors | None:
    """Note in the vault that these survivors are signed, never others in the same attempt; or what to say instead.

    Raises:
        Tampered: others were signed in this attempt, or the proposal does not hold together.
    """
    study, current, known = proposal
    verify_survivors(view, study, current)
    if known.survivors is not None and known.survivors != current.survivors_digest:
        raise Tampered(f"round {current.number}: two survivor sets for attempt {current.attempt}")
    if not may_release(site, view, study, current):
        return RefuseSurvivors(study.study, current.number, current.attempt, "released-over-others")
    key = _attempt_key(study.study, current.number, current.attempt)
    site.vault.store(key, replace(known, survivors=current.survivors_digest))
    return None


def verify_survivors(view: StateView, study: Study, current: Round) -> None:
    """Check that the proposed survivors are what is to be signed.

    Raises:
        Tampered: another digest than theirs, or fewer than the quorum.
    """
    blobs = tuple((name, _submission(view, study, current, name).blob) for name in current.survivors)
    if survivors_digest(study.study, current.number, current.attempt, blobs) != current.survivors_digest:
        raise Tampered(f"round {current.number}: the survivors' digest is not that of the survivors")
    if len(current.survivors) < study.terms.quorum:
        raise Tampered(f"round {current.number}: fewer survivors than the quorum")


def _missing(blobs: BlobStore, view: StateView, study: Study, current: Round, plan: Plan) -> list[Name]:
    expected = 4 * manifest_of(view, plan, current).length
    return [
        name for name in current.survivors if not _is_good(blobs, _submission(view, study, current, name), expected)
    ]


def _is_good(blobs: BlobStore, submitted: Submission, expected: int) -> bool:
    if submitted.length != expected:
        return False
    try:
        return blobs.size(submitted.blob) == expected and len(blobs.get(submitted.blob)) == expected
    except (Unavailable, Tampered):
        return False


def may_release(site: Site, view: StateView, study: Study, current: Round) -> bool:
    """Whether nothing that this round releases was released over other survivors.

    Those who were removed from the consortium, left it or were expelled from the study may be missing: that gives up
    their own vector, and is what removing them means.
    """
    chosen = site.vault.load(study_key(study.study, "vector"), ChosenVector)
    if chosen is None or chosen.round != current.number:
        return False
    for key in chosen.releases:
        earlier = site.vault.load(key, Release)
        if earlier is None or earlier.survivors == current.survivors:
            continue
        gone = {name for name in earlier.survivors if name in study.expelled or not is_active(view, name)}
        if set(earlier.survivors) - gone != set(current.survivors):
            return False
    return True


def _submission(view: StateView, study: Study, current: Round, name: Name) -> Submission:
    found = submission(view, study.study, current.number, current.attempt, name)
    if found is None:
        raise Tampered(f"round {current.number}: survivor {name} has not submitted")
    return found


def _attempt_key(study: StudyId, number: int, attempt: int) -> str:
    return study_key(study, "attempt", number, attempt)


def _need_secrets(site: Site, study: Study) -> PairSecretStore:
    found = site.vault.load(study_key(study.study, "pairs"), PairSecretStore)
    if found is None:
        raise Unavailable(f"study {study.study.hex()}: the vault has no pair secrets")
    return found
