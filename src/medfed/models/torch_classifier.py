"""Image classifiers: a small CNN, VGG-11 and ResNet-18 as learners, like those of tables.

Features are pixels, a row an image: channel by channel, line by line, any real numbers (standardised or 0 to 1). Torch
is imported when something is computed, never before. One thread: on one machine the same call gives the same bits.
Optimizers and penalties are those of every model here; this module must never keep anything between calls.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.models.batches import draw_batches
from medfed.models.course import FIRST, Course
from medfed.models.dataset import Dataset, check_dataset, check_features
from medfed.models.image_layers import GROUPS, HEAD, Conv, Layer, Pool, first_parameters, layers_of, shapes_of
from medfed.models.losses import (
    ClassificationTask,
    prepare_targets_for,
    probabilities,
    residual_for,
    total_loss,
)
from medfed.models.optimizers import Penalties
from medfed.models.parameters import Parameters
from medfed.models.settings import ImageModel, LocalTraining
from medfed.models.torch_detector import torch_module
from medfed.models.training import MAX_REPORTED, LocalResult, check_correction, descend

__all__ = ["ImageClassifier", "vary_images"]

Array = npt.NDArray[Any]
Float32Array = npt.NDArray[np.float32]
_EVALUATED: Final = 1 << 20
"""Pixels evaluated at once, or one image if that has more."""


@dataclass(frozen=True)
class ImageClassifier:
    """The learner of an `ImageModel`."""

    model: ImageModel
    task: ClassificationTask
    outputs: int

    @property
    def inputs(self) -> int:
        """Numbers of an image."""
        return self.model.channels * self.model.side**2

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """See `image_layers.shapes_of`."""
        return shapes_of(self.model, self.outputs)

    def initial(self, seed: int) -> Parameters:
        """The parameters that every hospital starts from; see `image_layers.first_parameters`. Needs no torch.

        Raises:
            InvalidInput: `seed` is negative.
        """
        return first_parameters(self.shapes, seed)

    def train(
        self,
        start: Parameters,
        data: Dataset,
        settings: LocalTraining,
        rng: np.random.Generator,
        correction: Array | None = None,
        course: Course = FIRST,
    ) -> LocalResult:
        """Train from `start` on `data`; `correction`, flat float32, is added to every gradient (SCAFFOLD).

        A training that was killed goes on from the last checkpoint of `course` and ends in the same parameters, bit
        for bit.

        Raises:
            InvalidInput: `start` or `data` does not fit, `data` is empty, or training diverged.
            Unavailable: torch is not installed.
        """
        self._check(start, data)
        weights = start.flat.copy()
        gradient = np.zeros_like(weights)
        augmentation = np.random.Generator(np.random.PCG64(int(rng.integers(2**63))))
        drawn = draw_batches(
            data, settings, rng, lambda rows: rows, prepare_targets_for(self.task, self.outputs, np.float32)
        )
        batches = ((vary_images(rows, self.model, augmentation), targets) for rows, targets in drawn)
        checked = check_correction(correction, weights.size)
        penalties = Penalties(start.flat, self._decayed, settings, checked)
        with _one_thread():
            training = _BatchGradient(self, weights, gradient, self.model.clip)
            steps = descend(weights, gradient, training, batches, settings, penalties, course.checkpoints)
        parameters = start.with_flat(weights)
        return LocalResult(parameters, steps, len(data), self.loss(parameters, data.take(slice(MAX_REPORTED))))

    def answers(self, parameters: Parameters, data: Dataset) -> Array:
        """`predict` of the features of `data`."""
        return self.predict(parameters, data.features)

    def predict(self, parameters: Parameters, features: Array) -> Array:
        """Probabilities, float64: `(n,)` of being ill for binary, `(n, k)` for multiclass and multilabel.

        Raises:
            InvalidInput: `parameters` or `features` does not fit.
            Unavailable: torch is not installed.
        """
        self._check_parameters(parameters)
        check_features(features, self.inputs)
        parts = [probabilities(logits, self.task) for _, logits in self._logits(parameters, features)]
        empty = (0,) if self.task == "binary" else (0, self.outputs)
        return np.concatenate(parts) if parts else np.empty(empty, np.float64)

    def loss(self, parameters: Parameters, data: Dataset) -> float:
        """The mean loss over `data` (see `losses`), images as they are, without penalties.

        Raises:
            InvalidInput: `parameters` or `data` does not fit, or `data` is empty.
            Unavailable: torch is not installed.
        """
        self._check(parameters, data)
        total = 0.0
        for first, logits in self._logits(parameters, data.features):
            total += total_loss(logits, data.targets[first : first + len(logits)], self.task)
        return total / len(data)

    def gradient(self, parameters: Parameters, data: Dataset) -> npt.NDArray[np.float64]:
        """The gradient of `loss` by the flat parameters, float64 `(size,)`; 0 where the plan trains nothing.

        Raises:
            InvalidInput: as `loss`.
            Unavailable: torch is not installed.
        """
        self._check(parameters, data)
        part = np.zeros_like(parameters.flat)
        total = np.zeros(part.size, np.float64)
        prepare = prepare_targets_for(self.task, self.outputs, np.float32)
        with _one_thread():
            gradient_of = _BatchGradient(self, parameters.flat.copy(), part, math.inf)
            for first in range(0, len(data), self._rows):
                features = data.features[first : first + self._rows]
                gradient_of(features, prepare(data.targets[first : first + self._rows]))
                total += part.astype(np.float64) * (len(features) / len(data))
        return total

    def is_trained(self, name: str) -> bool:
        """Whether training changes the parameter of that name."""
        return not self.model.trainable or name.startswith(self.model.trainable)

    @property
    def _rows(self) -> int:
        return max(1, _EVALUATED // self.inputs)

    def _logits(self, parameters: Parameters, features: Array) -> Iterator[tuple[int, Array]]:
        torch = torch_module()
        tensors = _tensors(self.shapes, parameters.flat.copy())
        for first in range(0, len(features), self._rows):
            rows = np.array(features[first : first + self._rows], dtype=np.float32)
            with _one_thread(), torch.no_grad():
                logits = _forward(self.model, tensors, rows)
            yield first, logits.numpy().astype(np.float64)

    @cached_property
    def _decayed(self) -> npt.NDArray[np.bool_]:
        """Weights of trained convolutions and of the linear layer."""
        return np.concatenate(
            [np.full(math.prod(shape), len(shape) > 1 and self.is_trained(name)) for name, shape in self.shapes.items()]
        )

    def _check_parameters(self, parameters: Parameters) -> None:
        if list(parameters.shapes.items()) != list(self.shapes.items()):
            raise InvalidInput("parameters: do not belong to the plan's image classifier")

    def _check(self, parameters: Parameters, data: Dataset) -> None:
        self._check_parameters(parameters)
        check_dataset(data, self.task, self.inputs, self.outputs)
        if len(data) == 0:
            raise InvalidInput("dataset: has no example")


class _BatchGradient:
    """The gradient of a batch's mean loss, clipped; torch's tensors look into the arrays of weights and gradient."""

    def __init__(
        self,
        learner: ImageClassifier,
        weights: Float32Array,
        gradient: Float32Array,
        clip: float,
    ) -> None:
        """`clip` is the largest norm of a gradient; infinity for any."""
        self._learner, self._clip = learner, clip
        self._torch = torch_module()
        shapes = learner.shapes
        self._tensors = _tensors(shapes, weights)
        self._whole = self._torch.from_numpy(gradient)
        for name, slot in _tensors(shapes, gradient).items():
            if learner.is_trained(name):
                self._tensors[name].requires_grad_(True)
                self._tensors[name].grad = slot

    def __call__(self, features: Float32Array, targets: Array) -> None:
        learner, torch = self._learner, self._torch
        self._whole.zero_()
        logits = _forward(learner.model, self._tensors, features)
        residual: Array = logits.detach().numpy().copy()
        residual_for(learner.task, len(residual), learner.outputs, np.float32)(residual, targets)
        logits.backward(torch.from_numpy(residual))
        if self._clip < math.inf:
            norm = float(torch.linalg.vector_norm(self._whole))
            if norm > self._clip:
                self._whole.mul_(self._clip / norm)


def vary_images(features: Float32Array, model: ImageModel, rng: np.random.Generator) -> Float32Array:
    """The images of a batch, float32 (n, inputs), each mirrored and moved as the plan says; edges are continued."""
    if not (model.flip or model.shift):
        return features
    side, most = model.side, model.shift
    images = features.reshape(len(features), model.channels, side, side).copy()
    if model.flip:
        mirrored = rng.random(len(images)) < 0.5
        images[mirrored] = images[mirrored][..., ::-1]
    if most:
        moves = rng.integers(-most, most + 1, (len(images), 2))
        places = np.arange(side)
        for image, (down, right) in zip(images, moves, strict=True):
            lines, columns = (np.clip(places - move, 0, side - 1) for move in (down, right))
            image[...] = image[:, lines[:, np.newaxis], columns]
    return images.reshape(features.shape)


@contextmanager
def _one_thread() -> Generator[None]:
    """Torch computes in one thread inside, so that sums are added in one order."""
    torch = torch_module()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tensors(shapes: Mapping[str, tuple[int, ...]], flat: Float32Array) -> dict[str, Any]:
    """Tensors by name that look into `flat`."""
    whole = torch_module().from_numpy(flat)
    found: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        found[name] = whole[at : at + size].view(shape)
        at += size
    return found


def _forward(model: ImageModel, tensors: Mapping[str, Any], features: Float32Array) -> Any:
    """Logits (n, outputs) of images (n, inputs)."""
    torch = torch_module()
    if not features.flags.writeable:
        features = features.copy()  # torch warns of arrays that it could change
    found = torch.from_numpy(features).view(len(features), model.channels, model.side, model.side)
    for layer in layers_of(model):
        found = _apply(layer, tensors, found)
    pooled = found.mean(dim=(2, 3))
    return torch_module("torch.nn.functional").linear(pooled, tensors[f"{HEAD}.weight"], tensors[f"{HEAD}.bias"])


def _apply(layer: Layer, tensors: Mapping[str, Any], found: Any) -> Any:
    functional = torch_module("torch.nn.functional")
    if isinstance(layer, Pool):
        # A window of 2 takes what is left over at the edge; of 3, with padding, nothing is left over.
        return functional.max_pool2d(found, layer.size, 2, layer.padding, ceil_mode=layer.padding == 0)
    if isinstance(layer, Conv):
        return functional.relu(_convolve(layer, tensors, found))
    inner = functional.relu(_convolve(layer.first, tensors, found))
    beside = found if layer.shortcut is None else _convolve(layer.shortcut, tensors, found)
    return functional.relu(_convolve(layer.second, tensors, inner) + beside)


def _convolve(conv: Conv, tensors: Mapping[str, Any], found: Any) -> Any:
    functional = torch_module("torch.nn.functional")
    weight, norm, bias = (tensors[f"{conv.name}.{part}"] for part in ("weight", "norm.weight", "norm.bias"))
    made = functional.conv2d(found, weight, stride=conv.stride, padding=conv.size // 2)
    return functional.group_norm(made, GROUPS, norm, bias)
