"""Training a detector at one hospital, and detecting with it.

The learning rate follows one cycle over all rounds of a study, so AdamW's state stays at the hospital between rounds;
it never leaves it. A training that was interrupted goes on from its state with the same batches and gives the same
parameters: order and augmentation of a batch are drawn from the seed, the epoch and the batch alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.models.parameters import Parameters
from medfed.models.picture_dataset import PictureDataset, Sample
from medfed.models.torch_detector import (
    DetectorSettings,
    build_detector,
    detector_parameters,
    load_into,
    seeded,
    torch_module,
)
from medfed.models.torch_training import BatchLoss, one_cycle

__all__ = [
    "Detections",
    "DetectorState",
    "DetectorTraining",
    "Sample",
    "detect",
    "detect_each",
    "detection_loss",
    "detector_loss",
    "flipped",
    "learning_rate",
    "train_detector",
]


class Detections(NamedTuple):
    """What a detector found in one image, best first."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    """From 0."""
    scores: NDArray[np.float64]


class DetectorTraining(Record):
    """How a hospital trains, as a plan says it."""

    epochs: Annotated[int, Meta(ge=1, le=1000)]
    """Local, in a round."""
    rounds: Annotated[int, Meta(ge=1, le=10_000)]
    """Of the whole study: where the cycle of the learning rate ends."""
    batch: Annotated[int, Meta(ge=1, le=256)] = 4
    peak_rate: Annotated[float, Meta(gt=0, le=1)] = 2e-3
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 1e-4
    clip: Annotated[float, Meta(gt=0)] = 5.0
    """Largest norm of a gradient."""
    flips: bool = True
    """Mirror images left to right and upside down at random."""


class DetectorState(NamedTuple):
    """Where a hospital's training stands; kept at the hospital."""

    steps: int = 0
    """Batches trained on, over all rounds."""
    first: Parameters | None = None
    """AdamW's running mean of gradients, by parameter."""
    second: Parameters | None = None
    """And of their squares."""


def learning_rate(training: DetectorTraining, step: int, steps: int) -> float:
    """The rate of one cycle (Smith and Topin, 2018): up for three tenths of all `steps`, then down, along cosines."""
    return one_cycle(training.peak_rate, step, steps)


def train_detector(
    settings: DetectorSettings,
    training: DetectorTraining,
    start: Parameters,
    samples: Sequence[Sample],
    state: DetectorState,
    seed: int,
    most_steps: int | None = None,
) -> tuple[Parameters, DetectorState]:
    """Train for one round from `start`, or on from the middle of it.

    Args:
        settings: the detector.
        training: how.
        start: the parameters that the round starts from, or those of an interrupted training.
        samples: of this hospital; any without findings are background.
        state: as the last call returned it.
        seed: of the hospital and study.
        most_steps: stop after so many batches, for what must be interruptible.

    Raises:
        InvalidInput: no sample, a label or box out of range, or a loss that is not finite.
    """
    torch = torch_module()
    _check(settings, samples)
    module = build_detector(settings, 0)
    load_into(module, start)
    module.train()
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(
        list(trained.values()), lr=training.peak_rate, betas=(0.9, 0.999), weight_decay=training.weight_decay
    )
    _restore(optimizer, trained, state)
    offset = _offset(settings)
    an_epoch = math.ceil(len(samples) / training.batch)
    a_round, whole = an_epoch * training.epochs, an_epoch * training.epochs * training.rounds
    end = (state.steps // a_round + 1) * a_round
    end = end if most_steps is None else min(end, state.steps + most_steps)
    for step in range(state.steps, end):
        epoch, batch = divmod(step, an_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(samples))
        chosen = order[batch * training.batch : (batch + 1) * training.batch]
        rng = np.random.default_rng([seed, epoch, batch, 1])
        images, targets = _batch(
            [samples[int(index)] for index in chosen], (training.flips, training.flips), offset, rng
        )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, step, whole)
        with seeded(seed * 1_000_003 + step):
            loss: Any = sum(module(images, targets).values())
        if not bool(torch.isfinite(loss)):
            raise InvalidInput(f"detector: the loss of step {step} is not finite; lower the learning rate")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(trained.values()), training.clip)
        optimizer.step()
    return detector_parameters(module), _state(optimizer, trained, end)


def detect(
    settings: DetectorSettings, parameters: Parameters, images: Iterable[NDArray[np.uint8]], least: float = 0.05
) -> list[Detections]:
    """What the detector finds in each image with a score of at least `least`."""
    return list(detect_each(settings, parameters, images, least))


def detect_each(
    settings: DetectorSettings, parameters: Parameters, images: Iterable[NDArray[np.uint8]], least: float = 0.05
) -> Iterator[Detections]:
    """`detect`, one image after the other."""
    torch = torch_module()
    module = build_detector(settings, 0)
    load_into(module, parameters)
    module.eval()
    offset = _offset(settings)
    for pixels in images:
        with torch.no_grad():
            (result,) = module([_tensor(pixels)])
        scores = result["scores"].numpy().astype(np.float64)
        kept = np.flatnonzero(scores >= least)
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        boxes = result["boxes"].numpy().astype(np.float64)[kept]
        yield Detections(boxes, result["labels"].numpy().astype(np.int64)[kept] - offset, scores[kept])


