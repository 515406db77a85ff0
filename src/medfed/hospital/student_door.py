"""A student behind its prediction service, asked and answering in lines of JSON: what `medfed pate serve` runs.

An answer holds rounded probabilities or one sentence about what was wrong; never a cell that was asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from medfed.errors import InvalidInput, MedFedError, Refused, brief
from medfed.federation.features import encode_features, read_features
from medfed.federation.model_file import Model, load_model
from medfed.federation.study import learner_of
from medfed.federation.tables import table_from
from medfed.pate.service import PredictionService

__all__ = ["Door", "answer_line", "door_to"]

_MOST_LINE = 1 << 20


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """One line."""

    user: Annotated[str, Meta(min_length=1, max_length=100)]
    rows: Annotated[list[dict[str, str | float | int | None]], Meta(min_length=1, max_length=10_000)]


@dataclass(frozen=True)
class Door:
    """The student and its limits."""

    model: Model
    service: PredictionService


def door_to(path: Path, clock: Callable[[], int], per_hour: int, decimals: int) -> Door:
    """A door to the student in a file.

    Raises:
        InvalidInput: not a model file, or limits out of range.
    """
    model = load_model(path)
    learner = learner_of(model.plan)
    return Door(
        model, PredictionService(lambda rows: learner.predict(model.parameters, rows), clock, per_hour, decimals)
    )


def answer_line(door: Door, line: str) -> str:
    """The answer to one question, as one line of JSON; what is wrong with it is said in `error` with a code."""
    try:
        answers = _answer(door, line)
    except MedFedError as error:
        code = error.code if isinstance(error, Refused) else "invalid-input"
        return msgspec.json.encode({"error": str(error), "code": code}).decode()
    return msgspec.json.encode({"probabilities": answers}).decode()


def _answer(door: Door, line: str) -> Any:
    if len(line) > _MOST_LINE:
        raise InvalidInput(f"question: longer than {_MOST_LINE >> 10} KiB")
    try:
        question = msgspec.json.decode(line, type=Question)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"question: expected a user and rows: {brief(error)}") from None
    table = table_from(question.rows, name="rows")
    raw = read_features(table, door.model.plan.data)
    features = encode_features(raw, door.model.plan, door.model.standardisation)
    return door.service.ask(question.user, features).tolist()
