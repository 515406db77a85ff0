"""Image classifiers compute what torch's own modules compute, train as torch's optimizers do, and learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torchvision")

from medfed.errors import InvalidInput
from medfed.models.course import Course
from medfed.models.dataset import Dataset
from medfed.models.image_layers import GROUPS
from medfed.models.learner import Learner, learner_for
from medfed.models.parameters import Parameters
from medfed.models.settings import ImageModel, LocalTraining, ResNet18Model, SmallCnnModel, Vgg11Model
from medfed.models.torch_classifier import vary_images
from medfed.models.torch_detector import torch_module

pytestmark = pytest.mark.torch
SMALL: tuple[ImageModel, ...] = (
    SmallCnnModel(side=16, filters=8),
    Vgg11Model(side=20, filters=8),
    ResNet18Model(side=16, filters=8, channels=3),
)
ADAM = LocalTraining(epochs=3, batch_size=8, optimizer="adam", learning_rate=0.01)


def _learner(model: ImageModel, task: Any = "binary", outputs: int = 1) -> Learner:
    return learner_for(model, task, model.channels * model.side**2, outputs)


def _data(model: ImageModel, rows: int = 24, task: str = "binary", seed: int = 1) -> Dataset:
    """Noise, with a bright square in the upper half of the images of class 1, in the lower half of the others."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.5, (rows, model.channels, model.side, model.side))
    labels = rng.integers(0, 2, rows)
    half, width = model.side // 2, model.side // 4
    for image, label in zip(images, labels, strict=True):
        top, left = int(rng.integers(0, half - width)), int(rng.integers(0, model.side - width))
        top += 0 if label else half
        image[:, top : top + width, left : left + width] += 2.0
    targets: Any = labels if task == "multiclass" else labels.astype(np.float32)
    if task == "multilabel":
        targets = np.stack([labels, 1 - labels], axis=1).astype(np.float32)
    return Dataset(images.reshape(rows, -1).astype(np.float32), targets)


def _plain_module(model: ImageModel, outputs: int) -> Any:
    """VGG-11 and the small CNN in torch's own layers."""
    nn = torch_module("torch.nn")
    widths = {SmallCnnModel: (1, 0, 2, 0, 4), Vgg11Model: (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0)}[type(model)]  # type: ignore[index]
    layers: list[Any] = []
    inputs = model.channels
    for width in widths:
        if not width:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            continue
        wide = width * model.filters
        layers += [nn.Conv2d(inputs, wide, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, wide), nn.ReLU()]
        inputs = wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))


def _filled(module: Any, parameters: Parameters) -> Any:
    torch = torch_module()
    with torch.no_grad():
        for value, ours in zip(module.parameters(), parameters.values(), strict=True):
            value.copy_(torch.from_numpy(np.array(ours)).view(value.shape))
    return module.eval()


def _noisy(learner: Learner, seed: int) -> Parameters:
    """Parameters of which no bias is 0 and no norm is 1."""
    start = learner.initial(seed)
    return start.with_flat(start.flat + np.random.default_rng(seed).normal(0, 0.05, start.flat.size))


@pytest.mark.parametrize("model", [SmallCnnModel(side=28), Vgg11Model(side=28, filters=8, channels=3)])
def test_logits_are_those_of_torch_s_own_layers(model: ImageModel):
    torch = torch_module()
    learner = _learner(model, "multiclass", 3)
    parameters, data = _noisy(learner, 2), _data(model, 5)
    module = _filled(_plain_module(model, 3), parameters)
    images = torch.from_numpy(np.array(data.features)).view(5, model.channels, model.side, model.side)
    expected = torch.softmax(module(images).double(), dim=1).detach().numpy()
    np.testing.assert_allclose(learner.predict(parameters, data.features), expected, atol=1e-5)


