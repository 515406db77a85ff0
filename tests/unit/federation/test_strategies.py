"""Strategies against their papers' formulae, written out scalar by scalar."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.federation.plan import StrategySettings, Training
from medfed.federation.strategies import FedAvg, FedAvgM, FedOpt, Memory, Scaffold, Strategy, strategy_for
from medfed.models.dataset import Dataset
from medfed.models.learner import LocalResult, learner_for
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining, MlpModel

NAMES = ("fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold")


def parameters(*values: float) -> Parameters:
    return Parameters.from_arrays({"w": np.array(values, dtype=np.float64)})


def training(name: str, **local: float) -> Training:
    settings = LocalTraining(steps=5, proximal=0.1 if name == "fedprox" else 0.0, **local)  # type: ignore[arg-type]
    return Training(rounds=3, local=settings, strategy=StrategySettings(name=name))  # type: ignore[arg-type]


def test_fedavg_with_rate_one_lands_on_the_weighted_mean_of_the_local_models() -> None:
    start, local = parameters(1.0, -2.0, 0.5), [parameters(2.0, 0.0, 0.5), parameters(-1.0, 3.0, 1.5)]
    weights = [0.25, 0.75]
    strategy = FedAvg()
    mean = np.zeros(3)
    for weight, model in zip(weights, local, strict=True):
        vectors, _ = strategy.client_step(start, LocalResult(model, 5, 10, 0.0), Memory(), Memory())
        mean += weight * vectors["update"]
    after, memory = strategy.server_step(start, {"update": mean}, Memory())
    expected = 0.25 * local[0].flat + 0.75 * local[1].flat
    np.testing.assert_allclose(after.flat, expected, rtol=1e-6)
    assert not memory.arrays


def test_fedavgm_accumulates_velocity_as_hsu_2019_writes_it() -> None:
    strategy, current = FedAvgM(rate=0.5, momentum=0.9), parameters(0.0)
    memory, velocity, expected = strategy.initial_memory(1), 0.0, 0.0
    for step in (1.0, 0.5, -0.25):
        current, memory = strategy.server_step(current, {"update": np.array([step])}, memory)
        velocity = 0.9 * velocity + step
        expected += 0.5 * velocity
    assert current.flat[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("second", ["adagrad", "adam", "yogi"])
def test_fedopt_follows_algorithm_2_of_reddi_2021(second: str) -> None:
    rate, beta1, beta2, tau = 0.1, 0.5, 0.9, 0.01
    strategy = FedOpt(rate, second, beta1, beta2, tau)  # type: ignore[arg-type]
    current, memory = parameters(0.3), strategy.initial_memory(1)
    x, m, v = 0.3, 0.0, tau * tau
    for delta in (0.2, -0.4, 0.05, 0.0):
        current, memory = strategy.server_step(current, {"update": np.array([delta])}, memory)
        beta = 0.0 if second == "adagrad" else beta1
        m = beta * m + (1 - beta) * delta
        if second == "adagrad":
            v = v + delta**2
        elif second == "adam":
            v = beta2 * v + (1 - beta2) * delta**2
        else:
            v = v - (1 - beta2) * delta**2 * math.copysign(1.0 if v != delta**2 else 0.0, v - delta**2)
        x += rate * m / (math.sqrt(v) + tau)
    assert current.flat[0] == pytest.approx(x, rel=1e-5)


def test_scaffold_control_variate_is_the_mean_local_gradient_of_option_ii() -> None:
    strategy = Scaffold(rate=1.0, local_rate=0.1)
    memory = Memory({"control": np.array([0.5, -1.0])})
    own = Memory({"control": np.array([0.25, 2.0])})
    correction = strategy.correction(memory, own)
    gradients = [np.array([1.0, 2.0]), np.array([3.0, -1.0]), np.array([0.5, 0.5])]
    start = parameters(1.0, 1.0)
    local = start.flat.astype(np.float64)
    for gradient in gradients:
        local = local - 0.1 * (gradient + correction)
    vectors, after = strategy.client_step(start, LocalResult(start.with_flat(local), 3, 7, 0.0), memory, own)
    np.testing.assert_allclose(after.arrays["control"], np.mean(gradients, axis=0), rtol=1e-5)
    np.testing.assert_allclose(vectors["control"], np.mean(gradients, axis=0) - own.arrays["control"], rtol=1e-5)


def test_scaffold_moves_the_shared_control_variate_by_the_survivors_share() -> None:
    strategy = Scaffold(rate=1.0, local_rate=0.1)
    mean = {"update": np.zeros(1), "control": np.array([2.0])}
    _, memory = strategy.server_step(parameters(0.0), mean, Memory({"control": np.array([1.0])}), share=0.25)
    assert memory.arrays["control"][0] == 1.5


def test_scaffold_removes_the_drift_that_fedavg_settles_into() -> None:
    """Two hospitals with quadratic losses of different curvature: FedAvg's fixed point is not the joint minimum."""

    def run(strategy: Strategy) -> float:
        current, memory = parameters(0.0), strategy.initial_memory(1)
        own = [strategy.initial_local_memory(1)] * 2
        for _ in range(400):
            mean: dict[str, np.ndarray] = {}
            for at, (curvature, optimum) in enumerate([(1.0, 0.0), (9.0, 1.0)]):
                correction = strategy.correction(memory, own[at])
                x = float(current.flat[0])
                for _ in range(10):
                    x -= 0.02 * (curvature * (x - optimum) + (0.0 if correction is None else float(correction[0])))
                vectors, own[at] = strategy.client_step(
                    current, LocalResult(current.with_flat(np.array([x])), 10, 1, 0.0), memory, own[at]
                )
                for name, vector in vectors.items():
                    mean[name] = mean.get(name, np.zeros(1)) + 0.5 * vector.astype(np.float64)
            current, memory = strategy.server_step(current, mean, memory)
        return float(current.flat[0])

    joint_minimum = 0.9
    assert run(Scaffold(1.0, 0.02)) == pytest.approx(joint_minimum, abs=1e-3)
    assert abs(run(FedAvg()) - joint_minimum) > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_takes_its_server_step_without_changing_what_it_was_given(name: str) -> None:
    strategy = strategy_for(training(name))
    current, memory = parameters(0.1, 0.2, 0.3), strategy.initial_memory(3)
    digests = (current.digest, memory.digest)
    mean = {vector: np.array([0.5, -0.25, 0.0]) for vector in strategy.vectors}
    after, next_memory = strategy.server_step(current, mean, memory)
    again, memory_again = strategy.server_step(current, mean, Memory.load(memory.save()))
    assert (current.digest, memory.digest) == digests
    assert after.digest == again.digest != current.digest
    assert next_memory.digest == memory_again.digest


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_learns_a_separable_problem_over_two_hospitals(name: str) -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(200, 3)).astype(np.float32)
    targets = (features @ np.array([2.0, -1.0, 0.5]) > 0).astype(np.float32)
    parts = [Dataset(features[:120], targets[:120]), Dataset(features[120:], targets[120:])]
    plan = training(name, learning_rate=0.1)
    if name in ("fedadagrad", "fedadam", "fedyogi"):
        plan = msgspec.structs.replace(plan, strategy=msgspec.structs.replace(plan.strategy, rate=0.1))
    strategy, learner = strategy_for(plan), learner_for(MlpModel(), "binary", 3, 1)
    current = learner.initial(0)
    size = current.flat.size
    memory, own = strategy.initial_memory(size), [strategy.initial_local_memory(size)] * 2
    before = learner.loss(current, Dataset(features, targets))
    for _ in range(20):
        mean = {vector: np.zeros(size) for vector in strategy.vectors}
        for at, (part, weight) in enumerate(zip(parts, (0.6, 0.4), strict=True)):
            result = learner.train(current, part, plan.local, rng, strategy.correction(memory, own[at]))
            vectors, own[at] = strategy.client_step(current, result, memory, own[at])
            for vector, values in vectors.items():
                mean[vector] += weight * values
        current, memory = strategy.server_step(current, mean, memory)
    assert learner.loss(current, Dataset(features, targets)) < 0.7 * before


