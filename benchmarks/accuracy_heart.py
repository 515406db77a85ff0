"""UCI heart disease, all 920 patients, 5-fold cross-validation with five seeds: federated, pooled and local
models.

Every figure is over out-of-fold predictions of all patients; a patient's five predictions (one a seed) stay
together in the bootstrap. Nothing was chosen by looking at test patients: the settings are the demo plan's,
local ones by inner cross-validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from benchmarks.cohorts import heart, heart_plan, with_training
from benchmarks.resampling import (
    Array,
    accuracy,
    auc,
    balanced_accuracy,
    bootstrap_weights,
    concatenated,
    figure,
    folds,
    mean_over,
    print_table,
)
from benchmarks.selection import models_at

from medfed.federation.baselines import Baseline, train_locally, train_pooled
from medfed.federation.plan import Plan
from medfed.federation.prepared import PreparedData
from medfed.federation.splits import TEST, TRAIN, VALIDATION
from medfed.federation.study import learner_of
from medfed.models.settings import MlpModel

FOLDS = 5
KEPT = 20
"""Training records left to a hospital that has few."""
LOCAL_GRID = tuple((rounds, decay) for rounds in (2, 10, 40) for decay in (0.001, 0.01, 0.1))
"""What a hospital's own model is tuned over: rounds of 50 steps, and L2."""
REFERENCE = 20
"""Rounds of the demo's plan: what local models are compared with."""
METRICS = {"accuracy": accuracy, "AUC": auc}


@dataclass
class Predictions:
    """Out-of-fold scores, by model and seed; each array holds all patients, hospitals in order of name."""

    scores: dict[str, list[Array]] = field(default_factory=dict[str, list[Array]])

    def put(self, model: str, seed: int, rows: Array, values: Array, total: int) -> None:
        arrays = self.scores.setdefault(model, [])
        while len(arrays) <= seed:
            arrays.append(np.full(total, np.nan))
        arrays[seed][rows] = values


@dataclass(frozen=True)
class Cohort:
    """The patients, one after the other by hospital's name."""

    data: Mapping[str, PreparedData]
    hospital: Array
    ill: Array

    def starts(self) -> dict[str, int]:
        """Where each hospital's rows begin."""
        at, starts = 0, dict[str, int]()
        for name in sorted(self.data):
            starts[name] = at
            at += len(self.data[name])
        return starts


def load_cohort(plan: Plan) -> Cohort:
    """All 920 patients."""
    data = heart(plan)
    hospital = concatenated({name: np.full(len(part), at) for at, (name, part) in enumerate(sorted(data.items()))})
    return Cohort(data, hospital, concatenated({name: part.targets for name, part in data.items()}))


def divided(cohort: Cohort, fold: Array, at: int) -> dict[str, PreparedData]:
    """The hospitals' data with fold `at` as test and the rest as training rows."""
    starts = cohort.starts()
    return {
        name: part.with_split(
            np.where(fold[starts[name] : starts[name] + len(part)] == at, TEST, TRAIN).astype(np.uint8)
        )
        for name, part in cohort.data.items()
    }


def predict(plan: Plan, model: Baseline, data: Mapping[str, PreparedData]) -> Array:
    """Scores of the test rows, hospitals in order of name."""
    learner = learner_of(plan)
    tests = {name: part.datasets(model.standardisation)["test"].features for name, part in data.items()}
    return concatenated({name: learner.predict(model.parameters, features) for name, features in tests.items()})


def tuned_local(plan: Plan, data: PreparedData, name: str, rng: np.random.Generator) -> Baseline:
    """A hospital's own model, its budget and L2 chosen by 3-fold cross-validated log loss on its training rows."""
    training = np.flatnonzero(data.split == TRAIN)
    inner = folds(data.targets[training].astype(np.int64), 3, rng)
    losses = dict.fromkeys(LOCAL_GRID, 0.0)
    for at in range(3):
        split = data.split.copy()
        split[training[inner == at]] = VALIDATION
        part = data.with_split(split)
        for rounds, decay in LOCAL_GRID:
            chosen = with_training(plan, local={"weight_decay": decay})
            model = train_locally(chosen, part, name, rounds=rounds)
            judged = part.datasets(model.standardisation)["validation"]
            losses[rounds, decay] += learner_of(plan).loss(model.parameters, judged)
    rounds, decay = min(losses, key=lambda setting: losses[setting])
    return train_locally(with_training(plan, local={"weight_decay": decay}), data, name, rounds=rounds)


def few_records(data: Mapping[str, PreparedData], name: str, rng: np.random.Generator) -> dict[str, PreparedData]:
    """The same study with only KEPT of the training rows at hospital `name`, at least two of each outcome."""
    part = data[name]
    training = rng.permutation(np.flatnonzero(part.split == TRAIN))
    ill = part.targets[training] > 0.5
    first = np.concatenate([training[ill][:2], training[~ill][:2]])
    kept = np.concatenate([first, np.setdiff1d(training, first, assume_unique=True)])[:KEPT]
    rows = np.sort(np.concatenate([kept, np.flatnonzero(part.split == TEST)]))
    return {**data, name: part.take(rows)}


