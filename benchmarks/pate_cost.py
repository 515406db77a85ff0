"""How long a labelling study of 1,000 queries, 10 classes and 10 hospitals takes, and how much of it is training."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from benchmarks.pate_cohorts import HOSPITALS

import medfed
from medfed.federation.plan import (
    DataFormat,
    Labelling,
    MulticlassTarget,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    Student,
    Training,
)
from medfed.hospital import voting
from medfed.identifiers import sha256
from medfed.ledger.contracts.labelling_terms import GaussianNoise
from medfed.models.settings import LocalTraining, MlpModel
from medfed.privacy import DELTA_STEP, EPSILON_STEP

CLASSES, QUERIES, WIDTH, ROWS = 10, 1_000, 8, 1_000


def study_seconds() -> tuple[float, float]:
    """(wall seconds of the whole study, of them spent training teachers)."""
    plan, tables, cases = _study()
    spent = [0.0]
    train = voting.train_teachers

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        trained = train(*arguments)
        spent[0] += time.perf_counter() - start
        return trained

    with tempfile.TemporaryDirectory() as directory, patch.object(voting, "train_teachers", timed):
        path = Path(directory) / "cases.csv"
        path.write_bytes(cases)
        start = time.perf_counter()
        medfed.simulate(plan, tables, cases=path, progress=False)
        return time.perf_counter() - start, spent[0]


def _study() -> tuple[Plan, dict[str, dict[str, Any]], bytes]:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (CLASSES, WIDTH))
    names = [f"x{at}" for at in range(WIDTH)]

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        classes = rng.integers(0, CLASSES, count)
        return np.clip(centres[classes] + rng.normal(0, 1, (count, WIDTH)), -15, 15), classes

    tables: dict[str, dict[str, Any]] = {}
    for hospital in HOSPITALS:
        values, classes = rows(ROWS)
        table: dict[str, Any] = {name: values[:, at] for at, name in enumerate(names)}
        table["kind"] = [f"k{at}" for at in classes]
        table["person"] = [f"{hospital}-{at}" for at in range(ROWS)]
        tables[hospital] = table
    out = io.StringIO()
    np.savetxt(out, rows(QUERIES)[0], fmt="%.4f", delimiter=",", header=",".join(names), comments="")
    cases = out.getvalue().encode()
    plan = Plan(
        purpose=Purpose("Cost of votes", "synthetic", "none", "benchmark"),
        data=DataFormat(
            features=tuple(NumberFeature(name, -15.0, 15.0) for name in names),
            target=MulticlassTarget("kind", tuple(f"k{at}" for at in range(CLASSES))),
            patient="person",
            validation_fraction=0.0,
            test_fraction=0.0,
        ),
        model=MlpModel(),
        training=Training(1, LocalTraining(epochs=20, batch_size=16, optimizer="adam", learning_rate=0.02)),
        participation=Participation(HOSPITALS, 9, 100, 10_000_000, max_attempts=10),
        labelling=Labelling(
            noise=GaussianNoise(900),
            cases=sha256(cases).hex(),
            queries=QUERIES,
            batch=QUERIES,
            teachers=(25,) * len(HOSPITALS),
            epsilon=round(7.9 * EPSILON_STEP),
            delta=round(1e-5 * DELTA_STEP),
            student=Student(LocalTraining(epochs=50, batch_size=64, optimizer="adam", learning_rate=0.02)),
            dropouts=1,
        ),
    )
    return plan, tables, cases
