"""Passes through a fully connected network: forward to the outputs, backward to the gradient, in place.

Each layer's weights `(in, out)` and bias `(out,)` lie next to each other in the flat vector, so together they are
one `(in + 1, out)` matrix that multiplies inputs with a last column of ones. This module knows no task: it is given
outputs' gradients and never sees a target.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Activation", "Pass", "layer_matrices"]

Array = npt.NDArray[Any]
Activation = Literal["relu", "tanh"]


def layer_matrices(flat: Array, widths: tuple[int, ...]) -> list[Array]:
    """Views of `flat`, one `(in + 1, out)` a layer; `widths` runs from inputs to outputs."""
    matrices: list[Array] = []
    at = 0
    for inputs, outputs in pairwise(widths):
        size = (inputs + 1) * outputs
        matrices.append(flat[at : at + size].reshape(inputs + 1, outputs))
        at += size
    return matrices


class Pass:
    """Buffers for batches of one number of rows, over given weights and a given gradient.

    Hidden layers keep their column of ones through every element-wise step: numpy is several times faster on whole
    buffers than on all columns but the last.
    """

    def __init__(
        self, widths: tuple[int, ...], activation: Activation, rows: int, weights: Array, gradient: Array
    ) -> None:
        """`weights` and `gradient` are flat, of one dtype (computed in throughout), read and written in place."""
        self._relu = activation == "relu"
        self._weights = layer_matrices(weights, widths)
        self._gradients = layer_matrices(gradient, widths)
        buffers = [(rows, width + 1) for width in widths[1:-1]]
        self._hidden = [np.ones(shape, weights.dtype) for shape in buffers]
        self._units = [hidden[:, :-1] for hidden in self._hidden]
        self._deltas = [np.empty(shape, weights.dtype) for shape in buffers]
        self._slopes = [np.empty(shape, weights.dtype) for shape in buffers]
        self._zero, self._one = np.zeros((), weights.dtype), np.ones((), weights.dtype)
        self.outputs = np.empty((rows, widths[-1]), weights.dtype)
        """What the last `forward` computed, `(rows, outputs)`: to be overwritten with its gradient for `backward`."""

    def forward(self, features: Array) -> Array:
        """`outputs` for `features` `(rows, in + 1)`, whose last column is ones."""
        inputs = features
        for matrix, hidden, units in zip(self._weights[:-1], self._hidden, self._units, strict=True):
            np.matmul(inputs, matrix, units)
            if self._relu:
                np.maximum(hidden, self._zero, out=hidden)
            else:
                np.tanh(hidden, hidden)
                hidden[:, -1] = 1
            inputs = hidden
        return np.dot(inputs, self._weights[-1], self.outputs)

    def backward(self, features: Array) -> None:
        """Write the gradient, given that of `outputs` in its place and the features of the last `forward`."""
        delta = self.outputs
        for layer in range(len(self._hidden) - 1, -1, -1):
            hidden = self._hidden[layer]
            np.dot(hidden.T, delta, self._gradients[layer + 1])
            before = np.dot(delta, self._weights[layer + 1].T, self._deltas[layer])
            self._multiply_by_slope(before, hidden, self._slopes[layer])
            delta = before[:, :-1]
        np.dot(features.T, delta, self._gradients[0])

    def _multiply_by_slope(self, delta: Array, hidden: Array, slope: Array) -> None:
        if self._relu:
            np.sign(hidden, slope)
        else:
            np.multiply(hidden, hidden, slope)
            np.subtract(self._one, slope, slope)
        np.multiply(delta, slope, delta)
