"""Federated evaluation counters against figures computed from the scores themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.federation.evaluation import decode_evaluation, evaluation_contribution, evaluation_entries
from medfed.federation.figures import (
    BinaryEvaluation,
    MulticlassEvaluation,
    MultilabelEvaluation,
    SurvivalEvaluation,
    is_greater,
)
from medfed.federation.plan import (
    BinaryTarget,
    DataFormat,
    MulticlassTarget,
    MultilabelTarget,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    SurvivalTarget,
    Target,
    Training,
)
from medfed.models.concordance import concordance_counts
from medfed.models.dataset import Dataset
from medfed.models.learner import learner_for
from medfed.models.parameters import Parameters
from medfed.models.settings import CoxModel, LocalTraining, MlpModel
from medfed.secure_sum.fixed_point import decode_sum, encode_vector
from medfed.secure_sum.manifest import Manifest

TARGETS: dict[str, Target] = {
    "binary": BinaryTarget("y", ("1",), ("0",)),
    "multiclass": MulticlassTarget("y", ("a", "b", "c")),
    "multilabel": MultilabelTarget(("p", "q")),
    "survival": SurvivalTarget("t", "e"),
}


def plan_for(target: Target) -> Plan:
    model = CoxModel() if isinstance(target, SurvivalTarget) else MlpModel()
    return Plan(
        Purpose("t", "o", "e", "a"),
        DataFormat((NumberFeature("x", 0.0, 1.0),), target),
        model,
        Training(3, LocalTraining(steps=2)),
        Participation(("a", "b", "c"), 3),
    )


class Shown:
    """A learner whose predictions are the features themselves: counters are judged, not models."""

    def __init__(self, flat: bool) -> None:
        self.flat = flat

    def predict(self, parameters: Parameters, features: np.ndarray) -> np.ndarray:
        return features[:, 0] if self.flat else features

    def answers(self, parameters: Parameters, data: Dataset) -> np.ndarray:
        return self.predict(parameters, data.features)


def counted(plan: Plan, scores: np.ndarray, targets: np.ndarray, hospitals: int = 3) -> Any:
    """Divide the examples over hospitals, encode, sum modulo 2^32 and decode, as a round does."""
    learner: Any = Shown(scores.ndim == 1)
    manifest = Manifest(tuple(evaluation_entries(plan)))
    nobody = Parameters.from_arrays({"w": np.zeros(1)})
    total = np.zeros(manifest.length, dtype=np.uint32)
    for part in np.array_split(np.arange(len(targets)), hospitals):
        wide = scores[part][:, None] if scores.ndim == 1 else scores[part]
        values = evaluation_contribution(plan, learner, nobody, Dataset(wide, targets[part]))
        total += encode_vector(manifest, values, (1, hospitals), hospitals)[0]
    return decode_evaluation(plan, decode_sum(manifest, total, (hospitals, hospitals), hospitals))


def test_binary_sums_give_the_accuracy_loss_and_auc_of_all_patients_together() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(301).astype(np.float32)
    ill = (rng.random(301) < scores).astype(np.float32)
    found = counted(plan_for(TARGETS["binary"]), scores, ill)
    assert isinstance(found, BinaryEvaluation)
    assert found.examples == 301
    assert found.accuracy.value == pytest.approx(np.mean((scores >= 0.5) == (ill > 0.5)))
    exact = -np.log(np.where(ill > 0.5, scores, 1 - scores.astype(np.float64))).mean()
    assert found.loss == pytest.approx(exact, abs=1e-4)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[ill > 0.5] for b in scores[ill < 0.5]]
    assert abs(found.auc.value - np.mean(pairs)) <= found.auc_ties
    assert found.preference == (-found.loss_units, 301)


def test_multiclass_sums_give_the_confusion_matrix_and_one_against_rest_auc() -> None:
    rng = np.random.default_rng(1)
    scores = rng.dirichlet(np.ones(3), 200).astype(np.float32)
    truth = rng.integers(0, 3, 200)
    found = counted(plan_for(TARGETS["multiclass"]), scores, truth)
    assert isinstance(found, MulticlassEvaluation)
    matrix = np.zeros((3, 3), dtype=int)
    for row, column in zip(truth, scores.argmax(axis=1), strict=True):
        matrix[row, column] += 1
    assert found.matrix.tolist() == matrix.tolist()
    assert found.accuracy.value == pytest.approx(np.mean(scores.argmax(axis=1) == truth))
    assert found.balanced_accuracy == pytest.approx(np.mean(np.diag(matrix) / matrix.sum(axis=1)))
    for k, one in enumerate(found.one_against_rest):
        inside, outside = scores[truth == k, k], scores[truth != k, k]
        exact = np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in outside])
        assert abs(one.auc.value - exact) <= one.auc_ties


def test_multilabel_sums_give_each_labels_confusion() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random((90, 2)).astype(np.float32)
    marks = (rng.random((90, 2)) < 0.4).astype(np.float32)
    found = counted(plan_for(TARGETS["multilabel"]), scores, marks)
    assert isinstance(found, MultilabelEvaluation)
    for k, confusion in enumerate(found.confusions):
        called, true = scores[:, k] >= 0.5, marks[:, k] > 0.5
        assert confusion.true_positive == (called & true).sum()
        assert confusion.false_positive == (called & ~true).sum()
        assert confusion.true_negative == (~called & ~true).sum()
        assert confusion.false_negative == (~called & true).sum()
        assert found.labels[k].confusion == confusion
    assert found.accuracy.value == pytest.approx(np.mean((scores >= 0.5) == (marks > 0.5)))
    right = np.where(marks > 0.5, scores, 1 - scores.astype(np.float64))
    assert found.loss == pytest.approx(-np.log(right).sum(axis=1).mean(), abs=1e-4)


def test_survival_sums_count_pairs_within_each_hospital_only() -> None:
    rng = np.random.default_rng(3)
    risk = rng.normal(size=120).astype(np.float32)
    targets = np.stack([rng.exponential(np.exp(-risk)) + 0.1, rng.random(120) < 0.5], axis=1).astype(np.float32)
    found = counted(plan_for(TARGETS["survival"]), risk, targets)
    assert isinstance(found, SurvivalEvaluation)
    parts = [
        concordance_counts(risk[part], targets[part, 0], targets[part, 1]) for part in np.array_split(np.arange(120), 3)
    ]
    concordant, discordant, tied = (sum(counts) for counts in zip(*parts, strict=True))
    assert found.score == (2 * concordant + tied, 2 * (concordant + discordant + tied))
    assert (found.examples, found.events) == (120, int(targets[:, 1].sum()))


@pytest.mark.parametrize("task", TARGETS)
def test_a_hospital_without_patients_contributes_zeros_of_the_right_shape(task: str) -> None:
    plan = plan_for(TARGETS[task])
    shape: tuple[int, ...] = {"binary": (0,), "multiclass": (0,), "multilabel": (0, 2), "survival": (0, 2)}[task]
    targets = np.zeros(shape, dtype=np.int64 if task == "multiclass" else np.float32)
    learner = learner_for(plan.model, plan.task, plan.inputs, plan.outputs)
    data = Dataset(np.zeros((0, plan.inputs), dtype=np.float32), targets)
    values = evaluation_contribution(plan, learner, learner.initial(0), data)
    assert {name: value.shape for name, value in values.items()} == {
        entry.name: (entry.length,) for entry in evaluation_entries(plan)
    }
    assert not any(value.any() for value in values.values())
    assert decode_evaluation(plan, values).score[1] == 0


def test_a_certain_and_wrong_prediction_costs_a_finite_loss() -> None:
    found = counted(plan_for(TARGETS["binary"]), np.array([0.0, 1.0, 1.0], dtype=np.float32), np.array([1.0, 0.0, 1.0]))
    assert 10 < found.loss < 32


def test_a_missing_counter_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"validation\.negative"):
        decode_evaluation(plan_for(TARGETS["binary"]), {})


def test_fractions_compare_exactly_where_floats_cannot() -> None:
    big = 10**18
    assert is_greater((big + 1, big), (big, big - 1)) is False
    assert is_greater((big, big - 1), (big + 1, big)) is True
    assert (big + 1) / big == big / (big - 1)
    assert is_greater((1, 0), (0, 1)) is False
