"""What a network's outputs (logits) mean for each task: probabilities, losses and the loss's gradient.

Every function is stable for logits of any size, and none sees parameters. Losses are means over examples (and over
labels, for multilabel), as in PyTorch's `BCEWithLogitsLoss` and `CrossEntropyLoss`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "ClassificationTask",
    "Residual",
    "prepare_targets_for",
    "probabilities",
    "residual_for",
    "total_loss",
]

Array = npt.NDArray[Any]
ClassificationTask = Literal["binary", "multiclass", "multilabel"]

Residual = Callable[[Array, Array], None]
"""Turns logits `(n, k)` in place into the mean loss's gradient by them, given prepared targets `(n, k)`."""


def probabilities(logits: Array, task: ClassificationTask) -> Array:
    """Probabilities of float64 `logits` `(n, k)`: `(n,)` for binary, else `(n, k)`."""
    if task == "multiclass":
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)
    small = np.exp(-np.abs(logits))
    sigmoid = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return sigmoid[:, 0] if task == "binary" else sigmoid


def total_loss(logits: Array, targets: Array, task: ClassificationTask) -> float:
    """The sum over examples of the loss of float64 `logits` `(n, k)` against a dataset's own `targets`."""
    if task == "multiclass":
        top = logits.max(axis=1)
        spread = np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return float((spread + top - logits[np.arange(len(logits)), targets]).sum())
    signs = prepare_targets_for(task, logits.shape[1], np.float64)(targets)
    # log(1 + exp(s z)) with s = 1 - 2 y, written so that it neither overflows nor loses small values.
    signed = logits * signs
    losses = np.maximum(signed, 0.0) + np.log1p(np.exp(-np.abs(signed)))
    return float(losses.sum() / logits.shape[1])


def prepare_targets_for(task: ClassificationTask, outputs: int, dtype: npt.DTypeLike) -> Callable[[Array], Array]:
    """What prepares targets for `residual_for`: one-hot `(n, k)` for multiclass, else `1 - 2 y` as `(n, k)`."""
    if task == "multiclass":
        return lambda targets: (targets[:, None] == np.arange(outputs)).astype(dtype)
    return lambda targets: (1 - 2 * targets).astype(dtype).reshape(len(targets), outputs)


def residual_for(task: ClassificationTask, rows: int, outputs: int, dtype: npt.DTypeLike) -> Residual:
    """The residual for batches of `rows` examples, computed in `dtype`."""
    if task == "multiclass":
        return _softmax_residual(rows, dtype)
    half, scale = np.array(0.5, dtype), np.array(0.5 / (rows * outputs), dtype)

    def residual(logits: Array, signs: Array) -> None:
        # sigmoid(z) - y = (tanh(z / 2) + 1 - 2 y) / 2
        np.multiply(logits, half, logits)
        np.tanh(logits, logits)
        np.add(logits, signs, logits)
        np.multiply(logits, scale, logits)

    return residual


def _softmax_residual(rows: int, dtype: npt.DTypeLike) -> Residual:
    column: Array = np.empty((rows, 1), dtype)
    scale = np.array(1 / rows, dtype)

    def residual(logits: Array, one_hot: Array) -> None:
        np.maximum.reduce(logits, axis=1, out=column, keepdims=True)
        np.subtract(logits, column, logits)
        np.exp(logits, logits)
        np.add.reduce(logits, axis=1, out=column, keepdims=True)
        np.divide(logits, column, logits)
        np.subtract(logits, one_hot, logits)
        np.multiply(logits, scale, logits)

    return residual
