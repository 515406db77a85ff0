"""Stochastic gradient descent and Adam, in place over one flat float32 vector.

As PyTorch defines them (`torch.optim.SGD` without dampening, `torch.optim.Adam`), so that either can
check the other. An optimizer lives for one call of `train`, or for as long as a checkpoint of it: this module must
never keep state between rounds.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from medfed.models.settings import LocalTraining

__all__ = ["Adam", "Optimizer", "Penalties", "Sgd", "optimizer_for"]

Float32Array = npt.NDArray[np.float32]

_BETA1: Final = 0.9
_BETA2: Final = 0.999
_EPSILON: Final = 1e-8


class Optimizer(Protocol):
    """Moves weights along a gradient."""

    taken: int
    """Steps so far."""

    @property
    def state(self) -> tuple[Float32Array, ...]:
        """What the next step depends on besides `taken`, float32 `(size,)` each; written to, the optimizer goes on
        from there."""
        ...

    def step(self, weights: Float32Array, gradient: Float32Array) -> None:
        """Change `weights` by one step; `gradient` is left as it is. Both float32 `(size,)`."""
        ...


class Sgd:
    """`v = momentum v + g`, `w = w - rate v`."""

    def __init__(self, size: int, rate: float, momentum: float) -> None:
        self._rate = _scalar(rate)
        self._momentum = _scalar(momentum)
        self._velocity = np.zeros(size, np.float32) if momentum > 0 else None
        self._change = np.empty(size, np.float32)
        self.taken = 0

    @property
    def state(self) -> tuple[Float32Array, ...]:
        return () if self._velocity is None else (self._velocity,)

    def step(self, weights: Float32Array, gradient: Float32Array) -> None:
        self.taken += 1
        velocity = self._velocity
        if velocity is not None:
            np.multiply(velocity, self._momentum, velocity)
            np.add(velocity, gradient, velocity)
            gradient = velocity
        np.multiply(gradient, self._rate, self._change)
        np.subtract(weights, self._change, weights)


class Adam:
    """Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1 and its default betas."""

    def __init__(self, size: int, rate: float) -> None:
        self._rate = rate
        self.taken = 0
        self._gain1, self._gain2, self._beta2 = _scalar(1 - _BETA1), _scalar(1 - _BETA2), _scalar(_BETA2)
        self._mean = np.zeros(size, np.float32)
        self._square = np.zeros(size, np.float32)
        self._change = np.empty(size, np.float32)

    @property
    def state(self) -> tuple[Float32Array, ...]:
        return self._mean, self._square

    def step(self, weights: Float32Array, gradient: Float32Array) -> None:
        self.taken += 1
        mean, square, change = self._mean, self._square, self._change
        np.subtract(gradient, mean, change)
        np.multiply(change, self._gain1, change)
        np.add(mean, change, mean)
        np.multiply(gradient, gradient, change)
        np.multiply(change, self._gain2, change)
        np.multiply(square, self._beta2, square)
        np.add(square, change, square)
        np.sqrt(square, change)
        # rate * (mean / c1) / (sqrt(square / c2) + eps), with the scalars gathered into one.
        root = (1 - _BETA2**self.taken) ** 0.5
        np.add(change, _scalar(_EPSILON * root), change)
        np.divide(mean, change, change)
        np.multiply(change, _scalar(self._rate * root / (1 - _BETA1**self.taken)), change)
        np.subtract(weights, change, weights)


class Penalties:
    """What is added to each gradient: weight decay, FedProx's pull to the start, SCAFFOLD's correction."""

    def __init__(
        self,
        start: Float32Array,
        decayed: npt.NDArray[np.bool_],
        settings: LocalTraining,
        correction: Float32Array | None,
    ) -> None:
        """`decayed` marks the coordinates that weight decay applies to (weights, not biases)."""
        self._start = start
        self._decay = np.where(decayed, np.float32(settings.weight_decay), np.float32(0))
        self._decays = settings.weight_decay > 0
        self._mu = _scalar(settings.proximal)
        self._pulls = settings.proximal > 0
        self._correction = correction
        self.is_empty = not (self._decays or self._pulls or correction is not None)
        """Whether there is nothing to add."""
        self._term = np.empty_like(start)

    def add_to(self, gradient: Float32Array, weights: Float32Array) -> None:
        """Add every penalty's gradient at `weights` to `gradient`."""
        term = self._term
        if self._decays:
            np.multiply(weights, self._decay, term)
            np.add(gradient, term, gradient)
        if self._pulls:
            np.subtract(weights, self._start, term)
            np.multiply(term, self._mu, term)
            np.add(gradient, term, gradient)
        if self._correction is not None:
            np.add(gradient, self._correction, gradient)


def optimizer_for(settings: LocalTraining, size: int) -> Optimizer:
    """A fresh optimizer for `size` weights. Adam leaves `momentum` out."""
    if settings.optimizer == "adam":
        return Adam(size, settings.learning_rate)
    return Sgd(size, settings.learning_rate, settings.momentum)


def _scalar(value: float) -> Float32Array:
    """`value` as an array of no dimension, which ufuncs take twice as fast as a number."""
    return np.array(value, np.float32)
