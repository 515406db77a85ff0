"""Training (or counting), masking and submitting an update.

Order of effects: the vector x is in the vault before anything is made of it, then the attempt's self seed and the
digest of the masked blob, then the blob is stored, and only then goes the transaction that names it. After a crash the
same bytes come out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medfed.errors import Tampered, Unavailable
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan
from medfed.federation.strategies import Memory
from medfed.federation.study import contribution, local_rng
from medfed.hospital.aggregation import manifest_of, plan_of, weight_of
from medfed.hospital.progress import (
    AttemptRecord,
    ChosenVector,
    PairSecretStore,
    Progress,
    Release,
    load_local_memory,
    load_progress,
    release_keys,
    study_key,
    vector_key,
)
from medfed.hospital.site import Site
from medfed.hospital.voting import votes_contribution
from medfed.hospital.work import Me, Work
from medfed.identifiers import Name, sha256
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, has_edge, study_record
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body
from medfed.secure_sum import decode_update, encode_update, encode_vector, mask_sign, mask_update, pair_seed

__all__ = ["SubmitMaskedUpdate", "attempt_seed"]


class SubmitMaskedUpdate:
    """Submit in every attempt whose roster one is on, also late."""

    name: ClassVar[str] = "submit-update"
    is_atomic: ClassVar[bool] = False

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due while the attempt awaits updates, and to the tardy while it is being confirmed."""
        if current is None or study.phase != "running" or me.name not in current.roster:
            return ()
        if current.phase not in ("update", "confirm") or me.name in current.submitted or me.name in current.tardy:
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Waits (`Unavailable`) while the rounds before cannot be followed."""
        study, current = study_record(view, work.study), round_record(view, work.study, work.round)
        secrets = site.vault.load(study_key(work.study, "pairs"), PairSecretStore)
        if study is None or current is None or secrets is None:
            return ()
        plan = plan_of(view, study.study)
        progress = load_progress(site, study.study, plan)
        if progress.absorbed != current.number or secrets.round != current.number:
            raise Unavailable(f"round {current.number}: the rounds before it are not followed yet")
        state = site.state_of(study.study, progress)
        if study.base is not None and study.base != state.digest:
            raise Unavailable(f"round {current.number}: the agreed base is not the one computed here")
        if progress.stop and study.base is None:
            return ()  # asked to stop by `Attest` instead; see `attesting`
        _check_wanted(site, plan, current, state)
        vector = self._chosen(site, view, study, current, state)
        return (self._masked(site, view, study, current, progress, state, vector, secrets),)

    def _chosen(
        self, site: Site, view: StateView, study: Study, current: Round, state: LearningState
    ) -> NDArray[np.uint32]:
        """The round's one vector: from the vault, or computed now and in the vault before it is used."""
        found = site.vault.load(study_key(study.study, "vector"), ChosenVector)
        if found is not None and found.round == current.number:
            return _stored_vector(site, study)
        plan = plan_of(view, study.study)
        values, after = _values(site, view, study, plan, current, state)
        weight = weight_of(view, study, site.name)
        x, _ = encode_vector(manifest_of(view, plan, current), values, weight, len(study.roster))
        releases = release_keys(site, plan, current.kind, state)
        with site.vault.transaction(f"vector {current.number}"):
            site.vault.store(study_key(study.study, "vector"), ChosenVector(current.number, after.save(), releases))
            site.vault.put(vector_key(study.study), encode_update(x))
        return x

    def _masked(
        self,
        site: Site,
        view: StateView,
        study: Study,
        current: Round,
        progress: Progress,
        state: LearningState,
        vector: NDArray[np.uint32],
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
        data = encode_update(mask_update(vector, self_seed, seeds, in_place=vector.flags.writeable))
        blob = sha256(data)
        if known is None:
            site.vault.store(key, AttemptRecord(self_seed, blob))
        elif known.blob != blob:
            raise Tampered(f"round {current.number}: the vault gives another update than the one it has promised")
        site.blobs.put(data)
        return SubmitUpdate(
            study=study.study,
            round=current.number,
            attempt=current.attempt,
            base=state.digest,
            accepts=progress.accepted,
            blob=blob,
            length=len(data),
            seed_commitment=sha256(self_seed),
        )


def _values(
    site: Site, view: StateView, study: Study, plan: Plan, current: Round, state: LearningState
) -> tuple[dict[str, NDArray[Any]], Memory]:
    """What this hospital contributes, by entry, and its next local memory."""
    memory = load_local_memory(site, study.study, plan)
    if current.kind == "votes":
        return votes_contribution(site, view, plan, state, current), memory
    rng = local_rng(plan, current.number, site.name)
    return contribution(plan, state, current.kind, site.prepared(plan), rng, memory)


def _stored_vector(site: Site, study: Study) -> NDArray[np.uint32]:
    data = site.vault.get(vector_key(study.study))
    if data is None:
        raise Tampered(f"study {study.study.hex()}: the vault names a chosen vector that it does not have")
    return decode_update(data)


def _check_wanted(site: Site, plan: Plan, current: Round, state: LearningState) -> None:
    """Sit out where the others have released this over survivors without this site.

    They may release it over the same survivors only, so that an update from here would make them refuse, each time.

    Raises:
        Unavailable: this round can do without this site's update.
    """
    for key in release_keys(site, plan, current.kind, state):
        earlier = site.vault.load(key, Release)
        if earlier is not None and site.name not in earlier.survivors:
            raise Unavailable(f"round {current.number}: the same was released over others; {site.name} sits out")


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
