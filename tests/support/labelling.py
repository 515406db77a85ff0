"""A small labelling study for tests: patients of ten hospitals, public cases, and a plan that pays for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    DataFormat,
    Labelling,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    Student,
    Training,
)
from medfed.identifiers import sha256
from medfed.ledger.contracts.labelling_terms import ConfidentNoise, LaplaceNoise, VoteNoise
from medfed.ledger.contracts.terms import Deadlines
from medfed.models.settings import LocalTraining, MlpModel
from medfed.privacy import DELTA_STEP, EPSILON_STEP, Roster, guarantee
from medfed.privacy.vote_noise import vote_event

SECOND = 1_000
TEN = tuple(f"hospital-{letter}" for letter in "abcdefghij")
DELTA = 1e-5
LAPLACE = LaplaceNoise(gamma=1_500)
CONFIDENT = ConfidentNoise(screen_variance=200, threshold=38, variance=100)


def rows(name: str, count: int, *, patients: int | None = None) -> dict[str, list[Any]]:
    """Rows of one hospital, several encounters a patient; the same name gives the same rows."""
    rng = np.random.default_rng(sum(name.encode()) + count)
    age, dose = rng.uniform(20, 89, count), rng.normal(0, 2, count)
    ward = rng.choice(["north", "south", "east"], count)
    ill = (age / 30 + dose + (ward == "north") + rng.normal(0, 0.7, count) > 2.2).astype(int)
    people = rng.integers(0, patients or max(1, count // 2), count)
    return {
        "age": [round(float(value), 1) for value in age],
        "dose": [round(float(np.clip(value, -5, 5)), 2) for value in dose],
        "ward": [str(value) for value in ward],
        "ill": [str(value) for value in ill],
        "person": [f"{name}-{value}" for value in people],
    }


def public_csv(count: int = 60) -> bytes:
    """Public cases without their labels."""
    table = rows("the public", count)
    cells = zip(table["age"], table["dose"], table["ward"], strict=True)
    lines = ["age,dose,ward", *(",".join(map(str, row)) for row in cells)]
    return ("\n".join(lines) + "\n").encode()


def labelling_plan(
    names: tuple[str, ...] = TEN,
    *,
    noise: VoteNoise = LAPLACE,
    cases: bytes | None = None,
    queries: int = 40,
    batch: int = 20,
    teachers: int = 5,
    spare: int = 0,
    dropouts: int = 1,
    epsilon: float | None = None,
    **changed: Any,
) -> Plan:
    """A plan whose ε is what its histograms cost, rounded up, unless it is given."""
    answers = queries if isinstance(noise, ConfidentNoise) else 0
    labelling = Labelling(
        noise=noise,
        cases=sha256(cases if cases is not None else public_csv()).hex(),
        queries=queries,
        batch=batch,
        teachers=(teachers,) * len(names),
        epsilon=1,
        delta=round(DELTA * DELTA_STEP),
        student=Student(LocalTraining(epochs=100, batch_size=0, optimizer="adam", learning_rate=0.05)),
        answers=answers,
        spare=spare,
        dropouts=dropouts,
    )
    labelling = replace(labelling, **{key: changed.pop(key) for key in list(changed) if hasattr(labelling, key)})
    if epsilon is None:
        roster = Roster(len(names), labelling.dropouts, labelling.colluding)
        event = vote_event(noise, roster, labelling.terms.budget, labelling.attended)
        epsilon = guarantee(event, DELTA).epsilon + 1e-5
    labelling = replace(labelling, epsilon=int(epsilon * EPSILON_STEP) + 1)
    plan = Plan(
        purpose=Purpose("A labelling study for tests", "test-disease", "none", "testing"),
        data=DataFormat(
            features=(
                NumberFeature("age", 0.0, 100.0, "a"),
                NumberFeature("dose", -5.0, 5.0, "mg"),
                CategoryFeature("ward", ("north", "south", "east")),
            ),
            target=BinaryTarget("ill", ("1",), ("0",)),
            patient="person",
            validation_fraction=0.0,
            test_fraction=0.0,
            rare_category=2,
        ),
        model=MlpModel(),
        training=Training(1, LocalTraining(epochs=20, batch_size=8, optimizer="adam", learning_rate=0.05)),
        participation=Participation(names, len(names) - dropouts, 5, 10_000, max_attempts=len(names)),
        deadlines=Deadlines(*([60 * SECOND] * 6), study=24 * 3600 * SECOND),
        labelling=labelling,
    )
    return replace(plan, **changed)


def tables(names: tuple[str, ...] = TEN, count: int = 80) -> dict[str, dict[str, list[Any]]]:
    """Every hospital's rows."""
    return {name: rows(name, count) for name in names}


def cases_file(directory: Path, data: bytes | None = None) -> Path:
    """The public cases as a file."""
    path = directory / "cases.csv"
    path.write_bytes(data if data is not None else public_csv())
    return path
