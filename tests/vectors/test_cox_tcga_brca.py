"""The Cox model on the data of FLamby's Fed-TCGA-BRCA (du Terrail et al. 2022), pooled over its six regions.

The split leaves out 8 of the table's 1096 patients, and so does this test."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from medfed.models.concordance import concordance_counts, concordance_index
from medfed.models.cox import Cox
from medfed.models.dataset import Dataset
from medfed.models.settings import LocalTraining

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "data" / "tcga_brca_flamby"


@pytest.fixture(scope="module")
def parts() -> dict[str, Dataset]:
    if not (FOLDER / "brca.csv").is_file():
        pytest.skip("the TCGA-BRCA table is absent")
    with (FOLDER / "train_test_split.csv").open(newline="") as file:
        folds = {row["pid"]: row["fold"] for row in csv.DictReader(file)}
    with (FOLDER / "brca.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["pid"] in folds]
    names = [name for name in rows[0] if name not in ("pid", "E", "T")]
    features = np.array([[float(row[name]) for name in names] for row in rows])
    targets = np.array([[float(row["T"]), float(row["E"])] for row in rows])
    is_train = np.array([folds[row["pid"]] == "train" for row in rows])
    mean, spread = features[is_train].mean(axis=0), features[is_train].std(axis=0)
    scaled = (features - mean) / np.where(spread > 0, spread, 1)
    return {
        "train": Dataset(scaled[is_train], targets[is_train]),
        "test": Dataset(scaled[~is_train], targets[~is_train]),
    }


@pytest.mark.parametrize(
    "settings",
    [
        LocalTraining(steps=1000, batch_size=0, learning_rate=0.1, momentum=0.9, weight_decay=0.01),
        LocalTraining(epochs=30, batch_size=32, learning_rate=0.02, weight_decay=0.01),
    ],
    ids=["full batch", "mini-batches"],
)
def test_pooled_training_ranks_test_patients_with_a_concordance_of_at_least_080(
    parts: dict[str, Dataset], settings: LocalTraining
):
    made = Cox(39)
    result = made.train(made.initial(0), parts["train"], settings, np.random.default_rng(0))
    risk = made.predict(result.parameters, parts["test"].features)
    counts = concordance_counts(risk, *parts["test"].targets.T)
    assert concordance_index(*counts) >= 0.80
