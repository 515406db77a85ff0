"""What an attacker gets out of a released model: who was in its training, a copy of it, inputs that mislead it.

For audits by those who hold the data, on their own machine. Figures are reported as they are: PATE makes a stolen
student harmless to patients, it does not make theft impossible. Nothing here may leave the machine but those figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset
from medfed.models.learner import Learner
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining
from medfed.pate.teachers import classes_of

__all__ = ["Oracle", "changed_answers", "fidelity", "membership_auc", "mislead", "rank_auc", "steal_model"]

Array = NDArray[Any]
Oracle = Callable[[Array], Array]
"""Features in, probabilities out: all that an attacker without the model has."""
_LEAST: Final = 1e-12


def membership_auc(oracle: Oracle, members: Dataset, outsiders: Dataset) -> float:
    """How well the loss on a row tells whether the model was trained on it; .5 is guessing.

    Yeom et al. 2018 (CSF), the attack by loss: P(a member's loss is below an outsider's), ties half.

    Raises:
        InvalidInput: one of the two has no rows.
    """
    if not len(members) or not len(outsiders):
        raise InvalidInput("membership: expected members and outsiders, found none of one of them")
    return rank_auc(-_losses(oracle, members), -_losses(oracle, outsiders))


def rank_auc(first: Array, second: Array) -> float:
    """P(a value of `first` is above one of `second`), ties half."""
    together = np.concatenate([first, second])
    _, place, times = np.unique(together, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2)[place.reshape(-1)]
    count = len(first)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(second)))


def steal_model(oracle: Oracle, learner: Learner, features: Array, settings: LocalTraining, seed: int) -> Parameters:
    """A copy of the model, trained on what it answers to `features` (Tramèr et al. 2016, retraining).

    The learner must be of a binary or multiclass task.

    Raises:
        InvalidInput: no rows to ask about.
    """
    if not len(features):
        raise InvalidInput("extraction: expected rows to ask about, found none")
    answers = oracle(features)
    said = classes_of(answers)
    targets: Array = said.astype(np.float32) if answers.ndim == 1 else said
    rng = np.random.default_rng(seed)
    return learner.train(learner.initial(seed), Dataset(features, targets), settings, rng).parameters


def fidelity(one: Oracle, other: Oracle, features: Array) -> float:
    """The share of rows on which two models say the same."""
    return float((classes_of(one(features)) == classes_of(other(features))).mean())


def mislead(oracle: Oracle, features: Array, step: float) -> Array:
    """Rows moved by `step` in every coordinate, against what the model says of them now.

    The fast gradient sign method (Goodfellow et al. 2015), with the gradient from central differences, so that any
    model that answers can be attacked. float32, like `features`.
    """
    said = classes_of(oracle(features))
    moved = features.astype(np.float32).copy()
    width = 1e-3
    for column in range(features.shape[1]):
        above, below = features.astype(np.float32), features.astype(np.float32)
        above[:, column] += width
        below[:, column] -= width
        slope = _confidence(oracle(above), said) - _confidence(oracle(below), said)
        moved[:, column] -= (step * np.sign(slope)).astype(np.float32)
    return moved


def changed_answers(oracle: Oracle, before: Array, after: Array) -> float:
    """The share of rows whose answer changed."""
    return float((classes_of(oracle(before)) != classes_of(oracle(after))).mean())


def _confidence(probabilities: Array, said: NDArray[np.int64]) -> Array:
    """The probability of the class that was said."""
    if probabilities.ndim == 1:
        return np.where(said == 1, probabilities, 1 - probabilities)
    return probabilities[np.arange(len(said)), said]


def _losses(oracle: Oracle, data: Dataset) -> Array:
    """Minus the log probability of each row's own target."""
    targets = data.targets.astype(np.int64)
    return -np.log(np.maximum(_confidence(oracle(data.features), targets), _LEAST))
