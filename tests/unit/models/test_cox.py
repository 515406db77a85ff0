"""The Cox model: partial likelihood against its definition, gradients against differences, optimum against Newton."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medfed.errors import InvalidInput
from medfed.models.cox import Cox, partial_likelihood
from medfed.models.dataset import Dataset
from medfed.models.settings import LocalTraining

Array = npt.NDArray[Any]


def by_definition(scores: Array, time: Array, event: Array) -> tuple[float, Array]:
    """Breslow's negative log partial likelihood and its gradient, one event at a time."""
    total, slopes = 0.0, np.zeros(len(scores))
    for i in np.flatnonzero(event):
        at_risk = time >= time[i]
        shares = np.where(at_risk, np.exp(scores), 0)
        total += np.log(shares.sum()) - scores[i]
        slopes += shares / shares.sum()
        slopes[i] -= 1
    return total, slopes


def survivors(examples: int = 80, inputs: int = 4, seed: int = 0, levels: int | None = None) -> Dataset:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(examples, inputs)).astype(np.float32)
    time = rng.exponential(np.exp(-features @ np.linspace(-1, 1, inputs)))
    if levels:
        time = np.ceil(time * levels)
    return Dataset(features, np.stack([time, rng.random(examples) < 0.6], axis=1))


@pytest.mark.parametrize("levels", [1, 3, 1000])
@pytest.mark.parametrize("examples", [1, 2, 5, 60])
def test_partial_likelihood_and_its_gradient_agree_with_the_definition(levels: int, examples: int):
    rng = np.random.default_rng(levels)
    for _ in range(10):
        scores = rng.normal(size=examples) * 2
        time = rng.integers(0, levels, examples).astype(float)
        event = rng.random(examples) < 0.5
        found, slopes = partial_likelihood(scores, time, event)
        expected, expected_slopes = by_definition(scores, time, event)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert np.allclose(slopes, expected_slopes, atol=1e-12)


def test_scores_far_apart_neither_overflow_nor_lose_a_risk_set():
    scores = np.array([-5000.0, 0.0, 5000.0, -5000.0])
    time, event = np.array([9.0, 1.0, 2.0, 8.0]), np.array([1, 1, 1, 1])
    # By falling time: {0} alone; {0, 3} equal scores; {.., 2} itself; {.., 1} among 5000.
    total, slopes = partial_likelihood(scores, time, event)
    assert total == pytest.approx(np.log(2) + 5000, rel=1e-15)
    assert np.allclose(slopes, [0.5, -1, 1, -0.5])


def test_adding_a_constant_to_all_scores_changes_nothing():
    data = survivors()
    scores = data.features[:, 0].astype(float)
    one = partial_likelihood(scores, data.targets[:, 0], data.targets[:, 1])
    two = partial_likelihood(scores + 300, data.targets[:, 0], data.targets[:, 1])
    assert one[0] == pytest.approx(two[0], rel=1e-12)
    assert np.allclose(one[1], two[1], atol=1e-12)
    assert one[1].sum() == pytest.approx(0, abs=1e-12)


def test_gradient_agrees_with_central_differences():
    made, data = Cox(4), survivors(levels=5)
    start = made.initial(0).with_flat(np.array([0.3, -0.2, 0.7, 0.1]))
    found = made.gradient(start, data)
    for index in range(4):
        above, below = start.flat.copy(), start.flat.copy()
        above[index] += np.float32(2**-10)
        below[index] -= np.float32(2**-10)
        rise = made.loss(start.with_flat(above), data) - made.loss(start.with_flat(below), data)
        assert found[index] == pytest.approx(rise / float(above[index] - below[index]), rel=1e-5)


@pytest.mark.torch
def test_gradient_agrees_with_torch_autograd():
    torch = pytest.importorskip("torch")
    made, data = Cox(4), survivors(levels=5)
    start = made.initial(0).with_flat(np.array([0.3, -0.2, 0.7, 0.1]))
    weights = torch.tensor(start.flat.astype(float), requires_grad=True)
    scores = torch.tensor(data.features.astype(float)) @ weights
    time, event = torch.tensor(data.targets[:, 0].copy()), torch.tensor(data.targets[:, 1].copy())
    at_risk = torch.where(time[None, :] >= time[:, None], scores[None, :], -torch.inf)
    loss = (event * (torch.logsumexp(at_risk, 1) - scores)).sum() / len(data)
    loss.backward()
    assert made.loss(start, data) == pytest.approx(loss.item(), rel=1e-12)
    assert np.allclose(made.gradient(start, data), weights.grad.numpy(), rtol=1e-10)