def collect(seeds: int, log_rounds: tuple[int, ...], net_rounds: tuple[int, ...]) -> tuple[Cohort, Predictions]:
    """All out-of-fold predictions."""
    plan = heart_plan()
    net = msgspec.structs.replace(plan, model=MlpModel((16,)))
    cohort, predictions = load_cohort(plan), Predictions()
    total, names = len(cohort.ill), sorted(cohort.data)
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 920])
        fold = folds(cohort.hospital * 2 + (cohort.ill > 0.5), FOLDS, rng)
        for at in range(FOLDS):
            data, rows = divided(cohort, fold, at), np.flatnonzero(fold == at)
            for label, each, rounds in (("logistic", plan, log_rounds), ("MLP", net, net_rounds)):
                each = with_training(each, seed=seed)
                for count, model in models_at(each, data, rounds).items():
                    predictions.put(f"federated {label} {count}", seed, rows, predict(each, model, data), total)
                    pooled = train_pooled(each, data, rounds=count)
                    predictions.put(f"pooled {label} {count}", seed, rows, predict(each, pooled, data), total)
                    longer = train_pooled(each, data, rounds=count * len(names))
                    predictions.put(f"longer {label} {count}", seed, rows, predict(each, longer, data), total)
            for name in names:
                local = train_locally(plan, data[name], name, rounds=REFERENCE)
                predictions.put(f"local {name}", seed, rows, predict(plan, local, data), total)
                tuned = tuned_local(plan, data[name], name, rng)
                predictions.put(f"tuned {name}", seed, rows, predict(plan, tuned, data), total)
                few = few_records(data, name, rng)
                alone = tuned_local(plan, few[name], name, rng)
                predictions.put(f"few alone {name}", seed, rows, predict(plan, alone, data), total)
                plain = train_locally(plan, few[name], name, rounds=REFERENCE)
                predictions.put(f"few plain {name}", seed, rows, predict(plan, plain, data), total)
                together = models_at(plan, few, (REFERENCE,))[REFERENCE]
                predictions.put(f"few federated {name}", seed, rows, predict(plan, together, data), total)
    return cohort, predictions


@dataclass(frozen=True)
class Judge:
    """Figures of models over (some of) the patients, on common resamples."""

    cohort: Cohort
    predictions: Predictions
    weights: Array

    def samples(self, model: str, metric: str, where: Array) -> Array:
        """A metric's value and bootstrap distribution, the mean over seeds."""
        count = {**METRICS, "balanced": balanced_accuracy}[metric]
        ill, weights = self.cohort.ill[where], self.weights[:, where]
        return mean_over([count(scores[where], ill, weights) for scores in self.predictions.scores[model]])

    def row(self, model: str, metric: str, where: Array) -> str:
        return str(figure(self.samples(model, metric, where)))

    def gain(self, better: str, worse: str, metric: str, where: Array) -> str:
        return str(figure(self.samples(better, metric, where) - self.samples(worse, metric, where)))


def report(seeds: int = 5) -> Judge:
    """Print the tables; returns what they were made from."""
    log_rounds, net_rounds = (10, 20, 40), (20, 40)
    cohort, predictions = collect(seeds, log_rounds, net_rounds)
    weights = bootstrap_weights(cohort.hospital, np.random.default_rng(920))
    judge = Judge(cohort, predictions, weights)
    everybody = np.arange(len(cohort.ill))
    rows = [
        [f"{label}, round {count}"]
        + [
            judge.row(f"{kind} {label} {count}", metric, everybody)
            for metric in METRICS
            for kind in ("federated", "pooled", "longer")
        ]
        + [judge.gain(f"federated {label} {count}", f"pooled {label} {count}", metric, everybody) for metric in METRICS]
        for label, counts in (("logistic", log_rounds), ("MLP", net_rounds))
        for count in counts
    ]
    head = ["model", "accuracy, federated", "pooled", "pooled, 4x", "AUC, federated", "pooled", "pooled, 4x"]
    head += ["accuracy, difference", "AUC, difference"]
    print_table(f"UCI heart, 920 patients, {FOLDS} folds x {seeds} seeds: federated against pooled", head, rows)
    print(
        "  pooled: as many steps as one hospital takes; pooled, 4x: as many as all take; differences are to the first"
    )
    _report_local(judge, f"federated logistic {REFERENCE}")
    _report_few(judge)
    return judge


def _report_local(judge: Judge, federated: str) -> None:
    names, everybody = sorted(judge.cohort.data), np.arange(len(judge.cohort.ill))
    rows: list[list[str]] = []
    for kind in ("local", "tuned"):
        for metric in METRICS:
            alone = mean_over([judge.samples(f"{kind} {name}", metric, everybody) for name in names])
            together = judge.samples(federated, metric, everybody)
            row = ["mean over hospitals", kind, "everybody's", metric, str(figure(alone))]
            rows.append([*row, str(figure(together)), str(figure(together - alone))])
    for at, name in enumerate(names):
        own = np.flatnonzero(judge.cohort.hospital == at)
        others = np.flatnonzero(judge.cohort.hospital != at)
        for metric in (*METRICS, "balanced"):
            for place, where in (("own", own), ("others'", others)):
                model = f"tuned {name}"
                figures = (judge.row(model, metric, where), judge.row(federated, metric, where))
                rows.append([name, "tuned", place, metric, *figures, judge.gain(federated, model, metric, where)])
    head = ["hospital", "own model", "patients", "metric", "own model's figure", "federated", "gain"]
    print_table(f"A hospital's own model against the federated logistic model of round {REFERENCE}", head, rows)


def _report_few(judge: Judge) -> None:
    rows: list[list[str]] = []
    for at, name in enumerate(sorted(judge.cohort.data)):
        own = np.flatnonzero(judge.cohort.hospital == at)
        for metric in METRICS:
            together, alone, plain = (f"few {kind} {name}" for kind in ("federated", "alone", "plain"))
            figures = [judge.row(model, metric, own) for model in (plain, alone, together)]
            gains = [judge.gain(together, model, metric, own) for model in (plain, alone)]
            rows.append([name, metric, *figures, *gains])
    head = ["hospital", "metric", "own, plan's settings", "own, tuned", "federated", "gain", "gain on tuned"]
    print_table(
        f"A hospital with {KEPT} training records (the others with all theirs), on its own held-out patients",
        head,
        rows,
    )
