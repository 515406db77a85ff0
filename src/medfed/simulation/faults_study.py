"""The study that the fault simulation runs: the smallest that has every kind of round, over invented patients."""

from __future__ import annotations

from typing import Final

import numpy as np

from medfed.federation.plan import BinaryTarget, DataFormat, NumberFeature, Participation, Plan, Purpose, Training
from medfed.federation.tables import Table, table_from
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.terms import Deadlines
from medfed.models.settings import LocalTraining, MlpModel
from medfed.simulation.faults import PROTECTIONS, Cast

__all__ = ["PHASE_MS", "STUDY", "fault_patients", "fault_plan"]

STUDY: Final[StudyId] = b"fault simulation"
PHASE_MS: Final = 60_000
_PATIENTS: Final = 170
_YEAR_MS: Final = 365 * 24 * 3600 * 1000


def fault_plan(cast: Cast) -> Plan:
    """One number, one outcome, logistic regression, one local step a round."""
    return Plan(
        purpose=Purpose("Fault simulation", "invented", "none", "simulation"),
        data=DataFormat(features=(NumberFeature("age", 0.0, 100.0, "a"),), target=BinaryTarget("ill", ("1",), ("0",))),
        model=MlpModel(),
        training=Training(
            cast.rounds,
            LocalTraining(steps=1, batch_size=16, learning_rate=0.1),
            max_update_norm=cast.max_update_norm,
        ),
        participation=Participation(cast.names, cast.quorum, 5, 10_000, max_attempts=len(cast.names)),
        protection=PROTECTIONS[cast.protection],
        deadlines=Deadlines(*([PHASE_MS] * 6), study=_YEAR_MS),
    )


def fault_patients(name: Name) -> Table:
    """Invented patients of one hospital; the same name gives the same."""
    rng = np.random.default_rng(sum(name.encode()))
    age = rng.uniform(20, 90, _PATIENTS)
    ill = (rng.random(_PATIENTS) < 1 / (1 + np.exp(-(age - 55) / 10))).astype(int)
    return table_from({"age": age, "ill": ill}, name=name)
