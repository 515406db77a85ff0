"""What a hospital with few records gains: its own model against the common one, when it has kept only some patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec.structs import replace

from medfed.federation.baselines import Baseline, federate_plainly, train_locally
from medfed.federation.evaluation import decode_evaluation, evaluation_contribution
from medfed.federation.figures import BinaryEvaluation
from medfed.federation.metrics import Proportion, wilson_interval
from medfed.federation.plan import Plan
from medfed.federation.prepared import PreparedData
from medfed.federation.splits import TRAIN
from medfed.federation.study import learner_of, released_parameters
from medfed.identifiers import Name

__all__ = ["KEPT", "few_records"]

KEPT: Final = (20, 40, 80)
_HOSPITALS: Final = ("cleveland", "hungary", "long-beach")
"""Switzerland is left out: with 8 healthy patients in all its accuracy says nothing."""
_ROUNDS: Final = 10


def few_records(
    plan: Plan, prepared: Mapping[Name, PreparedData], repeats: int = 3
) -> list[tuple[int, Proportion, Proportion]]:
    """For each number of training patients kept: accuracy on own test patients of the own and of the federated model.

    Each of three hospitals in turn keeps so many of its training patients, drawn anew in each repeat; the others keep
    all. Both models train for 10 rounds' worth of steps. The interval counts every test patient once.
    """
    short = replace(plan, training=replace(plan.training, rounds=_ROUNDS))
    rows: list[tuple[int, Proportion, Proportion]] = []
    for kept in KEPT:
        own: list[BinaryEvaluation] = []
        joint: list[BinaryEvaluation] = []
        for repeat in range(repeats):
            for name in _HOSPITALS:
                reduced = _keep(prepared[name], kept, repeat)
                own.append(_judge(short, train_locally(short, reduced, name), reduced))
                state = federate_plainly(short, {**prepared, name: reduced})
                if state.standardisation is not None:
                    model = Baseline(released_parameters(short, state), state.standardisation)
                    joint.append(_judge(short, model, reduced))
        rows.append((kept, _pooled(own, repeats), _pooled(joint, repeats)))
    return rows


def _keep(prepared: PreparedData, kept: int, repeat: int) -> PreparedData:
    """The same hospital with `kept` training patients; validation and test patients stay."""
    rng = np.random.Generator(np.random.PCG64([kept, repeat]))
    training = np.flatnonzero(prepared.split == TRAIN)
    chosen = rng.choice(training, size=min(kept, len(training)), replace=False)
    rows = prepared.split != TRAIN
    rows[chosen] = True
    return prepared.take(rows)


def _judge(plan: Plan, model: Baseline, prepared: PreparedData) -> BinaryEvaluation:
    test = prepared.datasets(model.standardisation)["test"]
    counts = evaluation_contribution(plan, learner_of(plan), model.parameters, test, "test")
    evaluation = decode_evaluation(plan, counts, "test")
    assert isinstance(evaluation, BinaryEvaluation)
    return evaluation


def _pooled(evaluations: list[BinaryEvaluation], repeats: int) -> Proportion:
    hits = sum(round(one.accuracy.value * one.examples) for one in evaluations) / repeats
    total = sum(one.examples for one in evaluations) // repeats
    return wilson_interval(round(hits), total)
