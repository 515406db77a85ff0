"""Convolutional classifiers as lists of layers: their parameters' names and shapes, and first values.

All of it without torch, because every hospital checks plans and computes the same first parameters, bit for bit and
whatever version of torch it has. What the layers compute is `torch_classifier`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from medfed.errors import InvalidInput
from medfed.models.parameters import Parameters
from medfed.models.settings import ImageModel, ResNet18Model, SmallCnnModel, Vgg11Model

__all__ = ["GROUPS", "HEAD", "Conv", "Layer", "Pool", "Residual", "first_parameters", "layers_of", "shapes_of"]

GROUPS: Final = 8
"""Of every group normalisation."""
HEAD: Final = "head"
_SMALL: Final = 64
"""Pixels; a ResNet for smaller images keeps their resolution at first."""


class Conv(NamedTuple):
    """A convolution without bias that keeps the size (over `stride`), and its group normalisation."""

    name: str
    inputs: int
    outputs: int
    size: int = 3
    stride: int = 1


class Pool(NamedTuple):
    """The largest value of each window; a window that is not full counts."""

    size: int = 2
    padding: int = 0


class Residual(NamedTuple):
    """Two convolutions beside a shortcut (none: the input as it is), added up."""

    first: Conv
    second: Conv
    shortcut: Conv | None


Layer = Conv | Pool | Residual
"""A ReLU follows every `Conv` and every `Residual`, and the first convolution within one."""


def layers_of(model: ImageModel) -> tuple[Layer, ...]:
    """The layers before the mean of each channel and the linear layer.

    Raises:
        InvalidInput: no known kind of model.
    """
    if isinstance(model, SmallCnnModel):
        return tuple(_plain(model, (1, 0, 2, 0, 4)))
    if isinstance(model, Vgg11Model):
        return tuple(_plain(model, (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0)))
    if isinstance(model, ResNet18Model):
        return tuple(_resnet18(model))
    raise InvalidInput(f"model: {type(model).__name__} is no image classifier")


def shapes_of(model: ImageModel, outputs: int) -> dict[str, tuple[int, ...]]:
    """Each parameter's shape by name, in order: `NAME.weight` `(out, in, size, size)`, `NAME.norm.weight` and
    `NAME.norm.bias` `(out,)` for each convolution, then `head.weight` `(outputs, in)` and `head.bias` `(outputs,)`."""
    shapes: dict[str, tuple[int, ...]] = {}
    last = model.channels
    for conv in _convolutions(model):
        shapes[f"{conv.name}.weight"] = (conv.outputs, conv.inputs, conv.size, conv.size)
        shapes[f"{conv.name}.norm.weight"] = (conv.outputs,)
        shapes[f"{conv.name}.norm.bias"] = (conv.outputs,)
        last = conv.outputs
    return shapes | {f"{HEAD}.weight": (outputs, last), f"{HEAD}.bias": (outputs,)}


def first_parameters(shapes: dict[str, tuple[int, ...]], seed: int) -> Parameters:
    """Convolutions uniform as He et al. 2015 say, the linear layer's as Glorot and Bengio 2010; norms 1, biases 0.

    From PCG64's raw output, so that only exactly rounded operations are used.

    Raises:
        InvalidInput: `seed` is negative.
    """
    if seed < 0:
        raise InvalidInput(f"seed: expected >= 0, found {seed}")
    bits = np.random.PCG64(seed)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for name, array in arrays.items():
        if name.endswith(".norm.weight"):
            array[...] = 1
        elif array.ndim > 1:
            fan_in = math.prod(array.shape[1:])
            bound = math.sqrt(6 / (fan_in + array.shape[0]) if array.ndim == 2 else 6 / fan_in)
            drawn = (np.asarray(bits.random_raw(array.size)) >> np.uint64(11)).astype(np.float64)
            array[...] = ((drawn * 2.0**-52 - 1.0) * bound).reshape(array.shape)
    return Parameters.from_arrays(arrays)


def _convolutions(model: ImageModel) -> Iterator[Conv]:
    for layer in layers_of(model):
        if isinstance(layer, Conv):
            yield layer
        elif isinstance(layer, Residual):
            yield from (conv for conv in (layer.first, layer.second, layer.shortcut) if conv is not None)


def _plain(model: ImageModel, widths: tuple[int, ...]) -> Iterator[Layer]:
    """One convolution for each width in units of `filters`; 0 is a pooling."""
    number, inputs = 0, model.channels
    for width in widths:
        if not width:
            yield Pool()
            continue
        number += 1
        yield Conv(f"conv{number}", inputs, width * model.filters)
        inputs = width * model.filters


def _resnet18(model: ImageModel) -> Iterator[Layer]:
    width = model.filters
    if model.side < _SMALL:
        yield Conv("stem", model.channels, width)
    else:
        yield Conv("stem", model.channels, width, 7, 2)
        yield Pool(3, 1)
    for stage, (inputs, outputs) in enumerate(pairwise((width, width, 2 * width, 4 * width, 8 * width)), start=1):
        stride = 1 if stage == 1 else 2
        shortcut = None if stage == 1 else Conv(f"stage{stage}.0.shortcut", inputs, outputs, 1, stride)
        yield Residual(
            Conv(f"stage{stage}.0.first", inputs, outputs, 3, stride),
            Conv(f"stage{stage}.0.second", outputs, outputs),
            shortcut,
        )
        yield Residual(
            Conv(f"stage{stage}.1.first", outputs, outputs), Conv(f"stage{stage}.1.second", outputs, outputs), None
        )
