"""What a model can do, and which model a plan means. Nothing here learns: see `mlp`, `cox`, `torch_classifier`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.models.course import FIRST, Course
from medfed.models.cox import Cox
from medfed.models.dataset import Dataset, Task
from medfed.models.mlp import Mlp
from medfed.models.module_learner import ModuleLearner
from medfed.models.parameters import Parameters
from medfed.models.settings import CoxModel, DetectorModel, ImageModel, LocalTraining, ModelSettings, ModuleModel
from medfed.models.torch_classifier import ImageClassifier
from medfed.models.training import LocalResult

__all__ = ["Learner", "LocalResult", "Task", "learner_for", "parameter_count"]

Array = npt.NDArray[Any]


class Learner(Protocol):
    """A kind of model for given numbers of inputs and outputs; it holds no parameters itself."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Each parameter's shape by name, in order."""
        ...

    def initial(self, seed: int) -> Parameters:
        """The parameters that training starts from: the same bits on every machine."""
        ...

    def train(
        self,
        start: Parameters,
        data: Dataset,
        settings: LocalTraining,
        rng: np.random.Generator,
        correction: Array | None = None,
        course: Course = FIRST,
    ) -> LocalResult:
        """Train from `start` on one hospital's `data`; `correction`, flat float32, joins every gradient.

        Raises:
            InvalidInput: `start` or `data` does not fit, `data` is empty, or training diverged.
        """
        ...

    def predict(self, parameters: Parameters, features: Array) -> Array:
        """float64: binary probability `(n,)`; multiclass, multilabel probabilities `(n, k)`; risk score `(n,)`."""
        ...

    def answers(self, parameters: Parameters, data: Dataset) -> Array:
        """What the model says of each example of `data`, whose targets it must not look at; as `predict`."""
        ...

    def loss(self, parameters: Parameters, data: Dataset) -> float:
        """Mean loss over `data`, penalties left out."""
        ...

    def gradient(self, parameters: Parameters, data: Dataset) -> npt.NDArray[np.float64]:
        """Gradient of `loss` by the flat parameters, float64 `(size,)`."""
        ...


def learner_for(model: ModelSettings, task: Task, inputs: int, outputs: int, side: int = 0) -> Learner:
    """The learner that a plan's `model` means for `task`, with `inputs` features and `outputs` outputs.

    Args:
        side: pixels of the longer side of pictures; 0 where examples are rows of a table.

    Raises:
        InvalidInput: the combination is impossible.
    """
    if isinstance(model, DetectorModel) or task == "detection":
        return _detector(model, task, outputs, side)
    if inputs < 1:
        raise InvalidInput(f"model: expected at least one input, found {inputs}")
    least = 2 if task == "multiclass" else 1
    if outputs < least or (task in ("binary", "survival") and outputs != 1):
        raise InvalidInput(f"model: a {task} task cannot have {outputs} outputs")
    if isinstance(model, ModuleModel):
        return _module(model, task, outputs, inputs, side)
    if isinstance(model, CoxModel):
        if task != "survival":
            raise InvalidInput(f"model: cox needs a survival task, found {task}")
        return Cox(inputs)
    if task == "survival":
        raise InvalidInput("model: a survival task needs cox, found one for classes")
    if isinstance(model, ImageModel):
        return _image_classifier(ImageClassifier(model, task, outputs), inputs)
    return Mlp(model, task, inputs, outputs)


def _image_classifier(learner: ImageClassifier, inputs: int) -> ImageClassifier:
    model = learner.model
    if inputs != learner.inputs:
        size = f"{model.channels} x {model.side} x {model.side}"
        raise InvalidInput(f"model: images of {size} are {learner.inputs} numbers, found {inputs} inputs")
    if not any(map(learner.is_trained, learner.shapes)):
        raise InvalidInput(f"model: no parameter is named like {', '.join(model.trainable)}")
    return learner


def parameter_count(learner: Learner) -> int:
    """Numbers in the parameters. Of a module of one's own it is what the plan says: its code is not run for this."""
    if isinstance(learner, ModuleLearner):
        return learner.model.parameters
    return sum(math.prod(shape) for shape in learner.shapes.values())


def _module(model: ModuleModel, task: Task, outputs: int, inputs: int, side: int) -> Learner:
    if task == "survival" or task == "detection":
        raise InvalidInput(f"model: a module of one's own is for classes, found a {task} task")
    if not side or inputs % (side * side):
        raise InvalidInput("model: a module of one's own looks at pictures, found rows of a table")
    return ModuleLearner(model, task, outputs, (inputs // (side * side), side, side))


def _detector(model: ModelSettings, task: Task, outputs: int, side: int) -> Learner:
    if not isinstance(model, DetectorModel) or task != "detection":
        raise InvalidInput("model: a detector is for boxes, and boxes are for a detector")
    if not side:
        raise InvalidInput("model: a detector learns from pictures, found rows of a table")
    from medfed.models.detector_learner import DetectorLearner

    return DetectorLearner(model, outputs, side)
