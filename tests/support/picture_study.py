"""A small study over drawn pictures: image sets with bright squares and dark bars, and plans for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET
from tests.support.study import SECOND

from medfed.federation.plan import (
    BoxesTarget,
    DataFormat,
    Participation,
    PictureFeature,
    Plan,
    Purpose,
    Target,
    Training,
)
from medfed.identifiers import sha256
from medfed.imaging.annotation import Box, Finding, Picture
from medfed.imaging.image_set import ImageSet, picture_name, save_image_set
from medfed.imaging.picture_file import encode_png
from medfed.ledger.contracts.terms import Deadlines
from medfed.models.settings import DetectorModel, LocalTraining, ModelSettings, PictureTraining

PLACES = ("east", "north", "west")
SHAPES = ("bar", "square")


def drawn_set(folder: Path, count: int, seed: int, bars: float = 1.0) -> ImageSet:
    """`count` pictures in the new folder; a share of about `bars` of them have a bar beside the square."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pictures: list[Picture] = []
    for _ in range(count):
        pixels = rng.integers(100, 140, (72, 96, 3), dtype=np.uint8)
        left, top = int(rng.integers(0, 40)), int(rng.integers(0, 30))
        pixels[top : top + 24, left : left + 24] = 250
        findings = [Finding("square", Box(left, top, left + 24, top + 24))]
        if rng.random() < bars:
            pixels[60:70, 50:90] = 5
            findings.append(Finding("bar", Box(50, 60, 90, 70)))
        pictures.append(_stored(folder, pixels, tuple(findings)))
    images = ImageSet(folder, SHAPES, pictures)
    save_image_set(images, {})
    return images


def drawn_sets(folder: Path, counts: tuple[int, ...] = (12, 8, 6)) -> dict[str, ImageSet]:
    """An image set for each of `PLACES`; the first has hardly any bars."""
    parts = zip(PLACES, counts, strict=True)
    return {name: drawn_set(folder / name, count, at, 0.3 + 0.35 * at) for at, (name, count) in enumerate(parts)}


def classified_sets(folder: Path, count: int = 30, side: int = 16) -> dict[str, ImageSet]:
    """An image set for each of `PLACES` in which a whole picture is `dark` or `light`."""
    made: dict[str, ImageSet] = {}
    for at, name in enumerate(PLACES):
        rng = np.random.default_rng(at)
        (folder / name).mkdir(parents=True)
        pictures: list[Picture] = []
        for number in range(count):
            label, low = ("light", 140) if number % 2 else ("dark", 20)
            pixels = rng.integers(low, low + 90, (side, side), dtype=np.uint8)
            pictures.append(_stored(folder / name, pixels, (Finding(label, Box(0, 0, side, side)),)))
        made[name] = ImageSet(folder / name, ("dark", "light"), pictures)
        save_image_set(made[name], {})
    return made


def picture_plan(
    *,
    rounds: int = 2,
    epochs: int = 1,
    side: int = 96,
    batch: int = 4,
    model: ModelSettings | None = None,
    target: Target | None = None,
    pictures: PictureTraining | None = None,
    **training: Any,
) -> Plan:
    """A study over `PLACES`: by default boxes with a small FCOS."""
    local = LocalTraining(
        epochs=epochs,
        batch_size=batch,
        optimizer=training.pop("optimizer", "adamw"),
        learning_rate=training.pop("learning_rate", 2e-3),
        weight_decay=1e-4,
        pictures=UNSET if training.pop("plain", False) else pictures or PictureTraining(),
    )
    return Plan(
        purpose=Purpose("Shapes", "shapes", "a pencil", "testing"),
        data=DataFormat(features=(PictureFeature(side=side),), target=target or BoxesTarget(SHAPES)),
        model=model or DetectorModel("fcos", channels=32),
        training=Training(rounds, local, clip=training.pop("clip", 1.0), **training),
        participation=Participation(PLACES, 3, 2, 10_000),
        deadlines=Deadlines(*([600 * SECOND] * 6), study=24 * 3600 * SECOND),
    )


def _stored(folder: Path, pixels: Any, findings: tuple[Finding, ...]) -> Picture:
    data = encode_png(pixels)
    digest = sha256(data)
    (folder / picture_name(digest)).write_bytes(data)
    height, width = pixels.shape[:2]
    return Picture(picture_name(digest), digest, width, height, findings)