def test_resnet_for_large_images_is_torchvision_s_with_group_norm():
    torch = torch_module()
    model = ResNet18Model(side=64, channels=3, filters=64)
    learner = _learner(model, "multiclass", 4)
    parameters, data = _noisy(learner, 3), _data(model, 2)
    norm = torch_module("torch.nn").GroupNorm
    build: Any = torch_module("torchvision.models").resnet18
    module = _filled(build(weights=None, num_classes=4, norm_layer=lambda width: norm(GROUPS, width)), parameters)
    images = torch.from_numpy(np.array(data.features)).view(2, 3, 64, 64)
    expected = torch.softmax(module(images).double(), dim=1).detach().numpy()
    np.testing.assert_allclose(learner.predict(parameters, data.features), expected, atol=1e-5)


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 3), ("multilabel", 2)])
def test_gradient_agrees_with_differences_of_the_loss(model: ImageModel, task: str, outputs: int):
    learner = _learner(model, task, outputs)
    start, data = _noisy(learner, 4), _data(model, 6, task)
    gradient = learner.gradient(start, data)
    direction = gradient / np.linalg.norm(gradient)
    step = 1e-3
    ahead = learner.loss(start.with_flat(start.flat + step * direction), data)
    behind = learner.loss(start.with_flat(start.flat - step * direction), data)
    assert (ahead - behind) / (2 * step) == pytest.approx(float(np.linalg.norm(gradient)), rel=0.02)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_is_torch_s_with_clipped_gradients(optimizer: Any):
    torch = torch_module()
    model = SmallCnnModel(side=16, filters=8, clip=0.5)
    learner = _learner(model, "multiclass", 3)
    start, data = _noisy(learner, 5), _data(model, 12, "multiclass")
    settings = LocalTraining(epochs=4, batch_size=0, optimizer=optimizer, learning_rate=0.01)
    ours = learner.train(start, data, settings, np.random.default_rng(1))
    module = _filled(_plain_module(model, 3), start).train()
    made = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](module.parameters(), lr=0.01)
    images = torch.from_numpy(np.array(data.features)).view(12, 1, 16, 16)
    clipped = 0
    for _ in range(4):
        made.zero_grad()
        torch.nn.functional.cross_entropy(module(images), torch.from_numpy(np.array(data.targets))).backward()
        clipped += float(torch.nn.utils.clip_grad_norm_(module.parameters(), model.clip)) > model.clip
        made.step()
    assert clipped
    theirs = np.concatenate([value.detach().numpy().reshape(-1) for value in module.parameters()])
    moved = float(np.abs(theirs - start.flat).max())
    assert float(np.abs(ours.parameters.flat - theirs).max()) < 0.02 * moved
    assert (ours.steps, ours.examples) == (4, 12)


@pytest.mark.parametrize("model", SMALL)
def test_the_same_call_gives_the_same_bits_and_leaves_torch_as_it_was(model: ImageModel):
    torch = torch_module()
    learner, data = _learner(model), _data(model)
    before = torch.get_num_threads(), torch.random.get_rng_state()
    first = learner.train(learner.initial(1), data, ADAM, np.random.default_rng(2)).parameters
    assert learner.train(learner.initial(1), data, ADAM, np.random.default_rng(2)).parameters == first
    assert learner.train(learner.initial(1), data, ADAM, np.random.default_rng(3)).parameters != first
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])


class Killed(BaseException):
    """The process dies here."""


class Kept:
    """Checkpoints that kill who has made one, as often as they are told to."""

    def __init__(self, deaths: int) -> None:
        self.data: bytes | None = None
        self.deaths = deaths

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data
        self.deaths -= 1
        if self.deaths >= 0:
            raise Killed


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("deaths", [1, 2])
def test_killed_in_the_middle_of_an_epoch_and_started_again_it_is_the_training_that_never_died(
    optimizer: Any, deaths: int
):
    model = SmallCnnModel(side=16, filters=8, flip=True, shift=2)
    learner, data = _learner(model), _data(model, 50)
    settings = LocalTraining(epochs=2, batch_size=2, optimizer=optimizer, learning_rate=0.01, momentum=0.9)
    start, rng = learner.initial(1), np.random.default_rng
    whole = learner.train(start, data, settings, rng(2))
    kept = Kept(deaths)
    for _ in range(deaths):
        with pytest.raises(Killed):
            learner.train(start, data, settings, rng(2), course=Course(0, 1, checkpoints=kept))
    resumed = learner.train(start, data, settings, rng(2), course=Course(0, 1, checkpoints=kept))
    assert (resumed.parameters, resumed.steps, resumed.loss) == (whole.parameters, whole.steps, whole.loss)
    with pytest.raises(InvalidInput, match="another model"):
        other = _learner(SMALL[1])
        other.train(other.initial(1), _data(SMALL[1]), settings, rng(2), course=Course(0, 1, checkpoints=kept))


