"""FedAvg and FedProx: the next model is the start plus the weighted mean of the hospitals' differences.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
Algorithm 1; with a server learning rate of 1 it is theirs exactly. FedProx (Li et al., "Federated
Optimization in Heterogeneous Networks", MLSys 2020, Algorithm 2) changes only local training, by the proximal
term that `LocalTraining.proximal` names. It must never keep a memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medfed.federation.strategies.memory import EMPTY, Memory
from medfed.federation.strategies.strategy import UPDATE, Float32s, Float64s, difference, moved, take_mean
from medfed.models.learner import LocalResult
from medfed.models.parameters import Parameters

__all__ = ["FedAvg"]


@dataclass(frozen=True, slots=True)
class FedAvg:
    """Weighted averaging. `rate` is the server's learning rate."""

    rate: float = 1.0

    @property
    def vectors(self) -> tuple[str, ...]:
        return (UPDATE,)

    def initial_memory(self, size: int) -> Memory:
        return EMPTY

    def initial_local_memory(self, size: int) -> Memory:
        return EMPTY

    def correction(self, memory: Memory, local_memory: Memory) -> Float32s | None:
        return None

    def client_step(
        self, start: Parameters, result: LocalResult, memory: Memory, local_memory: Memory
    ) -> tuple[dict[str, Float32s], Memory]:
        return {UPDATE: difference(start, result)}, local_memory

    def server_step(
        self, current: Parameters, mean: Mapping[str, Float64s], memory: Memory, share: float = 1.0
    ) -> tuple[Parameters, Memory]:
        return moved(current, self.rate * take_mean(mean, UPDATE, current.flat.size)), memory
