"""A small study that is trained with differential privacy, for tests."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET
from msgspec.structs import replace
from tests.support.labelling import TEN, labelling_plan

from medfed.federation.plan import Plan, Training, TrainingNoise
from medfed.federation.private_training import noise_guarantee, private_sum
from medfed.models.settings import LocalTraining
from medfed.privacy import DELTA_STEP, EPSILON_STEP, LatticeChoice, choose_lattice

DELTA = 1e-5


def noisy_plan(
    names: tuple[str, ...] = TEN,
    *,
    rounds: int = 3,
    multiplier: float = 8.0,
    epsilon: float | None = None,
    **changed: Any,
) -> Plan:
    """A plan whose ε is what its rounds cost, rounded up, unless it is given."""
    base = labelling_plan(names)
    training = changed.pop("training", None) or Training(
        rounds,
        LocalTraining(steps=20, batch_size=16, learning_rate=0.2),
        clip=4.0,
        best_round=False,
    )
    noise = TrainingNoise(
        unit="hospital",
        clip=0.5,
        multiplier=multiplier,
        lattice=LatticeChoice(step=1, variance=1, noise_bound=1),
        epsilon=1,
        delta=round(DELTA * DELTA_STEP),
        dropouts=1,
    )
    noise = replace(noise, **{key: changed.pop(key) for key in list(changed) if hasattr(noise, key)})
    plan = replace(base, labelling=UNSET, training=training, noise=noise, **changed)
    noise = replace(noise, lattice=choose_lattice(private_sum(plan, noise)))
    plan = replace(plan, noise=noise)
    cost = noise_guarantee(plan, noise).epsilon + 1e-5 if epsilon is None else epsilon
    return replace(plan, noise=replace(noise, epsilon=int(cost * EPSILON_STEP) + 1))


def step_training(rounds: int = 3) -> Training:
    """For DP-SGD: a round is one step over all patients."""
    return Training(rounds, LocalTraining(steps=1, batch_size=0, learning_rate=2.0), clip=16.0, best_round=False)
