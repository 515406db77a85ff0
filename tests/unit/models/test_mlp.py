"""The numpy networks: gradients, training and initial parameters against independent references."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset
from medfed.models.learner import Learner, learner_for
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining, MlpModel

Array = npt.NDArray[Any]
KINDS = [("binary", 1), ("multiclass", 3), ("multilabel", 4)]
MODELS = [MlpModel(), MlpModel((7,)), MlpModel((6, 5), "tanh")]


def dataset(task: str, outputs: int, examples: int = 40, inputs: int = 5, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(examples, inputs))
    if task == "multiclass":
        return Dataset(features, rng.integers(0, outputs, examples))
    marks = (features[:, :1] + rng.normal(size=(examples, outputs)) > 0).astype(np.float32)
    return Dataset(features, marks[:, 0] if task == "binary" else marks)


def learner(model: MlpModel, task: Any, outputs: int, inputs: int = 5) -> Learner:
    return learner_for(model, task, inputs, outputs)


def scattered(made: Learner, seed: int = 1) -> Parameters:
    """Parameters away from zero, biases included."""
    start = made.initial(0)
    return start.with_flat(np.random.default_rng(seed).normal(size=start.flat.size) * 0.5)


def by_differences(made: Learner, parameters: Parameters, data: Dataset) -> Array:
    flat = parameters.flat
    slopes = np.empty(flat.size)
    for index in range(flat.size):
        above, below = flat.copy(), flat.copy()
        above[index] += np.float32(2**-10)
        below[index] -= np.float32(2**-10)
        rise = made.loss(parameters.with_flat(above), data) - made.loss(parameters.with_flat(below), data)
        slopes[index] = rise / (float(above[index]) - float(below[index]))
    return slopes


@pytest.mark.parametrize(("task", "outputs"), KINDS)
@pytest.mark.parametrize("model", [MlpModel(), MlpModel((7,), "tanh"), MlpModel((6, 5), "tanh")])
def test_gradient_agrees_with_central_differences(model: MlpModel, task: str, outputs: int):
    made, data = learner(model, task, outputs), dataset(task, outputs)
    parameters = scattered(made)
    found = made.gradient(parameters, data)
    assert np.allclose(found, by_differences(made, parameters, data), atol=2e-6)
    assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize(("task", "outputs"), KINDS)
def test_a_full_batch_step_moves_along_the_gradient(task: str, outputs: int):
    made, data = learner(MlpModel((7,)), task, outputs), dataset(task, outputs)
    start = scattered(made)
    settings = LocalTraining(steps=1, batch_size=0, learning_rate=0.5)
    result = made.train(start, data, settings, np.random.default_rng(0))
    assert np.allclose(result.parameters.flat, start.flat - 0.5 * made.gradient(start, data), atol=1e-6)
    assert (result.steps, result.examples) == (1, 40)
    assert result.loss == made.loss(result.parameters, data)


def test_loss_and_gradient_do_not_depend_on_the_blocks_they_are_computed_in(monkeypatch: pytest.MonkeyPatch):
    made, data = learner(MlpModel((7,)), "multiclass", 3), dataset("multiclass", 3)
    parameters = scattered(made)
    whole = made.loss(parameters, data), made.gradient(parameters, data), made.predict(parameters, data.features)
    monkeypatch.setattr("medfed.models.mlp._EVALUATED", 7)
    assert made.loss(parameters, data) == pytest.approx(whole[0], rel=1e-13)
    assert np.allclose(made.gradient(parameters, data), whole[1], rtol=1e-12, atol=1e-15)
    assert np.allclose(made.predict(parameters, data.features), whole[2], rtol=1e-13)


@pytest.mark.torch
@pytest.mark.parametrize(("task", "outputs"), KINDS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "settings",
    [
        LocalTraining(epochs=6, batch_size=16, learning_rate=0.1),
        LocalTraining(steps=40, batch_size=16, learning_rate=0.05, momentum=0.9, weight_decay=0.01),
        LocalTraining(steps=40, batch_size=8, learning_rate=0.02, optimizer="adam", weight_decay=0.1),
        LocalTraining(steps=25, batch_size=0, learning_rate=0.1, proximal=0.3),
    ],
)
def test_training_follows_torch_step_for_step(model: MlpModel, task: str, outputs: int, settings: LocalTraining):
    torch = pytest.importorskip("torch")
    made, data = learner(model, task, outputs), dataset(task, outputs)
    start = scattered(made)
    network = as_torch(torch, start, model)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim == 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    optimizer = (
        torch.optim.Adam(groups, lr=rate)
        if settings.optimizer == "adam"
        else torch.optim.SGD(groups, lr=rate, momentum=settings.momentum)
    )
    origin = [p.detach().clone() for p in network.parameters()]
    rng = np.random.default_rng(9)
    for rows in row_batches(len(data), settings, rng):
        optimizer.zero_grad()
        torch_loss(torch, network, data, task, rows).backward()
        for parameter, first in zip(network.parameters(), origin, strict=True):
            parameter.grad += settings.proximal * (parameter.detach() - first)
        optimizer.step()
    found = made.train(start, data, settings, np.random.default_rng(9)).parameters
    assert np.allclose(found.flat, from_torch(network), atol=2e-5, rtol=1e-4)
    assert np.abs(found.flat - start.flat).max() > 0.05


@pytest.mark.torch
@pytest.mark.parametrize(("task", "outputs"), KINDS)
@pytest.mark.parametrize("model", MODELS)
def test_loss_gradient_and_predictions_agree_with_torch(model: MlpModel, task: str, outputs: int):
    torch = pytest.importorskip("torch")
    made, data = learner(model, task, outputs), dataset(task, outputs)
    parameters = scattered(made)
    network = as_torch(torch, parameters, model).double()
    loss = torch_loss(torch, network, data, task, np.arange(len(data)))
    loss.backward()
    assert made.loss(parameters, data) == pytest.approx(loss.item(), rel=1e-12)
    slopes = [(p.grad.T if p.ndim == 2 else p.grad).reshape(-1).numpy() for p in network.parameters()]
    assert np.allclose(made.gradient(parameters, data), np.concatenate(slopes), rtol=1e-10, atol=1e-13)
    logits = network(torch.tensor(data.features).double()).detach()
    shares = logits.softmax(1) if task == "multiclass" else logits.sigmoid()
    expected = shares[:, 0] if task == "binary" else shares
    assert np.allclose(made.predict(parameters, data.features), expected.numpy(), rtol=1e-12)


def as_torch(torch: Any, parameters: Parameters, model: MlpModel) -> Any:
    layers: list[Any] = []
    for weight, bias in zip(list(parameters.values())[::2], list(parameters.values())[1::2], strict=True):
        layer = torch.nn.Linear(*weight.shape)
        layer.weight.data = torch.tensor(weight.T.copy())
        layer.bias.data = torch.tensor(bias.copy())
        layers += [layer, torch.nn.ReLU() if model.activation == "relu" else torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def from_torch(network: Any) -> Array:
    values = [p.detach() for p in network.parameters()]
    return np.concatenate([(p.T if p.ndim == 2 else p).reshape(-1).numpy() for p in values])


def torch_loss(torch: Any, network: Any, data: Dataset, task: str, rows: Array) -> Any:
    dtype = next(network.parameters()).dtype
    logits = network(torch.tensor(data.features[rows], dtype=dtype))
    targets = torch.tensor(data.targets[rows])
    if task == "multiclass":
        return torch.nn.functional.cross_entropy(logits, targets)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.reshape(logits.shape).to(dtype))


def row_batches(examples: int, settings: LocalTraining, rng: np.random.Generator) -> list[Array]:
    """The rows of every step, worked out without the module under test."""
    if settings.batch_size == 0:
        return [np.arange(examples)] * settings.steps
    rows: list[Array] = []
    passes = settings.epochs or settings.steps
    for _ in range(passes):
        order = rng.permutation(examples)
        rows += [order[at : at + settings.batch_size] for at in range(0, examples, settings.batch_size)]
    return rows if settings.epochs else rows[: settings.steps]


def test_logistic_regression_reaches_the_optimum_that_newton_finds():
    data = dataset("binary", 1, examples=300)
    made = learner(MlpModel(), "binary", 1)
    decay = 0.05
    design: Array = np.column_stack([data.features, np.ones(300)]).astype(np.float64)
    penalty = np.diag([decay] * 5 + [0.0])
    best: Array = np.zeros(6)
    for _ in range(50):
        chance: Array = 1 / (1 + np.exp(-design @ best))
        slope: Array = design.T @ (chance - data.targets) / 300 + penalty @ best
        curvature: Array = (design.T * (chance * (1 - chance))) @ design / 300 + penalty
        change: Array = np.linalg.solve(curvature, slope)
        best = best - change
    settings = LocalTraining(steps=3000, batch_size=0, learning_rate=0.5, weight_decay=decay)
    found = made.train(made.initial(0), data, settings, np.random.default_rng(0)).parameters
    assert np.allclose(found.flat, best, atol=1e-5)


def test_the_same_generator_seed_gives_the_same_bits():
    made, data = learner(MlpModel((7,)), "binary", 1), dataset("binary", 1)
    settings = LocalTraining(steps=50, momentum=0.9)
    runs = [made.train(made.initial(3), data, settings, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert runs[0].parameters == runs[1].parameters
    assert runs[0].parameters != runs[2].parameters


def test_training_leaves_its_start_and_its_data_alone():
    made, data = learner(MlpModel((7,)), "binary", 1), dataset("binary", 1)
    start = made.initial(3)
    before = start.save(), data.features.tobytes(), data.targets.tobytes()
    made.train(start, data, LocalTraining(epochs=3), np.random.default_rng(0))
    assert (start.save(), data.features.tobytes(), data.targets.tobytes()) == before


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_correction_joins_every_gradient(optimizer: Any):
    made, data = learner(MlpModel(), "binary", 1), dataset("binary", 1)
    start = scattered(made)
    settings = LocalTraining(steps=1, batch_size=0, learning_rate=0.5, optimizer=optimizer)
    minus = -made.gradient(start, data).astype(np.float32)
    still = made.train(start, data, settings, np.random.default_rng(0), correction=minus)
    limit = 1e-6 if optimizer == "sgd" else 0.5
    assert np.abs(still.parameters.flat - start.flat).max() <= limit
    push = np.linspace(-1, 1, 6).astype(np.float32)
    with_push = made.train(start, data, settings, np.random.default_rng(0), correction=push)
    without = made.train(start, data, settings, np.random.default_rng(0))
    if optimizer == "sgd":
        assert np.allclose(with_push.parameters.flat, without.parameters.flat - 0.5 * push, atol=1e-6)
    else:
        assert with_push.parameters != without.parameters


def test_the_proximal_term_holds_training_near_its_start():
    made, data = learner(MlpModel((7,)), "binary", 1), dataset("binary", 1)
    start = scattered(made)
    moved = [
        np.linalg.norm(made.train(start, data, settings, np.random.default_rng(0)).parameters.flat - start.flat)
        for settings in (LocalTraining(steps=300, learning_rate=0.1, proximal=mu) for mu in (0.0, 0.1, 1.0))
    ]
    assert moved[0] > moved[1] > moved[2] > 0


def test_weight_decay_leaves_biases_alone():
    made = learner(MlpModel((3,)), "binary", 1)
    start = scattered(made)
    blank = Dataset(np.zeros((2, 5)), np.array([0.0, 1.0]))
    once = LocalTraining(steps=1, batch_size=0, learning_rate=0.1)
    decayed = LocalTraining(steps=1, batch_size=0, learning_rate=0.1, weight_decay=0.5)
    plain = made.train(start, blank, once, np.random.default_rng(0)).parameters
    shrunk = made.train(start, blank, decayed, np.random.default_rng(0)).parameters
    for name in start:
        pull = 0.1 * 0.5 * start[name] if name.endswith("weight") else 0 * start[name]
        assert np.allclose(shrunk[name], plain[name] - pull, atol=1e-7)


def test_logistic_regression_starts_at_zero_and_networks_at_bounded_uniform_weights():
    assert not learner(MlpModel(), "multiclass", 3).initial(9).flat.any()
    gains: tuple[tuple[Any, float], ...] = (("relu", 6 / 200), ("tanh", 6 / 500))
    for activation, gain in gains:
        made = learner(MlpModel((300,), activation), "multiclass", 3, inputs=200)
        first = made.initial(1)["layers.0.weight"]
        bound = np.sqrt(gain)
        assert np.abs(first).max() <= bound
        assert first.std() == pytest.approx(bound / np.sqrt(3), rel=0.01)
        assert first.mean() == pytest.approx(0, abs=bound / 50)
        assert np.abs(made.initial(1)["layers.1.weight"]).max() <= np.sqrt(6 / 303)
        assert not made.initial(1)["layers.0.bias"].any()
        assert made.initial(1) == made.initial(1)
        assert made.initial(1) != made.initial(2)


def test_initial_parameters_are_the_documented_function_of_the_seed():
    made = learner(MlpModel((4,)), "binary", 1, inputs=3)
    bits = np.random.PCG64(77)
    for layer, (inputs, outputs) in enumerate(pairwise((3, 4, 1))):
        bound = (6 / inputs if layer == 0 else 6 / (inputs + outputs)) ** 0.5
        raw = [int(bits.random_raw()) >> 11 for _ in range(inputs * outputs)]
        expected = np.array([(value / 2**52 - 1) * bound for value in raw]).astype(np.float32)
        assert np.array_equal(made.initial(77)[f"layers.{layer}.weight"].reshape(-1), expected)


def test_initial_parameters_never_change_between_versions():
    saved = learner(MlpModel((4,)), "binary", 1, inputs=3).initial(77).save()
    assert hashlib.sha256(saved).hexdigest() == "7275cf9220a40ca6ba10b4cf3453982cf5a018c5fab73cd3f945d28af74e4787"


def test_names_and_shapes_of_parameters_are_layer_by_layer():
    assert dict(learner(MlpModel((7, 2)), "multiclass", 3).initial(0).shapes) == {
        "layers.0.weight": (5, 7),
        "layers.0.bias": (7,),
        "layers.1.weight": (7, 2),
        "layers.1.bias": (2,),
        "layers.2.weight": (2, 3),
        "layers.2.bias": (3,),
    }


@pytest.mark.parametrize(("task", "outputs"), KINDS)
def test_predictions_are_probabilities_and_empty_for_no_rows(task: str, outputs: int):
    made, data = learner(MlpModel((7,)), task, outputs), dataset(task, outputs)
    parameters = scattered(made)
    shares = made.predict(parameters, data.features)
    assert shares.shape == ((40,) if task == "binary" else (40, outputs))
    assert ((shares > 0) & (shares < 1)).all()
    if task == "multiclass":
        assert np.allclose(shares.sum(axis=1), 1)
    assert made.predict(parameters, data.features[:0]).shape == ((0,) if task == "binary" else (0, outputs))


@pytest.mark.parametrize(("task", "outputs"), KINDS)
def test_one_class_one_row_and_constant_columns_train(task: str, outputs: int):
    made = learner(MlpModel((7,)), task, outputs)
    zeros = np.zeros(1, np.int64) if task == "multiclass" else np.zeros((1, outputs), np.float32)
    one = Dataset(np.ones((1, 5)), zeros[:, 0] if task == "binary" else zeros)
    result = made.train(made.initial(0), one, LocalTraining(epochs=200, learning_rate=0.5), np.random.default_rng(0))
    assert result.loss < 0.05 < made.loss(made.initial(0), one)
    assert (result.steps, result.examples) == (200, 1)


@pytest.mark.parametrize(("task", "outputs"), KINDS)
@pytest.mark.parametrize("model", MODELS)
def test_features_of_huge_scale_give_finite_figures(model: MlpModel, task: str, outputs: int):
    made, small = learner(model, task, outputs), dataset(task, outputs)
    data = Dataset(small.features * np.float32(1e18), small.targets)
    tiny_steps = LocalTraining(steps=20, learning_rate=1e-30)
    result = made.train(scattered(made), data, tiny_steps, np.random.default_rng(0))
    assert np.isfinite(result.loss)
    assert np.isfinite(made.predict(result.parameters, data.features)).all()
    assert np.isfinite(made.gradient(result.parameters, data)).all()


@pytest.mark.parametrize("model", MODELS)
def test_training_that_diverges_is_reported(model: MlpModel):
    made, data = learner(model, "binary", 1), dataset("binary", 1)
    wild = LocalTraining(steps=200, learning_rate=1e30, weight_decay=1e9)
    with pytest.raises(InvalidInput, match="diverged"):
        made.train(scattered(made), data, wild, np.random.default_rng(0))


def test_what_does_not_fit_is_refused():
    made, data = learner(MlpModel((7,)), "binary", 1), dataset("binary", 1)
    start, rng, once = made.initial(0), np.random.default_rng(0), LocalTraining(steps=1)
    empty = data.take(slice(0))
    other = learner(MlpModel((8,)), "binary", 1).initial(0)
    for attempt in (
        lambda: made.train(start, empty, once, rng),
        lambda: made.loss(start, empty),
        lambda: made.gradient(start, empty),
        lambda: made.train(other, data, once, rng),
        lambda: made.predict(other, data.features),
        lambda: made.predict(start, data.features[:, :4]),
        lambda: made.predict(start, data.features[0]),
        lambda: made.predict(start, np.full((1, 5), np.nan)),
        lambda: made.train(start, dataset("multiclass", 3), once, rng),
        lambda: made.train(start, data, LocalTraining(), rng),
        lambda: made.train(start, data, once, rng, correction=np.zeros(3, np.float32)),
        lambda: made.train(start, data, once, rng, correction=np.full(start.flat.size, np.nan, np.float32)),
        lambda: made.initial(-1),
    ):
        with pytest.raises(InvalidInput):
            attempt()
