"""Synthetic studies of any size: how many hospitals, parameters and rounds is what matters, not what is learned."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from medfed.federation.plan import (
    BinaryTarget,
    DataFormat,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    Training,
)
from medfed.models.settings import LocalTraining, MlpModel

NUMBERS = 49
"""Measured quantities of a synthetic patient: 98 inputs, as each has a missing indicator."""
ROWS = 60
_WIDEST = 4_000


def synthetic_plan(hospitals: int, rounds: int, parameters: int) -> Plan:
    """A network of about `parameters` parameters."""
    names = tuple(f"hospital-{number:02d}" for number in range(hospitals))
    quorum = max(3, 2 * hospitals // 3 + 1)
    return Plan(
        purpose=Purpose("Growth", "synthetic", "none", "measuring"),
        data=DataFormat(
            features=tuple(NumberFeature(f"x{number}", -6.0, 6.0) for number in range(NUMBERS)),
            target=BinaryTarget("ill", ("1",), ("0",)),
        ),
        model=MlpModel(hidden=hidden_for(parameters)),
        training=Training(rounds, LocalTraining(steps=5, batch_size=16, learning_rate=0.05)),
        participation=Participation(names, quorum, 5, 10_000, max_attempts=hospitals - quorum + 1),
    )


def synthetic_tables(plan: Plan) -> dict[str, dict[str, NDArray[np.float64] | NDArray[np.int64]]]:
    """`ROWS` patients for each hospital."""
    tables: dict[str, dict[str, NDArray[np.float64] | NDArray[np.int64]]] = {}
    for number, name in enumerate(plan.participation.hospitals):
        rng = np.random.default_rng(number)
        values = rng.normal(0, 1, (ROWS, NUMBERS))
        ill = (values[:, :5].sum(axis=1) + rng.normal(0, 1, ROWS) > 0).astype(np.int64)
        tables[name] = {f"x{at}": values[:, at] for at in range(NUMBERS)} | {"ill": ill}
    return tables


def hidden_for(parameters: int) -> tuple[int, ...]:
    """The hidden layers that make a network of about `parameters` parameters: one, or two of equal width."""
    inputs = 2 * NUMBERS
    one = max(1, round((parameters - 1) / (inputs + 2)))
    if one <= _WIDEST:
        return (one,)
    slope = inputs + 3
    return (round((math.sqrt(slope * slope + 4 * (parameters - 1)) - slope) / 2),) * 2
