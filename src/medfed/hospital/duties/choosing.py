"""Training (or counting) for a round: its one vector, chosen once and in the vault before anything is made of it.

However an update is protected afterwards, and in however many attempts, it is always this vector. This module must
never choose a second one for a round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.errors import Tampered, Unavailable
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan, TrainingNoise
from medfed.federation.strategies import Memory
from medfed.hospital.aggregation import manifest_of, plan_of, weight_of
from medfed.hospital.checkpoints import checkpoint_key
from medfed.hospital.code_consent import check_code
from medfed.hospital.computing import compute_contribution
from medfed.hospital.noisy_update import noisy_vector
from medfed.hospital.progress import (
    ChosenVector,
    Release,
    load_local_memory,
    load_progress,
    release_keys,
    study_key,
    vector_key,
)
from medfed.hospital.site import Site
from medfed.hospital.voting import votes_contribution
from medfed.hospital.work import Me
from medfed.identifiers import Digest
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import Study
from medfed.ledger.engine import StateView
from medfed.secure_sum import decode_update, encode_update, encode_vector

__all__ = ["ChosenUpdate", "choose_update", "is_update_due"]


@dataclass(frozen=True)
class ChosenUpdate:
    """What is to be protected and submitted."""

    vector: NDArray[np.uint32]
    """x, uint32 [manifest length]."""
    base: Digest
    """The learning state that it started from."""
    accepts: bool
    """Whether the last aggregate was accepted."""


def is_update_due(study: Study, current: Round, me: Me) -> bool:
    """Whether the attempt awaits an update of this hospital, or would record it as tardy."""
    if study.phase != "running" or me.name not in current.roster or current.phase not in ("update", "confirm"):
        return False
    return me.name not in current.submitted and me.name not in current.tardy


def choose_update(site: Site, view: StateView, study: Study, current: Round) -> ChosenUpdate | None:
    """The round's vector, from the vault or computed now; None where this site asks to stop instead (`attesting`).

    Raises:
        Unavailable: the rounds before are not followed yet, others agreed on another base, or this site sits out.
        Tampered: the vault has lost what it promised. Refused: the plan's code may not run here (any more).
    """
    plan = plan_of(view, study.study)
    check_code(site.consent, plan)
    progress = load_progress(site, study.study, plan)
    if progress.absorbed != current.number:
        raise Unavailable(f"round {current.number}: the rounds before it are not followed yet")
    state = site.state_of(study.study, progress)
    if study.base is not None and study.base != state.digest:
        raise Unavailable(f"round {current.number}: the agreed base is not the one computed here")
    if progress.stop and study.base is None:
        return None
    _check_wanted(site, plan, current, state)
    return ChosenUpdate(_chosen(site, view, study, current, state, plan), state.digest, progress.accepted)


def _chosen(
    site: Site, view: StateView, study: Study, current: Round, state: LearningState, plan: Plan
) -> NDArray[np.uint32]:
    found = site.vault.load(study_key(study.study, "vector"), ChosenVector)
    if found is not None and found.round == current.number:
        return _stored_vector(site, study)
    values, after = _values(site, view, study, plan, current, state)
    weight = weight_of(view, study, site.name)
    manifest = manifest_of(view, plan, current)
    if current.kind == "training" and isinstance(plan.noise, TrainingNoise):
        x = noisy_vector(site, plan, plan.noise, manifest, values)
    else:
        x, _ = encode_vector(manifest, values, weight, len(study.roster))
    releases = release_keys(site, plan, current.kind, state)
    with site.vault.transaction(f"vector {current.number}"):
        site.vault.store(study_key(study.study, "vector"), ChosenVector(current.number, after.save(), releases))
        site.vault.put(vector_key(study.study), encode_update(x))
        site.vault.delete_under(checkpoint_key(study.study))
    return x


def _values(
    site: Site, view: StateView, study: Study, plan: Plan, current: Round, state: LearningState
) -> tuple[dict[str, NDArray[Any]], Memory]:
    """What this hospital contributes, by entry, and its next local memory."""
    memory = load_local_memory(site, study.study, plan)
    if current.kind == "votes":
        return votes_contribution(site, view, plan, state, current), memory
    return compute_contribution(site, study.study, plan, current, state, memory)


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
