"""Attacks measure what they say: against oracles whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.models.dataset import Dataset
from medfed.models.learner import learner_for
from medfed.models.settings import LocalTraining, MlpModel
from medfed.pate.attack import changed_answers, fidelity, membership_auc, mislead, rank_auc, steal_model

RNG = np.random.default_rng(5)


def _rows(count: int) -> Dataset:
    features = RNG.normal(size=(count, 2)).astype(np.float32)
    return Dataset(features, (features[:, 0] > 0).astype(np.float32))


def test_rank_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    first, second = RNG.integers(0, 5, 40).astype(float), RNG.integers(0, 5, 30).astype(float)
    pairs = [(one > other) + 0.5 * (one == other) for one in first for other in second]
    assert rank_auc(first, second) == pytest.approx(float(np.mean(pairs)))


def test_a_model_that_knows_its_members_is_found_out_and_one_that_does_not_is_not() -> None:
    members, outsiders = _rows(300), _rows(300)
    known = {row.tobytes(): target for row, target in zip(members.features, members.targets, strict=True)}

    def by_heart(features: np.ndarray) -> np.ndarray:
        return np.array([0.01 + 0.98 * known.get(row.tobytes(), 0.5) for row in features])

    assert membership_auc(by_heart, members, outsiders) == 1.0
    assert membership_auc(lambda rows: np.full(len(rows), 0.5), members, outsiders) == 0.5


def test_a_multiclass_model_is_attacked_by_its_own_class() -> None:
    features = RNG.normal(size=(50, 2)).astype(np.float32)
    data = Dataset(features, np.arange(50, dtype=np.int64) % 3)
    assert membership_auc(lambda rows: np.full((len(rows), 3), 1 / 3), data, data) == 0.5


def test_a_stolen_linear_model_says_what_the_original_says() -> None:
    learner = learner_for(MlpModel(), "binary", 2, 1)
    rows = RNG.normal(size=(500, 2)).astype(np.float32)

    def original(features: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-4 * features[:, 0] + 2 * features[:, 1]))

    settings = LocalTraining(epochs=200, batch_size=0, optimizer="adam", learning_rate=0.1)
    stolen = steal_model(original, learner, rows[:250], settings, 1)
    assert fidelity(original, lambda features: learner.predict(stolen, features), rows[250:]) > 0.95
    with pytest.raises(InvalidInput, match="rows"):
        steal_model(original, learner, rows[:0], settings, 1)


def test_rows_are_moved_against_what_the_model_says_and_no_further_than_the_step() -> None:
    def model(features: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(features[:, 0].astype(float) - 2 * features[:, 1])))

    rows = RNG.normal(size=(200, 2)).astype(np.float32)
    moved = mislead(model, rows, 0.25)
    assert np.abs(moved - rows).max() <= 0.25 + 1e-6
    before = np.where(model(rows) >= 0.5, model(rows), 1 - model(rows))
    after = np.where(model(rows) >= 0.5, model(moved), 1 - model(moved))
    assert (after < before).all()
    # Exactly the rows within reach of the boundary change: |x - 2y| < .25 + .5.
    within = np.abs(rows[:, 0] - 2 * rows[:, 1]) < 0.75
    assert changed_answers(model, rows, moved) == pytest.approx(float(within.mean()), abs=0.01)


def test_without_rows_there_is_no_membership_to_tell() -> None:
    with pytest.raises(InvalidInput, match="members and outsiders"):
        membership_auc(lambda rows: rows[:, 0], _rows(0), _rows(3))
