"""Noise in an ordinary study: nothing exact beside it, a promise that its numbers keep, a clip for each patient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.labelling import TEN, labelling_plan, rows
from tests.support.noisy_study import noisy_plan, step_training
from tests.support.study import small_plan

from medfed.encoding import decode, encode
from medfed.federation.plan import Plan, StrategySettings, TrainingNoise
from medfed.federation.plan_file import format_plan, parse_plan
from medfed.federation.plan_rules import plan_problems, verify_plan
from medfed.federation.prepared import prepare
from medfed.federation.private_training import lattice_in, noise_event, patient_step, private_update
from medfed.federation.study import initial_state, round_manifest
from medfed.federation.tables import table_from
from medfed.ledger.contracts.terms import Step
from medfed.privacy import LatticeChoice, guarantee

STEPS = {"unit": "patient", "patient_clip": 1.0, "divisor": 40, "clip": 4.0, "multiplier": 0.1}


def _noise(plan: Plan) -> TrainingNoise:
    assert isinstance(plan.noise, TrainingNoise)
    return plan.noise


def _steps_plan(**changed: Any) -> Plan:
    return noisy_plan(training=step_training(), **(STEPS | changed))


@pytest.mark.parametrize("plan", [noisy_plan(), noisy_plan(unit="patient"), _steps_plan()], ids=["h", "p", "steps"])
def test_a_good_plan_passes_and_comes_back_from_file_and_bytes(plan: Plan) -> None:
    verify_plan(plan)
    assert parse_plan(format_plan(plan), "plan") == plan
    assert decode(encode(plan), Plan) == plan


def test_a_plan_without_noise_has_the_bytes_that_it_always_had() -> None:
    assert b"noise" not in encode(small_plan())


def test_nothing_exact_travels_beside_the_noise() -> None:
    plan = noisy_plan()
    assert plan.terms(bytes(32)).steps == (Step("training", 3),)
    assert [(entry.name, entry.kind) for entry in round_manifest(plan, "training").entries] == [("update", "fixed")]
    assert initial_state(plan).standardisation is not None


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"epsilon": 0.1}, "noise.epsilon"),
        ({"spare": 1, "epsilon": 0.86}, "noise.epsilon"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], path: str) -> None:
    found = [problem.path for problem in plan_problems(noisy_plan(**changed))]
    assert found == [path]


def test_more_hospitals_attended_than_invited_are_refused() -> None:
    plan = noisy_plan()
    assert [p.path for p in plan_problems(replace(plan, noise=replace(_noise(plan), attended=11)))] == [
        "noise.attended"
    ]


def test_a_lattice_that_breaks_the_promise_is_refused_with_one_that_keeps_it() -> None:
    plan = noisy_plan()
    good = _noise(plan).lattice
    small = replace(_noise(plan), lattice=LatticeChoice(good.step, good.variance // 4, good.noise_bound))
    (problem,) = plan_problems(replace(plan, noise=small))
    assert problem.path == "noise.lattice"
    assert f"variance {good.variance}" in problem.sentence


@pytest.mark.parametrize(
    ("training", "path"),
    [
        ({"best_round": True}, "training.best_round"),
        ({"strategy": StrategySettings("scaffold")}, "training.strategy"),
        ({"max_score_drop": 0.5}, "training.best_round"),
    ],
)
def test_what_needs_exact_counts_is_refused(training: dict[str, Any], path: str) -> None:
    plan = noisy_plan()
    changed = replace(plan, training=replace(plan.training, **training))
    assert path in [problem.path for problem in plan_problems(changed)]


def test_noise_is_sized_for_who_may_be_missing() -> None:
    plan = noisy_plan()
    lax = replace(plan, participation=replace(plan.participation, quorum=8))
    assert [problem.path for problem in plan_problems(lax)] == ["participation.quorum"]


def test_a_labelling_study_has_its_own_noise() -> None:
    both = replace(labelling_plan(), noise=_noise(noisy_plan()))
    assert "noise" in [problem.path for problem in plan_problems(both)]


def test_dp_sgd_takes_one_step_over_all_patients() -> None:
    plan = _steps_plan()
    local = replace(plan.training.local, steps=2)
    wrong = replace(plan, training=replace(plan.training, local=local))
    assert [problem.path for problem in plan_problems(wrong)] == ["training.local"]
    assert [p.path for p in plan_problems(noisy_plan(training=step_training(), **(STEPS | {"unit": "hospital"})))] == [
        "noise.unit"
    ]


def test_a_hospital_s_integers_stay_within_the_clip_and_carry_the_share_of_noise() -> None:
    plan = noisy_plan()
    noise, lattice = _noise(plan), lattice_in(plan, _noise(plan))
    rng = np.random.default_rng(1)
    weight = (1, len(TEN))
    made = private_update(plan, noise, np.full(10, 3.0), weight, rng.bytes)
    weighted = made.values / len(TEN)
    assert float(np.linalg.norm(weighted)) <= noise.clip * (1 + 1e-9)
    shares = [private_update(plan, noise, np.zeros(10), weight, rng.bytes).noise for _ in range(2_000)]
    # Eight such shares are the promised noise.
    found = np.std(np.stack(shares).astype(float)) * np.sqrt(8) / lattice.scale
    assert found == pytest.approx(noise.multiplier * noise.clip, rel=0.05)


def test_a_patient_moves_a_step_by_no_more_than_its_clip_whatever_its_rows_say() -> None:
    plan = _steps_plan()
    noise, state = _noise(plan), initial_state(plan)
    table = rows("hospital-a", 80)
    whole = patient_step(plan, noise, state, prepare(plan, table_from(table), bytes(32)))
    rate, reach = plan.training.local.learning_rate, noise.patient_clip / noise.divisor
    for person in sorted(set(table["person"]))[:10]:
        kept = [at for at, name in enumerate(table["person"]) if name != person]
        less = {name: [cells[at] for at in kept] for name, cells in table.items()}
        without = patient_step(plan, noise, state, prepare(plan, table_from(less), bytes(32)))
        assert float(np.linalg.norm(whole - without)) <= rate * reach * (1 + 1e-9)


def test_dp_sgd_costs_less_than_a_promise_about_whole_updates_with_the_same_noise() -> None:
    plan = _steps_plan()
    noise = _noise(plan)
    whole = replace(noise, patient_clip=0.0)
    mine, theirs = (guarantee(noise_event(plan, one), 1e-5).epsilon for one in (noise, whole))
    assert mine < theirs / 10
    twice = replace(noise, attended=2)
    assert guarantee(noise_event(plan, twice), 1e-5).epsilon > 1.5 * mine


def test_the_lattice_moves_with_a_patient_no_more_than_the_event_says() -> None:
    """The integers that are sent, with and without a patient, differ by less than the charged sensitivity."""
    plan = _steps_plan()
    noise, state = _noise(plan), initial_state(plan)
    lattice, event = lattice_in(plan, noise), noise_event(plan, noise)
    table = rows("hospital-a", 80)
    weight, silent = (1, len(TEN)), np.random.default_rng(0).bytes

    def sent(kept: list[int]) -> np.ndarray:
        part = {name: [cells[at] for at in kept] for name, cells in table.items()}
        step = patient_step(plan, noise, state, prepare(plan, table_from(part), bytes(32)))
        made = private_update(plan, noise, step, weight, silent)
        return np.rint(made.values * lattice.scale / len(TEN) / lattice.choice.step)

    everybody = sent(list(range(80)))
    for person in sorted(set(table["person"]))[:10]:
        rest = sent([at for at, name in enumerate(table["person"]) if name != person])
        assert float(np.linalg.norm(everybody - rest)) <= event.l2
