"""Revealing one's seeds once all have confirmed, and one's shares where another does not reveal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from medfed.crypto.escrow import open_share
from medfed.errors import InvalidInput, Tampered
from medfed.hospital.duties.confirming import own_seeds, share_key
from medfed.hospital.progress import AttemptRecord, ChosenVector, PairSecretStore, Release, study_key
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.ledger.contracts.reveals import (
    OpenedShare,
    RevealSeeds,
    RevealShares,
    escrow_context,
    posted_shares,
)
from medfed.ledger.contracts.rounds import Round, holders_of, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.contracts.survivors import confirmation
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["RevealOwedShares", "RevealOwnSeeds"]


class RevealOwnSeeds:
    """Check that everybody signed the same survivors, note the release, and reveal."""

    name: ClassVar[str] = "reveal-seeds"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to survivors, also past the deadline."""
        if current is None or study.phase != "running" or current.phase != "reveal":
            return ()
        if me.name not in current.survivors or me.name in current.revealed:
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing if the vault has not signed these survivors (it was restored from a copy)."""
        study, current = study_record(view, work.study), round_record(view, work.study, work.round)
        known = site.vault.load(study_key(work.study, "attempt", work.round, work.attempt), AttemptRecord)
        chosen = site.vault.load(study_key(work.study, "vector"), ChosenVector)
        if study is None or current is None or known is None or chosen is None or known.survivors is None:
            return ()
        if known.survivors != current.survivors_digest or current.confirmed != current.survivors:
            raise Tampered(f"round {current.number}: revealing over survivors that not all have signed")
        for key in chosen.releases:
            site.vault.store(key, Release(current.survivors))
        mine = own_seeds(site, view, study, current, known)
        return (RevealSeeds(study.study, current.number, current.attempt, mine.self_seed, mine.pair_seeds),)


class RevealOwedShares:
    """Post the shares of those who have not revealed in time; owed by the whole study roster."""

    name: ClassVar[str] = "reveal-shares"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due past the reveal deadline, one work an owner."""
        if current is None or study.phase != "running" or current.phase != "reveal" or not current.shares_due:
            return ()
        if me.name not in study.roster:
            return ()
        return [
            Work(self.name, study.study, current.number, current.attempt, owner)
            for owner in current.survivors
            if owner != me.name
            and owner not in current.revealed
            and me.name in holders_of(study, owner)
            and me.name not in posted_shares(view, study.study, current.number, current.attempt, owner)
        ]

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing if the share does not open or is not the one that was promised: there is nothing true to post."""
        owner = work.detail
        posted = confirmation(view, work.study, work.round, work.attempt, owner)
        secrets = site.vault.load(study_key(work.study, "pairs"), PairSecretStore)
        if posted is None or secrets is None or owner not in secrets.secrets or secrets.round != work.round:
            return ()
        context = escrow_context(view.chain, work.study, work.round, work.attempt, owner)
        share = next((entry for entry in posted.shares if entry.holder == site.name), None)
        if share is None:
            return ()
        try:
            opened = open_share(share_key(secrets, owner, site.name, site.name, context), share, context)
        except InvalidInput:
            return ()
        return (RevealShares(work.study, work.round, work.attempt, (OpenedShare(owner, opened),)),)
