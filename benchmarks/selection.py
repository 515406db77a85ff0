"""Choosing a plan's settings by cross-validation over training rows only, as hospitals could with federated
validation counts.

Test rows must never reach this module's choices: they keep their test code in every inner split and are never
predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.cohorts import with_training
from benchmarks.resampling import Array, folds

from medfed.federation.baselines import Baseline, federate_plainly
from medfed.federation.evaluation import decode_evaluation, evaluation_contribution
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan
from medfed.federation.prepared import PreparedData
from medfed.federation.splits import TEST, TRAIN, VALIDATION
from medfed.federation.study import learner_of


@dataclass(frozen=True)
class Choice:
    """A plan and the round whose model is taken."""

    label: str
    plan: Plan
    rounds: int


def preference(plan: Plan, model: Baseline, data: Mapping[str, PreparedData]) -> float:
    """Greater is better: minus the mean log loss, or the C-index, on validation rows of all hospitals."""
    learner = learner_of(plan)
    sums: dict[str, Array] = {}
    for part in data.values():
        validation = part.datasets(model.standardisation)["validation"]
        for name, counts in evaluation_contribution(plan, learner, model.parameters, validation).items():
            sums[name] = sums[name] + counts if name in sums else counts
    numerator, denominator = decode_evaluation(plan, sums).preference
    return numerator / denominator if denominator else 0.0


def models_at(plan: Plan, data: Mapping[str, PreparedData], rounds: Sequence[int]) -> dict[int, Baseline]:
    """The federated model after each of `rounds`, from one run."""
    models: dict[int, Baseline] = {}

    def observe(index: int, state: LearningState) -> None:
        if index in rounds and state.standardisation is not None:
            models[index] = Baseline(state.parameters, state.standardisation)

    federate_plainly(with_training(plan, rounds=max(rounds)), data, observe)
    return models


def inner_splits(
    data: Mapping[str, PreparedData], count: int, rng: np.random.Generator
) -> list[dict[str, PreparedData]]:
    """`count` ways to take validation rows out of the training rows, each hospital's outcomes spread evenly."""
    inner: dict[str, Array] = {}
    for name in sorted(data):
        part = data[name]
        targets = part.targets if part.targets.ndim == 1 else part.targets[:, 1]
        inner[name] = np.where(part.split == TEST, -1, 0)
        training = np.flatnonzero(part.split == TRAIN)
        inner[name][training] = folds(targets[training].astype(np.int64), count, rng)
    return [
        {
            name: part.with_split(np.where(inner[name] == at, VALIDATION, part.split).astype(np.uint8))
            for name, part in data.items()
        }
        for at in range(count)
    ]


def choose(
    candidates: Mapping[str, Plan],
    rounds: Sequence[int],
    data: Mapping[str, PreparedData],
    rng: np.random.Generator,
    repeats: int = 1,
) -> tuple[Choice, dict[tuple[str, int], float]]:
    """The candidate and round of the best mean preference over 5 inner folds, `repeats` times, and all of them."""
    scores: dict[tuple[str, int], float] = {(label, count): 0.0 for label in candidates for count in rounds}
    for _ in range(repeats):
        for part in inner_splits(data, 5, rng):
            for label, plan in candidates.items():
                for count, model in models_at(plan, part, rounds).items():
                    scores[label, count] += preference(plan, model, part) / (5 * repeats)
    label, count = max(scores, key=lambda key: scores[key])
    return Choice(label, candidates[label], count), scores


def grid(plan: Plan, **options: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Plan]:
    """Every combination of named training settings, as plans by label."""
    plans = {"": plan}
    for choices in options.values():
        plans = {
            f"{label} {name}".strip(): with_training(each, **{key: dict(value) for key, value in fields.items()})
            for label, each in plans.items()
            for name, fields in choices
        }
    return plans
