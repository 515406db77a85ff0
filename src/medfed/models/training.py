"""Training at one hospital: the loop that every model here shares, and what comes out of it.

It must never keep anything between calls: all that a round needs comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.models.course import NO_CHECKPOINTS, Checkpoints
from medfed.models.optimizers import Optimizer, Penalties, optimizer_for
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining

__all__ = ["CHECKPOINT_STEPS", "MAX_REPORTED", "GradientOf", "LocalResult", "check_correction", "descend"]

Array = npt.NDArray[Any]
Float32Array = npt.NDArray[np.float32]

CHECKPOINT_STEPS: Final = 20
"""Batches between checkpoints, in every loop that makes them."""
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
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> int:
    """Move `weights` in place, one optimizer step a batch, and return how many steps were taken.

    Where `checkpoints` has the middle of this training it goes on from there: the batches that are done are drawn
    again and passed by, so whatever they draw is drawn as before.

    Raises:
        InvalidInput: training diverged (a weight is no longer finite), or the checkpoint is that of another model.
    """
    optimizer = optimizer_for(settings, weights.size)
    step, penalised = optimizer.step, not penalties.is_empty
    first = steps = _restore(checkpoints, weights, optimizer)
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for features, targets in islice(batches, first, None):
            if steps > first and steps % CHECKPOINT_STEPS == 0 and checkpoints is not NO_CHECKPOINTS:
                state = tuple(array.tobytes() for array in optimizer.state)
                checkpoints.save(encode(_Middle(steps, weights.tobytes(), optimizer.taken, state)))
            gradient_of(features, targets)
            if penalised:
                penalties.add_to(gradient, weights)
            step(weights, gradient)
            steps += 1
    if not np.isfinite(weights).all():
        raise InvalidInput(f"local training diverged within {steps} steps: lower the learning rate")
    return steps


class _Middle(Record):
    """The middle of a round."""

    done: Annotated[int, Meta(ge=1)]
    """Batches of this round."""
    weights: bytes
    """float32 (size,)."""
    taken: Annotated[int, Meta(ge=0)]
    """The optimizer's steps."""
    state: tuple[bytes, ...]
    """Its arrays, float32 (size,) each."""


def _restore(checkpoints: Checkpoints, weights: Float32Array, optimizer: Optimizer) -> int:
    """Go to where the checkpoint was made; batches of the round that are done."""
    data = checkpoints.load()
    if data is None:
        return 0
    middle = decode(data, _Middle)
    parts = (middle.weights, *middle.state)
    if len(middle.state) != len(optimizer.state) or any(len(part) != weights.nbytes for part in parts):
        raise InvalidInput("local training: the checkpoint is that of another model or optimizer")
    for array, part in zip((weights, *optimizer.state), parts, strict=True):
        array[...] = np.frombuffer(part, np.float32)
    optimizer.taken = middle.taken
    return middle.done
