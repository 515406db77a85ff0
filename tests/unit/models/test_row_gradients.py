"""Each row's own gradient: its mean is the learner's gradient, and the closed form is what row by row gives."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.models.dataset import Dataset
from medfed.models.learner import Learner, learner_for
from medfed.models.row_gradients import row_gradients
from medfed.models.settings import MlpModel

RNG = np.random.default_rng(4)


def _data(task: str, outputs: int, rows: int = 30) -> Dataset:
    features = RNG.normal(size=(rows, 4)).astype(np.float32)
    if task == "binary":
        return Dataset(features, RNG.integers(0, 2, rows).astype(np.float32))
    if task == "multiclass":
        return Dataset(features, RNG.integers(0, outputs, rows))
    return Dataset(features, RNG.integers(0, 2, (rows, outputs)).astype(np.float32))


@pytest.mark.parametrize(
    ("task", "outputs", "hidden"),
    [("binary", 1, ()), ("multiclass", 3, ()), ("multilabel", 3, ()), ("binary", 1, (5,)), ("multiclass", 3, (5,))],
)
def test_the_mean_is_the_gradient_and_each_row_is_its_own(task: str, outputs: int, hidden: tuple[int, ...]) -> None:
    learner: Learner = learner_for(MlpModel(hidden=hidden), task, 4, outputs)  # type: ignore[arg-type]
    start = learner.initial(3)
    parameters = start.with_flat(start.flat + RNG.normal(size=start.flat.size) * 0.3)
    data = _data(task, outputs)
    found = row_gradients(learner, parameters, data)
    assert found.shape == (30, parameters.flat.size)
    assert found.mean(axis=0) == pytest.approx(learner.gradient(parameters, data), abs=1e-6)
    for at in (0, 7, 29):
        assert found[at] == pytest.approx(learner.gradient(parameters, data.take(slice(at, at + 1))), abs=1e-6)


def test_no_rows_have_no_gradients() -> None:
    learner = learner_for(MlpModel(), "binary", 4, 1)
    assert row_gradients(learner, learner.initial(0), _data("binary", 1, 0)).shape == (0, 5)
