"""Training at one hospital: the loop that every model here shares, and what comes out of it.

It must never keep anything between calls: all that a round needs comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.models.optimizers import Penalties, optimizer_for
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining

__all__ = ["MAX_REPORTED", "GradientOf", "LocalResult", "check_correction", "descend"]

Array = npt.NDArray[Any]
Float32Array = npt.NDArray[np.float32]

MAX_REPORTED: Final = 4096
"""Examples that a result's loss is taken over: a few steps on a large table should not pay for all of it."""


@dataclass(frozen=True, slots=True)
class LocalResult:
    """What local training leaves."""

    parameters: Parameters
    steps: int
    """Optimizer steps taken."""
    examples: int
    """Examples of this hospital, each counted once."""
    loss: float
    """Mean loss of `parameters` over the first `MAX_REPORTED` of those examples, penalties left out: for this
    hospital's own log only."""
    kept: bytes = b""
    """What the learner wants back in its next round; it stays at the hospital."""


class GradientOf(Protocol):
    """Writes the gradient of a batch's mean loss; which arrays hold weights and gradient it knows already."""

    def __call__(self, features: Float32Array, targets: Array) -> None: ...


def check_correction(correction: Array | None, size: int) -> Float32Array | None:
    """`correction` as float32 `(size,)`.

    Raises:
        InvalidInput: another shape, or a value that is not finite.
    """
    if correction is None:
        return None
    if correction.shape != (size,) or not np.isfinite(correction).all():
        raise InvalidInput(f"correction: expected ({size},) finite numbers, found shape {correction.shape}")
    return correction.astype(np.float32)


def descend(
    weights: Float32Array,
    gradient: Float32Array,
    gradient_of: GradientOf,
    batches: Iterator[tuple[Float32Array, Array]],
    settings: LocalTraining,
    penalties: Penalties,
) -> int:
    """Move `weights` in place, one optimizer step a batch, and return how many steps were taken.

    Raises:
        InvalidInput: training diverged (a weight is no longer finite).
    """
    step = optimizer_for(settings, weights.size).step
    penalised = not penalties.is_empty
    steps = 0
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for features, targets in batches:
            gradient_of(features, targets)
            if penalised:
                penalties.add_to(gradient, weights)
            step(weights, gradient)
            steps += 1
    if not np.isfinite(weights).all():
        raise InvalidInput(f"local training diverged within {steps} steps: lower the learning rate")
    return steps
