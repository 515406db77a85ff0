"""Detectors are their parameters and nothing else; training resumes exactly; what it learns, it finds."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("torchvision")

from medfed.errors import InvalidInput
from medfed.models.parameters import Parameters
from medfed.models.torch_detection import (
    DetectorState,
    DetectorTraining,
    Sample,
    detect,
    learning_rate,
    train_detector,
)
from medfed.models.torch_detector import DetectorSettings, build_detector, detector_parameters, load_into, torch_module

pytestmark = [pytest.mark.torch, pytest.mark.slow]
KINDS = ("fcos", "retinanet", "ssdlite", "faster-rcnn")
TRAINING = DetectorTraining(epochs=1, rounds=3, batch=2)


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


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_builds_the_same_detector_and_leaves_torchs_generator_alone(kind: str) -> None:
    torch = torch_module()
    before = torch.random.get_rng_state()
    assert detector_parameters(build_detector(_settings(kind), 7)) == _start(kind)
    assert detector_parameters(build_detector(_settings(kind), 8)) != _start(kind)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_stops_after_every_batch_and_goes_on_is_one_that_never_stopped(kind: str) -> None:
    settings, samples = _settings(kind), _samples()
    whole, state = train_detector(settings, TRAINING, _start(kind), samples, DetectorState(), 11)
    assert state.steps == 3
    parts, kept = _start(kind), DetectorState()
    for _ in range(3):
        parts, kept = train_detector(settings, TRAINING, parts, samples, kept, 11, most_steps=1)
    assert parts == whole
    assert (kept.first, kept.second) == (state.first, state.second)
    assert train_detector(settings, TRAINING, _start(kind), samples, DetectorState(), 12)[0] != whole


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_findings_is_background_and_a_grey_one_is_an_image(kind: str) -> None:
    empty = Sample(np.zeros((72, 96), np.uint8), np.zeros((0, 4)), np.zeros(0, np.int64))
    after, _ = train_detector(_settings(kind), TRAINING, _start(kind), [empty], DetectorState(), 1)
    if kind != "ssdlite":  # it learns from as many background boxes as there are others three times: here none
        assert after != _start(kind)
    for found in detect(_settings(kind), after, [empty.pixels]):
        assert (np.diff(found.scores) <= 0).all()
        assert ((found.labels >= 0) & (found.labels < 2)).all()


def test_only_the_layers_that_the_plan_lists_are_trained() -> None:
    settings = _settings("fcos", trainable=("head.",))
    after, _ = train_detector(settings, TRAINING, _start("fcos"), _samples(), DetectorState(), 1)
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
    with pytest.raises(InvalidInput, match="detector"):
        train_detector(_settings("fcos"), TRAINING, _start("fcos"), bad, DetectorState(), 1)


def test_the_rate_goes_up_for_three_tenths_and_down_to_almost_nothing_as_torchs_does() -> None:
    torch = torch_module()
    value = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([value], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=TRAINING.peak_rate, total_steps=101)
    for step in range(101):
        expected = schedule.get_last_lr()[0]
        assert learning_rate(TRAINING, step, 101) == pytest.approx(expected, rel=1e-6, abs=1e-12)
        optimizer.step()
        if step < 100:
            schedule.step()


def test_a_detector_finds_what_it_was_trained_on() -> None:
    settings = _settings("fcos")
    training = DetectorTraining(epochs=40, rounds=1, batch=5)
    samples = _samples()
    after, _ = train_detector(settings, training, _start("fcos"), samples, DetectorState(), 1)
    found = detect(settings, after, [sample.pixels for sample in samples], least=0.2)
    right = 0
    for sample, seen in zip(samples, found, strict=True):
        for label in (0, 1):
            mine = seen.boxes[seen.labels == label]
            right += bool(len(mine)) and float(np.abs(mine[0] - sample.boxes[label]).max()) < 8
    assert right >= 8
