"""The study's logic on the UCI heart data: agreement, rejection, best round, early stopping."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from medfed.demo import heart as demo
from medfed.errors import InvalidInput
from medfed.federation.acceptance import integer_norm
from medfed.federation.baselines import federate_plainly
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import EarlyStopping, Plan, StrategySettings
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.study import (
    absorb,
    contribution,
    initial_local_memory,
    initial_state,
    local_rng,
    released_parameters,
    round_manifest,
)
from medfed.secure_sum.fixed_point import decode_sum, encode_vector


def heart_plan(**training: Any) -> Plan:
    plan = demo.heart_plan()
    changed = msgspec.structs.replace(plan.training, **{"rounds": 4, **training})
    return msgspec.structs.replace(plan, training=changed)


def heart(plan: Plan) -> dict[str, PreparedData]:
    return {name: prepare(plan, table, bytes(32)) for name, table in demo.heart_tables().items()}


def validation_counts(plan: Plan, right: int, wrong: int) -> dict[str, np.ndarray]:
    """Sums of a training round with a zero update whose validation AUC is right / (right + wrong)."""
    sums = {
        entry.name: np.zeros(entry.length, dtype=np.float64 if entry.kind == "fixed" else np.int64)
        for entry in round_manifest(plan, "training").entries
    }
    sums["validation.negative"][100] = 1
    sums["validation.positive"][[200, 50]] = right, wrong
    sums["validation.loss"][0] = wrong * 65536 * 3 + right * 6553
    return sums


def after_statistics(plan: Plan) -> LearningState:
    sums = {e.name: np.zeros(e.length, dtype=np.int64) for e in round_manifest(plan, "statistics").entries}
    return absorb(plan, initial_state(plan), "statistics", 1, sums).state


def with_update(sums: dict[str, np.ndarray], value: float) -> dict[str, np.ndarray]:
    return {**sums, "update": np.full_like(sums["update"], value)}


def test_hospitals_that_absorb_the_same_sums_hold_the_same_bytes() -> None:
    plan = heart_plan()
    data, states = heart(plan), [initial_state(plan), initial_state(plan)]
    for r, kind in enumerate(("statistics", "training", "training", "evaluation"), start=1):
        manifest = round_manifest(plan, kind)  # type: ignore[arg-type]
        total, examples = np.zeros(manifest.length, dtype=np.uint32), {n: p.examples for n, p in data.items()}
        for name, part in data.items():
            rng, memory = local_rng(plan, r, name), initial_local_memory(plan)
            values, _ = contribution(plan, states[0], kind, part, rng, memory)  # type: ignore[arg-type]
            total += encode_vector(manifest, values, (examples[name], sum(examples.values())), len(data))[0]
        whole = sum(examples.values())
        for at in range(2):
            sums = decode_sum(manifest, total, (whole, whole), len(data))
            states[at] = absorb(plan, LearningState.load(states[at].save()), kind, r, sums).state  # type: ignore[arg-type]
        assert states[0].save() == states[1].save()
    assert states[0].test is not None
    assert states[0].test.examples == sum(int((part.split == 2).sum()) for part in data.values())


def test_the_plain_baseline_ends_in_the_state_that_rounds_by_hand_give() -> None:
    plan = heart_plan(rounds=2)
    data = heart(plan)
    state = initial_state(plan)
    weights = {name: part.examples for name, part in data.items()}
    whole = sum(weights.values())
    for r, kind in enumerate(("statistics", "training", "training", "evaluation")):
        manifest = round_manifest(plan, kind)  # type: ignore[arg-type]
        total = np.zeros(manifest.length, dtype=np.uint32)
        for name, part in data.items():
            values, _ = contribution(  # type: ignore[arg-type]
                plan, state, kind, part, local_rng(plan, r, name), initial_local_memory(plan)
            )
            total += encode_vector(manifest, values, (weights[name], whole), len(data))[0]
        state = absorb(plan, state, kind, r, decode_sum(manifest, total, (whole, whole), len(data))).state  # type: ignore[arg-type]
    assert federate_plainly(plan, data).digest == state.digest


def test_a_round_replayed_after_a_crash_contributes_the_same_bytes() -> None:
    plan = heart_plan()
    part = heart(plan)["hungary"]
    state = after_statistics(plan)
    first, again = (
        contribution(plan, state, "training", part, local_rng(plan, 7, "hungary"), initial_local_memory(plan))[0]
        for _ in range(2)
    )
    assert all((first[name] == again[name]).all() for name in first)
    other = contribution(plan, state, "training", part, local_rng(plan, 8, "hungary"), initial_local_memory(plan))[0]
    assert (first["update"] != other["update"]).any()


def test_training_before_the_statistics_round_is_refused() -> None:
    plan = heart_plan()
    with pytest.raises(InvalidInput, match="statistics round first"):
        contribution(
            plan,
            initial_state(plan),
            "training",
            heart(plan)["hungary"],
            local_rng(plan, 1, "hungary"),
            initial_local_memory(plan),
        )


def test_an_aggregate_beyond_the_norm_bound_is_rejected_and_the_old_model_kept() -> None:
    plan = heart_plan(max_update_norm=1.0)
    state = after_statistics(plan)
    outcome = absorb(plan, state, "training", 2, with_update(validation_counts(plan, 3, 1), 1.0))
    assert not outcome.accepted
    assert outcome.state.parameters.digest == state.parameters.digest
    assert outcome.state.history[-1].verdict == "norm"
    assert outcome.state.rejected_in_a_row == 1
    mild = absorb(plan, outcome.state, "training", 3, with_update(validation_counts(plan, 3, 1), 0.01))
    assert mild.accepted
    assert mild.state.rejected_in_a_row == 0


def test_a_fall_of_the_score_beyond_the_tolerance_brings_the_trusted_model_back() -> None:
    plan = heart_plan(max_score_drop=0.1)
    first = absorb(plan, after_statistics(plan), "training", 2, with_update(validation_counts(plan, 9, 1), 0.5)).state
    start = initial_state(plan).parameters
    assert first.parameters.digest != start.digest
    fallen = absorb(plan, first, "training", 3, with_update(validation_counts(plan, 7, 3), 0.5))
    assert not fallen.accepted
    assert fallen.state.history[-1].verdict == "score"
    assert fallen.state.parameters.digest == start.digest
    held = absorb(plan, first, "training", 3, with_update(validation_counts(plan, 8, 2), 0.5))
    assert held.accepted


def test_the_best_round_is_released_and_a_tie_keeps_the_earlier() -> None:
    plan = heart_plan()
    state = after_statistics(plan)
    starts = [state.parameters.digest]
    for r, (right, wrong) in enumerate([(6, 4), (8, 2), (8, 2), (5, 5)], start=2):
        state = absorb(plan, state, "training", r, with_update(validation_counts(plan, right, wrong), 0.25)).state
        starts.append(state.parameters.digest)
    assert released_parameters(plan, state).digest == starts[1]
    last = msgspec.structs.replace(plan, training=msgspec.structs.replace(plan.training, best_round=False))
    assert released_parameters(last, state).digest == starts[-1]


def test_training_stops_once_the_best_round_is_patience_rounds_back() -> None:
    plan = heart_plan(rounds=9, stopping=EarlyStopping(patience=2, min_rounds=2))
    state, stops = after_statistics(plan), list[bool]()
    for r, right in enumerate([5, 7, 6, 6], start=2):
        outcome = absorb(plan, state, "training", r, validation_counts(plan, right, 10 - right))
        state = outcome.state
        stops.append(outcome.stop)
    assert stops == [False, False, False, True]


def test_without_validation_patients_the_last_model_is_released_and_nothing_is_judged() -> None:
    plan = heart_plan(max_score_drop=0.0, stopping=EarlyStopping(patience=1, min_rounds=1))
    state = after_statistics(plan)
    nothing = {name: np.zeros_like(values) for name, values in validation_counts(plan, 1, 1).items()}
    for r in range(2, 5):
        outcome = absorb(plan, state, "training", r, with_update(nothing, 0.5))
        assert (outcome.accepted, outcome.stop) == (True, False)
        state = outcome.state
    assert released_parameters(plan, state).digest == state.parameters.digest


def test_a_sum_that_leaves_float32_is_rejected_as_diverged() -> None:
    plan = heart_plan(strategy=StrategySettings(rate=1e39))
    state = after_statistics(plan)
    outcome = absorb(plan, state, "training", 2, with_update(validation_counts(plan, 1, 1), 1.0))
    assert outcome.state.history[-1].verdict == "diverged"
    assert outcome.state.parameters.digest == state.parameters.digest


def test_clipped_coordinates_are_counted_and_shown() -> None:
    plan = heart_plan(clip=1e-3)
    final = federate_plainly(plan, heart(plan))
    assert final.history[0].clipped > 0
    assert final.history[0].norm <= 1e-3 * np.sqrt(final.parameters.flat.size) + 1e-9


def test_the_integer_norm_is_the_norm_within_its_grid() -> None:
    vector = np.random.default_rng(0).normal(size=10_000)
    assert integer_norm(np.full(3, 1e300), 16.0) == pytest.approx(32 * np.sqrt(3))
    assert integer_norm(vector, 16.0) == pytest.approx(float(np.linalg.norm(vector)), rel=1e-5)


def test_a_state_survives_saving_and_damage_is_refused() -> None:
    plan = heart_plan(rounds=2)
    state = federate_plainly(plan, heart(plan))
    data = state.save()
    again = LearningState.load(data)
    assert again.digest == state.digest
    assert again.test == state.test
    for at in range(0, len(data), max(1, len(data) // 50)):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            assert LearningState.load(damaged).digest != state.digest
        except InvalidInput:
            continue


def test_votes_are_no_round_of_a_study() -> None:
    with pytest.raises(InvalidInput, match="votes"):
        round_manifest(heart_plan(), "votes")
