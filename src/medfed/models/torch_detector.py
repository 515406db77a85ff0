"""Detectors for images, from torchvision, built from scratch with group normalisation.

Batch statistics differ between hospitals and would be averaged into nonsense; group normalisation has none, so a
detector is nothing but its parameters, and they travel as any other model's. Torch is imported when a detector is
built, never before. This module must never fetch weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput, Unavailable
from medfed.models.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["DetectorSettings", "build_detector", "detector_parameters", "load_into", "seeded", "torch_module"]

GROUPS: Final = 8
_STAGES: Final = (3, 4, 5)
"""Of MobileNetV3: strides 8, 16 and 32."""
_STRIDES: Final = (8, 16, 32, 64)


class DetectorSettings(Record):
    """Which detector, as a plan says it."""

    kind: Literal["fcos", "retinanet", "ssdlite", "faster-rcnn"]
    classes: Annotated[int, Meta(ge=1, le=200)]
    """Without the background."""
    side: Annotated[int, Meta(ge=64, le=2048)] = 320
    """Pixels of the longer side that images are scaled to."""
    channels: Annotated[int, Meta(ge=32, le=256, multiple_of=32)] = 64
    """Of the feature pyramid."""
    trainable: tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...] = ()
    """Prefixes of the names of parameters that are trained; empty for all."""


def torch_module(name: str = "torch") -> Any:
    """torch, or a module of torch or torchvision.

    Raises:
        Unavailable: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise Unavailable(f"models of images need {name.split('.')[0]}: install medfed[torch]") from None


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Torch's generator starts from `seed` inside, and is what it was outside."""
    torch = torch_module()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_detector(settings: DetectorSettings, seed: int) -> Any:
    """A `torch.nn.Module` that takes a list of float images [3, h, w] in 0 to 1, and in training their targets.

    The same seed gives the same parameters with one version of torch; a study's first parameters are a blob.

    Raises:
        Unavailable: torch or torchvision is not installed.
    """
    with seeded(seed):
        module: Any = {
            "fcos": _fcos,
            "retinanet": _retinanet,
            "ssdlite": _ssdlite,
            "faster-rcnn": _faster_rcnn,
        }[settings.kind](settings)
    _freeze(module, settings.trainable)
    return module


def detector_parameters(module: Any) -> Parameters:
    """The parameters of a detector, in its order. Group normalisation keeps nothing besides them.

    Raises:
        InvalidInput: the module keeps statistics of batches, which must not be averaged; or a value is not finite.
    """
    kept = [name for name, _ in module.named_buffers() if name.endswith(("running_mean", "running_var"))]
    if kept:
        raise InvalidInput(f"detector: {kept[0]} is a statistic of batches; use group normalisation")
    arrays = {name: np.asarray(value.detach().cpu().numpy()) for name, value in module.named_parameters()}
    return Parameters.from_arrays(arrays)


def load_into(module: Any, parameters: Parameters) -> None:
    """Set a detector's parameters.

    Raises:
        InvalidInput: other names or shapes.
    """
    torch = torch_module()
    found = {name: tuple(value.shape) for name, value in module.named_parameters()}
    if found != dict(parameters.shapes):
        raise InvalidInput("detector: the parameters are those of another detector")
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(torch.from_numpy(np.array(parameters[name])))


def _norm(channels: int) -> Any:
    return torch_module().nn.GroupNorm(GROUPS, channels)


def _mobilenet() -> Any:
    models = torch_module("torchvision.models")
    return models.mobilenet_v3_large(weights=None, norm_layer=_norm)


def _pyramid(settings: DetectorSettings) -> Any:
    utils = torch_module("torchvision.models.detection.backbone_utils")
    features = _mobilenet().features
    strided = [0, *(i for i, block in enumerate(features) if getattr(block, "_is_cn", False)), len(features) - 1]
    chosen = [strided[stage] for stage in _STAGES]
    names = {str(index): str(level) for level, index in enumerate(chosen)}
    widths = [features[index].out_channels for index in chosen]
    return utils.BackboneWithFPN(features, names, widths, settings.channels, norm_layer=_norm)


def _sizes(settings: DetectorSettings) -> dict[str, Any]:
    return {"min_size": settings.side, "max_size": settings.side}


def _fcos(settings: DetectorSettings) -> Any:
    detection = torch_module("torchvision.models.detection")
    anchors = detection.anchor_utils.AnchorGenerator(tuple((s,) for s in _STRIDES), ((1.0,),) * len(_STRIDES))
    return detection.FCOS(
        _pyramid(settings),
        settings.classes,
        anchor_generator=anchors,
        score_thresh=0.05,
        **_sizes(settings),
    )


def _retinanet(settings: DetectorSettings) -> Any:
    detection = torch_module("torchvision.models.detection")
    scales = tuple((2 * s, int(2 * s * 2 ** (1 / 3)), int(2 * s * 2 ** (2 / 3))) for s in _STRIDES)
    anchors = detection.anchor_utils.AnchorGenerator(scales, ((0.5, 1.0, 2.0),) * len(_STRIDES))
    backbone = _pyramid(settings)
    head = detection.retinanet.RetinaNetHead(
        backbone.out_channels, anchors.num_anchors_per_location()[0], settings.classes, norm_layer=_norm
    )
    return detection.RetinaNet(backbone, settings.classes, anchor_generator=anchors, head=head, **_sizes(settings))


def _ssdlite(settings: DetectorSettings) -> Any:
    detection = torch_module("torchvision.models.detection")
    return detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=settings.classes + 1, norm_layer=_norm
    )


def _faster_rcnn(settings: DetectorSettings) -> Any:
    detection = torch_module("torchvision.models.detection")
    anchors = detection.anchor_utils.AnchorGenerator(
        tuple((2 * s,) for s in _STRIDES), ((0.5, 1.0, 2.0),) * len(_STRIDES)
    )
    pool = torch_module("torchvision.ops").MultiScaleRoIAlign(["0", "1", "2"], output_size=7, sampling_ratio=2)
    head = detection.faster_rcnn.TwoMLPHead(settings.channels * 49, 256)
    predictor = detection.faster_rcnn.FastRCNNPredictor(256, settings.classes + 1)
    return detection.FasterRCNN(
        _pyramid(settings),
        rpn_anchor_generator=anchors,
        box_roi_pool=pool,
        box_head=head,
        box_predictor=predictor,
        **_sizes(settings),
    )


def _freeze(module: Any, trainable: Sequence[str]) -> None:
    if not trainable:
        return
    found = 0
    for name, value in module.named_parameters():
        trained = name.startswith(tuple(trainable))
        value.requires_grad_(trained)
        found += trained
    if not found:
        raise InvalidInput(f"detector: no parameter is named like {', '.join(trainable)}")
