"""The student: trained on public cases and on the labels that the noisy votes gave them, and on nothing else.

It is the only thing that a labelling study releases. Its training costs no privacy: everything it sees is public or has
been paid for. This module must never be given a private row or an exact histogram.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import digest_of
from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset
from medfed.models.learner import Learner
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining
from medfed.pate.teachers import classes_of
from medfed.pate.votes import UNANSWERED

__all__ = ["agreement_with_labels", "train_student"]


def train_student(
    learner: Learner,
    task: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    settings: LocalTraining,
    seed: int,
    confidence: float = 0.0,
) -> Parameters:
    """Train on the labelled cases; with `confidence`, once more with the others that the first student is sure of.

    Self-training: the second student also learns the class that the first gives to cases without a label, where its
    probability reaches `confidence` (0: not at all).

    Args:
        learner: the student's model.
        task: binary or multiclass.
        features: (cases, inputs), labelled or not.
        labels: (cases,), a class or `UNANSWERED`.
        settings: how it is trained.
        seed: starts the parameters and the order of examples.
        confidence: from above 1 / classes to 1, or 0.

    Raises:
        InvalidInput: no case has a label, arrays do not fit, or training diverged.
    """
    if labels.shape != (len(features),):
        raise InvalidInput(f"student: {labels.size} labels for {len(features)} cases")
    answered = labels != UNANSWERED
    if not answered.any():
        raise InvalidInput("student: no case has a label; the votes answered none")
    first = _train(learner, task, features[answered], labels[answered], settings, seed)
    if not confidence or answered.all():
        return first
    probabilities = learner.predict(first, features[~answered])
    if probabilities.ndim == 1:
        probabilities = np.stack([1 - probabilities, probabilities], axis=1)
    sure = probabilities.max(axis=1) >= confidence
    together = np.concatenate([features[answered], features[~answered][sure]])
    guessed = probabilities.argmax(axis=1)[sure].astype(np.int64)
    return _train(learner, task, together, np.concatenate([labels[answered], guessed]), settings, seed)


def agreement_with_labels(
    learner: Learner, parameters: Parameters, features: NDArray[np.float32], labels: NDArray[np.int64]
) -> float:
    """The share of labelled cases in which the student says what its label says; NaN without labels."""
    answered = labels != UNANSWERED
    if not answered.any():
        return float("nan")
    said = classes_of(learner.predict(parameters, features[answered]))
    return float((said == labels[answered]).mean())


def _train(
    learner: Learner,
    task: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    settings: LocalTraining,
    seed: int,
) -> Parameters:
    targets: NDArray[Any] = labels.astype(np.float32) if task == "binary" else labels
    stream = int.from_bytes(digest_of("medfed/student", seed), "big")
    rng = np.random.Generator(np.random.PCG64(stream))
    return learner.train(learner.initial(seed), Dataset(features, targets), settings, rng).parameters
