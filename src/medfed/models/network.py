"""Passes through a fully connected network: forward to the outputs, backward to the gradient, in place.

Each layer's weights `(in, out)` and bias `(out,)` lie next to each other in the flat vector, so together they are one
`(in + 1, out)` matrix that multiplies inputs with a last column of ones. This module knows no task: it is given outputs'
gradients and never sees a target.
"""

from __future__ import annotations

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
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        size = (inputs + 1) * outputs
        matrices.append(flat[at : at + size].reshape(inputs + 1, outputs))
        at += size
    return matrices


class Pass:
    """Buffers for batches of one number of rows, over given weights and a given gradient."""

    def __init__(
        self, widths: tuple[int, ...], activation: Activation, rows: int, weights: Array, gradient: Array
    ) -> None:
        """`weights` and `gradient`: flat, of one dtype, which is what is computed in; read and written in place."""
        self._relu = activation == "relu"
        self._weights = layer_matrices(weights, widths)
        self._gradients = layer_matrices(gradient, widths)
        self._hidden = [np.ones((rows, width + 1), weights.dtype) for width in widths[1:-1]]
        self._deltas = [np.empty((rows, width), weights.dtype) for width in widths[1:-1]]
        self._slopes = [np.empty((rows, width), weights.dtype) for width in widths[1:-1]]
        self.outputs = np.empty((rows, widths[-1]), weights.dtype)
        """What the last `forward` computed, `(rows, outputs)`; overwrite it with its gradient, then call `backward`."""

    def forward(self, features: Array) -> Array:
        """`outputs` for `features` `(rows, in + 1)`, whose last column is ones."""
        inputs = features
        for matrix, hidden in zip(self._weights, self._hidden, strict=False):
            units = hidden[:, :-1]
            np.matmul(inputs, matrix, units)
            if self._relu:
                np.maximum(units, 0, units)
            else:
                np.tanh(units, units)
            inputs = hidden
        return np.dot(inputs, self._weights[-1], self.outputs)

    def backward(self, features: Array) -> None:
        """Write the gradient, given the outputs' gradient in `outputs` and the features of the last `forward`."""
        delta = self.outputs
        for layer in range(len(self._hidden) - 1, -1, -1):
            hidden = self._hidden[layer]
            np.dot(hidden.T, delta, self._gradients[layer + 1])
            delta = np.dot(delta, self._weights[layer + 1][:-1].T, self._deltas[layer])
            self._multiply_by_slope(delta, hidden[:, :-1], self._slopes[layer])
        np.dot(features.T, delta, self._gradients[0])

    def _multiply_by_slope(self, delta: Array, units: Array, slope: Array) -> None:
        if self._relu:
            np.sign(units, slope)
        else:
            np.multiply(units, units, slope)
            np.subtract(1, slope, slope)
        np.multiply(delta, slope, delta)
