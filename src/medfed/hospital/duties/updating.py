"""Masking and submitting an update.

Order of effects: the vector x is in the vault before anything is made of it (`choosing`), then the attempt's self seed
and the digest of the masked blob, then the blob is stored, and only then goes the transaction that names it. After a
crash the same bytes come out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from medfed.errors import Tampered, Unavailable
from medfed.hospital.duties.choosing import ChosenUpdate, choose_update, is_update_due
from medfed.hospital.progress import AttemptRecord, PairSecretStore, study_key
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Name, sha256
from medfed.ledger.contracts.offices import is_masked
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, has_edge, study_record
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body
from medfed.secure_sum import encode_update, mask_sign, mask_update, pair_seed

__all__ = ["SubmitMaskedUpdate", "attempt_seed"]


class SubmitMaskedUpdate:
    """Submit in every attempt whose roster one is on, also late."""

    name: ClassVar[str] = "submit-update"
    is_atomic: ClassVar[bool] = False

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due while the attempt awaits updates, and to the tardy while it is being confirmed."""
        if not is_masked(study) or current is None or not is_update_due(study, current, me):
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Waits (`Unavailable`) while the rounds before cannot be followed."""
        study, current = study_record(view, work.study), round_record(view, work.study, work.round)
        secrets = site.vault.load(study_key(work.study, "pairs"), PairSecretStore)
        if study is None or current is None or secrets is None:
            return ()
        if secrets.round != current.number:
            raise Unavailable(f"round {current.number}: the rounds before it are not followed yet")
        chosen = choose_update(site, view, study, current)
        return () if chosen is None else (self._masked(site, view, study, current, chosen, secrets),)

    def _masked(
        self,
        site: Site,
        view: StateView,
        study: Study,
        current: Round,
        chosen: ChosenUpdate,
        secrets: PairSecretStore,
    ) -> SubmitUpdate:
        key = study_key(study.study, "attempt", current.number, current.attempt)
        known = site.vault.load(key, AttemptRecord)
        self_seed = known.self_seed if known is not None else site.entropy(32)
        seeds = [
            (attempt_seed(view, study, current, site.name, other, secrets), mask_sign(site.name, other))
            for other in current.roster
            if other != site.name and has_edge(study, site.name, other)
        ]
        vector = chosen.vector
        data = encode_update(mask_update(vector, self_seed, seeds, in_place=vector.flags.writeable))
        blob = sha256(data)
        if known is None:
            site.vault.store(key, AttemptRecord(self_seed, blob=blob))
        elif known.blob != blob:
            raise Tampered(f"round {current.number}: the vault gives another update than the one it has promised")
        site.blobs.put(data)
        return SubmitUpdate(
            study=study.study,
            round=current.number,
            attempt=current.attempt,
            base=chosen.base,
            accepts=chosen.accepts,
            blob=blob,
            length=len(data),
            seed_commitment=sha256(self_seed),
        )


def attempt_seed(
    view: StateView, study: Study, current: Round, me: Name, other: Name, secrets: PairSecretStore
) -> bytes:
    """The pair seed that two hospitals use in one attempt.

    Raises:
        Unavailable: the vault has no secret with `other`.
    """
    secret = secrets.secrets.get(other)
    if secret is None:
        raise Unavailable(f"study {study.study.hex()}: the vault has no pair secret with {other}")
    return pair_seed(
        secret,
        chain=view.chain,
        study=study.study,
        round=current.number,
        kind=current.kind,
        attempt=current.attempt,
        lower=min(me, other),
        higher=max(me, other),
    )
