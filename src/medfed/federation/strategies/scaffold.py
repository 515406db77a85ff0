"""SCAFFOLD: control variates take out the drift of hospitals whose patients differ.

Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020, Algorithm 1
with option II. Two vectors are averaged: the difference of the model and that of the hospital's control
variate. Averages are weighted by examples as everywhere here, so the shared control variate is the weighted
mean of the hospitals'. A hospital's own control variate must never leave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medfed.errors import InvalidInput
from medfed.federation.strategies.memory import Memory
from medfed.federation.strategies.strategy import UPDATE, Float32s, Float64s, difference, moved, take_mean
from medfed.models.learner import LocalResult
from medfed.models.parameters import Parameters

__all__ = ["CONTROL", "Scaffold"]

CONTROL = "control"
"""The second averaged vector: the change of the hospital's control variate."""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """Controlled averaging. `rate` is the server's learning rate, `local_rate` that of the hospitals' plain SGD."""

    rate: float
    local_rate: float

    @property
    def vectors(self) -> tuple[str, ...]:
        return (UPDATE, CONTROL)

    def initial_memory(self, size: int) -> Memory:
        return Memory({"control": np.zeros(size)})

    def initial_local_memory(self, size: int) -> Memory:
        return Memory({"control": np.zeros(size)})

    def correction(self, memory: Memory, local_memory: Memory) -> Float32s | None:
        """c - c_i, added to each local gradient (line 10)."""
        return (memory.arrays["control"] - local_memory.arrays["control"]).astype(np.float32)

    def client_step(
        self, start: Parameters, result: LocalResult, memory: Memory, local_memory: Memory
    ) -> tuple[dict[str, Float32s], Memory]:
        """Option II (line 12): c_i+ = c_i - c + (start - local model) / (steps * local rate)."""
        if result.steps < 1:
            raise InvalidInput("scaffold: expected at least one local step, found none")
        update = difference(start, result)
        gradient = update.astype(np.float64) / (-result.steps * self.local_rate)
        change = (gradient - memory.arrays["control"]).astype(np.float32)
        own = local_memory.arrays["control"] + change
        return {UPDATE: update, CONTROL: change}, Memory({"control": own})

    def server_step(
        self, current: Parameters, mean: Mapping[str, Float64s], memory: Memory, share: float = 1.0
    ) -> tuple[Parameters, Memory]:
        """Lines 16 and 17; the control variate moves by the survivors' share of the weights."""
        size = current.flat.size
        control = memory.arrays["control"] + share * take_mean(mean, CONTROL, size)
        return moved(current, self.rate * take_mean(mean, UPDATE, size)), Memory({"control": control})
