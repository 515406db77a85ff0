"""What federation is compared with: the same study without masks, each hospital alone, and everybody's
patients in one place.

For simulations and benchmarks only, since one process sees all data; a hospital's agent must never import it.
`federate_plainly` runs the very functions that agents run, with plain sums of the encoded integer vectors, so
its states are theirs bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.evaluation import decode_evaluation, evaluation_contribution
from medfed.federation.features import Standardisation
from medfed.federation.figures import Evaluation
from medfed.federation.hiding import hidden_copies
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan
from medfed.federation.prepared import PreparedData
from medfed.federation.splits import Split
from medfed.federation.statistics import standardisation_from, statistics_contribution
from medfed.federation.strategies import Memory
from medfed.federation.study import (
    absorb,
    contribution,
    datasets_of,
    evaluation_counts,
    initial_local_memory,
    initial_state,
    learner_of,
    local_rng,
    released_parameters,
    round_manifest,
    training_contribution,
)
from medfed.identifiers import Name
from medfed.models.dataset import Dataset
from medfed.models.parameters import Parameters
from medfed.secure_sum.fixed_point import decode_sum, encode_vector
from medfed.secure_sum.manifest import Manifest

__all__ = ["Baseline", "Comparison", "compare", "federate_plainly", "train_locally", "train_pooled"]

Array = NDArray[Any]
Observer = Callable[[int, LearningState], None]
_POOLED: Final = "pooled"


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model with the statistics that its inputs are standardised by."""

    parameters: Parameters
    standardisation: Standardisation


class Comparison(msgspec.Struct, frozen=True):
    """One model judged on one hospital's test patients, or on everybody's."""

    model: str
    """A hospital's name for its own model, `federated` or `pooled`."""
    patients: str
    """A hospital's name, or `all`."""
    evaluation: Evaluation


def federate_plainly(
    plan: Plan, prepared: Mapping[Name, PreparedData], observe: Observer | None = None
) -> LearningState:
    """Run the plan's statistics, training and evaluation rounds in one process.

    `observe` is called with the number of training rounds absorbed so far and the state, first with 0.

    Raises:
        InvalidInput: as a hospital's own rounds.
    """
    weights = {name: min(prepared[name].examples, plan.participation.max_examples) for name in sorted(prepared)}
    state = initial_state(plan)
    memories = dict.fromkeys(weights, initial_local_memory(plan))
    rngs = {name: local_rng(plan, 0, name) for name in weights}

    values = {
        name: contribution(plan, state, "statistics", prepared[name], rngs[name], memories[name])[0] for name in weights
    }
    state = absorb(plan, state, "statistics", 0, _plain_sum(round_manifest(plan, "statistics"), values, weights)).state
    datasets = {name: datasets_of(state, prepared[name]) for name in weights}
    manifest = round_manifest(plan, "training")
    if observe is not None:
        observe(0, state)
    number = 1
    for index in range(plan.training.rounds):
        state, memories = _training_round(plan, state, index + 1, manifest, datasets, weights, memories)
        if observe is not None:
            observe(index + 1, state)
        number = index + 2
        if state.stopped:
            number += index + 1 < plan.training.rounds  # the ledger opens the next round before it is skipped
            break
    values = {name: evaluation_counts(plan, state, datasets[name]) for name in weights}
    sums = _plain_sum(round_manifest(plan, "evaluation"), values, weights)
    return absorb(plan, state, "evaluation", number, sums).state


def train_locally(plan: Plan, prepared: PreparedData, name: Name, *, rounds: int | None = None) -> Baseline:
    """One hospital's model from its own patients and statistics alone, with the budget of all its rounds.

    Raises:
        InvalidInput: it has no training row, or training diverged.
    """
    return _train_alone(plan, [prepared], name, rounds)


def train_pooled(plan: Plan, prepared: Mapping[Name, PreparedData], *, rounds: int | None = None) -> Baseline:
    """A model from all patients in one place, with the budget of one hospital's rounds.

    Raises:
        InvalidInput: training diverged.
    """
    return _train_alone(plan, [prepared[name] for name in sorted(prepared)], _POOLED, rounds)


def compare(plan: Plan, prepared: Mapping[Name, PreparedData], state: LearningState | None = None) -> list[Comparison]:
    """Every hospital's own model, the federated one and the pooled one, on each hospital's test patients and on all.

    `state` is the finished study whose released model is judged; without it the study is run plainly with everybody.
    """
    state = state if state is not None else federate_plainly(plan, prepared)
    models = {name: train_locally(plan, prepared[name], name) for name in sorted(prepared)}
    if state.standardisation is None:
        raise InvalidInput("comparison: the study has no statistics")
    models["federated"] = Baseline(released_parameters(plan, state), state.standardisation)
    models[_POOLED] = train_pooled(plan, prepared)
    rows: list[Comparison] = []
    for label, model in models.items():
        tests = {name: prepared[name].datasets(model.standardisation)["test"] for name in sorted(prepared)}
        counts = {name: _test_counts(plan, model.parameters, data) for name, data in tests.items()}
        for name, values in counts.items():
            rows.append(Comparison(label, name, decode_evaluation(plan, values, "test")))
        everybody = _added(counts.values())
        rows.append(Comparison(label, "all", decode_evaluation(plan, everybody, "test")))
    return rows


def _training_round(
    plan: Plan,
    state: LearningState,
    r: int,
    manifest: Manifest,
    datasets: Mapping[Name, Mapping[Split, Dataset]],
    weights: Mapping[Name, int],
    memories: dict[Name, Memory],
) -> tuple[LearningState, dict[Name, Memory]]:
    values: dict[Name, Mapping[str, Array]] = {}
    after: dict[Name, Memory] = {}
    for name in weights:
        rng = local_rng(plan, r, name)
        values[name], after[name] = training_contribution(plan, state, datasets[name], rng, memories[name])
    outcome = absorb(plan, state, "training", r, _plain_sum(manifest, values, weights))
    return outcome.state, after if outcome.accepted else memories


def _plain_sum(
    manifest: Manifest, values: Mapping[Name, Mapping[str, Array]], weights: Mapping[Name, int]
) -> dict[str, Array]:
    """What a secure sum over everybody decodes to."""
    hospitals, total_weight = len(weights), sum(weights.values())
    total = np.zeros(manifest.length, dtype=np.uint32)
    for name, weight in weights.items():
        total += encode_vector(manifest, values[name], (weight, total_weight), hospitals)[0]
    return decode_sum(manifest, total, (total_weight, total_weight), hospitals)


def _test_counts(plan: Plan, parameters: Parameters, data: Dataset) -> dict[str, Array]:
    return dict(evaluation_contribution(plan, learner_of(plan), parameters, data, "test"))


def _added(parts: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    sums: dict[str, Array] = {}
    for part in parts:
        for name, counts in part.items():
            sums[name] = sums[name] + counts if name in sums else counts
    return sums


def _train_alone(plan: Plan, parts: list[PreparedData], label: str, rounds: int | None) -> Baseline:
    standardisation = standardisation_from(plan, _added(statistics_contribution(plan, part) for part in parts))
    data = Dataset.concatenate([part.datasets(standardisation)["train"] for part in parts])
    local, count = plan.training.local, plan.training.rounds if rounds is None else rounds
    settings = msgspec.structs.replace(local, steps=local.steps * count, epochs=local.epochs * count, proximal=0.0)
    learner = learner_of(plan)
    start = learner.initial(plan.training.seed)
    rng = local_rng(plan, 0, label)
    data = hidden_copies(plan, standardisation, data, rng)
    return Baseline(learner.train(start, data, settings, rng).parameters, standardisation)