def newton(data: Dataset) -> Array:
    """The maximum partial likelihood, from the definition alone."""
    features, (time, event) = data.features.astype(float), data.targets.T
    best = np.zeros(features.shape[1])
    for _ in range(30):
        slope, curvature = np.zeros_like(best), np.zeros((best.size, best.size))
        for i in np.flatnonzero(event):
            inside = features[time >= time[i]]
            shares = np.exp(inside @ best)
            shares /= shares.sum()
            mean = shares @ inside
            slope += mean - features[i]
            curvature += (inside.T * shares) @ inside - np.outer(mean, mean)
        best -= np.linalg.solve(curvature, slope)
    return best


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("adam", 0.005)])
def test_full_batch_training_reaches_the_optimum_that_newton_finds(optimizer: Any, rate: float):
    made, data = Cox(4), survivors(levels=8)
    settings = LocalTraining(steps=3000, batch_size=0, learning_rate=rate, momentum=0.9, optimizer=optimizer)
    result = made.train(made.initial(0), data, settings, np.random.default_rng(0))
    assert np.allclose(result.parameters.flat, newton(data), atol=1e-4)
    assert result.loss == made.loss(result.parameters, data)
    assert (result.steps, result.examples) == (3000, 80)


def test_a_mini_batch_step_uses_the_risk_sets_of_the_batch():
    made, data = Cox(4), survivors()
    settings = LocalTraining(steps=1, batch_size=8, learning_rate=1.0)
    result = made.train(made.initial(0), data, settings, np.random.default_rng(5))
    batch = data.take(np.random.default_rng(5).permutation(80)[:8])
    assert np.allclose(result.parameters.flat, -made.gradient(made.initial(0), batch), atol=1e-6)


def test_mini_batches_recover_the_direction_of_the_coefficients():
    made, data = Cox(4), survivors(examples=600)
    settings = LocalTraining(epochs=30, batch_size=16, learning_rate=0.1)
    found = made.train(made.initial(0), data, settings, np.random.default_rng(0)).parameters.flat
    best = newton(data)
    assert found @ best / np.linalg.norm(found) / np.linalg.norm(best) > 0.98


def test_data_without_an_event_has_no_loss_and_moves_nothing():
    made = Cox(4)
    censored = Dataset(survivors().features, np.stack([np.arange(80.0), np.zeros(80)], axis=1))
    start = made.initial(0).with_flat(np.ones(4))
    result = made.train(start, censored, LocalTraining(epochs=3), np.random.default_rng(0))
    assert result.parameters == start
    assert result.loss == 0
    assert not made.gradient(start, censored).any()


def test_one_row_and_constant_columns_leave_coefficients_at_zero():
    made = Cox(2)
    one = Dataset(np.ones((1, 2)), np.array([[3.0, 1.0]]))
    constant = Dataset(np.ones((5, 2)), np.array([[float(t), 1.0] for t in range(5)]))
    for data in (one, constant):
        result = made.train(made.initial(0), data, LocalTraining(epochs=5), np.random.default_rng(0))
        assert np.allclose(result.parameters.flat, 0, atol=1e-6)


def test_penalties_and_correction_apply_to_coefficients():
    made, data = Cox(4), survivors()
    start = made.initial(0).with_flat(np.array([0.3, -0.2, 0.7, 0.1]))
    push = np.array([1, 2, 3, 4], np.float32)
    settings = LocalTraining(steps=1, batch_size=0, learning_rate=0.1, weight_decay=0.5)
    found = made.train(start, data, settings, np.random.default_rng(0), correction=push).parameters.flat
    slope = made.gradient(start, data) + 0.5 * start.flat + push
    assert np.allclose(found, start.flat - 0.1 * slope, atol=1e-6)


def test_a_higher_feature_of_a_positive_coefficient_is_a_higher_risk():
    made = Cox(1)
    assert made.predict(made.initial(0).with_flat(np.array([2.0])), np.array([[1.0], [3.0]])).tolist() == [2, 6]


def test_what_does_not_fit_is_refused():
    made, data = Cox(4), survivors()
    start, rng, once = made.initial(0), np.random.default_rng(0), LocalTraining(steps=1)
    for attempt in (
        lambda: made.train(start, data.take(slice(0)), once, rng),
        lambda: made.loss(start, data.take(slice(0))),
        lambda: made.train(Cox(5).initial(0), data, once, rng),
        lambda: made.predict(start, data.features[:, :3]),
        lambda: made.predict(start, np.full((1, 4), np.inf)),
        lambda: made.train(start, Dataset(data.features, data.targets[:, 1]), once, rng),
        lambda: made.train(start, data, once, rng, correction=np.zeros(5)),
        lambda: made.train(start, data, LocalTraining(steps=3, learning_rate=1e38), rng, correction=np.ones(4) * 1e30),
    ):
        with pytest.raises(InvalidInput):
            attempt()
