"""Federated evaluation: which counters hospitals sum, how one hospital counts, and how the sums become
figures.

A model is judged on patients that it never saw, at each hospital, by counts alone; scores never leave. What a
wrong or missing count would be worth is bounded by the manifest, not here. It must never emit anything finer
than a 256-bin histogram.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.detection import count_boxes, decode_boxes, detection_rows
from medfed.federation.figures import (
    BinaryEvaluation,
    Evaluation,
    Histograms,
    MulticlassEvaluation,
    MultilabelEvaluation,
    SurvivalEvaluation,
    histograms,
)
from medfed.federation.metrics import BINS, LOSS_CAP, LOSS_UNIT, Confusion, PairCounts, bin_scores, loss_counter
from medfed.federation.pairs import pair_counts
from medfed.federation.plan import Plan
from medfed.federation.tables import MAX_ROWS
from medfed.models.dataset import Dataset
from medfed.models.learner import Learner
from medfed.models.parameters import Parameters
from medfed.models.picture_dataset import pictures_in
from medfed.secure_sum.manifest import LIMB_BITS, Entry

__all__ = ["decode_evaluation", "evaluation_contribution", "evaluation_entries"]

_MOST_HISTOGRAMS: Final = 32
"""With more classes or labels than this, histograms are left out and only confusion counts travel."""
_LEAST_PROBABILITY: Final = 2.0**-24
"""Probabilities nearer than this to 0 or 1 count as this near: what float32 resolves."""
_MOST_IN_TWO_LIMBS: Final = 2 ** (2 * LIMB_BITS) - 1

Array = NDArray[Any]
Counts = NDArray[np.int64]


def evaluation_entries(plan: Plan, prefix: str = "validation") -> list[Entry]:
    """The counters of one evaluation of one model, all exact counts, named `prefix.…`."""
    loss_bound = min(MAX_ROWS * int(LOSS_CAP) * LOSS_UNIT, _MOST_IN_TWO_LIMBS)
    k = plan.outputs
    match plan.task:
        case "binary":
            rows = [("negative", BINS), ("positive", BINS)]
        case "multiclass":
            rows = [("confusion", k * k), *_histogram_rows(k)]
        case "multilabel":
            rows = [("confusion", k * 4), *_histogram_rows(k), ("examples", 1)]
        case "survival":
            pairs = Entry(f"{prefix}.pairs", "count", 5, _MOST_IN_TWO_LIMBS, 2)
            return [Entry(f"{prefix}.patients", "count", 2, MAX_ROWS), pairs]
        case "detection":
            return [Entry(f"{prefix}.{name}", "count", size, MAX_ROWS) for name, size in detection_rows(k)]
    entries = [Entry(f"{prefix}.{name}", "count", length, MAX_ROWS) for name, length in rows]
    return [*entries, Entry(f"{prefix}.loss", "count", 1, loss_bound, 2)]


def evaluation_contribution(
    plan: Plan, learner: Learner, parameters: Parameters, data: Dataset, prefix: str = "validation"
) -> dict[str, Counts]:
    """One hospital's counters for the model `parameters` on its `data`, int64, by entry name.

    No patient gives all zeros.
    """
    if plan.task == "detection":
        found = count_boxes(learner, parameters, pictures_in(data), plan.outputs)
        return {f"{prefix}.{name}": value for name, value in found.items()}
    scores = learner.answers(parameters, data) if len(data) else None
    match plan.task:
        case "binary":
            counts = _count_binary(scores, data.targets)
        case "multiclass":
            counts = _count_multiclass(scores, data.targets, plan.outputs)
        case "multilabel":
            counts = _count_multilabel(scores, data.targets, plan.outputs)
        case "survival":
            counts = _count_survival(scores, data.targets)
    return {f"{prefix}.{name}": np.atleast_1d(np.asarray(value, dtype=np.int64)) for name, value in counts.items()}


def decode_evaluation(plan: Plan, sums: Mapping[str, Array], prefix: str = "validation") -> Evaluation:
    """The evaluation whose counters are in `sums`.

    Raises:
        InvalidInput: a counter is absent.
    """
    taken = {entry.name: _take(sums, entry) for entry in evaluation_entries(plan, prefix)}
    get = {name.removeprefix(prefix + "."): value for name, value in taken.items()}
    k = plan.outputs
    match plan.task:
        case "binary":
            both = histograms(get["negative"], get["positive"])
            return BinaryEvaluation(both.negative, both.positive, int(get["loss"][0]))
        case "multiclass":
            confusion = tuple(get["confusion"].tolist())
            return MulticlassEvaluation(k, confusion, int(get["loss"][0]), _decode_histograms(get, k))
        case "multilabel":
            confusions = tuple(Confusion(*row) for row in get["confusion"].reshape(k, 4).tolist())
            examples, loss = int(get["examples"][0]), int(get["loss"][0])
            return MultilabelEvaluation(examples, loss, _decode_histograms(get, k), confusions)
        case "survival":
            examples, events = get["patients"].tolist()
            return SurvivalEvaluation(examples, events, PairCounts(*get["pairs"].tolist()))
        case "detection":
            return decode_boxes(plan.data.target, get)


def _take(sums: Mapping[str, Array], entry: Entry) -> Counts:
    value = sums.get(entry.name)
    if value is None or value.shape != (entry.length,):
        raise InvalidInput(f"evaluation counter {entry.name}: expected {entry.length} counts")
    return value.astype(np.int64)


def _histogram_rows(k: int) -> list[tuple[str, int]]:
    return [("negative", k * BINS), ("positive", k * BINS)] if k <= _MOST_HISTOGRAMS else []


def _decode_histograms(get: Mapping[str, Counts], k: int) -> tuple[Histograms, ...]:
    if "negative" not in get:
        return ()
    pairs = zip(get["negative"].reshape(k, BINS), get["positive"].reshape(k, BINS), strict=True)
    return tuple(histograms(negative, positive) for negative, positive in pairs)


def _histogram(scores: Array) -> Counts:
    return np.bincount(bin_scores(scores), minlength=BINS)


def _clip(scores: Array) -> NDArray[np.float64]:
    return np.clip(scores.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)


def _count_binary(scores: Array | None, targets: Array) -> dict[str, Any]:
    if scores is None:
        return {"negative": np.zeros(BINS), "positive": np.zeros(BINS), "loss": 0}
    ill = targets > 0.5
    right = _clip(np.where(ill, scores, 1 - scores))
    return {
        "negative": _histogram(scores[~ill]),
        "positive": _histogram(scores[ill]),
        "loss": loss_counter(-np.log(right)),
    }


def _count_multiclass(scores: Array | None, targets: Array, k: int) -> dict[str, Any]:
    if scores is None:
        return {"confusion": np.zeros(k * k), "loss": 0} | {name: np.zeros(n) for name, n in _histogram_rows(k)}
    confusion = np.bincount(targets * k + scores.argmax(axis=1), minlength=k * k)
    right = _clip(scores[np.arange(len(targets)), targets])
    marks = targets[:, None] == np.arange(k)
    return {"confusion": confusion, "loss": loss_counter(-np.log(right))} | _columns(scores, marks, k)


def _count_multilabel(scores: Array | None, targets: Array, k: int) -> dict[str, Any]:
    if scores is None:
        rows = {name: np.zeros(n) for name, n in _histogram_rows(k)}
        return {"confusion": np.zeros(k * 4), "examples": 0, "loss": 0} | rows
    marks, called = targets > 0.5, scores >= 0.5
    cells = [called & marks, called & ~marks, ~called & ~marks, ~called & marks]
    confusion = np.stack([cell.sum(axis=0) for cell in cells], axis=1).reshape(-1)
    losses = -np.log(_clip(np.where(marks, scores, 1 - scores))).sum(axis=1)
    counts = {"confusion": confusion, "examples": len(targets), "loss": loss_counter(losses)}
    return counts | _columns(scores, marks, k)


def _columns(scores: Array, marks: Array, k: int) -> dict[str, Any]:
    """Histograms of every column's scores, apart by `marks`, unless there are too many columns."""
    if not _histogram_rows(k):
        return {}
    flat = bin_scores(scores) + np.arange(k) * BINS
    return {
        "negative": np.bincount(flat[~marks], minlength=k * BINS),
        "positive": np.bincount(flat[marks], minlength=k * BINS),
    }


def _count_survival(scores: Array | None, targets: Array) -> dict[str, Any]:
    if scores is None:
        return {"patients": np.zeros(2), "pairs": np.zeros(5)}
    time, event = targets[:, 0], targets[:, 1] > 0.5
    pairs = pair_counts(scores, time, event)
    return {
        "patients": [len(targets), int(event.sum())],
        "pairs": [pairs.twice_won, pairs.pairs, pairs.won_won, pairs.won_pairs, pairs.pairs_pairs],
    }
