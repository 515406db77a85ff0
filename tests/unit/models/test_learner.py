"""Which learner a plan means."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from medfed.errors import InvalidInput
from medfed.models.cox import Cox
from medfed.models.learner import learner_for
from medfed.models.mlp import Mlp
from medfed.models.settings import CoxModel, MlpModel, ModelSettings


def test_each_possible_combination_has_its_learner():
    assert isinstance(learner_for(CoxModel(), "survival", 5, 1), Cox)
    assert isinstance(learner_for(MlpModel(), "binary", 5, 1), Mlp)
    assert isinstance(learner_for(MlpModel((4,)), "multiclass", 5, 3), Mlp)
    assert isinstance(learner_for(MlpModel((4,)), "multilabel", 5, 1), Mlp)


@pytest.mark.parametrize(
    ("model", "task", "outputs"),
    [(CoxModel(), "survival", 1), (MlpModel(), "binary", 1), (MlpModel((4, 2)), "multiclass", 3)],
)
def test_shapes_are_those_of_the_initial_parameters(model: ModelSettings, task: Any, outputs: int):
    learner = learner_for(model, task, 5, outputs)
    assert list(learner.shapes.items()) == list(learner.initial(1).shapes.items())


@pytest.mark.parametrize(
    ("model", "task", "inputs", "outputs"),
    [
        (CoxModel(), "binary", 5, 1),
        (CoxModel(), "multiclass", 5, 3),
        (CoxModel(), "survival", 5, 2),
        (MlpModel(), "survival", 5, 1),
        (MlpModel(), "binary", 5, 2),
        (MlpModel(), "multiclass", 5, 1),
        (MlpModel(), "multilabel", 5, 0),
        (MlpModel(), "binary", 0, 1),
    ],
)
def test_impossible_combinations_are_refused(model: ModelSettings, task: Any, inputs: int, outputs: int):
    with pytest.raises(InvalidInput, match="model"):
        learner_for(model, task, inputs, outputs)


def test_small_models_do_not_bring_torch_in():
    code = "import sys, medfed.models.learner; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