def detector_loss(settings: DetectorSettings, module: Any, data: PictureDataset, flips: tuple[bool, bool]) -> BatchLoss:
    """The loss of a batch by a detector, for `train_in_batches`."""

    def loss(chosen: NDArray[np.int64], rng: np.random.Generator) -> Any:
        samples = [data.sample(int(index)) for index in chosen]
        _check(settings, samples)
        images, targets = _batch(samples, flips, _offset(settings), rng)
        return sum(module(images, targets).values())

    return loss


def detection_loss(settings: DetectorSettings, parameters: Parameters, samples: Sequence[Sample]) -> float:
    """The mean loss over samples as they are, each by itself: what training makes smaller.

    Raises:
        InvalidInput: no sample, or a label or box out of range.
    """
    torch = torch_module()
    _check(settings, samples)
    module = build_detector(settings, 0)
    load_into(module, parameters)
    module.train()  # torchvision's detectors give losses only so; they keep no statistics
    total = 0.0
    with torch.no_grad():
        for sample in samples:
            images, targets = _batch([sample], (False, False), _offset(settings), np.random.default_rng(0))
            with seeded(0):
                loss: Any = sum(module(images, targets).values())
            total += float(loss)
    return total / len(samples)


def _offset(settings: DetectorSettings) -> int:
    """torchvision's SSD and Faster R-CNN count the background as class 0; here all detectors are told so alike."""
    return 1 if settings.kind in ("ssdlite", "faster-rcnn") else 0


def _check(settings: DetectorSettings, samples: Sequence[Sample]) -> None:
    if not samples:
        raise InvalidInput("detector: there is no image to train on")
    for index, sample in enumerate(samples):
        height, width = sample.pixels.shape[:2]
        boxes, labels = sample.boxes, sample.labels
        if boxes.shape != (len(labels), 4) or (
            len(labels) and not 0 <= labels.min() <= labels.max() < settings.classes
        ):
            raise InvalidInput(f"detector, image {index}: a label is not one of the {settings.classes} classes")
        inside = (boxes[:, 0] >= 0) & (boxes[:, 1] >= 0) & (boxes[:, 2] <= width) & (boxes[:, 3] <= height)
        if not (inside & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).all():
            raise InvalidInput(f"detector, image {index}: a box is empty or outside the image")


def _batch(
    samples: Sequence[Sample], flips: tuple[bool, bool], offset: int, rng: np.random.Generator
) -> tuple[list[Any], list[dict[str, Any]]]:
    torch = torch_module()
    images: list[Any] = []
    targets: list[dict[str, Any]] = []
    for sample in samples:
        pixels, boxes = flipped(sample.pixels, sample.boxes[sample.counted], flips, rng)
        images.append(_tensor(pixels))
        targets.append(
            {
                "boxes": torch.from_numpy(np.ascontiguousarray(boxes, dtype=np.float32)),
                "labels": torch.from_numpy(np.ascontiguousarray(sample.labels[sample.counted])) + offset,
            }
        )
    return images, targets


def flipped(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float64], flips: tuple[bool, bool], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A picture and its boxes mirrored at random: sideways, upside down, where `flips` allows it."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = boxes.T
    if flips[0] and rng.random() < 0.5:
        pixels, left, right = pixels[:, ::-1], width - right, width - left
    if flips[1] and rng.random() < 0.5:
        pixels, top, bottom = pixels[::-1], height - bottom, height - top
    return pixels, np.stack([left, top, right, bottom], axis=1)


def _tensor(pixels: NDArray[np.uint8]) -> Any:
    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    channels = np.ascontiguousarray(colour.transpose(2, 0, 1))
    return torch_module().from_numpy(channels).float().div_(255)


def _restore(optimizer: Any, trained: dict[str, Any], state: DetectorState) -> None:
    torch = torch_module()
    if state.first is None or state.second is None:
        return
    if list(state.first) != list(trained) or list(state.second) != list(trained):
        raise InvalidInput("detector: the kept state is that of another detector")
    for name, value in trained.items():
        optimizer.state[value] = {
            "step": torch.tensor(float(state.steps)),
            "exp_avg": torch.from_numpy(np.array(state.first[name])),
            "exp_avg_sq": torch.from_numpy(np.array(state.second[name])),
        }


def _state(optimizer: Any, trained: dict[str, Any], steps: int) -> DetectorState:
    def kept(field: str) -> Parameters:
        none = torch_module().zeros_like
        values = {name: optimizer.state.get(value, {}).get(field, none(value)) for name, value in trained.items()}
        return Parameters.from_arrays({name: np.asarray(value.detach().numpy()) for name, value in values.items()})

    return DetectorState(steps, kept("exp_avg"), kept("exp_avg_sq"))
