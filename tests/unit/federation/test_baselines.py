"""Baselines: the same budget and statistics, and a comparison that counts every cell on the right patients."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from medfed.demo import heart as demo
from medfed.federation.baselines import compare, federate_plainly, train_locally, train_pooled
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan, StrategySettings
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.study import learner_of


def heart_plan(**training: Any) -> Plan:
    plan = demo.heart_plan()
    return msgspec.structs.replace(plan, training=msgspec.structs.replace(plan.training, **{"rounds": 5, **training}))


def heart(plan: Plan) -> dict[str, PreparedData]:
    return {name: prepare(plan, table, bytes(32)) for name, table in demo.heart_tables().items()}


def test_one_round_of_one_full_batch_step_is_a_step_on_the_pooled_loss() -> None:
    """FedAvg with one full-batch step everywhere equals a pooled gradient step (McMahan 2017, FedSGD)."""
    local = msgspec.structs.replace(heart_plan().training.local, steps=1, batch_size=0, weight_decay=0.0)
    plan = heart_plan(rounds=1, local=local, best_round=False)
    data = heart(plan)
    federated = federate_plainly(plan, data)
    pooled = train_pooled(plan, data)
    np.testing.assert_allclose(federated.parameters.flat, pooled.parameters.flat, atol=1e-7)
    assert federated.standardisation == pooled.standardisation


@pytest.mark.parametrize("name", ["fedavg", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold"])
def test_every_strategy_improves_the_heart_model_and_repeats_bit_for_bit(name: str) -> None:
    rate = 0.1 if name in ("fedadagrad", "fedadam", "fedyogi") else 1.0
    plan = heart_plan(strategy=StrategySettings(name, rate=rate))  # type: ignore[arg-type]
    data = heart(plan)
    state = federate_plainly(plan, data)
    first, last = state.history[0], state.history[-1]
    assert last.preference[0] / last.preference[1] > first.preference[0] / first.preference[1] + 0.1 * 65536
    assert federate_plainly(plan, data).digest == state.digest


def test_the_observer_sees_every_round_from_the_start() -> None:
    plan = heart_plan()
    seen: list[tuple[int, int]] = []

    def observe(index: int, state: LearningState) -> None:
        seen.append((index, len(state.history)))

    federate_plainly(plan, heart(plan), observe)
    assert seen == [(index, index) for index in range(6)]


def test_a_local_model_uses_its_hospitals_patients_and_statistics_alone() -> None:
    plan = heart_plan()
    data = heart(plan)
    alone = train_locally(plan, data["hungary"], "hungary")
    assert alone.standardisation != train_pooled(plan, data).standardisation
    own = data["hungary"].datasets(alone.standardisation)["train"]
    learner = learner_of(plan)
    assert learner.loss(alone.parameters, own) < learner.loss(learner.initial(0), own) - 0.1


def test_the_comparison_counts_every_model_on_every_hospitals_test_patients() -> None:
    plan = heart_plan()
    data = heart(plan)
    rows = {(row.model, row.patients): row.evaluation for row in compare(plan, data)}
    assert {model for model, _ in rows} == {*data, "federated", "pooled"}
    tests = {name: int((part.split == 2).sum()) for name, part in data.items()}
    for (_, patients), evaluation in rows.items():
        assert evaluation.examples == (sum(tests.values()) if patients == "all" else tests[patients])
    assert rows["federated", "all"] == federate_plainly(plan, data).test
