"""A study's logic as pure init/apply: what a hospital contributes to a round, and what its sum does to the
learning state.

The same functions run at every hospital, in the simulation and in `baselines`. Everything that decides (the
next model, rejection, best round, early stopping) is computed from summed integers and correctly rounded
float64 steps, so all agree bit for bit. This module must never see keys, masks or the ledger, and never
change a state in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from medfed.encoding import digest_of
from medfed.errors import InvalidInput
from medfed.federation.acceptance import absorb_evaluation, absorb_training, fallback_of
from medfed.federation.evaluation import decode_evaluation, evaluation_contribution, evaluation_entries
from medfed.federation.hiding import hidden_copies
from medfed.federation.learning_state import LearningState, RoundRecord, VoteBook
from medfed.federation.plan import Labelling, Plan, Protection, TrainingNoise
from medfed.federation.prepared import PreparedData
from medfed.federation.private_training import patient_step, plain_standardisation
from medfed.federation.splits import Split
from medfed.federation.statistics import standardisation_from, statistics_contribution, statistics_entries
from medfed.federation.strategies import Memory, strategy_for
from medfed.federation.strategies.strategy import UPDATE
from medfed.identifiers import Name
from medfed.ledger.contracts.terms import RoundKind
from medfed.models.course import NO_CHECKPOINTS, Checkpoints, Course
from medfed.models.dataset import Dataset
from medfed.models.learner import Learner, learner_for, parameter_count
from medfed.models.parameters import Parameters
from medfed.secure_sum.manifest import Entry, Manifest

__all__ = [
    "Outcome",
    "absorb",
    "absorb_implausible",
    "contribution",
    "evaluation_counts",
    "initial_local_memory",
    "initial_state",
    "learner_of",
    "local_rng",
    "released_parameters",
    "round_manifest",
    "training_contribution",
]

CLIPPED: Final = "clipped"
"""The entry that counts clipped coordinates."""
_EVALUATED: Final = ("validation", "last", "fallback")
"""What an evaluation round counts: the last model on validation patients, and on test patients it and its fallback."""

NO_STATISTICS: Final = "learning state: expected the statistics round first, found none absorbed"
NO_VOTES: Final = "round kind votes: teachers' votes are made and counted by medfed.pate, not by a learning round"

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What absorbing a round led to."""

    state: LearningState
    accepted: bool
    """False: the aggregate was rejected and the old model kept; what an attestation says."""
    stop: bool
    """The plan's early stopping asks for no further training rounds."""


def learner_of(plan: Plan) -> Learner:
    """The learner that the study releases: the plan's model section, or in a labelling study the student."""
    model = plan.labelling.student.model if isinstance(plan.labelling, Labelling) else plan.model
    return learner_for(model, plan.task, plan.inputs, plan.outputs, plan.side)


def initial_state(plan: Plan) -> LearningState:
    """The state before the first round; its digest is in the study's terms.

    Raises:
        InvalidInput: model, task and strategy do not go together.
    """
    parameters = learner_of(plan).initial(plan.training.seed)
    memory = strategy_for(plan.training).initial_memory(parameters.flat.size)
    votes = VoteBook() if isinstance(plan.labelling, Labelling) else None
    scale = plain_standardisation(plan) if isinstance(plan.noise, TrainingNoise) else None
    return LearningState(parameters, memory, standardisation=scale, votes=votes)


def initial_local_memory(plan: Plan) -> Memory:
    """What a hospital's own memory is before its first training round."""
    size = _parameter_count(plan)
    return strategy_for(plan.training).initial_local_memory(size)


def local_rng(plan: Plan, r: int, name: Name) -> np.random.Generator:
    """The generator for hospital `name`'s order of examples in round `r`; the same after a crash.

    And the same however updates are protected, so that studies that differ in nothing else train the same model.
    """
    seed = digest_of("medfed/local-rng", replace(plan, protection=Protection()).digest, r, name)
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))


def round_manifest(plan: Plan, kind: RoundKind) -> Manifest:
    """What is summed in a round of `kind`; it follows from the plan alone.

    Raises:
        InvalidInput: studies have no rounds of this kind.
    """
    match kind:
        case "statistics":
            return Manifest(tuple(statistics_entries(plan)))
        case "training":
            return Manifest(tuple(_training_entries(plan)))
        case "evaluation":
            return Manifest(tuple(entry for prefix in _EVALUATED for entry in evaluation_entries(plan, prefix)))
        case "votes":
            raise InvalidInput(NO_VOTES)


