"""FedAvgM: averaging with momentum at the server.

Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification", 2019, section 4.4: v <- beta v + mean difference, w <- w + rate v. Its memory must never be
anything but the velocity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medfed.federation.strategies.fedavg import FedAvg
from medfed.federation.strategies.memory import Memory
from medfed.federation.strategies.strategy import UPDATE, Float64s, moved, take_mean
from medfed.models.parameters import Parameters

__all__ = ["FedAvgM"]


@dataclass(frozen=True, slots=True)
class FedAvgM(FedAvg):
    """Averaging with server momentum."""

    momentum: float = 0.9

    def initial_memory(self, size: int) -> Memory:
        return Memory({"velocity": np.zeros(size)})

    def server_step(
        self, current: Parameters, mean: Mapping[str, Float64s], memory: Memory, share: float = 1.0
    ) -> tuple[Parameters, Memory]:
        velocity = self.momentum * memory.arrays["velocity"] + take_mean(mean, UPDATE, current.flat.size)
        return moved(current, self.rate * velocity), Memory({"velocity": velocity})
