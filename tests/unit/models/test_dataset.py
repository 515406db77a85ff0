"""Datasets: checked when they come in."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset, check_dataset, check_features

FEATURES = np.arange(12.0).reshape(4, 3)


def binary() -> Dataset:
    return Dataset(FEATURES, np.array([0.0, 1, 1, 0]))


def test_features_become_float32_and_targets_keep_their_kind():
    assert binary().features.dtype == np.float32
    assert binary().targets.dtype == np.float32
    assert Dataset(FEATURES, np.array([0, 1, 2, 1], np.int8)).targets.dtype == np.int64
    assert Dataset(FEATURES, np.zeros((4, 2), np.int64)).targets.dtype == np.float32
    assert len(binary()) == 4


def test_a_dataset_cannot_be_written_and_does_not_follow_its_source():
    features = FEATURES.copy()
    data = Dataset(features, np.zeros(4))
    features[:] = -1
    assert np.array_equal(data.features, FEATURES)
    with pytest.raises(ValueError, match="read-only"):
        data.features[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        data.take(np.array([0])).targets[0] = 1


def test_take_gives_the_examples_in_the_order_asked_for():
    data = binary().take(np.array([2, 0, 2]))
    assert np.array_equal(data.features, FEATURES[[2, 0, 2]])
    assert data.targets.tolist() == [1, 0, 1]
    assert len(binary().take(np.array([True, False, False, True]))) == 2
    assert len(binary().take(slice(3))) == 3


def test_taking_what_is_not_there_is_refused():
    with pytest.raises(InvalidInput, match="4 examples"):
        binary().take(np.array([4]))


def test_concatenate_puts_parts_one_after_the_other():
    joined = Dataset.concatenate([binary(), binary().take(np.array([1]))])
    assert len(joined) == 5
    assert joined.targets.tolist() == [0, 1, 1, 0, 1]


def test_concatenating_unlike_parts_or_none_is_refused():
    with pytest.raises(InvalidInput, match="parts"):
        Dataset.concatenate([])
    with pytest.raises(InvalidInput, match="parts"):
        Dataset.concatenate([binary(), Dataset(FEATURES, np.zeros(4, np.int64))])
    with pytest.raises(InvalidInput, match="parts"):
        Dataset.concatenate([binary(), Dataset(FEATURES[:, :2], np.zeros(4))])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_features_and_targets_that_are_not_finite_are_refused(value: float):
    bad = FEATURES.copy()
    bad[1, 1] = value
    with pytest.raises(InvalidInput, match="features"):
        Dataset(bad, np.zeros(4))
    with pytest.raises(InvalidInput, match="targets"):
        Dataset(FEATURES, np.array([0, 1, value, 0]))
    with pytest.raises(InvalidInput, match="finite"):
        check_features(bad.astype(np.float64) if np.isinf(value) else np.full((1, 3), np.nan), 3)


@pytest.mark.parametrize(
    ("features", "targets"),
    [
        (FEATURES, np.zeros(3)),
        (FEATURES[0], np.zeros(3)),
        (FEATURES, np.zeros((4, 1, 1))),
        (np.array([["a"]]), np.zeros(1)),
        (FEATURES, np.array(["a"] * 4)),
    ],
)
def test_shapes_and_types_that_do_not_fit_are_refused(features: np.ndarray, targets: np.ndarray):
    with pytest.raises(InvalidInput):
        Dataset(features, targets)


def test_targets_that_do_not_belong_to_the_task_are_refused():
    ints, marks, pairs = np.array([0, 1, 2, 1]), np.array([0.0, 1, 1, 0]), np.array([[5.0, 1]] * 4)
    check_dataset(Dataset(FEATURES, ints), "multiclass", 3, 3)
    check_dataset(Dataset(FEATURES, marks), "binary", 3, 1)
    check_dataset(Dataset(FEATURES, pairs), "survival", 3, 1)
    check_dataset(Dataset(FEATURES, np.zeros((4, 5))), "multilabel", 3, 5)
    for targets, task, inputs, outputs in [
        (ints, "multiclass", 3, 2),
        (ints - 1, "multiclass", 3, 3),
        (marks, "multiclass", 3, 2),
        (ints, "binary", 3, 1),
        (marks / 2, "binary", 3, 1),
        (marks, "binary", 4, 1),
        (marks, "survival", 3, 1),
        (pairs * -1, "survival", 3, 1),
        (pairs * 2, "survival", 3, 1),
        (np.zeros((4, 5)), "multilabel", 3, 4),
    ]:
        with pytest.raises(InvalidInput):
            check_dataset(Dataset(FEATURES, targets), task, inputs, outputs)  # type: ignore[arg-type]


def test_an_empty_dataset_is_a_dataset():
    empty = Dataset(np.zeros((0, 3)), np.zeros(0))
    check_dataset(empty, "binary", 3, 1)
    assert len(empty) == 0
