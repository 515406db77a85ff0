"""What a plan must satisfy beyond the types and bounds of its records, one rule a function.

A plan that passes here can be carried out by every hospital and by the contracts. This module must never repair a plan:
it says what is wrong and where.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import UNSET

from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.federation.cells import MISSING_TEXTS, shortest_text
from medfed.federation.labelling_rules import labelling_problems
from medfed.federation.picture_rules import picture_problems
from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    Hiding,
    Labelling,
    MulticlassTarget,
    NumberFeature,
    Plan,
    SurvivalTarget,
    TrainingNoise,
    Weighing,
)
from medfed.federation.private_training import noise_problems
from medfed.federation.sealed_rules import sealed_problems
from medfed.federation.weighing import MAX_COUNTS, counts_length, value_columns
from medfed.models.learner import learner_for, parameter_count
from medfed.models.settings import CoxModel, DetectorModel, ImageModel, MlpModel, ModelSettings

__all__ = [
    "MAX_PLAN_BYTES",
    "MAX_WIRE_ELEMENTS",
    "Problem",
    "least_quorum",
    "plan_problems",
    "update_elements",
    "verify_plan",
]

MAX_PLAN_BYTES: Final = 48 * 1024
"""Canonical bytes; a plan rides in one transaction of at most 64 KiB."""
MAX_WIRE_ELEMENTS: Final = 64 * 1024 * 1024
"""Elements of 4 bytes that one hospital may send in one round."""
MAX_LAYERS: Final = 16
MAX_MAGNITUDE: Final = 1e15
MAX_TEXT: Final = 200
_LONGEST_SENTENCE: Final = 500


class Problem(NamedTuple):
    """One thing that is wrong with a plan."""

    path: str
    """The field, such as `data.features[3].low`."""
    sentence: str


def verify_plan(plan: Plan) -> None:
    """Check everything that a plan must satisfy.

    Raises:
        InvalidInput: one line for each problem, with the field's path and what is wrong.
    """
    problems = plan_problems(plan)
    if problems:
        raise InvalidInput("\n".join(f"plan: {problem.path}: {problem.sentence}" for problem in problems))


def plan_problems(plan: Plan) -> list[Problem]:
    """Everything that is wrong with a plan; empty when it may be proposed."""
    problems = list(_types(plan))
    if problems:
        return problems
    rules: tuple[Callable[[Plan], Iterator[Problem]], ...] = (
        _participation,
        _protection,
        _columns,
        _features,
        _target,
        _model,
        _training,
        _pictures,
        _splits,
        _deadlines,
        _sizes,
        _labelling,
        _noise,
        _hiding,
        _weighing,
    )
    return [problem for rule in rules for problem in rule(plan)]


def least_quorum(invited: int) -> int:
    """The smallest quorum that a plan with so many hospitals may have: `max(3, floor(2n / 3) + 1)`."""
    return max(3, 2 * invited // 3 + 1)


def update_elements(plan: Plan) -> int:
    """Coordinates of one hospital's training update, without the counts that travel with it.

    Raises:
        InvalidInput: the plan's model does not go with its data; see `plan_problems`.
    """
    vectors = 2 if plan.training.strategy.name == "scaffold" else 1
    return vectors * parameter_count(learner_for(plan.model, plan.task, plan.inputs, plan.outputs, plan.side))


def _types(plan: Plan) -> Iterator[Problem]:
    """Types and bounds again, for plans built in Python, where records check nothing; and finite numbers."""
    try:
        plain = msgspec.to_builtins(plan)
        again = msgspec.to_builtins(msgspec.convert(plain, Plan))
    except msgspec.ValidationError as error:
        yield problem_of(error)
        return
    except TypeError as error:
        yield Problem("plan", str(error))
        return
    for path, found, expected in _leaves(plain, again, ""):
        if isinstance(found, float) and not math.isfinite(found):
            yield Problem(path, f"{found} is not a finite number")
        elif type(found) is not type(expected):
            yield Problem(path, f"{found!r} is an integer; write {expected!r}, or its digest would not be stable")


def problem_of(error: msgspec.ValidationError) -> Problem:
    """A problem from msgspec's message, which ends in ``- at `$.path```."""
    sentence, _, path = str(error).partition(" - at `$")
    if len(sentence) > _LONGEST_SENTENCE:
        sentence = f"{sentence[:_LONGEST_SENTENCE]} …"  # it may quote what it found, which may be the whole file
    sentence = sentence.replace("Object missing required field", "missing required field").replace("`", "'")
    return Problem(path.rstrip("`").lstrip(".") or "plan", sentence)


