"""Teachers share no patient, learn from their own patients only, and cast one vote each."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset
from medfed.models.learner import learner_for
from medfed.models.settings import LocalTraining, MlpModel
from medfed.pate.teachers import Teachers, assign_teachers, check_disjoint, class_count, classes_of, train_teachers

SETTINGS = LocalTraining(epochs=5, batch_size=8, learning_rate=0.1)
BINARY = learner_for(MlpModel(), "binary", 2, 1)


def _rows(count: int = 300, encounters: int = 3) -> tuple[Dataset, np.ndarray]:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(count, 2)).astype(np.float32)
    targets = (features.sum(axis=1) > 0).astype(np.float32)
    patients = rng.integers(0, 2**63, count // encounters).astype(np.uint64)
    return Dataset(features, targets), np.repeat(patients, encounters)


def _train(data: Dataset, patients: np.ndarray, teachers: int = 7) -> Teachers:
    assignment = assign_teachers(patients, teachers)
    return train_teachers(BINARY, data, patients, assignment, teachers, SETTINGS, b"seed", 2)


def test_all_encounters_of_a_patient_are_with_one_teacher() -> None:
    _, patients = _rows()
    assignment = assign_teachers(patients, 7)
    assert set(assignment) == set(range(7))
    for patient in np.unique(patients):
        assert len(set(assignment[patients == patient])) == 1


def test_a_patient_more_or_less_changes_one_teacher_and_at_most_one_vote_a_case() -> None:
    data, patients = _rows()
    gone = patients != patients[0]
    before = _train(data, patients)
    after = _train(data.take(np.flatnonzero(gone)), patients[gone])
    cases = np.random.default_rng(4).normal(size=(500, 2)).astype(np.float32)
    changed = [one != other for one, other in zip(before.parameters, after.parameters, strict=True)]
    assert sum(changed) == 1
    moved = np.abs(before.histograms(cases) - after.histograms(cases))
    assert moved.sum(axis=1).max() <= 2


def test_every_teacher_votes_once_on_every_case() -> None:
    data, patients = _rows()
    cases = np.random.default_rng(4).normal(size=(50, 2)).astype(np.float32)
    teachers = _train(data, patients)
    counts = teachers.histograms(cases)
    assert (counts.sum(axis=1) == 7).all()
    chosen = teachers.choices(cases)
    for at in range(50):
        assert list(counts[at]) == [int((chosen[:, at] == c).sum()) for c in (0, 1)]


def test_teachers_that_learned_agree_with_the_truth() -> None:
    data, patients = _rows(3000)
    cases = np.random.default_rng(4).normal(size=(200, 2)).astype(np.float32)
    said = _train(data, patients).histograms(cases).argmax(axis=1)
    assert (said == (cases.sum(axis=1) > 0)).mean() > 0.95


def test_a_teacher_without_patients_votes_by_its_number() -> None:
    data, patients = _rows(30)
    assignment = np.zeros(30, dtype=np.int64)
    teachers = train_teachers(BINARY, data, patients, assignment, 4, SETTINGS, b"seed", 2)
    cases = np.zeros((3, 2), dtype=np.float32)
    assert [list(row) for row in teachers.choices(cases)[1:]] == [[1] * 3, [0] * 3, [1] * 3]


def test_a_class_that_a_hospital_lacks_gets_votes_from_nobody_there() -> None:
    learner = learner_for(MlpModel(), "multiclass", 2, 3)
    data, patients = _rows()
    few = Dataset(data.features, data.targets.astype(np.int64))
    assignment = assign_teachers(patients, 5)
    teachers = train_teachers(learner, few, patients, assignment, 5, SETTINGS, b"seed", 3)
    counts = teachers.histograms(np.random.default_rng(4).normal(size=(50, 2)).astype(np.float32))
    assert (counts.sum(axis=1) == 5).all()
    assert (counts[:, 2] == 0).all()


def test_a_patient_in_two_teachers_is_refused() -> None:
    data, patients = _rows()
    assignment = assign_teachers(patients, 7)
    assignment[0] = (assignment[0] + 1) % 7
    with pytest.raises(InvalidInput, match="1 of 100 patients are with more than one teacher"):
        check_disjoint(patients, assignment)
    with pytest.raises(InvalidInput, match="more than one teacher"):
        train_teachers(BINARY, data, patients, assignment, 7, SETTINGS, b"seed", 2)


def test_fewer_patients_than_teachers_are_refused() -> None:
    _, patients = _rows(30)
    with pytest.raises(InvalidInput, match="found 10 patients"):
        assign_teachers(patients, 11)


def test_only_one_class_a_case_can_be_voted_for() -> None:
    assert (class_count("binary", 1), class_count("multiclass", 5)) == (2, 5)
    with pytest.raises(InvalidInput, match="multilabel"):
        class_count("multilabel", 5)


def test_probabilities_are_read_as_classes() -> None:
    assert list(classes_of(np.array([0.2, 0.5, 0.7]))) == [0, 1, 1]
    assert list(classes_of(np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]]))) == [1, 0]
