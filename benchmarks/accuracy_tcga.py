"""TCGA-BRCA survival (FLamby's fed_tcga_brca): a linear Cox model over six regions.

On FLamby's split (222 test patients, 32 deaths) and in outer 5-fold cross-validation, settings always chosen
by inner cross-validation on training rows. The C-index is over all pairs of test patients, as FLamby's on its
pooled test set; its best figure is .842.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from benchmarks.accuracy_heart import predict
from benchmarks.cohorts import tcga, tcga_plan
from benchmarks.resampling import Array, bootstrap_weights, concatenated, figure, folds, print_table
from benchmarks.selection import Choice, choose, grid, models_at

from medfed.federation.baselines import train_locally, train_pooled
from medfed.federation.plan import Plan
from medfed.federation.prepared import PreparedData
from medfed.federation.splits import TEST, TRAIN

PUBLISHED = 0.842
ROUNDS = (5, 10, 20, 40)

Data = Mapping[str, PreparedData]


def candidates(plan: Plan) -> dict[str, Plan]:
    """What the inner cross-validation chooses from."""
    return grid(
        plan,
        strategy=[
            ("FedAvg", {"strategy": {"name": "fedavg"}}),
            ("FedAdagrad .1", {"strategy": {"name": "fedadagrad", "rate": 0.1}}),
        ],
        decay=[(f"L2 {decay}", {"local": {"weight_decay": decay}}) for decay in (0.0, 0.01, 0.05)],
    )


def split(rows: Data, is_test: Mapping[str, Array]) -> dict[str, PreparedData]:
    return {name: part.with_split(np.where(is_test[name], TEST, TRAIN).astype(np.uint8)) for name, part in rows.items()}


def scores_of(choice: Choice, data: Data) -> dict[str, Array]:
    """Test patients' risk by the federated, the pooled and each hospital's own model, with the chosen settings."""
    plan, rounds = choice.plan, choice.rounds
    found = {
        "federated": predict(plan, models_at(plan, data, (rounds,))[rounds], data),
        "pooled": predict(plan, train_pooled(plan, data, rounds=rounds), data),
    }
    for name in sorted(data):
        found[name] = predict(plan, train_locally(plan, data[name], name, rounds=rounds), data)
    return found


def concordance(risk: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """(resamples + 1,) pairs won and comparable pairs, each pair weighted by both its patients."""
    time, event = targets[:, 0], targets[:, 1] > 0.5
    comparable = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
    points = comparable * ((risk[:, None] > risk) + 0.5 * (risk[:, None] == risk))
    won, pairs = (np.einsum("bi,bi->b", weights @ one.astype(np.float64), weights) for one in (points, comparable))
    return won, pairs


class Tally:
    """C-indices over one or several test sets, on common resamples within each set."""

    def __init__(self) -> None:
        self.won: dict[str, Array] = {}
        self.pairs: dict[str, Array] = {}

    def add(self, scores: Mapping[str, Array], data: Data, rng: np.random.Generator) -> None:
        targets = concatenated({name: part.targets[part.split == TEST] for name, part in data.items()})
        sizes = {name: int((part.split == TEST).sum()) for name, part in sorted(data.items())}
        weights = bootstrap_weights(np.repeat(np.arange(len(sizes)), list(sizes.values())), rng)
        for model, risk in scores.items():
            won, pairs = concordance(risk, targets, weights)
            self.won[model] = self.won.get(model, 0) + won
            self.pairs[model] = self.pairs.get(model, 0) + pairs

    def index(self, model: str) -> Array:
        return self.won[model] / self.pairs[model]


def report() -> dict[str, float]:
    """Print the table; returns the figures by name."""
    plan = tcga_plan()
    rows, is_test = tcga(plan)
    data = split(rows, is_test)
    choice, scores = choose(candidates(plan), ROUNDS, data, np.random.default_rng(1088))
    fixed = Tally()
    fixed.add(scores_of(choice, data), data, np.random.default_rng(32))
    outer, chosen = _outer(plan, rows)
    found: dict[str, float] = {}
    titles = {
        "split": f"FLamby's split, 222 test patients ({choice.label}, round {choice.rounds}; its best {PUBLISHED})",
        "outer": "outer 5-fold, all 1,088 patients",
    }
    for key, tally in (("split", fixed), ("outer", outer)):
        figures = _print(titles[key], tally, sorted(rows))
        found |= {f"{key} {name}": value for name, value in figures.items()}
    print(f"  Chosen among {len(scores)} (settings, round) pairs by inner 5-fold C-index.")
    print(f"  The outer folds chose: {'; '.join(chosen)}.")
    return found


def _outer(plan: Plan, rows: Data) -> tuple[Tally, list[str]]:
    rng = np.random.default_rng(5)
    fold = {name: folds(rows[name].targets[:, 1].astype(np.int64), 5, rng) for name in sorted(rows)}
    tally, chosen = Tally(), list[str]()
    for at in range(5):
        data = split(rows, {name: fold[name] == at for name in rows})
        choice, _ = choose(candidates(plan), ROUNDS, data, rng)
        tally.add(scores_of(choice, data), data, rng)
        chosen.append(f"{choice.label} round {choice.rounds}")
    return tally, chosen


def _print(title: str, tally: Tally, names: list[str]) -> dict[str, float]:
    federated, pooled = tally.index("federated"), tally.index("pooled")
    local = np.mean(np.stack([tally.index(name) for name in names]), axis=0)
    lines = {
        "federated": federated,
        "pooled": pooled,
        "mean local model": local,
        "federated - mean local": federated - local,
        "federated - pooled": federated - pooled,
    }
    print_table(
        f"TCGA-BRCA, C-index on {title}", ["model", "C-index"], [[name, figure(one)] for name, one in lines.items()]
    )
    print("  " + ", ".join(f"{name} alone {tally.index(name)[0]:.3f}" for name in names))
    return {name: float(one[0]) for name, one in lines.items()}
