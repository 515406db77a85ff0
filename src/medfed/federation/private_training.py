"""Differential privacy in an ordinary study: what the plan's noise section means, and what it asks of the plan.

Each hospital clips its weighted update in L2 and adds its share of Skellam noise to it, within the masked sum. Nothing
exact may travel beside that: no statistics, no counts of validation or test patients, not even how much was clipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import Entropy
from medfed.errors import InvalidInput
from medfed.federation.features import NumberScale, Standardisation
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan, TrainingNoise
from medfed.federation.prepared import PreparedData
from medfed.federation.splits import TRAIN
from medfed.models.learner import learner_for
from medfed.models.row_gradients import row_gradients
from medfed.privacy.account import DELTA_STEP, EPSILON_STEP
from medfed.privacy.curve import Guarantee
from medfed.privacy.dp_sum import Contribution, Lattice, PrivateSum, choose_lattice, lattice_for, private_contribution
from medfed.privacy.events import Repeated, SkellamVectorSum
from medfed.privacy.renyi import guarantee

__all__ = [
    "lattice_in",
    "noise_event",
    "noise_guarantee",
    "noise_problems",
    "patient_step",
    "plain_standardisation",
    "private_sum",
    "private_update",
]


def private_sum(plan: Plan, noise: TrainingNoise) -> PrivateSum:
    """The plan's one private entry.

    Raises:
        InvalidInput: numbers out of range, or no hospital is left to hold the noise.
    """
    learner = learner_for(plan.model, plan.task, plan.inputs, plan.outputs)
    return PrivateSum(
        length=sum(math.prod(shape) for shape in learner.shapes.values()),
        bound=plan.training.clip,
        clip=noise.clip,
        multiplier=noise.multiplier,
        hospitals=len(plan.participation.hospitals),
        dropouts=noise.dropouts,
        colluding=noise.colluding,
        unit=noise.unit,
        hospitals_attended=noise.attended,
    )


def lattice_in(plan: Plan, noise: TrainingNoise) -> Lattice:
    """The whole numbers that all hospitals' values and noise lie on.

    Raises:
        InvalidInput: the plan's lattice does not keep its promise.
    """
    return lattice_for(private_sum(plan, noise), noise.lattice)


def noise_event(plan: Plan, noise: TrainingNoise) -> SkellamVectorSum:
    """What one round costs the protected unit.

    With a clip for each patient, other data of a patient move a hospital's weighted update by at most twice
    rate · clip / (divisor · hospitals). Rounding to the lattice moves each coordinate by less than two steps more, and
    the hospital's own clip, a projection, moves nothing further apart.
    """
    lattice = lattice_in(plan, noise)
    if noise.patient_clip == 0:
        return lattice.event
    hospitals, length = len(plan.participation.hospitals), private_sum(plan, noise).length
    reach = plan.training.local.learning_rate * noise.patient_clip / (noise.divisor * hospitals)
    l2 = noise.attended * (2 * reach * lattice.scale / lattice.choice.step + 2 * math.sqrt(length)) * (1 + 1e-12)
    return SkellamVectorSum(variance=float(lattice.choice.variance), l1=math.sqrt(length) * l2, l2=l2, unit="patient")


def patient_step(plan: Plan, noise: TrainingNoise, state: LearningState, prepared: PreparedData) -> NDArray[np.float64]:
    """One hospital's step: minus the rate times the sum of its patients' clipped gradients, over the plan's divisor.

    All rows of a patient count together, and are clipped together.

    Raises:
        InvalidInput: the rows do not fit the model.
    """
    if state.standardisation is None:
        raise InvalidInput("learning state: expected a standardisation, found none")
    data = prepared.datasets(state.standardisation)["train"]
    people = prepared.pseudonyms[prepared.split == TRAIN]
    learner = learner_for(plan.model, plan.task, plan.inputs, plan.outputs)
    rows = row_gradients(learner, state.parameters, data)
    patients, owner = np.unique(people, return_inverse=True)
    gradients = np.zeros((len(patients), rows.shape[1]))
    np.add.at(gradients, owner, rows)
    norms = np.sqrt(np.square(gradients).sum(axis=1))
    gradients *= (noise.patient_clip / np.maximum(norms, noise.patient_clip))[:, np.newaxis]
    return -plan.training.local.learning_rate * gradients.sum(axis=0) / noise.divisor


def noise_guarantee(plan: Plan, noise: TrainingNoise) -> Guarantee:
    """What all rounds that the plan allows cost the protected unit, whatever the data."""
    event = Repeated(event=noise_event(plan, noise), count=plan.training.rounds + noise.spare)
    return guarantee(event, noise.delta / DELTA_STEP)


def private_update(
    plan: Plan, noise: TrainingNoise, update: NDArray[Any], weight: tuple[int, int], entropy: Entropy
) -> Contribution:
    """One hospital's clipped update and its fresh share of the noise."""
    return private_contribution(update, weight, private_sum(plan, noise), lattice_in(plan, noise), entropy)


