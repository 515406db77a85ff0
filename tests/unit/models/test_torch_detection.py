"""Detectors are their parameters and nothing else; training resumes exactly; what it learns, it finds."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("torchvision")

from medfed.errors import InvalidInput
from medfed.models import torch_training
from medfed.models.course import Course
from medfed.models.detector_learner import DetectorLearner
from medfed.models.parameters import Parameters
from medfed.models.picture_dataset import PictureDataset
from medfed.models.settings import DetectorModel, LocalTraining
from medfed.models.torch_detection import Sample, detect
from medfed.models.torch_detector import DetectorSettings, build_detector, detector_parameters, load_into, torch_module
from medfed.models.training import LocalResult

pytestmark = [pytest.mark.torch, pytest.mark.slow]
KINDS = ("fcos", "retinanet", "ssdlite", "faster-rcnn")
TRAINING = LocalTraining(epochs=1, batch_size=2, optimizer="adamw", learning_rate=2e-3, weight_decay=1e-4)
FIRST_OF_THREE = Course(0, 3)


class Killed(BaseException):
    """The process dies here."""


class Kept:
    """Checkpoints, of which the newest kills whoever has made it."""

    def __init__(self) -> None:
        self.data: bytes | None = None

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data
        raise Killed


def _settings(kind: str, **changes: Any) -> DetectorSettings:
    return DetectorSettings(cast("Any", kind), 2, side=96, channels=32, **changes)


@cache
def _samples(count: int = 5) -> tuple[Sample, ...]:
    """Bright squares (class 0) and dark bars (class 1) on noise."""
    rng = np.random.default_rng(3)
    made = list[Sample]()
    for _ in range(count):
        pixels = rng.integers(100, 140, (72, 96, 3), dtype=np.uint8)
        left, top = int(rng.integers(0, 40)), int(rng.integers(0, 30))
        pixels[top : top + 24, left : left + 24] = 250
        pixels[60:70, 50:90] = 5
        boxes = np.array([[left, top, left + 24, top + 24], [50, 60, 90, 70]], dtype=np.float64)
        made.append(Sample(pixels, boxes, np.array([0, 1])))
    return tuple(made)


@cache
def _start(kind: str) -> Parameters:
    return detector_parameters(build_detector(_settings(kind), 7))


def _train(
    kind: str,
    samples: Any,
    seed: int,
    training: LocalTraining = TRAINING,
    course: Course = FIRST_OF_THREE,
    **changes: Any,
) -> LocalResult:
    learner = DetectorLearner(DetectorModel(cast("Any", kind), channels=32, **changes), 2, 96)
    data = PictureDataset.of_samples(samples, 2)
    return learner.train(_start(kind), data, training, np.random.default_rng(seed), None, course)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_builds_the_same_detector_and_leaves_torchs_generator_alone(kind: str) -> None:
    torch = torch_module()
    before = torch.random.get_rng_state()
    assert detector_parameters(build_detector(_settings(kind), 7)) == _start(kind)
    assert detector_parameters(build_detector(_settings(kind), 8)) != _start(kind)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_is_killed_after_every_batch_and_goes_on_is_one_that_never_was(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = _samples()
    whole = _train(kind, samples, 11)
    assert whole.steps == 3
    monkeypatch.setattr(torch_training, "CHECKPOINT_STEPS", 1)
    kept = Kept()
    for _ in range(2):
        with pytest.raises(Killed):
            _train(kind, samples, 11, course=Course(0, 3, checkpoints=kept))
    resumed = _train(kind, samples, 11, course=Course(0, 3, checkpoints=kept))
    assert (resumed.parameters, resumed.kept) == (whole.parameters, whole.kept)
    assert _train(kind, samples, 12).parameters != whole.parameters


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_findings_is_background_and_a_grey_one_is_an_image(kind: str) -> None:
    empty = Sample(np.zeros((72, 96), np.uint8), np.zeros((0, 4)), np.zeros(0, np.int64))
    after = _train(kind, [empty], 1).parameters
    if kind != "ssdlite":  # it learns from as many background boxes as there are others three times: here none
        assert after != _start(kind)
    for found in detect(_settings(kind), after, [empty.pixels]):
        assert (np.diff(found.scores) <= 0).all()
        assert ((found.labels >= 0) & (found.labels < 2)).all()


def test_only_the_layers_that_the_plan_lists_are_trained() -> None:
    after = _train("fcos", _samples(), 1, trainable=("head.",)).parameters
    for name, values in after.items():
        same = np.array_equal(values, _start("fcos")[name])
        assert same or name.startswith("head."), name
    with pytest.raises(InvalidInput, match="named like"):
        build_detector(_settings("fcos", trainable=("nothing.",)), 1)


def test_what_is_averaged_holds_no_statistics_of_batches_and_fits_only_its_own_detector() -> None:
    module = build_detector(_settings("fcos"), 1)
    with pytest.raises(InvalidInput, match="another detector"):
        load_into(module, _start("retinanet"))
    module.extra = torch_module("torch.nn").BatchNorm2d(4)
    with pytest.raises(InvalidInput, match="statistic of batches"):
        detector_parameters(module)


@pytest.mark.parametrize("wrong", ["label", "box", "empty", "none"])
def test_samples_that_are_wrong_are_refused(wrong: str) -> None:
    sample = _samples()[0]
    bad = {
        "label": [sample._replace(labels=np.array([0, 2]))],
        "box": [sample._replace(boxes=sample.boxes + 50)],
        "empty": [sample._replace(boxes=np.zeros((2, 4)))],
        "none": [],
    }[wrong]
    with pytest.raises(InvalidInput, match=r"detector|no example|a label is not"):
        _train("fcos", bad, 1)


def test_a_detector_finds_what_it_was_trained_on() -> None:
    settings, samples = _settings("fcos"), _samples()
    training = LocalTraining(epochs=80, batch_size=5, optimizer="adamw", learning_rate=2e-3, weight_decay=1e-4)
    after = _train("fcos", samples, 1, training, Course(0, 1)).parameters
    found = detect(settings, after, [sample.pixels for sample in samples], least=0.2)
    right = 0
    for sample, seen in zip(samples, found, strict=True):
        for label in (0, 1):
            mine = seen.boxes[seen.labels == label]
            right += bool(len(mine)) and float(np.abs(mine[0] - sample.boxes[label]).max()) < 8
    assert right >= 8
