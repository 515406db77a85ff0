"""A hospital's update in a study that is trained with differential privacy: clipped, with its share of the noise.

The noise is drawn once for a round, from the site's own randomness, and is in the vault with the vector before anything
leaves. The site counts its releases itself: it signs no more survivors than the plan's ε pays for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.federation.plan import Plan, TrainingNoise
from medfed.federation.prepared import PreparedData
from medfed.federation.private_training import private_update
from medfed.federation.strategies.strategy import UPDATE
from medfed.hospital.enrolled import enrolled_rows
from medfed.hospital.progress import study_key
from medfed.hospital.site import Site
from medfed.identifiers import StudyId
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import Study
from medfed.secure_sum import Manifest, encode_vector

__all__ = ["may_sign_noisy", "noisy_vector", "sign_noisy", "usable_rows"]


def noisy_vector(
    site: Site,
    plan: Plan,
    noise: TrainingNoise,
    manifest: Manifest,
    values: Mapping[str, NDArray[Any]],
) -> NDArray[np.uint32]:
    """The round's vector: the clipped update on the plan's lattice, and this hospital's share of the noise.

    Raises:
        InvalidInput: an update that is not finite.
    """
    # Every invited hospital weighs the same: a weight of its own would tell how many patients it has.
    weight = (1, len(plan.participation.hospitals))
    made = private_update(plan, noise, values[UPDATE].astype(np.float64), weight, site.entropy)
    vector, _ = encode_vector(
        manifest,
        {UPDATE: made.values},
        weight,
        len(plan.participation.hospitals),
        noise={UPDATE: made.noise},
        noise_bound=noise.lattice.noise_bound,
    )
    return vector


def usable_rows(site: Site, plan: Plan, study: StudyId) -> PreparedData:
    """The rows that the study may use: where patients are charged, those of who was."""
    prepared = site.prepared(plan)
    charged = isinstance(plan.noise, TrainingNoise) and plan.noise.unit == "patient"
    return enrolled_rows(site, study, prepared) if charged else prepared


def may_sign_noisy(site: Site, plan: Plan, study: Study, current: Round) -> bool:
    """Whether the plan's ε pays for one more release: rounds that were signed before count, whatever became of them."""
    if not isinstance(plan.noise, TrainingNoise):
        return True
    signed = set(site.vault.load(_key(study), tuple[int, ...]) or ())
    return current.number in signed or len(signed) < plan.training.rounds + plan.noise.spare


def sign_noisy(site: Site, plan: Plan, study: Study, current: Round) -> None:
    """Remember that this round was signed."""
    if isinstance(plan.noise, TrainingNoise):
        signed = site.vault.load(_key(study), tuple[int, ...]) or ()
        site.vault.store(_key(study), tuple(sorted({*signed, current.number})))


def _key(study: Study) -> str:
    return study_key(study.study, "noisy-rounds")