@pytest.mark.parametrize("model", SMALL)
def test_each_classifier_learns_where_the_square_is(model: ImageModel):
    learner = _learner(model)
    settings = LocalTraining(epochs=12, batch_size=16, optimizer="adam", learning_rate=0.005)
    trained = learner.train(learner.initial(1), _data(model, 160), settings, np.random.default_rng(2))
    unseen = _data(model, 100, seed=9)
    right = (learner.predict(trained.parameters, unseen.features) >= 0.5) == (unseen.targets == 1)
    assert right.mean() >= 0.9
    assert trained.loss == pytest.approx(learner.loss(trained.parameters, _data(model, 160)))


def test_only_the_layers_that_the_plan_lists_are_trained():
    model = SmallCnnModel(side=16, filters=8, trainable=("conv3", "head"))
    learner, data = _learner(model), _data(model)
    start = learner.initial(1)
    settings = LocalTraining(epochs=2, batch_size=8, optimizer="adam", learning_rate=0.01, weight_decay=0.1)
    after = learner.train(start, data, settings, np.random.default_rng(1)).parameters
    for name, values in after.items():
        assert np.array_equal(values, start[name]) != name.startswith(("conv3", "head")), name


def test_weight_decay_and_corrections_move_weights_and_the_plan_s_clip_does_not_clip_them():
    learner = _learner(SMALL[0])
    data, start = _data(SMALL[0]), learner.initial(1)
    one = LocalTraining(steps=1, batch_size=0, learning_rate=1.0)
    rng = np.random.default_rng
    plain = learner.train(start, data, one, rng(1)).parameters.flat
    correction = np.full(start.flat.size, 0.25, np.float32)
    corrected = learner.train(start, data, one, rng(1), correction).parameters.flat
    np.testing.assert_allclose(plain - corrected, 0.25, atol=1e-6)
    decayed = learner.train(start, data, LocalTraining(steps=1, learning_rate=1.0, weight_decay=0.5), rng(1))
    assert not np.array_equal(decayed.parameters["conv2.weight"], start["conv2.weight"])


def test_images_are_mirrored_and_moved_and_keep_their_edges():
    model = SmallCnnModel(side=8, filters=8, channels=3, flip=True, shift=2)
    images = np.random.default_rng(1).normal(size=(40, 3 * 64)).astype(np.float32)
    varied = vary_images(images, model, np.random.default_rng(2))
    assert varied.shape == images.shape
    assert np.array_equal(varied, vary_images(images, model, np.random.default_rng(2)))
    seen: set[tuple[bool, int, int]] = set()
    for before, after in zip(images.reshape(40, 3, 8, 8), varied.reshape(40, 3, 8, 8), strict=True):
        found = [
            (mirrored, down, right)
            for mirrored in (False, True)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(after, _moved(before[..., ::-1] if mirrored else before, down, right))
        ]
        assert len(found) == 1
        seen.update(found)
    assert len(seen) > 15
    still = SmallCnnModel(side=8, filters=8, channels=3)
    assert vary_images(images, still, np.random.default_rng(2)) is images


def _moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
    return padded[:, 2 - down : 10 - down, 2 - right : 10 - right]


def test_what_does_not_fit_is_refused():
    learner, other = _learner(SMALL[0]), _learner(SMALL[1])
    data = _data(SMALL[0])
    with pytest.raises(InvalidInput, match="do not belong"):
        learner.predict(other.initial(1), data.features)
    with pytest.raises(InvalidInput, match="no example"):
        learner.train(learner.initial(1), data.take(slice(0)), ADAM, np.random.default_rng(1))
    with pytest.raises(InvalidInput, match="256 features"):
        learner.loss(learner.initial(1), _data(SMALL[1]))
    wild = LocalTraining(steps=30, batch_size=8, learning_rate=1e30)
    with pytest.raises(InvalidInput, match="diverged"):
        learner.train(learner.initial(1), data, wild, np.random.default_rng(1))
    assert learner.predict(learner.initial(1), data.features[:0]).shape == (0,)
