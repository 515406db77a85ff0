"""Fully connected networks in numpy: (multinomial) logistic regression and small perceptrons for tables.

Training runs in float32; predictions, losses and full gradients in float64 from the float32 parameters. The
initial parameters must be the same bits on every machine: every hospital computes them for itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.models.batches import draw_batches, with_ones
from medfed.models.course import FIRST, Course
from medfed.models.dataset import Dataset, check_dataset, check_features
from medfed.models.losses import (
    ClassificationTask,
    Residual,
    prepare_targets_for,
    probabilities,
    residual_for,
    total_loss,
)
from medfed.models.network import Pass
from medfed.models.optimizers import Penalties
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining, MlpModel
from medfed.models.training import MAX_REPORTED, LocalResult, check_correction, descend

__all__ = ["Mlp"]

Array = npt.NDArray[Any]
_EVALUATED: Final = 8192
"""Examples evaluated at once."""


@dataclass(frozen=True)
class Mlp:
    """The learner of an `MlpModel`."""

    model: MlpModel
    task: ClassificationTask
    inputs: int
    outputs: int

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Units of every layer from inputs to outputs."""
        return (self.inputs, *self.model.hidden, self.outputs)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """`layers.I.weight` `(in, out)` and `layers.I.bias` `(out,)`, layer by layer."""
        shapes: dict[str, tuple[int, ...]] = {}
        for index, (inputs, outputs) in enumerate(pairwise(self.widths)):
            shapes[f"layers.{index}.weight"] = (inputs, outputs)
            shapes[f"layers.{index}.bias"] = (outputs,)
        return shapes

    def initial(self, seed: int) -> Parameters:
        """The parameters that every hospital starts from; biases are 0.

        Without hidden layers all is 0. Otherwise weights are uniform: He et al. 2015 before a ReLU, Glorot and
        Bengio 2010 elsewhere, from PCG64's raw output, so that only exactly rounded operations are used.

        Raises:
            InvalidInput: `seed` is negative.
        """
        if seed < 0:
            raise InvalidInput(f"seed: expected >= 0, found {seed}")
        arrays = {name: np.zeros(shape, np.float32) for name, shape in self.shapes.items()}
        if self.model.hidden:
            bits = np.random.PCG64(seed)
            for index in range(len(self.widths) - 1):
                weight = arrays[f"layers.{index}.weight"]
                drawn: Array = (np.asarray(bits.random_raw(weight.size)) >> np.uint64(11)).astype(np.float64)
                weight[...] = ((drawn * 2.0**-52 - 1.0) * self._bound(index)).reshape(weight.shape)
        return Parameters.from_arrays(arrays)

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

        Raises:
            InvalidInput: `start` or `data` does not fit, `data` is empty, or training diverged.
        """
        self._check(start, data)
        weights = start.flat.copy()
        gradient = np.empty_like(weights)
        training = _BatchGradient(self, weights, gradient)
        batches = draw_batches(data, settings, rng, with_ones, prepare_targets_for(self.task, self.outputs, np.float32))
        checked = check_correction(correction, weights.size)
        penalties = Penalties(start.flat, self._decayed, settings, checked)
        steps = descend(weights, gradient, training, batches, settings, penalties)
        parameters = start.with_flat(weights)
        return LocalResult(parameters, steps, len(data), self.loss(parameters, data.take(slice(MAX_REPORTED))))

    def answers(self, parameters: Parameters, data: Dataset) -> Array:
        """`predict` of the features of `data`."""
        return self.predict(parameters, data.features)

    def predict(self, parameters: Parameters, features: Array) -> Array:
        """Probabilities, float64: `(n,)` of being ill for binary, `(n, k)` for multiclass and multilabel.

        Raises:
            InvalidInput: `parameters` or `features` does not fit.
        """
        self._check_parameters(parameters)
        check_features(features, self.inputs)
        parts = [probabilities(logits, self.task) for _, logits in self._logits(parameters, features)]
        empty = (0,) if self.task == "binary" else (0, self.outputs)
        return np.concatenate(parts) if parts else np.empty(empty, np.float64)

    def loss(self, parameters: Parameters, data: Dataset) -> float:
        """The mean loss over `data` (see `losses`), without penalties.

        Raises:
            InvalidInput: `parameters` or `data` does not fit, or `data` is empty.
        """
        self._check(parameters, data)
        total = 0.0
        for first, logits in self._logits(parameters, data.features):
            total += total_loss(logits, data.targets[first : first + len(logits)], self.task)
        return total / len(data)

    def gradient(self, parameters: Parameters, data: Dataset) -> npt.NDArray[np.float64]:
        """The gradient of `loss` by the flat parameters, float64 `(size,)`.

        Raises:
            InvalidInput: as `loss`.
        """
        self._check(parameters, data)
        weights = parameters.flat.astype(np.float64)
        part, total = np.empty_like(weights), np.zeros_like(weights)
        gradient_of = _BatchGradient(self, weights, part)
        prepare = prepare_targets_for(self.task, self.outputs, np.float64)
        for first in range(0, len(data), _EVALUATED):
            features = data.features[first : first + _EVALUATED]
            gradient_of(with_ones(features.astype(np.float64)), prepare(data.targets[first : first + _EVALUATED]))
            total += part * (len(features) / len(data))
        return total

    def _logits(self, parameters: Parameters, features: Array) -> Iterator[tuple[int, Array]]:
        weights = parameters.flat.astype(np.float64)
        for first in range(0, len(features), _EVALUATED):
            block = with_ones(features[first : first + _EVALUATED].astype(np.float64))
            network = Pass(self.widths, self.model.activation, len(block), weights, weights)
            yield first, network.forward(block)

    def _bound(self, layer: int) -> float:
        inputs, outputs = self.widths[layer], self.widths[layer + 1]
        is_hidden = layer < len(self.model.hidden)
        return math.sqrt(6 / inputs if is_hidden and self.model.activation == "relu" else 6 / (inputs + outputs))

    @cached_property
    def _decayed(self) -> npt.NDArray[np.bool_]:
        return np.concatenate(
            [np.full(math.prod(shape), name.endswith(".weight")) for name, shape in self.shapes.items()]
        )

    def _check_parameters(self, parameters: Parameters) -> None:
        if list(parameters.shapes.items()) != list(self.shapes.items()):
            raise InvalidInput(f"parameters: do not belong to a network of widths {self.widths}")

    def _check(self, parameters: Parameters, data: Dataset) -> None:
        self._check_parameters(parameters)
        check_dataset(data, self.task, self.inputs, self.outputs)
        if len(data) == 0:
            raise InvalidInput("dataset: has no example")


class _BatchGradient:
    """The gradient of a batch's mean loss, for batches of any size: buffers are made once a size."""

    def __init__(self, mlp: Mlp, weights: Array, gradient: Array) -> None:
        self._mlp, self._weights, self._gradient = mlp, weights, gradient
        self._passes: dict[int, tuple[Pass, Residual]] = {}

    def __call__(self, features: Array, targets: Array) -> None:
        network, residual = self._passes.get(len(features)) or self._prepare(len(features))
        residual(network.forward(features), targets)
        network.backward(features)

    def _prepare(self, rows: int) -> tuple[Pass, Residual]:
        mlp, weights = self._mlp, self._weights
        network = Pass(mlp.widths, mlp.model.activation, rows, weights, self._gradient)
        self._passes[rows] = network, residual_for(mlp.task, rows, mlp.outputs, weights.dtype)
        return self._passes[rows]