def contribution(
    plan: Plan,
    state: LearningState,
    kind: RoundKind,
    prepared: PreparedData,
    rng: np.random.Generator,
    local_memory: Memory,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> tuple[dict[str, Array], Memory]:
    """One hospital's values for a round, by entry name, and its next local memory.

    The next local memory may be kept only when the round is released with this hospital among the survivors
    and its aggregate is accepted.

    Raises:
        InvalidInput: no statistics round was absorbed yet, or local training diverged.
    """
    match kind:
        case "statistics":
            return dict(statistics_contribution(plan, prepared)), local_memory
        case "training":
            if isinstance(plan.noise, TrainingNoise) and plan.noise.patient_clip > 0:
                return {UPDATE: patient_step(plan, plan.noise, state, prepared)}, local_memory
            return training_contribution(plan, state, datasets_of(state, prepared), rng, local_memory, checkpoints)
        case "evaluation":
            return evaluation_counts(plan, state, datasets_of(state, prepared)), local_memory
        case "votes":
            raise InvalidInput(NO_VOTES)


def training_contribution(
    plan: Plan,
    state: LearningState,
    datasets: Mapping[Split, Dataset],
    rng: np.random.Generator,
    local_memory: Memory,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> tuple[dict[str, Array], Memory]:
    """`contribution` to a training round, from datasets that are standardised already."""
    learner, strategy = learner_of(plan), strategy_for(plan.training)
    train = hidden_copies(plan, state.standardisation, datasets["train"], rng)
    correction = strategy.correction(state.memory, local_memory)
    course = Course(len(state.history), plan.training.rounds, local_memory.kept, checkpoints)
    result = learner.train(state.parameters, train, plan.training.local, rng, correction, course)
    vectors, after = strategy.client_step(state.parameters, result, state.memory, local_memory)
    after = after.keeping(result.kept)
    if isinstance(plan.noise, TrainingNoise):
        return dict(vectors), after
    clipped = sum(int(np.count_nonzero(np.abs(vector) > plan.training.clip)) for vector in vectors.values())
    values: dict[str, Array] = {**vectors, CLIPPED: np.array([clipped], dtype=np.int64)}
    counts = evaluation_contribution(plan, learner, state.parameters, datasets["validation"], "validation")
    return values | counts, after


def evaluation_counts(plan: Plan, state: LearningState, datasets: Mapping[Split, Dataset]) -> dict[str, Array]:
    """`contribution` to an evaluation round, from datasets that are standardised already.

    The last model on validation patients, so that it can be chosen or not, and on test patients both it and the one
    that is released if it is not.
    """
    learner = learner_of(plan)
    last, fallback, test = state.parameters, fallback_of(plan, state), datasets["test"]
    return {
        **evaluation_contribution(plan, learner, last, datasets["validation"], "validation"),
        **evaluation_contribution(plan, learner, last, test, "last"),
        **evaluation_contribution(plan, learner, fallback, test, "fallback"),
    }


def absorb(
    plan: Plan,
    state: LearningState,
    kind: RoundKind,
    r: int,
    sums: Mapping[str, Array],
    share: tuple[int, int] = (1, 1),
) -> Outcome:
    """The state after round `r` of `kind`, whose decoded sums are `sums`.

    `share` is the survivors' part of the study roster's weights, as numerator and denominator.

    Raises:
        InvalidInput: an entry is absent or has the wrong length.
    """
    match kind:
        case "statistics":
            return Outcome(state.changed(standardisation=standardisation_from(plan, sums)), True, False)
        case "training":
            evaluation = decode_evaluation(plan, _with_counts(plan, sums), "validation")
            after, accepted = absorb_training(plan, state, r, sums, evaluation, share)
            return Outcome(after, accepted, after.stopped)
        case "evaluation":
            counted = [decode_evaluation(plan, sums, prefix) for prefix in _EVALUATED]
            return Outcome(absorb_evaluation(plan, state, r, *counted), True, False)
        case "votes":
            raise InvalidInput(NO_VOTES)


def absorb_implausible(plan: Plan, state: LearningState, kind: RoundKind, r: int) -> Outcome:
    """The state after a round whose sum no honest hospitals could have made: it is rejected.

    Statistics are replaced by the plan's ranges, a training round keeps the old model, an evaluation counts nothing.
    """
    match kind:
        case "statistics":
            zeros = {e.name: np.zeros(e.length, dtype=np.int64) for e in round_manifest(plan, kind).entries}
            return Outcome(state.changed(standardisation=standardisation_from(plan, zeros)), False, False)
        case "training":
            spoilt = RoundRecord(r, "diverged", 0, (0, 0), (0, 0), 0, 0.0)
            rejected = state.rejected_in_a_row + 1
            return Outcome(
                state.changed(history=(*state.history, spoilt), rejected_in_a_row=rejected), False, state.stopped
            )
        case "evaluation":
            return Outcome(state, True, False)
        case "votes":
            raise InvalidInput(NO_VOTES)


def released_parameters(plan: Plan, state: LearningState) -> Parameters:
    """The model handed out: the best validated round's if the plan says so and there is one, else the last."""
    if plan.training.best_round and state.best is not None:
        return state.best.parameters
    return state.parameters


def datasets_of(state: LearningState, prepared: PreparedData) -> dict[Split, Dataset]:
    """A hospital's standardised train, validation and test sets.

    Raises:
        InvalidInput: the statistics round has not been absorbed.
    """
    if state.standardisation is None:
        raise InvalidInput(NO_STATISTICS)
    return prepared.datasets(state.standardisation)


def _training_entries(plan: Plan) -> list[Entry]:
    size = _parameter_count(plan)
    vectors = strategy_for(plan.training).vectors
    entries = [Entry(name, "fixed", size, plan.training.clip) for name in vectors]
    if isinstance(plan.noise, TrainingNoise):
        return entries
    entries.append(Entry(CLIPPED, "count", 1, size * len(vectors), 2))
    return entries + evaluation_entries(plan, "validation")


def _with_counts(plan: Plan, sums: Mapping[str, Array]) -> Mapping[str, Array]:
    """The sums of a training round; where noise forbids counts, none were counted."""
    if not isinstance(plan.noise, TrainingNoise):
        return sums
    none = {entry.name: np.zeros(entry.length, dtype=np.int64) for entry in evaluation_entries(plan, "validation")}
    return {**none, **sums}


def _parameter_count(plan: Plan) -> int:
    return parameter_count(learner_of(plan))
