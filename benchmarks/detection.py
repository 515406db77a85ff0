"""Detection of blood cells (BCCD), federated from scratch: `OMP_NUM_THREADS=1 python -m benchmarks.detection`.

The published split: train and val over three hospitals of unequal size, sorted by platelets an image so that they
differ; test on the 72 test images. Mean AP50 hides failure (red and white cells alone give .59, which every hospital
reaches by itself), so every class is printed, beside each hospital alone at equal local epochs, and all in one place.
The seeds are fixed. Sixteen rounds of two local epochs take long: `--rounds` and `--images` make it shorter, and worse.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from medfed.federation.robust import RobustStrategy, aggregate_updates
from medfed.imaging.average_precision import Detected, Truth, coco_average_precision
from medfed.imaging.picture_file import decode_picture
from medfed.imaging.voc import read_voc
from medfed.models.course import Course
from medfed.models.detector_learner import DetectorLearner
from medfed.models.parameters import Parameters
from medfed.models.picture_dataset import PictureDataset, Sample
from medfed.models.settings import DetectorModel, LocalTraining

DATA: Final = Path(__file__).parents[1] / ".." / "shared" / "data" / "det_bccd"
CLASSES: Final = ("Platelets", "RBC", "WBC")
SHARES: Final = (0.5, 0.3, 0.2)


def load(part: str, most: int | None = None) -> list[Sample]:
    """The images of a part of the published split; boxes that are no boxes are left out."""
    names = (DATA / "ImageSets" / "Main" / f"{part}.txt").read_text().split()[:most]
    made: list[Sample] = []
    for described in read_voc([DATA / "Annotations" / f"{name}.xml" for name in names]):
        pixels = decode_picture((DATA / "JPEGImages" / Path(described.file).name).read_bytes()).values
        good = [entry for entry in described.boxes if not entry.problem]
        boxes = np.array([[e.box.left, e.box.top, e.box.right, e.box.bottom] for e in good])
        boxes = boxes.clip(0, [pixels.shape[1], pixels.shape[0]] * 2)
        made.append(Sample(pixels.astype(np.uint8), boxes, np.array([CLASSES.index(e.label) for e in good])))
    return made


def hospitals_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Three hospitals, sorted by platelets an image."""
    ordered = sorted(samples, key=lambda sample: int((sample.labels == 0).sum()))
    cuts = [round(len(ordered) * share) for share in np.cumsum(SHARES)]
    return [ordered[: cuts[0]], ordered[cuts[0] : cuts[1]], ordered[cuts[1] :]]


def average_precisions(learner: DetectorLearner, parameters: Parameters, samples: Sequence[Sample]) -> list[float]:
    """AP50 of each class."""
    found = list(learner.detections(parameters, PictureDataset.of_samples(samples, len(CLASSES))))
    figures: list[float] = []
    for label in range(len(CLASSES)):
        truths = [Truth(s.boxes[s.labels == label], np.zeros(int((s.labels == label).sum()), bool)) for s in samples]
        seen = [Detected(d.boxes[d.labels == label], d.scores[d.labels == label]) for d in found]
        figures.append(float(coco_average_precision(truths, seen, (0.5,))[0]))
    return figures


def train(learner: DetectorLearner, rounds: int, epochs: int, hospitals: Sequence[Sequence[Sample]]) -> Parameters:
    """FedAvg over the hospitals, each of which keeps its optimizer's state; with one it is training in one place."""
    settings = LocalTraining(
        epochs=epochs,
        batch_size=4,
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=1e-4,
    )
    own = [PictureDataset.of_samples(samples, len(CLASSES)) for samples in hospitals]
    now, kept = learner.initial(1), [b""] * len(own)
    for number in range(rounds):
        updates: list[np.ndarray] = []
        for index, data in enumerate(own):
            rng = np.random.default_rng([index, number])
            result = learner.train(now, data, settings, rng, None, Course(number, rounds, kept[index]))
            kept[index] = result.kept
            updates.append(result.parameters.flat.astype(np.float64) - now.flat)
        mean = aggregate_updates(RobustStrategy(), updates, [float(len(data)) for data in own]).update
        now = now.with_flat(now.flat + mean)
    return now


def main() -> None:
    """Print one line a way of training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2, help="local, in a round")
    parser.add_argument("--images", type=int, default=None, help="so many for training, a quarter to test")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("ways", nargs="*", default=[], help="such as: federated, pooled, alone; all by default")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit("BCCD: its files are not in ../shared/data; Shenggan/BCCD_Dataset has them")
    learner = DetectorLearner(DetectorModel("fcos"), len(CLASSES), arguments.side)
    samples = load("trainval", arguments.images)
    test = load("test", arguments.images // 4 if arguments.images else None)
    hospitals = hospitals_of(samples)
    ways = {"federated": hospitals, "pooled": [samples]}
    ways |= {f"hospital {index + 1} alone": [own] for index, own in enumerate(hospitals)}
    if not set(arguments.ways) <= set(ways) | {"alone"}:
        parser.error(f"expected some of: alone, {', '.join(ways)}")
    if arguments.ways:
        ways = {name: parts for name, parts in ways.items() if {name, name.split()[-1]} & set(arguments.ways)}
    print(f"{len(samples)} training images at {', '.join(str(len(own)) for own in hospitals)}; {len(test)} test images")
    for name, parts in ways.items():
        start = time.monotonic()
        figures = average_precisions(learner, train(learner, arguments.rounds, arguments.epochs, parts), test)
        classes = ", ".join(f"{label} {value:.3f}" for label, value in zip(CLASSES, figures, strict=True))
        print(f"{name}: AP50 {np.mean(figures):.3f} ({classes}) in {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
