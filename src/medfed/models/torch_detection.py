"""Detecting with a detector, and what it loses on a batch; `torch_training` has the loop that trains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.models.parameters import Parameters
from medfed.models.picture_dataset import PictureDataset, Sample
from medfed.models.torch_detector import DetectorSettings, build_detector, load_into, seeded, torch_module
from medfed.models.torch_training import BatchLoss

__all__ = [
    "Detections",
    "Sample",
    "detect",
    "detect_each",
    "detection_loss",
    "detector_loss",
    "flipped",
]


class Detections(NamedTuple):
    """What a detector found in one image, best first."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    """From 0."""
    scores: NDArray[np.float64]


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
