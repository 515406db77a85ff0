"""FedAdagrad, FedAdam and FedYogi: the mean difference as a pseudo-gradient of an adaptive server optimizer.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, Algorithm 2: no bias correction, tau outside the
root, the second moment starts at tau^2; FedAdagrad without momentum, as in their section 5. It must use only
the operations that are correctly rounded everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medfed.federation.strategies.fedavg import FedAvg
from medfed.federation.strategies.memory import Memory
from medfed.federation.strategies.strategy import UPDATE, Float64s, moved, take_mean
from medfed.models.parameters import Parameters

__all__ = ["FedOpt"]


@dataclass(frozen=True, slots=True)
class FedOpt(FedAvg):
    """The adaptive family; `second` says how the second moment v moves."""

    second: Literal["adagrad", "adam", "yogi"] = "adagrad"
    beta1: float = 0.5
    beta2: float = 0.99
    tau: float = 0.01

    def initial_memory(self, size: int) -> Memory:
        return Memory({"first": np.zeros(size), "second": np.full(size, self.tau * self.tau)})

    def server_step(
        self, current: Parameters, mean: Mapping[str, Float64s], memory: Memory, share: float = 1.0
    ) -> tuple[Parameters, Memory]:
        gradient = take_mean(mean, UPDATE, current.flat.size)
        beta1 = 0.0 if self.second == "adagrad" else self.beta1
        first = beta1 * memory.arrays["first"] + (1.0 - beta1) * gradient
        second = self._second_moment(memory.arrays["second"], gradient * gradient)
        step = self.rate * first / (np.sqrt(second) + self.tau)
        return moved(current, step), Memory({"first": first, "second": second})

    def _second_moment(self, v: Float64s, square: Float64s) -> Float64s:
        if self.second == "adagrad":
            return v + square
        if self.second == "adam":
            return self.beta2 * v + (1.0 - self.beta2) * square
        return v - (1.0 - self.beta2) * square * np.sign(v - square)
