"""The real cohorts that the accuracy figures are measured on, as prepared data of each hospital.

UCI heart disease (920 patients, four hospitals), the same by FLamby's protocol (740 complete rows, its
split), and TCGA-BRCA as FLamby divides it (1,088 patients, six regions). Nothing here trains.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from medfed.demo import heart as demo
from medfed.errors import Unavailable
from medfed.federation.plan import (
    DataFormat,
    Feature,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    StrategySettings,
    SurvivalTarget,
    Training,
)
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.tables import read_csv, table_from
from medfed.models.settings import CoxModel, LocalTraining

ROOT = Path(__file__).resolve().parents[1]
TCGA = ROOT.parent / "shared" / "data" / "tcga_brca_flamby"
REGIONS = ("northeast", "south", "west", "midwest", "europe", "canada")
_KEY = bytes(32)


def with_training(plan: Plan, **fields: Any) -> Plan:
    """The plan with other training settings; `local` and `strategy` may be given as mappings of their fields."""
    training = plan.training
    for name in ("local", "strategy"):
        if isinstance(fields.get(name), Mapping):
            fields[name] = msgspec.structs.replace(getattr(training, name), **fields[name])
    return msgspec.structs.replace(plan, training=msgspec.structs.replace(training, **fields))


def heart_plan() -> Plan:
    """The demo's plan: all 13 attributes, chol = 0 and trestbps = 0 missing; the last round's model is released."""
    return with_training(demo.heart_plan(), best_round=False)


def heart(plan: Plan) -> dict[str, PreparedData]:
    """All 920 patients by hospital."""
    return {name: prepare(plan, table, _KEY) for name, table in demo.heart_tables().items()}


def flamby_heart_plan() -> Plan:
    """FLamby's choice of the heart data: slope, ca and thal dropped; cp and restecg one-hot, the rest as
    numbers.

    chol and trestbps of 0 stay as they are recorded, as there.
    """
    plan = heart_plan()
    ranges = {
        "age": (0.0, 110.0),
        "sex": (0.0, 1.0),
        "cp": None,
        "trestbps": (0.0, 240.0),
        "chol": (0.0, 700.0),
        "fbs": (0.0, 1.0),
        "restecg": None,
        "thalach": (40.0, 240.0),
        "exang": (0.0, 1.0),
        "oldpeak": (-4.0, 8.0),
    }
    values = {feature.name: feature for feature in plan.data.features}
    features: list[Feature] = [
        values[name] if limits is None else NumberFeature(name, *limits) for name, limits in ranges.items()
    ]
    return msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, features=tuple(features)))


def flamby_heart(plan: Plan) -> tuple[dict[str, PreparedData], dict[str, NDArray[np.bool_]]]:
    """The 740 rows without a missing value among FLamby's ten attributes, and which of them its split tests on."""
    tests = json.loads((Path(__file__).parent / "flamby_heart_split.json").read_text(encoding="utf-8"))["test_rows"]
    rows: dict[str, PreparedData] = {}
    is_test: dict[str, NDArray[np.bool_]] = {}
    for name, everybody in heart(plan).items():
        complete = np.flatnonzero(
            ~np.isnan(everybody.features.numbers).any(axis=1) & (everybody.features.categories >= 0).all(axis=1)
        )
        rows[name] = everybody.take(complete)
        is_test[name] = np.isin(complete, tests[name])
    return rows, is_test


def has_tcga() -> bool:
    """Whether the TCGA files lie beside the repository."""
    return (TCGA / "brca.csv").exists()


def tcga_plan() -> Plan:
    """The linear Cox model on FLamby's 39 covariates, which are there as numbers."""
    table = _tcga_table()
    names = [name for name in table.columns if name not in ("pid", "E", "T")]
    features: list[Feature] = []
    for name in names:
        cells = table.numbers(name)
        high = max(1.0, float(np.ceil(cells.max())))
        features.append(NumberFeature(name, 0.0, 120.0 if name == "age_at_index" else high))
    return Plan(
        purpose=Purpose("Survival with breast cancer", "Time to death", "Clinical record, pathology", "Research"),
        data=DataFormat(tuple(features), SurvivalTarget("T", "E")),
        model=CoxModel(),
        training=Training(
            rounds=20,
            local=LocalTraining(steps=20, batch_size=0, learning_rate=0.1),
            strategy=StrategySettings("fedavg"),
            best_round=False,
        ),
        participation=Participation(REGIONS, quorum=5),
    )


def tcga(plan: Plan) -> tuple[dict[str, PreparedData], dict[str, NDArray[np.bool_]]]:
    """The 1,088 patients by region, and which of them FLamby's split tests on."""
    table = _tcga_table()
    split = read_csv(TCGA / "train_test_split.csv")
    places = dict(zip(split.texts("pid"), split.texts("fold2"), strict=True))
    found = [places.get(pid) or "" for pid in table.texts("pid")]
    rows: dict[str, PreparedData] = {}
    is_test: dict[str, NDArray[np.bool_]] = {}
    for at, name in enumerate(REGIONS):
        chosen = [row for row, place in enumerate(found) if place.endswith(f"_{at}")]
        part = {column: cells[chosen] for column, cells in table.columns.items()}
        # Followed up for less than a day: half a day keeps every order, and a plan's times are above 0.
        part["T"] = np.maximum(table.numbers("T")[chosen], 0.5)
        rows[name] = prepare(plan, table_from(part), _KEY)
        is_test[name] = np.array([found[row].startswith("test") for row in chosen])
    return rows, is_test


def _tcga_table() -> Any:
    if not has_tcga():
        raise Unavailable("TCGA-BRCA: the files of FLamby's fed_tcga_brca are not in ../shared/data")
    return read_csv(TCGA / "brca.csv")