def plain_standardisation(plan: Plan) -> Standardisation:
    """From the plan's ranges alone: numbers to the middle of their range, no category too rare."""
    numbers: list[NumberScale] = []
    for feature in plan.data.numbers:
        middle = feature.low + (feature.high - feature.low) / 2
        numbers.append(NumberScale(mean=middle, scale=(feature.high - feature.low) / 4, median=middle))
    return Standardisation(tuple(numbers), tuple((True,) * len(feature.values) for feature in plan.data.categories))


def noise_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    """Everything that is wrong with a plan's noise section, as field and sentence; nothing in plans without one."""
    noise = plan.noise
    if not isinstance(noise, TrainingNoise):
        return
    problems = [*_companions(plan), *_steps(plan, noise), *_people(plan, noise)]
    yield from problems
    if not problems:
        yield from _promise(plan, noise)


def _companions(plan: Plan) -> Iterator[tuple[str, str]]:
    """What would be exact beside the noise."""
    training = plan.training
    if plan.protection.mode != "masked":
        yield "protection.mode", "noise shares are added under masks; expected masked"
    if plan.task == "survival":
        yield "data.target", "no noise is worked out for survival models"
    if training.strategy.name == "scaffold":
        yield "training.strategy", "scaffold sums two vectors; noise is for one"
    if training.best_round or training.stopping.patience or training.max_score_drop < 1:
        yield (
            "training.best_round",
            "rounds are judged by exact counts, which noise forbids; expected false and no stopping",
        )
    if plan.data.validation_fraction or plan.data.test_fraction:
        yield "data.validation_fraction", "nothing is counted exactly beside noise; expected 0, and test_fraction 0"


def _steps(plan: Plan, noise: TrainingNoise) -> Iterator[tuple[str, str]]:
    """What DP-SGD asks for."""
    if noise.patient_clip == 0:
        return
    local = plan.training.local
    if noise.unit != "patient":
        yield "noise.unit", "patients' gradients are clipped; expected patient"
    if (local.steps, local.epochs, local.batch_size, local.optimizer) != (1, 0, 0, "sgd"):
        yield "training.local", "a round is one step over all patients; expected steps 1, batch_size 0, sgd"
    if local.momentum or local.weight_decay or local.proximal:
        yield (
            "training.local",
            "the step is the clipped gradients' alone; expected no momentum and no penalty",
        )
    if plan.training.strategy.name not in ("fedavg", "fedavgm", "fedadagrad", "fedadam", "fedyogi"):
        yield "training.strategy", f"{plan.training.strategy.name} trains locally; a round here is one step"


def _people(plan: Plan, noise: TrainingNoise) -> Iterator[tuple[str, str]]:
    invited = len(plan.participation.hospitals)
    if noise.dropouts + noise.colluding >= invited:
        yield "noise.dropouts", f"with {noise.colluding} colluding, none of {invited} hospitals is left"
    elif plan.participation.quorum < invited - noise.dropouts:
        yield (
            "participation.quorum",
            f"the noise is sized for {noise.dropouts} missing; expected {invited - noise.dropouts}",
        )
    if noise.attended > invited:
        yield "noise.attended", f"{noise.attended} of {invited} hospitals"


def _promise(plan: Plan, noise: TrainingNoise) -> Iterator[tuple[str, str]]:
    """The lattice gives the noise, and the plan's ε pays for every round."""
    try:
        lattice_in(plan, noise)
    except InvalidInput as error:
        yield "noise.lattice", f"{error}{_advice(plan, noise)}"
        return
    try:
        found = noise_guarantee(plan, noise)
    except InvalidInput as error:
        yield "noise.multiplier", str(error)
        return
    if found.epsilon > noise.epsilon / EPSILON_STEP:
        yield (
            "noise.epsilon",
            f"the rounds cost ε {found.epsilon:.6f}; the plan says {noise.epsilon / EPSILON_STEP:.6f}",
        )


def _advice(plan: Plan, noise: TrainingNoise) -> str:
    try:
        choice = choose_lattice(private_sum(plan, noise))
    except InvalidInput:
        return ""
    return f"; step {choice.step}, variance {choice.variance} and noise_bound {choice.noise_bound} do"