def _leaves(found: Any, expected: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(found, dict):
        for key, value in cast("dict[str, Any]", found).items():
            yield from _leaves(value, expected[key], f"{path}.{key}" if path else key)
    elif isinstance(found, (list, tuple)):
        for at, value in enumerate(cast("list[Any]", found)):
            yield from _leaves(value, expected[at], f"{path}[{at}]")
    else:
        yield path, found, expected


def _participation(plan: Plan) -> Iterator[Problem]:
    people = plan.participation
    invited = len(people.hospitals)
    for name in _repeated(people.hospitals):
        yield Problem("participation.hospitals", f"{name!r} is named twice")
    least = least_quorum(invited)
    if not least <= people.quorum <= invited:
        yield Problem("participation.quorum", f"{people.quorum}; of {invited} hospitals expected {least} to {invited}")
    needed = invited - people.quorum + 1
    if people.max_attempts < needed:
        yield Problem(
            "participation.max_attempts",
            f"{people.max_attempts}; {invited} hospitals with a quorum of {people.quorum} need {needed}",
        )
    if people.min_examples > people.max_examples:
        yield Problem("participation.min_examples", f"{people.min_examples} is above max_examples")


def _protection(plan: Plan) -> Iterator[Problem]:
    protection = plan.protection
    fields = {"masked": (), "homomorphic": ("key_holder", "aggregators"), "sealed": ("aggregators", "aggregation")}
    for name in ("key_holder", "aggregators", "aggregation"):
        if getattr(protection, name) is not UNSET and name not in fields[protection.mode]:
            yield Problem(f"protection.{name}", f"has no meaning where updates are {protection.mode}")
    if protection.mode == "sealed":
        yield from _sealed(plan)
    if protection.mode != "homomorphic":
        return
    if isinstance(plan.labelling, Labelling):
        yield Problem("protection.mode", "histograms of votes are masked; a labelling study cannot be homomorphic")
    if protection.key_holder is UNSET:
        yield Problem("protection.key_holder", "missing; homomorphic protection needs somebody who opens the sums")
    if protection.aggregators is UNSET:
        yield Problem("protection.aggregators", "missing; homomorphic protection needs somebody who adds")
    if protection.key_holder is not UNSET and protection.aggregators is not UNSET:
        yield from _offices(plan, protection.key_holder, protection.aggregators)


def _sealed(plan: Plan) -> Iterator[Problem]:
    for path, sentence in sealed_problems(plan):
        yield Problem(path, sentence)


def _offices(plan: Plan, key_holder: str, aggregators: tuple[str, ...]) -> Iterator[Problem]:
    for name in _repeated(aggregators):
        yield Problem("protection.aggregators", f"{name!r} is named twice")
    if key_holder in aggregators:
        yield Problem("protection.key_holder", f"{key_holder!r} is an aggregator too, and could open every update")
    for name in sorted({key_holder, *aggregators} & set(plan.participation.hospitals)):
        yield Problem("protection", f"{name!r} is a hospital of the study and can hold no office in it")


def _columns(plan: Plan) -> Iterator[Problem]:
    data = plan.data
    roles = [(f"data.features[{at}].name", feature.name) for at, feature in enumerate(data.features)]
    roles += [("data.target", name) for name in data.target.names]
    roles += [("data.patient", data.patient)] if data.patient is not None else []
    roles += [("data.split", data.split)] if data.split is not None else []
    first: dict[str, str] = {}
    for path, column in roles:
        if column in first:
            yield Problem(path, f"column {column!r} is already {first[column]}")
        first.setdefault(column, path)


def _features(plan: Plan) -> Iterator[Problem]:
    for at, feature in enumerate(plan.data.features):
        path = f"data.features[{at}]"
        for name, text in (("unit", getattr(feature, "unit", "1")), ("code", feature.code)):
            if len(text) > MAX_TEXT or (name == "unit" and not text):
                yield Problem(f"{path}.{name}", f"feature {feature.name!r}: expected at most {MAX_TEXT} characters")
        if isinstance(feature, NumberFeature):
            yield from _number(feature, path)
        elif isinstance(feature, CategoryFeature):
            yield from _category(feature, path)


def _number(feature: NumberFeature, path: str) -> Iterator[Problem]:
    if max(abs(feature.low), abs(feature.high)) > MAX_MAGNITUDE:
        yield Problem(f"{path}.low", f"feature {feature.name!r}: expected a range within ±{MAX_MAGNITUDE:g}")
    if feature.low >= feature.high:
        yield Problem(
            f"{path}.low", f"feature {feature.name!r}: low {feature.low:g} is not below high {feature.high:g}"
        )
    if len(feature.missing_values) > 256 or len(set(feature.missing_values)) < len(feature.missing_values):
        yield Problem(f"{path}.missing_values", f"feature {feature.name!r}: repeated, or more than 256")


def _category(feature: CategoryFeature, path: str) -> Iterator[Problem]:
    yield from _texts(feature.values, f"{path}.values")
    yield from _texts(feature.missing_values, f"{path}.missing_values", may_be_missing=True)
    for value in _common(feature.values, feature.missing_values):
        yield Problem(f"{path}.missing_values", f"feature {feature.name!r}: {value!r} is also one of its values")


def _target(plan: Plan) -> Iterator[Problem]:
    target = plan.data.target
    if isinstance(target, BinaryTarget):
        yield from _texts(target.positive, "data.target.positive")
        yield from _texts(target.negative, "data.target.negative")
        for value in _common(target.positive, target.negative):
            yield Problem("data.target.negative", f"{value!r} is also positive")
    elif isinstance(target, MulticlassTarget):
        yield from _texts(target.classes, "data.target.classes")


def _pictures(plan: Plan) -> Iterator[Problem]:
    for path, sentence in picture_problems(plan):
        yield Problem(path, sentence)


def _model(plan: Plan) -> Iterator[Problem]:
    if plan.task == "detection" or isinstance(plan.model, DetectorModel):
        return  # see `picture_rules`
    is_survival = isinstance(plan.data.target, SurvivalTarget)
    if isinstance(plan.model, CoxModel) != is_survival:
        expected = "cox" if is_survival else "mlp"
        yield Problem("model.kind", f"expected {expected!r} for a target of kind {plan.task!r}")
        return
    yield from _fits(plan, plan.model, "model")
    if isinstance(plan.model, MlpModel) and len(plan.model.hidden) > MAX_LAYERS:
        yield Problem("model.hidden", f"{len(plan.model.hidden)} layers; expected at most {MAX_LAYERS}")
    labelling = plan.labelling
    if isinstance(labelling, Labelling) and not is_survival:
        yield from _fits(plan, labelling.student.model, "labelling.student.model")


def _fits(plan: Plan, model: ModelSettings, path: str) -> Iterator[Problem]:
    """The model takes what the plan's features give it."""
    images = [*plan.data.pixels, *([plan.data.picture] if plan.data.picture is not None else [])]
    if isinstance(model, ImageModel) and not len(images) == len(plan.data.features) == 1:
        yield Problem(f"{path}.kind", "an image classifier takes a feature of kind 'pixels' or 'picture' and no other")
        return
    try:
        learner_for(model, plan.task, plan.inputs, plan.outputs, plan.side)
    except InvalidInput as error:
        yield Problem(path, str(error).removeprefix("model: "))


def _training(plan: Plan) -> Iterator[Problem]:
    local, strategy = plan.training.local, plan.training.strategy
    if (local.steps > 0) == (local.epochs > 0):
        found = f"steps {local.steps} and epochs {local.epochs}"
        yield Problem("training.local", f"{found}; expected exactly one of them above 0")
    if local.optimizer == "adam" and local.momentum > 0:
        yield Problem("training.local.momentum", "adam has its own; expected 0")
    if strategy.name == "fedprox" and local.proximal == 0:
        yield Problem("training.local.proximal", "fedprox needs a proximal weight above 0")
    if strategy.name == "scaffold" and (local.optimizer != "sgd" or local.momentum > 0):
        yield Problem("training.local.optimizer", "scaffold corrects plain sgd; expected sgd without momentum")


def _labelling(plan: Plan) -> Iterator[Problem]:
    for path, sentence in labelling_problems(plan):
        yield Problem(path, sentence)


def _noise(plan: Plan) -> Iterator[Problem]:
    if isinstance(plan.noise, TrainingNoise) and isinstance(plan.labelling, Labelling):
        yield Problem("noise", "a labelling study has noise of its own")
        return
    for path, sentence in noise_problems(plan):
        yield Problem(path, sentence)


def _hiding(plan: Plan) -> Iterator[Problem]:
    hiding = plan.hiding
    if not isinstance(hiding, Hiding):
        return
    if not all(
        isinstance(feature, NumberFeature) and feature.low <= 0 <= feature.high for feature in plan.data.features
    ):
        yield Problem("hiding", "a hidden finding reads as 0; expected numbers only, with 0 within their ranges")
    if sum(hiding.widths) != len(plan.data.features):
        yield Problem("hiding.widths", f"{sum(hiding.widths)} features in all; the plan has {len(plan.data.features)}")
    if isinstance(plan.labelling, Labelling):
        yield Problem("hiding", "teachers of a labelling study learn from whole cases")
    if isinstance(plan.noise, TrainingNoise) and plan.noise.patient_clip > 0:
        yield Problem("hiding", "gradients clipped for each patient are of whole cases")


def _weighing(plan: Plan) -> Iterator[Problem]:
    weighing = plan.weighing
    if not isinstance(weighing, Weighing):
        return
    if counts_length(weighing) > MAX_COUNTS:
        yield Problem("weighing", f"{counts_length(weighing)} counts; expected at most {MAX_COUNTS}")
    if isinstance(plan.labelling, Labelling) or isinstance(plan.noise, TrainingNoise):
        yield Problem("weighing", "counts are exact; a study with noise sums none")
    for name in _common(plan.data.columns, value_columns(weighing)):
        yield Problem("weighing", f"column {name!r} is already named by the plan")


def _splits(plan: Plan) -> Iterator[Problem]:
    if isinstance(plan.labelling, Labelling) or isinstance(plan.noise, TrainingNoise):
        return  # nothing is chosen by validation patients
    if plan.data.split is not None or plan.data.validation_fraction > 0:
        return
    training = plan.training
    if training.best_round or training.stopping.patience > 0 or training.max_score_drop < 1:
        yield Problem(
            "data.validation_fraction",
            "0, but best_round, stopping or max_score_drop judge a round by validation patients",
        )


def _deadlines(plan: Plan) -> Iterator[Problem]:
    limits = plan.deadlines
    one_round = limits.update + limits.confirm + limits.reveal
    if limits.study < one_round:
        yield Problem("deadlines.study", "shorter than one round's update, confirm and reveal together")


def _sizes(plan: Plan) -> Iterator[Problem]:
    size = len(encode(plan))
    if size > MAX_PLAN_BYTES:
        yield Problem("plan", f"{size} canonical bytes; expected at most {MAX_PLAN_BYTES}")
    if any(_model(plan)) or any(picture_problems(plan)):
        return  # said already
    elements = update_elements(plan)
    if elements > MAX_WIRE_ELEMENTS:
        yield Problem("model", f"{elements} elements in an update; expected at most {MAX_WIRE_ELEMENTS}")


def _texts(texts: tuple[str, ...], path: str, *, may_be_missing: bool = False) -> Iterator[Problem]:
    for at, text in enumerate(texts):
        if len(text) > MAX_TEXT or text != text.strip():
            yield Problem(f"{path}[{at}]", f"expected at most {MAX_TEXT} characters, none blank at either end")
        elif text in MISSING_TEXTS and not may_be_missing:
            yield Problem(f"{path}[{at}]", f"{text!r} reads as missing")
    for text in _repeated(tuple(map(shortest_text, texts))):
        yield Problem(path, f"{text!r} is there twice")


def _common(first: tuple[str, ...], second: tuple[str, ...]) -> list[str]:
    return sorted(set(map(shortest_text, first)) & set(map(shortest_text, second)))


def _repeated(items: tuple[str, ...]) -> list[str]:
    return [item for item, count in Counter(items).items() if count > 1]
