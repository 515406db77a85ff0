"""FLamby's heart-disease protocol: 740 complete rows, its split, accuracy on the 254 pooled test patients.

Settings are chosen by cross-validation over the 486 training rows only. FLamby (Ogier du Terrail et al.,
NeurIPS 2022) publishes .748 for FedAvg.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np
from benchmarks.accuracy_heart import predict
from benchmarks.cohorts import flamby_heart, flamby_heart_plan, with_training
from benchmarks.resampling import Array, accuracy, auc, bootstrap_weights, concatenated, figure, print_table
from benchmarks.selection import Choice, choose, grid, models_at

from medfed.federation.baselines import train_locally, train_pooled
from medfed.federation.features import RawFeatures
from medfed.federation.metrics import LOSS_UNIT, wilson_interval
from medfed.federation.plan import NumberFeature, Plan
from medfed.federation.prepared import PreparedData
from medfed.federation.splits import TEST, TRAIN
from medfed.federation.statistics import standardisation_from, statistics_contribution

PUBLISHED = 0.748
ROUNDS = (10, 20, 40, 80)
REPEATS = 3
"""Inner cross-validations, each with other folds, over which a setting's loss is averaged."""
SEEDS = 5

Data = Mapping[str, PreparedData]


def candidates(plan: Plan) -> dict[str, Plan]:
    """What the inner cross-validation chooses from: strategy and L2 (and the round)."""
    return grid(
        plan,
        strategy=[
            ("FedAvg", {"strategy": {"name": "fedavg"}}),
            ("FedAdagrad .1", {"strategy": {"name": "fedadagrad", "rate": 0.1}}),
        ],
        decay=[(f"L2 {decay}", {"local": {"weight_decay": decay}}) for decay in (0.0, 0.001, 0.01, 0.1)],
    )


def load(plan: Plan) -> dict[str, PreparedData]:
    """The 740 rows, with FLamby's test rows as test and all others as training rows."""
    rows, is_test = flamby_heart(plan)
    return {name: part.with_split(np.where(is_test[name], TEST, TRAIN).astype(np.uint8)) for name, part in rows.items()}


def zeros_missing(data: Data) -> dict[str, PreparedData]:
    """The same rows with a cholesterol or blood pressure of 0 read as missing, which is what it stands for."""
    return {name: _zeros_missing(part) for name, part in data.items()}


def _zeros_missing(part: PreparedData) -> PreparedData:
    numbers = part.features.numbers.copy()
    for at, feature in enumerate(part.plan.data.numbers):
        if feature.name in ("trestbps", "chol"):
            numbers[numbers[:, at] == 0, at] = np.nan
    return replace(part, features=RawFeatures(numbers, part.features.categories))


def by_own_statistics(plan: Plan, data: Data) -> tuple[Plan, dict[str, PreparedData]]:
    """The same study with each hospital's numbers standardised by its own training rows, as is often done."""
    features = tuple(
        NumberFeature(one.name, -20.0, 20.0) if isinstance(one, NumberFeature) else one for one in plan.data.features
    )
    changed = msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, features=features))
    parts: dict[str, PreparedData] = {}
    for name, part in data.items():
        scales = standardisation_from(plan, statistics_contribution(plan, part)).numbers
        means, widths = (np.array([getattr(scale, key) for scale in scales]) for key in ("mean", "scale"))
        numbers = (part.features.numbers - means) / widths
        parts[name] = replace(part, plan=changed, features=RawFeatures(numbers, part.features.categories))
    return changed, parts


def test_targets(data: Data) -> Array:
    return concatenated({name: part.targets[part.split == TEST] for name, part in data.items()})


def report() -> dict[str, float]:
    """Print the table; returns the accuracies by row."""
    plan = flamby_heart_plan()
    data = load(plan)
    ill = test_targets(data)
    hospital = concatenated(
        {name: np.full(int((part.split == TEST).sum()), at) for at, (name, part) in enumerate(sorted(data.items()))}
    )
    weights = bootstrap_weights(hospital, np.random.default_rng(740))
    readings = {"0 as recorded": data, "0 as missing": zeros_missing(data)}
    runs: dict[str, list[Array]] = {}
    chosen: dict[str, Choice] = {}
    losses: dict[str, float] = {}
    for reading, part in readings.items():
        choice, scores = choose(candidates(plan), ROUNDS, part, np.random.default_rng(740), REPEATS)
        chosen[reading], losses[reading] = choice, -scores[choice.label, choice.rounds] / LOSS_UNIT
        runs[f"federated, {reading}: {choice.label}, round {choice.rounds}"] = _seeded(choice, part)
    best = min(losses, key=lambda reading: losses[reading])
    choice, data = chosen[best], readings[best]
    own_plan, own_data = by_own_statistics(plan, data)
    own = Choice(choice.label, candidates(own_plan)[choice.label], choice.rounds)
    runs["  the same, standardised by each hospital's own statistics"] = _seeded(own, own_data)
    pooled = train_pooled(choice.plan, data, rounds=choice.rounds)
    runs["pooled, same settings and steps"] = [predict(choice.plan, pooled, data)]
    for name in sorted(data):
        local = train_locally(choice.plan, data[name], name, rounds=choice.rounds)
        runs[f"{name} alone, same settings"] = [predict(choice.plan, local, data)]
    rows: list[list[str]] = []
    accuracies: dict[str, float] = {}
    for label, all_scores in runs.items():
        first = all_scores[0]
        hits = int(((first >= 0.5) == (ill > 0.5)).sum())
        share = wilson_interval(hits, len(ill))
        mean = float(np.mean([accuracy(one, ill, weights[:1])[0] for one in all_scores]))
        spread = f"{mean:.3f}" if len(all_scores) > 1 else ""
        area = figure(auc(first, ill, weights))
        rows.append(
            [label, f"{hits}/{len(ill)}", f"{share.value:.4f} [{share.low:.3f}, {share.high:.3f}]", spread, str(area)]
        )
        accuracies[label] = share.value
    head = ["model", "right", "accuracy, Wilson interval", f"mean of {SEEDS} training seeds", "AUC, bootstrap interval"]
    print_table(
        f"FLamby heart disease, its split, {len(ill)} pooled test patients (FLamby's FedAvg: {PUBLISHED})", head, rows
    )
    inner = ", ".join(f"{loss:.4f} with {reading}" for reading, loss in losses.items())
    print(f"  Chosen on training rows only, by inner 5-fold log loss over {REPEATS} repeats: {inner}; so {best}.")
    return accuracies


def _seeded(choice: Choice, data: Data) -> list[Array]:
    """Test scores of the chosen settings, for the plan's seed 0 and more."""
    found: list[Array] = []
    for seed in range(SEEDS):
        plan = with_training(choice.plan, seed=seed)
        model = models_at(plan, data, (choice.rounds,))[choice.rounds]
        found.append(predict(plan, model, data))
    return found
