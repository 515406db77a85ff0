"""Which examples each training step sees: shuffled passes over the data, cut into batches.

The order comes from the generator that is passed in and from nothing else. Examples are gathered a few thousand at
a time, so that a step costs two slices and a large table is never copied whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset
from medfed.models.settings import LocalTraining

__all__ = ["count_steps", "draw_batches", "draw_orders", "with_ones"]

Array = npt.NDArray[Any]
Float32Array = npt.NDArray[np.float32]

_GATHERED: Final = 4096
"""Examples gathered at once (more only where one batch is larger),"""
_GATHERED_NUMBERS: Final = 1 << 24
"""and numbers: fewer examples where one has many, as images do."""


def count_steps(settings: LocalTraining, examples: int) -> int:
    """How many steps `settings` mean for a hospital of `examples` examples.

    Raises:
        InvalidInput: no example, or not exactly one of `steps` and `epochs` is positive.
    """
    if (settings.steps > 0) == (settings.epochs > 0):
        found = f"{settings.steps} steps and {settings.epochs} epochs"
        raise InvalidInput(f"local training: expected either steps or epochs, found {found}")
    if examples < 1:
        raise InvalidInput("local training: the data has no example")
    return settings.steps or settings.epochs * -(-examples // batch_rows(settings, examples))


def batch_rows(settings: LocalTraining, examples: int) -> int:
    """Examples in a full batch: all of them when `batch_size` is 0 or more than there are."""
    return min(settings.batch_size or examples, examples)


def draw_orders(examples: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Endless shuffled passes over `examples` examples, each without replacement."""
    while True:
        yield rng.permutation(examples)


def draw_batches(
    data: Dataset,
    settings: LocalTraining,
    rng: np.random.Generator,
    prepare_features: Callable[[Float32Array], Float32Array],
    prepare_targets: Callable[[Array], Array],
) -> Iterator[tuple[Float32Array, Array]]:
    """The batches of every step, as prepared features and targets.

    A pass that does not divide evenly ends with a smaller batch; the next pass is shuffled anew, whether steps or
    epochs are counted. A batch of everything needs no order and draws nothing from `rng`.

    Raises:
        InvalidInput: as `count_steps`.
    """
    examples = len(data)
    left = count_steps(settings, examples)
    rows = batch_rows(settings, examples)
    if rows == examples:
        whole = prepare_features(data.features), prepare_targets(data.targets)
        for _ in range(left):
            yield whole
        return
    most = min(_GATHERED, _GATHERED_NUMBERS // max(1, data.features.shape[1]))
    gathered = rows * max(1, most // rows)
    for order in draw_orders(examples, rng):
        for first in range(0, examples, gathered):
            chosen = order[first : first + min(gathered, rows * left)]
            features = prepare_features(data.features[chosen])
            targets = prepare_targets(data.targets[chosen])
            for at in range(0, len(chosen), rows):
                yield features[at : at + rows], targets[at : at + rows]
            left -= -(-len(chosen) // rows)
            if left == 0:
                return


def with_ones(features: Array) -> Array:
    """`features` `(n, d)` with a last column of ones, `(n, d + 1)`: what a bias multiplies."""
    widened = np.ones((features.shape[0], features.shape[1] + 1), features.dtype)
    widened[:, :-1] = features
    return widened
