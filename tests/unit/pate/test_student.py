"""The student learns what the labels say, and nothing where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.models.learner import learner_for
from medfed.models.settings import LocalTraining, MlpModel
from medfed.pate.student import agreement_with_labels, train_student
from medfed.pate.teachers import classes_of
from medfed.pate.votes import UNANSWERED

SETTINGS = LocalTraining(epochs=60, batch_size=0, optimizer="adam", learning_rate=0.05)
LEARNER = learner_for(MlpModel(), "binary", 2, 1)


def _cases(count: int) -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(2).normal(size=(count, 2)).astype(np.float32)
    return features, (features[:, 0] > 0).astype(np.int64)


def test_the_student_learns_the_labels() -> None:
    features, labels = _cases(400)
    student = train_student(LEARNER, "binary", features, labels, SETTINGS, 1)
    assert agreement_with_labels(LEARNER, student, features, labels) > 0.95


def test_equal_labels_give_equal_students() -> None:
    features, labels = _cases(100)
    first, second = (train_student(LEARNER, "binary", features, labels, SETTINGS, 1) for _ in range(2))
    assert first == second


def test_cases_without_a_label_change_nothing_unless_the_plan_asks_for_them() -> None:
    features, labels = _cases(400)
    some = np.where(np.arange(400) < 30, labels, UNANSWERED)
    alone = train_student(LEARNER, "binary", features[:30], labels[:30], SETTINGS, 1)
    assert train_student(LEARNER, "binary", features, some, SETTINGS, 1) == alone
    taught = train_student(LEARNER, "binary", features, some, SETTINGS, 1, confidence=0.8)
    assert taught != alone
    right = (classes_of(LEARNER.predict(taught, features)) == labels).mean()
    assert right > 0.8


def test_classes_of_several_kinds_are_learned_too() -> None:
    learner = learner_for(MlpModel(), "multiclass", 2, 3)
    features, _ = _cases(600)
    labels = np.clip(np.rint(features[:, 0] + 1), 0, 2).astype(np.int64)
    some = np.where(np.arange(600) % 2 == 0, labels, UNANSWERED)
    student = train_student(learner, "multiclass", features, some, SETTINGS, 1, confidence=0.9)
    assert agreement_with_labels(learner, student, features, labels) > 0.8


def test_a_student_without_labels_is_refused() -> None:
    features, _ = _cases(10)
    with pytest.raises(InvalidInput, match="no case has a label"):
        train_student(LEARNER, "binary", features, np.full(10, UNANSWERED), SETTINGS, 1)
    with pytest.raises(InvalidInput, match="9 labels for 10 cases"):
        train_student(LEARNER, "binary", features, np.zeros(9, dtype=np.int64), SETTINGS, 1)
    assert np.isnan(
        agreement_with_labels(LEARNER, LEARNER.initial(0), features, np.full(10, UNANSWERED, dtype=np.int64))
    )
