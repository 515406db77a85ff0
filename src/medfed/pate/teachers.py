"""A hospital's teachers: several models on disjoint patients of its own, and how they vote.

All encounters of a patient go to one teacher, by a keyed hash of the patient and of nothing else, so that another
patient coming or going changes one teacher and no other: one vote a query. Teachers and single votes never leave the
hospital; nothing here may be logged, stored or sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import digest_of
from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset
from medfed.models.learner import Learner
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining

__all__ = ["MAX_TEACHERS", "Teachers", "assign_teachers", "check_disjoint", "class_count", "train_teachers"]

MAX_TEACHERS: Final = 10_000

Pseudonyms = NDArray[np.uint64]
Assignment = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Teachers:
    """The trained teachers of one hospital."""

    learner: Learner
    parameters: tuple[Parameters | None, ...]
    """None where a teacher has no patient: it votes by its number, which says nothing about anybody."""
    classes: int

    def __len__(self) -> int:
        return len(self.parameters)

    def choices(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """Each teacher's class for each case, int64 (teachers, cases). Never leaves the hospital."""
        chosen = np.empty((len(self), len(features)), dtype=np.int64)
        for number, parameters in enumerate(self.parameters):
            if parameters is None:
                chosen[number] = number % self.classes
            else:
                chosen[number] = classes_of(self.learner.predict(parameters, features))
        return chosen

    def histograms(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """How many teachers choose each class for each case, int64 (cases, classes). Never leaves without noise."""
        chosen = self.choices(features)
        counts = np.zeros((len(features), self.classes), dtype=np.int64)
        for at in range(self.classes):
            counts[:, at] = np.count_nonzero(chosen == at, axis=0)
        return counts


def assign_teachers(pseudonyms: Pseudonyms, teachers: int) -> Assignment:
    """Each row's teacher, int64 (rows,), from 0; equal pseudonyms share one.

    Args:
        pseudonyms: (rows,), a hash of the row's patient under a key that only the hospital has.
        teachers: how many there are.

    Raises:
        InvalidInput: fewer than one teacher, or more than `MAX_TEACHERS`, or than there are patients.
    """
    if not 1 <= teachers <= MAX_TEACHERS:
        raise InvalidInput(f"teachers: expected 1 to {MAX_TEACHERS}, found {teachers}")
    patients = len(np.unique(pseudonyms))
    if patients < teachers:
        raise InvalidInput(f"teachers: expected at least one patient for each of {teachers}, found {patients} patients")
    return (pseudonyms % np.uint64(teachers)).astype(np.int64)


def check_disjoint(pseudonyms: Pseudonyms, assignment: Assignment) -> None:
    """Check that no patient is with two teachers: each would cast a vote that the patient changes.

    Raises:
        InvalidInput: one is, or the two differ in length.
    """
    if pseudonyms.shape != assignment.shape:
        raise InvalidInput(f"teachers: {assignment.size} rows are assigned, expected {pseudonyms.size}")
    pairs = np.unique(np.stack([pseudonyms.astype(np.uint64), assignment.astype(np.uint64)]), axis=1)
    patients, times = np.unique(pairs[0], return_counts=True)
    shared = int(np.count_nonzero(times > 1))
    if shared:
        raise InvalidInput(f"teachers: {shared} of {len(patients)} patients are with more than one teacher")


def train_teachers(
    learner: Learner,
    data: Dataset,
    pseudonyms: Pseudonyms,
    assignment: Assignment,
    teachers: int,
    settings: LocalTraining,
    seed: bytes,
    classes: int,
) -> Teachers:
    """Train every teacher on its own patients and on nothing else.

    Args:
        learner: the teachers' model.
        data: the hospital's rows, standardised by the plan or by public cases.
        pseudonyms: each row's patient, for the check that teachers share none.
        assignment: each row's teacher.
        teachers: how many there are.
        settings: how each is trained.
        seed: what the order of each teacher's examples follows from.
        classes: how many there are to vote for.

    Raises:
        InvalidInput: patients are shared, or training diverged.
    """
    check_disjoint(pseudonyms, assignment)
    start = learner.initial(int.from_bytes(digest_of("medfed/teacher-start", seed)[:4], "big"))
    trained: list[Parameters | None] = []
    for number in range(teachers):
        rows = np.flatnonzero(assignment == number)
        if not rows.size:
            trained.append(None)
            continue
        stream = int.from_bytes(digest_of("medfed/teacher-order", seed, number), "big")
        rng = np.random.Generator(np.random.PCG64(stream))
        trained.append(learner.train(start, data.take(rows), settings, rng).parameters)
    return Teachers(learner, tuple(trained), classes)


def class_count(task: str, outputs: int) -> int:
    """How many classes a task has to vote for.

    Raises:
        InvalidInput: a task whose answer is not one class.
    """
    if task == "binary":
        return 2
    if task == "multiclass":
        return outputs
    raise InvalidInput(f"votes: expected a binary or multiclass target, found {task}")


def classes_of(probabilities: NDArray[Any]) -> NDArray[np.int64]:
    """The class that each row of probabilities means, int64 (rows,)."""
    if probabilities.ndim == 1:
        return (probabilities >= 0.5).astype(np.int64)
    return probabilities.argmax(axis=1).astype(np.int64)
