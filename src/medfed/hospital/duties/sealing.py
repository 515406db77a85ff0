"""What a hospital does in a study whose updates are sealed to an aggregator: seal and submit, confirm, and dispute.

Order of effects: the vector is in the vault before anything is made of it (`choosing`); then the attempt's salt, from
which the blob follows byte by byte; then the blob is stored and its digest noted, and only then goes the transaction.
After a crash the same bytes come out again; a vault that has forgotten the salt draws another, and so another key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from msgspec.structs import replace

from medfed.crypto import SealingKey
from medfed.errors import Tampered, Unavailable
from medfed.hospital.duties.choosing import choose_update, is_update_due
from medfed.hospital.duties.confirming import has_to_confirm, proposal_to_sign, sign_survivors
from medfed.hospital.duties.joining import PrivateStudyKey
from medfed.hospital.progress import AggregateDoubt, OwnAttempt, study_key
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.ledger.contracts.aggregates import ConfirmSealed, DisputeAggregate, disputes, session_keys
from medfed.ledger.contracts.offices import is_sealed
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body
from medfed.secure_sum.sealed import Slot, open_session_key, seal_update, sealed_length, update_commitment

__all__ = ["ConfirmSealedSurvivors", "DisputeWrongAggregate", "SubmitSealedUpdate"]


class SealedAttempt(OwnAttempt):
    """What was drawn for a sealed update."""

    salt: bytes


class SubmitSealedUpdate:
    """Submit in every attempt whose roster one is on, also late."""

    name: ClassVar[str] = "submit-sealed-update"
    is_atomic: ClassVar[bool] = False

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due while the attempt awaits updates, and to the tardy while it is being confirmed."""
        if not is_sealed(study) or current is None or not is_update_due(study, current, me):
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Waits (`Unavailable`) while the rounds before cannot be followed.

        Raises:
            InvalidInput: the aggregator has sealed something else than a session key to this hospital.
        """
        study, current = study_record(view, work.study), round_record(view, work.study, work.round)
        if study is None or current is None:
            return ()
        key = _session_key(site, view, study)
        chosen = choose_update(site, view, study, current)
        if chosen is None:
            return ()
        place = study_key(study.study, "attempt", current.number, current.attempt)
        known = site.vault.load(place, SealedAttempt)
        if known is None:
            known = SealedAttempt(site.entropy(32))
            site.vault.store(place, known)
        slot = Slot(view.chain, study.study, site.name, current.number, current.attempt)
        blob = site.blobs.put_parts(seal_update(key, slot, known.salt, chosen.vector))
        if known.blob is None:
            site.vault.store(place, replace(known, blob=blob))
        elif known.blob != blob:
            raise Tampered(f"round {current.number}: the vault gives another update than the one it has promised")
        return (
            SubmitUpdate(
                study=study.study,
                round=current.number,
                attempt=current.attempt,
                base=chosen.base,
                accepts=chosen.accepts,
                blob=blob,
                length=sealed_length(len(chosen.vector)),
                seed_commitment=update_commitment(key, slot, known.salt),
            ),
        )


class ConfirmSealedSurvivors:
    """Sign the proposed survivors, if nothing that the aggregate tells was released over others."""

    name: ClassVar[str] = "confirm-sealed"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to survivors that have not confirmed."""
        if not is_sealed(study) or current is None or not has_to_confirm(study, current, me):
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The signed survivors are in the vault in the same commit as the transaction that says so."""
        found = proposal_to_sign(site, view, work, SealedAttempt)
        if found is None:
            return ()
        refusal = sign_survivors(site, view, found)
        if refusal is not None:
            return (refusal,)
        current = found.current
        return (ConfirmSealed(work.study, current.number, current.attempt, current.survivors_digest or b""),)


class DisputeWrongAggregate:
    """Say that the last aggregate cannot be right, where this hospital's own numbers show it (`aggregate_check`)."""

    name: ClassVar[str] = "dispute-aggregate"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Asked for while the outcome of the last round can still be disputed."""
        if not is_sealed(study) or study.phase not in ("running", "agreeing") or me.name not in study.base_voters:
            return ()
        if any(verdict.hospital == me.name for verdict in disputes(view, study.study, study.base_round)):
            return ()
        return (Work(self.name, study.study, study.base_round),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing where nothing is wrong, or the round is not followed yet."""
        doubt = site.vault.load(study_key(work.study, "doubt"), AggregateDoubt)
        if doubt is None or doubt.round != work.round:
            return ()
        return (DisputeAggregate(work.study, work.round, doubt.code),)


def _session_key(site: Site, view: StateView, study: Study) -> bytes:
    issued = session_keys(view, study.study)
    private = site.vault.load(study_key(study.study, "private"), PrivateStudyKey)
    if issued is None or private is None:
        raise Unavailable(f"study {study.study.hex()}: no session key for {site.name}")
    sealed = next((entry.sealed for entry in issued.keys if entry.receiver == site.name), b"")
    own = SealingKey.from_bytes(private.sealing_seed)
    return open_session_key(own, sealed, issued.aggregator, site.name, view.chain, study.study)
