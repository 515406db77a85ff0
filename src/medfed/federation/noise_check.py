"""What a plan with noise means for a hospital, before anyone approves it. This module must never print."""

from __future__ import annotations

from medfed.federation.plan import Plan, TrainingNoise
from medfed.federation.private_training import noise_guarantee, private_sum
from medfed.privacy.account import DELTA_STEP, EPSILON_STEP

__all__ = ["noise_reveals", "noise_warnings"]


def noise_reveals(plan: Plan, noise: TrainingNoise) -> list[str]:
    """In plain words, everything about its patients that leaves a hospital."""
    found = noise_guarantee(plan, noise)
    length, rounds = private_sum(plan, noise).length, plan.training.rounds
    who = "a hospital" if noise.unit == "hospital" else "a patient"
    what = (
        f"the sum of its patients' gradients, each clipped to {noise.patient_clip:g}"
        if noise.patient_clip
        else f"its update, clipped to an L2 norm of {noise.clip:g} of the weighted sum"
    )
    return [
        "To every participant, on enrolling: that it has at least as many rows as the plan asks for, and a salted "
        "digest "
        "of their list.",
        f"In each of {rounds} rounds: {length} model coordinates, the sum over the hospitals of {what}, with noise of "
        f"standard deviation {noise.multiplier * noise.clip:g} or more, of which every hospital adds its share. "
        f"Nothing "
        "is counted exactly: no statistics, no validation and no test.",
        f"Whatever the data are, that costs {who} at most ε {found.epsilon:.4f} at δ {noise.delta / DELTA_STEP:g}; the "
        f"plan says {noise.epsilon / EPSILON_STEP:g}.",
        f"The promise holds for a patient who has been at no more than {noise.attended} of the hospitals, while no "
        f"more "
        f"than {noise.dropouts} are missing in a round and no more than {noise.colluding} pool what they know of their "
        "own noise.",
    ]


def noise_warnings(plan: Plan, noise: TrainingNoise) -> list[str]:
    """What people should think about before they approve."""
    found: list[str] = []
    if plan.participation.quorum == len(plan.participation.hospitals):
        found.append("the quorum is all hospitals: one that is silent in a round stops the study")
    if noise.spare == 0:
        found.append("spare is 0: after a round that failed the hospitals sign none beyond those planned")
    if noise.unit == "patient" and plan.data.patient is None:
        found.append("no patient column: a row counts as a patient")
    if noise.unit == "patient" and noise.attended == 1:
        found.append("attended is 1: the promise is for patients of one hospital only")
    if noise.patient_clip == 0:
        found.append("whole updates are clipped: with few hospitals so much noise may leave nothing to learn from")
    return found
