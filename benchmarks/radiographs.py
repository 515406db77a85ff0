"""Chest radiographs classified by a small CNN and by VGG-11 over the ledger: `python -m benchmarks.radiographs`.

PneumoniaMNIST (the balanced file of `SOURCE.txt`, not the official one), 28 by 28 pixels, in five hospitals that share
the training images at random; masked sums. Beside the common model: the best and worst hospital alone at equal local
epochs, and all images in one place.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks.pate_cohorts import HOSPITALS, has_pneumonia, pixel_rows, pneumonia_file

import medfed
from medfed.federation.plan import (
    BinaryTarget,
    DataFormat,
    Participation,
    PixelsFeature,
    Plan,
    Purpose,
    Training,
)
from medfed.models.settings import ImageModel, LocalTraining, ModelSettings, SmallCnnModel, Vgg11Model

MODELS: dict[str, Any] = {
    "small-cnn": SmallCnnModel(side=28, shift=2),
    "vgg11": Vgg11Model(side=28, filters=16, shift=2),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=[], help="small-cnn, vgg11; both by default")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--hospitals", type=int, default=5)
    chosen = parser.parse_args(arguments)
    if not has_pneumonia():
        print("not measured: PneumoniaMNIST is not in ../shared/data")
        return
    names = HOSPITALS[: chosen.hospitals]
    tables = _tables(names)
    for kind in chosen.models or list(MODELS):
        start = time.perf_counter()
        study = medfed.simulate(_plan(names, MODELS[kind], chosen.rounds), tables, progress=False)
        taken = time.perf_counter() - start
        print(f"\n{kind}: {study.model.parameters.flat.size} parameters, {chosen.rounds} rounds, {taken:.0f} s")
        for one in study.comparison():
            if one.patients == "all":
                found = one.evaluation.summary()
                print(f"{one.model:12} " + ", ".join(f"{name} {figure.value:.3f}" for name, figure in found.items()))


def _plan(names: Sequence[str], model: ImageModel, rounds: int) -> Plan:
    settings: ModelSettings = model  # type: ignore[assignment]
    return Plan(
        purpose=Purpose("Pneumonia on chest radiographs", "pneumonia-on-radiographs", "x-ray", "research"),
        data=DataFormat(
            (PixelsFeature("scan", 28),), BinaryTarget("pneumonia", ("1",), ("0",)), patient="person", split="part"
        ),
        model=settings,
        training=Training(rounds, LocalTraining(epochs=1, batch_size=16, optimizer="adam", learning_rate=0.002)),
        participation=Participation(tuple(names), len(names) - 1, max_attempts=len(names)),
    )


def _tables(names: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    rng = np.random.default_rng(1)
    tables: dict[str, dict[str, list[Any]]] = {
        name: {column: [] for column in ("scan", "pneumonia", "person", "part")} for name in names
    }
    with pneumonia_file() as file:
        for part, split in (("train", "train"), ("val", "validation"), ("test", "test")):
            for row in pixel_rows(file, part):
                table = tables[names[int(rng.integers(len(names)))]]
                for column, cell in (row | {"part": split}).items():
                    table[column].append(cell)
    return tables


if __name__ == "__main__":
    main()
