"""Probabilities, losses and residuals for logits of any size, against definitions worked out with more digits."""

from __future__ import annotations

from decimal import Decimal, getcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medfed.models.losses import prepare_targets_for, probabilities, residual_for, total_loss

getcontext().prec = 400


def exact_sigmoid(z: float) -> Decimal:
    return 1 / (1 + (-Decimal(z)).exp())


def exact_loss(share: Decimal) -> float:
    return float(-share.ln())


@pytest.mark.parametrize("z", [-700.0, -40.0, -1.5, 0.0, 1e-9, 3.0, 40.0, 700.0])
def test_sigmoid_and_its_loss_keep_their_relative_precision(z: float):
    logits = np.array([[z]])
    assert probabilities(logits, "binary")[0] == pytest.approx(float(exact_sigmoid(z)), rel=1e-14)
    expected = exact_loss(exact_sigmoid(z))
    assert total_loss(logits, np.array([1.0]), "binary") == pytest.approx(expected, rel=1e-13, abs=0)


def test_softmax_and_its_loss_agree_with_exact_arithmetic():
    logits = np.array([[1.0, -2.0, 300.0], [0.1, 0.2, 0.3], [-800.0, -801.0, -799.0]])
    exact = [[Decimal(z).exp() for z in row] for row in logits.tolist()]
    shares: list[list[Decimal]] = [[part / sum(row, Decimal(0)) for part in row] for row in exact]
    assert np.allclose(probabilities(logits, "multiclass"), np.array(shares, float), rtol=1e-14, atol=1e-300)
    targets = np.array([0, 2, 1])
    expected = sum(exact_loss(row[int(target)]) for row, target in zip(shares, targets, strict=True))
    assert total_loss(logits, targets, "multiclass") == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_logits_at_the_edge_of_the_range_give_finite_figures(task: str):
    logits = np.array([[1e30, -1e30], [-1e30, 1e30]])[:, : 1 if task == "binary" else 2]
    targets = {
        "binary": np.array([0, 1], np.float32),
        "multilabel": np.array([[0, 1], [1, 1]], np.float32),
        "multiclass": np.array([0, 0]),
    }[task]
    shares = probabilities(logits, task)  # type: ignore[arg-type]
    assert np.isfinite(shares).all()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert np.isfinite(total_loss(logits, targets, task))  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_residual_is_probability_less_target_over_the_count(task: str, dtype: Any):
    rng = np.random.default_rng(0)
    outputs = 1 if task == "binary" else 4
    logits = rng.normal(size=(6, outputs)) * 3
    if task == "multiclass":
        targets = rng.integers(0, 4, 6)
        dense, count = np.eye(4)[targets], 6
    else:
        dense, count = (rng.random((6, outputs)) < 0.5).astype(np.float32), 6 * outputs
        targets = dense[:, 0] if task == "binary" else dense
    expected = (probabilities(logits, task).reshape(6, outputs) - dense) / count  # type: ignore[arg-type]
    found: npt.NDArray[Any] = logits.astype(dtype)
    residual_for(task, 6, outputs, dtype)(found, prepare_targets_for(task, outputs, dtype)(targets))  # type: ignore[arg-type]
    assert found.dtype == dtype
    assert np.allclose(found, expected, atol=1e-7 if dtype is np.float32 else 1e-15)
