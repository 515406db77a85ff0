"""Labelling studies on real data, over the ledger with ten hospitals: `python -m benchmarks.pate [PART …]`.

For each seed (keys, hospitals' noise) the student's figure on test rows, that of the same model trained on all private
rows without privacy, and ε. `attacks` is what membership inference, theft
and misleading inputs find. `cost` is the time of 1,000 queries over 10 classes and 10 hospitals beyond the teachers'
training, and of accounting 10,000 queries.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from benchmarks.pate_cohorts import (
    Cohort,
    adult_cohort,
    diabetes_cohort,
    has_adult,
    has_diabetes,
    has_pneumonia,
    pneumonia_cohort,
    radiograph_cohort,
)

import medfed
from medfed.federation.features import encode_features, read_features
from medfed.federation.public_cases import read_public_cases
from medfed.federation.study import learner_of
from medfed.federation.tables import table_from
from medfed.federation.targets import read_targets
from medfed.hospital.student_audit import StudentAudit, audit_student
from medfed.models.dataset import Dataset
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining, MlpModel
from medfed.simulation.api import SimulatedStudy

WITHOUT_PRIVACY = LocalTraining(epochs=10, batch_size=64, optimizer="adam", learning_rate=0.003)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", default=[], help="adult, diabetes, pneumonia, radiographs, attacks, cost; all by default"
    )
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    parts = chosen.parts or ["adult", "diabetes", "pneumonia", "radiographs", "attacks", "cost"]
    if "adult" in parts:
        _report("Adult, accuracy", adult_cohort() if has_adult() else None, chosen.seeds, accuracy)
    if "diabetes" in parts:
        _report("Diabetes-130, AUC", diabetes_cohort() if has_diabetes() else None, chosen.seeds, auc)
    if "pneumonia" in parts:
        cohort = pneumonia_cohort() if has_pneumonia() else None
        _report("PneumoniaMNIST, accuracy", cohort, chosen.seeds, accuracy)
    if "radiographs" in parts:
        cohort = radiograph_cohort() if has_pneumonia() else None
        _report("PneumoniaMNIST, convolutional teachers and student, accuracy", cohort, chosen.seeds, accuracy)
    if "attacks" in parts:
        _report_attacks()
    if "cost" in parts:
        _report_cost()


def run(cohort: Cohort, seed: int = 0) -> SimulatedStudy:
    """The labelling study through ledger, agents and encryption."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cases.csv"
        path.write_bytes(cohort.cases)
        return medfed.simulate(cohort.plan, cohort.tables, cases=path, seed=seed, progress=False)


def dataset(cohort: Cohort, rows: dict[str, list[Any]]) -> Dataset:
    """Rows as the study's models see them."""
    table = table_from(rows)
    scale = read_public_cases(cohort.plan, cohort.cases).standardisation
    features = encode_features(read_features(table, cohort.plan.data), cohort.plan, scale)
    return Dataset(features, read_targets(table, cohort.plan.data.target).values)


def pooled(cohort: Cohort) -> Dataset:
    """Every hospital's private rows together."""
    return Dataset.concatenate([dataset(cohort, rows) for rows in cohort.tables.values()])


def without_privacy(cohort: Cohort, settings: LocalTraining = WITHOUT_PRIVACY) -> Parameters:
    """The student's model, trained on all private rows and their true labels."""
    learner = learner_of(cohort.plan)
    return learner.train(learner.initial(0), pooled(cohort), settings, np.random.default_rng(0)).parameters


def accuracy(scores: np.ndarray, targets: np.ndarray) -> float:
    """The share of right answers at one half."""
    return float(((scores >= 0.5) == (targets == 1)).mean())


def auc(scores: np.ndarray, targets: np.ndarray) -> float:
    """P(a positive scores above a negative), ties half."""
    _, place, times = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2)[place]
    positives = int((targets == 1).sum())
    negatives = len(targets) - positives
    return float((ranks[targets == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _report(title: str, cohort: Cohort | None, seeds: int, figure: Any) -> None:
    print(f"\n{title}")
    if cohort is None:
        print("not measured: its files are not in ../shared/data")
        return
    test, learner = dataset(cohort, cohort.test), learner_of(cohort.plan)
    bar = figure(learner.predict(without_privacy(cohort), test.features), test.targets)
    print(f"the same model on all private rows, without privacy: {bar:.4f}")
    truth = np.array([label in cohort.plan.data.target.positive for label in cohort.case_labels])  # type: ignore[union-attr]
    found: list[float] = []
    for seed in range(seeds):
        start = time.perf_counter()
        study = run(cohort, seed)
        model, taken = study.model, time.perf_counter() - start
        labels = np.array(study.state.votes.labels if study.state.votes else ())
        right = (labels == truth[: len(labels)]).mean()
        found.append(figure(learner.predict(model.parameters, test.features), test.targets))
        card: Any = model.card.student
        print(
            f"seed {seed}: student {found[-1]:.4f}, {card.labels} labels, {right:.3f} of them true, "
            f"ε {card.epsilon:g} at δ {card.delta:g}, {taken:.1f} s"
        )
    print(f"student: mean {np.mean(found):.4f}, least {min(found):.4f}; {bar - np.mean(found):+.4f} below the bar")


def learned_by_heart(cohort: Cohort, seed: int = 0) -> StudentAudit:
    """What attacks find where teachers, and the model without privacy, are large and trained until they overfit."""
    by_heart = LocalTraining(epochs=300, batch_size=64, optimizer="adam", learning_rate=0.005)
    plan = cohort.plan
    training = msgspec.structs.replace(plan.training, local=by_heart)
    cohort = replace(cohort, plan=msgspec.structs.replace(plan, model=MlpModel(hidden=(128, 128)), training=training))
    study = run(cohort, seed)
    members = table_from(cohort.tables["hospital-a"])
    others = cohort.test | {"person": [f"other-{at}" for at in range(len(cohort.test["days"]))]}
    return audit_student(study.model, members, table_from(others), 25)


def _report_attacks() -> None:
    print("\nAttacks on Diabetes-130, everything trained until it overfits")
    if not has_diabetes():
        print("not measured: its files are not in ../shared/data")
        return
    for name, value in msgspec.structs.asdict(learned_by_heart(diabetes_cohort())).items():
        print(f"{name.replace('_', ' ')}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")


def _report_cost() -> None:
    from medfed.ledger.contracts.labelling_terms import GaussianNoise
    from medfed.privacy import Roster, guarantee
    from medfed.privacy.vote_noise import vote_event

    start = time.perf_counter()
    epsilon = guarantee(vote_event(GaussianNoise(1600), Roster(10, 1), (10_000,), 1), 1e-5).epsilon
    print(f"\naccounting 10,000 queries: {time.perf_counter() - start:.3f} s (ε {epsilon:.2f})")
    from benchmarks.pate_cost import study_seconds

    total, training = study_seconds()
    print(f"1,000 queries x 10 classes x 10 hospitals: {total:.2f} s, {training:.2f} s of it training teachers")


if __name__ == "__main__":
    main()
