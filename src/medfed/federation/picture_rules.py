"""What a plan over pictures must satisfy, and what a plan over tables must not have of it.

Like `plan_rules` it never repairs a plan. Shapes of torch models are known to torch alone: it is asked, once a model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Final

from msgspec import UNSET

from medfed.federation.plan import BoxesTarget, Labelling, Plan, SurvivalTarget, TrainingNoise
from medfed.models.settings import DetectorModel, ImageModel, ModuleModel, PictureTraining

__all__ = ["lacks_torch", "picture_problems"]

_Found = tuple[str, str]
_COLOURS: Final = 3
_LEAST_SIDE: Final = 96
"""Of a detector's pictures: its coarsest level has a stride of 64 pixels, and one pixel cannot be normalised."""


def picture_problems(plan: Plan) -> Iterator[_Found]:
    """Path and sentence of each thing that is wrong."""
    if plan.data.picture is None:
        yield from _no_pictures(plan)
        return
    if len(plan.data.features) != 1:
        yield "data.features", "a picture is the only feature of its plan"
    if isinstance(plan.data.target, BoxesTarget):
        if not isinstance(plan.model, DetectorModel):
            yield "model.kind", "expected 'detector' for a target of kind 'boxes'"
        if plan.data.picture.side < _LEAST_SIDE:
            yield "data.features[0].side", f"{plan.data.picture.side}; a detector needs {_LEAST_SIDE} pixels"
        if len(set(plan.data.target.classes)) < len(plan.data.target.classes):
            yield "data.target.classes", "a class is there twice"
        if plan.data.picture.channels != _COLOURS:
            yield "data.features[0].channels", "1; a detector looks at three"
    elif isinstance(plan.data.target, SurvivalTarget):
        yield "data.target.kind", "expected 'boxes', or classes of pictures"
    elif isinstance(plan.model, DetectorModel):
        yield "model.kind", f"a detector finds boxes; expected a classifier for a target of kind {plan.task!r}"
    elif isinstance(plan.training.local.pictures, PictureTraining) and not isinstance(plan.model, ModuleModel):
        yield (
            "training.local.pictures",
            "is not for this classifier, whose augmentation is in the section model",
        )
    yield from _training(plan)


def lacks_torch(plan: Plan) -> bool:
    """Whether the plan needs torch and this machine has none."""
    models = [plan.model, *([plan.labelling.student.model] if isinstance(plan.labelling, Labelling) else [])]
    needed = any(isinstance(model, (DetectorModel, ImageModel, ModuleModel)) for model in models)
    return needed and any(importlib.util.find_spec(name) is None for name in ("torch", "torchvision"))


def _no_pictures(plan: Plan) -> Iterator[_Found]:
    if isinstance(plan.data.target, BoxesTarget):
        yield "data.target.kind", "boxes are found in a picture; expected a feature of kind 'picture'"
    if isinstance(plan.model, DetectorModel):
        yield "model.kind", "a detector looks at pictures; expected a feature of kind 'picture'"
    if plan.training.local.pictures is not UNSET:
        yield "training.local.pictures", "has no meaning without a feature of kind 'picture'"
    if plan.training.local.optimizer == "adamw":
        yield "training.local.optimizer", "adamw is for detectors and modules of one's own; expected sgd or adam"


def _training(plan: Plan) -> Iterator[_Found]:
    local = plan.training.local
    is_detector = isinstance(plan.model, DetectorModel)
    if local.epochs == 0 and is_detector:
        yield "training.local.epochs", "0; detectors are trained in epochs"
    if local.optimizer == "adamw" and not isinstance(plan.model, (DetectorModel, ModuleModel)):
        yield "training.local.optimizer", "adamw is for detectors and modules of one's own; expected sgd or adam"
    if local.optimizer == "adamw" and local.momentum > 0:
        yield "training.local.momentum", "adamw has its own; expected 0"
    if plan.training.strategy.name == "scaffold" and is_detector:
        yield "training.strategy", "scaffold corrects plain sgd; expected another for detectors"
    if isinstance(plan.labelling, Labelling):
        yield "labelling", "labelling studies are over tables"
    if isinstance(plan.noise, TrainingNoise):
        yield "noise", "no noise is worked out for pictures"
