"""Ordinary studies that are trained with differential privacy, over the ledger with ten hospitals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.labelling import TEN, rows, tables
from tests.support.noisy_study import noisy_plan, step_training
from tests.support.study import STUDY, TestWorld

import medfed
from medfed.errors import InvalidInput
from medfed.federation.model_file import NoiseCard
from medfed.federation.plan import TrainingNoise
from medfed.federation.tables import table_from
from medfed.hospital.aggregation import recompute_state, released_sum
from medfed.hospital.enrolled import charges
from medfed.ledger.contracts.rounds import round_record
from medfed.ledger.contracts.studies import enrolment, study_record


def _accuracy(study: Any) -> float:
    test = rows("elsewhere", 400)
    said = study.model.predict({name: test[name] for name in ("age", "dose", "ward")}) >= 0.5
    return float((said == (np.array(test["ill"]) == "1")).mean())


def test_dp_sgd_in_the_masked_sum_learns_at_a_small_epsilon() -> None:
    plan = noisy_plan(
        training=step_training(30), unit="patient", patient_clip=1.0, divisor=150, clip=4.0, multiplier=0.02
    )
    study = medfed.simulate(plan, tables(count=300))
    assert study.study.phase == "completed"
    card = study.model.card.noise
    assert isinstance(card, NoiseCard)
    assert card.unit == "patient"
    assert card.epsilon < 1
    assert _accuracy(study) > 0.82
    again = recompute_state(study.ledger.view, study.study.study, study.blobs)
    assert again.digest == study.study.base


def test_the_released_sum_carries_the_promised_noise_and_a_missing_hospital_takes_away_no_more_than_its_share() -> None:
    plan = noisy_plan(rounds=4, multiplier=8.0)
    assert isinstance(plan.noise, TrainingNoise)
    study = medfed.simulate(plan, tables(), away={"hospital-c": medfed.Absence(0, 9)})
    view, found = study.ledger.view, []
    for number in range(4):
        record = round_record(view, study.study.study, number)
        assert record is not None
        assert len(record.survivors) == 9
        (mean,) = released_sum(view, study.study, study.plan, record, study.blobs).values()
        # The mean of nine of ten equal weights; the updates' own part is below a twentieth of the noise.
        found.append(mean * 9 / 10)
    deviation = float(np.std(np.concatenate(found)))
    assert deviation == pytest.approx(plan.noise.multiplier * plan.noise.clip * np.sqrt(9 / 8), rel=0.35)


def test_what_hospitals_enrol_with_is_the_plan_s_number() -> None:
    study = medfed.simulate(noisy_plan(rounds=1), tables())
    found = [enrolment(study.ledger.view, study.study.study, name) for name in TEN]
    assert {record.examples for record in found if record is not None} == {5}


def test_a_promise_to_patients_is_charged_to_them_and_one_to_hospitals_is_not() -> None:
    for unit, expected in (("patient", 1), ("hospital", 0)):
        world = TestWorld.build(noisy_plan(("alpha", "beta", "delta", "gamma"), rounds=1, unit=unit, multiplier=40.0))
        for name in world.agents:
            world.tables[name] = table_from(rows(name, 80))
            world.restart(name)
        world.propose()
        assert world.run().phase == "completed"
        assert len(charges(world.agents["alpha"].site)) == expected


def test_a_study_beyond_the_cap_is_declined() -> None:
    with pytest.raises(InvalidInput, match="too-few-approvals"):
        medfed.simulate(noisy_plan(rounds=1, unit="patient", epsilon=8.5), tables())


def test_a_hospital_signs_no_more_rounds_than_its_epsilon_pays_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the ledger would open more."""
    plan = noisy_plan(("alpha", "beta", "delta", "gamma"), rounds=3)
    world = TestWorld.build(plan)
    for name in world.agents:
        world.tables[name] = table_from(rows(name, 80))
        world.restart(name)
    world.propose()
    assert isinstance(plan.noise, TrainingNoise)
    from medfed.hospital import noisy_update

    key = noisy_update.study_key(STUDY, "noisy-rounds")
    with world.vaults["beta"].transaction("test"):
        world.vaults["beta"].store(key, (97, 98, 99))
    for _ in range(400):
        if not sum(agent.step() for agent in world.agents.values()):
            world.idle(None)
        study = study_record(world.engine.view(), STUDY)
        if study is not None and study.pauses:
            break
    assert study is not None
    assert study.pauses >= 1
    assert study.next_round >= 1
    record = round_record(world.engine.view(), STUDY, 0)
    assert record is not None
    assert record.phase == "unreleased"


def test_noise_of_two_runs_differs_though_everything_else_is_the_same() -> None:
    plan = replace(noisy_plan(rounds=1))
    first, second = (medfed.simulate(plan, tables(), seed=seed) for seed in (1, 2))
    assert first.state.parameters != second.state.parameters
