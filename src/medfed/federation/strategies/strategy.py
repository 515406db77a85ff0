"""The protocol of a strategy: what hospitals average, and how the mean becomes the next model.

A strategy is pure init/apply over explicit state, after fedjax. The server's step runs at every hospital and
must give the same bits there: only element-wise `+ - * /`, `sqrt` and comparisons in float64, no reduction,
no BLAS, no powers by `pow`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.strategies.memory import Memory
from medfed.models.learner import LocalResult
from medfed.models.parameters import Parameters

__all__ = ["UPDATE", "Strategy", "difference", "moved", "take_mean"]

UPDATE = "update"
"""The averaged vector that every strategy has: the local model minus the start, so that the plan's clip bounds it."""

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]


class Strategy(Protocol):
    """One way to federate. Vectors are flat, as long as the model's parameters."""

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the vectors that each hospital contributes and whose weighted mean the server's step takes."""
        ...

    def initial_memory(self, size: int) -> Memory:
        """The shared memory before the first round, for a model of `size` parameters."""
        ...

    def initial_local_memory(self, size: int) -> Memory:
        """One hospital's own memory before its first round; it never leaves the hospital."""
        ...

    def correction(self, memory: Memory, local_memory: Memory) -> Float32s | None:
        """A flat vector to add to every local gradient, or None."""
        ...

    def client_step(
        self, start: Parameters, result: LocalResult, memory: Memory, local_memory: Memory
    ) -> tuple[dict[str, Float32s], Memory]:
        """What this hospital contributes after training from `start`, and its next local memory.

        The next local memory may be kept only once the round is released with this hospital among the
        survivors and is accepted; otherwise the old one stays.
        """
        ...

    def server_step(
        self, current: Parameters, mean: Mapping[str, Float64s], memory: Memory, share: float = 1.0
    ) -> tuple[Parameters, Memory]:
        """The next model and memory from the weighted mean over the survivors.

        `share` is the survivors' part of all weights of the study roster, in (0, 1].
        """
        ...


def difference(start: Parameters, result: LocalResult) -> Float32s:
    """The trained model minus the start, flat float32."""
    return result.parameters.flat - start.flat


def moved(current: Parameters, step: Float64s) -> Parameters:
    """`current + step`, added in float64 and rounded once to float32."""
    return current.with_flat(current.flat.astype(np.float64) + step)


def take_mean(mean: Mapping[str, Float64s], name: str, size: int) -> Float64s:
    """The vector `name` of `mean`.

    Raises:
        InvalidInput: it is absent or not `size` long.
    """
    vector = mean.get(name)
    if vector is None or vector.shape != (size,):
        found = "nothing" if vector is None else f"shape {vector.shape}"
        raise InvalidInput(f"mean of {name!r}: expected {size} numbers, found {found}")
    return vector
