"""What a plan's target is called as a diagnosis: one class, or the set of what is there."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfed.diagnosis.blind_sides import Diagnosis, candidate_sets
from medfed.errors import InvalidInput
from medfed.federation.plan import BinaryTarget, BoxesTarget, MulticlassTarget, MultilabelTarget, Target

__all__ = ["candidates_of", "diagnosis_named", "diagnosis_scored"]


def candidates_of(target: Target) -> list[Diagnosis]:
    """Every diagnosis that a model with this target may give.

    Raises:
        InvalidInput: survival times are no diagnosis, or there are too many labels to try their sets.
    """
    if isinstance(target, BinaryTarget):
        return [_binary(target, False), _binary(target, True)]
    if isinstance(target, MulticlassTarget):
        return [(name,) for name in target.classes]
    if isinstance(target, MultilabelTarget):
        return candidate_sets(target.columns)
    if isinstance(target, BoxesTarget):
        return candidate_sets(target.classes)
    raise InvalidInput("blind test: the model predicts survival, and a risk is no diagnosis")


def diagnosis_named(target: Target, value: Any) -> Diagnosis:
    """A target's value, as `read_targets` gives it, as a diagnosis."""
    if isinstance(target, BinaryTarget):
        return _binary(target, bool(np.reshape(value, ())))
    if isinstance(target, MulticlassTarget):
        return (target.classes[int(value)],)
    names = target.classes if isinstance(target, BoxesTarget) else target.names
    return tuple(sorted(name for name, there in zip(names, value, strict=True) if there))


def diagnosis_scored(target: Target, scores: Any, operating: float) -> Diagnosis:
    """A model's scores of one case as a diagnosis: the likeliest class, or all that reach the operating point."""
    if isinstance(target, MulticlassTarget):
        return (target.classes[int(np.argmax(scores))],)
    return diagnosis_named(target, np.asarray(scores) >= operating)


def _binary(target: BinaryTarget, ill: bool) -> Diagnosis:
    """A value such as 0 or 1 says nothing to a reader, so the column is named with it."""
    return (f"{target.column}: {'positive' if ill else 'negative'}",)
