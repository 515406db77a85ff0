"""A detector federated over real blood cells from scratch: a small part of BCCD, to a fixed improvement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchvision")
pytest.importorskip("PIL")

from tests.support.pictures import blood_cells

from medfed.federation.robust import RobustStrategy, aggregate_updates
from medfed.imaging.picture_file import decode_picture
from medfed.imaging.voc import read_voc
from medfed.models.course import Course
from medfed.models.detector_learner import DetectorLearner
from medfed.models.picture_dataset import PictureDataset
from medfed.models.settings import DetectorModel, LocalTraining
from medfed.models.torch_detection import Sample

CLASSES = ("Platelets", "RBC", "WBC")


def _samples(part: str, count: int) -> list[Sample]:
    folder = blood_cells()
    names = (folder / "ImageSets" / "Main" / f"{part}.txt").read_text().split()[:count]
    made = list[Sample]()
    for described in read_voc([folder / "Annotations" / f"{name}.xml" for name in names]):
        picture = folder / "JPEGImages" / Path(described.file).name
        pixels = decode_picture(picture.read_bytes()).values
        good = [entry for entry in described.boxes if not entry.problem]
        boxes = np.array([[e.box.left, e.box.top, e.box.right, e.box.bottom] for e in good])
        boxes = boxes.clip(0, [pixels.shape[1], pixels.shape[0]] * 2)
        made.append(Sample(pixels.astype(np.uint8), boxes, np.array([CLASSES.index(e.label) for e in good])))
    return made


@pytest.mark.slow
@pytest.mark.torch
def test_five_rounds_over_three_hospitals_lower_the_loss_on_other_peoples_cells() -> None:
    learner = DetectorLearner(DetectorModel("fcos", channels=32), len(CLASSES), 128)
    training = LocalTraining(epochs=2, batch_size=2, optimizer="adamw", learning_rate=2e-3, weight_decay=1e-4)
    pictures, others = _samples("train", 12), PictureDataset.of_samples(_samples("test", 4), len(CLASSES))
    hospitals = [PictureDataset.of_samples(own, len(CLASSES)) for own in (pictures[:5], pictures[5:9], pictures[9:])]
    now = learner.initial(1)
    before = learner.loss(now, others)
    kept = [b""] * 3
    for number in range(5):
        updates = list[np.ndarray]()
        for index, own in enumerate(hospitals):
            course, rng = Course(number, 5, kept[index]), np.random.default_rng([index, number])
            result = learner.train(now, own, training, rng, None, course)
            kept[index] = result.kept
            updates.append(result.parameters.flat.astype(np.float64) - now.flat)
        mean = aggregate_updates(RobustStrategy(), updates, [float(len(own)) for own in hospitals]).update
        now = now.with_flat(now.flat + mean)
    assert learner.loss(now, others) < 0.75 * before