def test_a_mean_of_the_wrong_length_or_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected 2 numbers"):
        FedAvg().server_step(parameters(0.0, 1.0), {"update": np.zeros(3)}, Memory())
    with pytest.raises(InvalidInput, match="found nothing"):
        Scaffold(1.0, 0.1).server_step(parameters(0.0), {"update": np.zeros(1)}, Memory({"control": np.zeros(1)}))


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InvalidInput, match="proximal"):
        strategy_for(Training(rounds=1, local=LocalTraining(steps=1), strategy=StrategySettings("fedprox")))
    for local in (LocalTraining(steps=1, momentum=0.9), LocalTraining(steps=1, optimizer="adam")):
        with pytest.raises(InvalidInput, match="scaffold"):
            strategy_for(Training(rounds=1, local=local, strategy=StrategySettings("scaffold")))


def test_a_memory_survives_saving_and_its_digest_names_its_contents() -> None:
    memory = Memory({"b": np.array([1.5, -2.25]), "a": np.zeros(0)}, {"steps": 7})
    again = Memory.load(memory.save())
    assert again.digest == memory.digest
    assert again.arrays["b"].tolist() == [1.5, -2.25]
    assert dict(again.integers) == {"steps": 7}
    assert Memory({"b": np.array([1.5, -2.5]), "a": np.zeros(0)}, {"steps": 7}).digest != memory.digest


def test_a_memory_is_read_only_and_takes_finite_vectors_only() -> None:
    memory = Memory({"v": np.ones(2)})
    with pytest.raises(ValueError, match="read-only"):
        memory.arrays["v"][0] = 2.0
    for bad in (np.array([np.nan]), np.array([np.inf]), np.ones(1, dtype=np.float32), np.ones((1, 1))):
        with pytest.raises(InvalidInput, match="finite float64"):
            Memory({"v": bad})


@pytest.mark.parametrize("damage", [b"", b"\x80", b"\x82\xa6arrays\x81\xa1v\xc4\x03abc\xa8integers\x80"])
def test_a_damaged_memory_is_refused(damage: bytes) -> None:
    with pytest.raises(InvalidInput):
        Memory.load(damage)
