"""A model's parameters: named arrays over one flat float32 vector, and their bytes as safetensors.

A `Parameters` is finite and never changes: this module must never hand out a writable view, accept a NaN or
an infinity, or read anything but the canonical bytes (a blob's SHA-256 is the digest of the parameters in it).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.identifiers import Digest

__all__ = ["MAX_PARAMETERS", "MAX_TENSORS", "Parameters"]

MAX_PARAMETERS: Final = 2**29
"""The most numbers that one model holds (2 GiB of float32)."""
MAX_TENSORS: Final = 10_000
_MAX_HEADER: Final = 4 * 2**20
_MAX_DIMENSIONS: Final = 8
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}\Z")

Float32Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]


class Parameters(Mapping[str, Float32Array]):
    """An ordered mapping of names to read-only float32 arrays, all views of the one vector `flat`.

    Equal when names, order, shapes and every bit of the numbers are. Make one with `from_arrays` or `load`, and
    the next from it with `with_flat`.
    """

    def __init__(self, shapes: Mapping[str, Shape], flat: Float32Array) -> None:
        """`shapes` gives order and shape; `flat`, float32, is copied unless it is read-only.

        Raises:
            InvalidInput: a name or shape out of bounds, a wrong number of values, or one that is not finite.
        """
        size = _check_shapes(shapes)
        if flat.shape != (size,):
            raise InvalidInput(f"flat parameters: expected shape ({size},), found {flat.shape}")
        self._flat = _finite_read_only(flat)
        self._shapes = dict(shapes)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Parameters:
        """Parameters with the values of `arrays` (any real dtype, rounded to float32), in its order.

        Raises:
            InvalidInput: no array, too many, a bad name, or a value that is not finite in float32.
        """
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        _check_shapes(shapes)
        flat = np.concatenate([_as_float32(array).reshape(-1) for array in arrays.values()])
        flat.flags.writeable = False
        return cls(shapes, flat)

    def with_flat(self, flat: npt.NDArray[Any]) -> Parameters:
        """The same names and shapes with the values of `flat` (float64 is rounded to float32; copied).

        Raises:
            InvalidInput: `flat` has another length or a value that is not finite in float32.
        """
        return Parameters(self._shapes, _as_float32(flat))

    @property
    def flat(self) -> Float32Array:
        """All values in order, float32 `(size,)`, read-only."""
        return self._flat

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Each array's shape by name, in order."""
        return MappingProxyType(self._shapes)

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of `save()`: what the ledger and the blob store call these parameters."""
        state = hashlib.sha256(_header(self._shapes))
        state.update(self._values())
        return state.digest()

    def save(self) -> bytes:
        """These parameters as a safetensors file; equal parameters give equal bytes."""
        return b"".join((_header(self._shapes), self._values()))

    @classmethod
    def load(cls, data: bytes) -> Parameters:
        """The parameters whose `save()` is `data`. Copies nothing; the arrays look into `data`.

        Raises:
            InvalidInput: `data` is damaged, out of bounds, not finite, or not the canonical bytes.
        """
        header, start = _split(data)
        shapes = _decode_header(header)
        size = _check_shapes(shapes)
        if len(data) != start + 4 * size:
            raise InvalidInput(f"parameters: expected {start + 4 * size} bytes, found {len(data)}")
        if _header(shapes) != data[:start]:
            raise InvalidInput("parameters: the safetensors header is not canonical")
        flat = np.frombuffer(data, dtype="<f4", offset=start).astype(np.float32, copy=False)
        return cls(shapes, flat)

    def _values(self) -> memoryview:
        return self._flat.astype("<f4", copy=False).data

    @cached_property
    def _views(self) -> dict[str, Float32Array]:
        views: dict[str, Float32Array] = {}
        at = 0
        for name, shape in self._shapes.items():
            size = math.prod(shape)
            views[name] = self._flat[at : at + size].reshape(shape)
            at += size
        return views

    def __getitem__(self, name: str) -> Float32Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        same_shapes = list(self._shapes.items()) == list(other._shapes.items())
        return same_shapes and self._flat.tobytes() == other._flat.tobytes()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Parameters({len(self)} arrays, {self._flat.size} values, {self.digest.hex()[:12]})"


def _as_float32(array: npt.NDArray[Any]) -> Float32Array:
    """A copy of `array` rounded to float32; what is too large becomes infinite and is refused later."""
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"parameters: expected real numbers, found dtype {array.dtype}")
    with np.errstate(over="ignore"):
        own = np.array(array, dtype=np.float32, order="C")
    own.flags.writeable = False
    return own


def _finite_read_only(flat: npt.NDArray[Any]) -> Float32Array:
    if flat.dtype != np.float32:
        raise InvalidInput(f"flat parameters: expected float32, found {flat.dtype}")
    if not np.isfinite(flat).all():
        raise InvalidInput("parameters: expected finite float32 values, found a NaN or an infinity")
    own = np.array(flat, copy=None if not flat.flags.writeable else True, order="C")
    own.flags.writeable = False
    return own[:]  # a view: unlike an owner it cannot be made writable again


def _check_shapes(shapes: Mapping[str, Shape]) -> int:
    """The number of values that `shapes` hold, after checking every bound."""
    if not 1 <= len(shapes) <= MAX_TENSORS:
        raise InvalidInput(f"parameters: expected 1 to {MAX_TENSORS} arrays, found {len(shapes)}")
    size = 0
    for name, shape in shapes.items():
        if not _NAME.match(name):
            raise InvalidInput(f"parameter name {name[:80]!r}: expected 1 to 200 of A-Z, a-z, 0-9, '_', '.', '-'")
        if len(shape) > _MAX_DIMENSIONS or any(not 1 <= length <= MAX_PARAMETERS for length in shape):
            found = str(shape)[:80]  # a file may write lengths of thousands of digits
            raise InvalidInput(f"parameter {name}: expected at most {_MAX_DIMENSIONS} lengths >= 1, found {found}")
        size += math.prod(shape)
    if size > MAX_PARAMETERS:
        raise InvalidInput(f"parameters: expected at most {MAX_PARAMETERS} values, found {size}")
    return size


def _header(shapes: Mapping[str, Shape]) -> bytes:
    """The safetensors header: a length, JSON without spaces, blanks up to a multiple of 8 bytes."""
    entries: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        end = at + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _split(data: bytes) -> tuple[bytes, int]:
    """The header's JSON and where the values start."""
    if len(data) < 8:
        raise InvalidInput(f"parameters: expected a safetensors file, found {len(data)} bytes")
    length = int.from_bytes(data[:8], "little")
    if length > min(_MAX_HEADER, len(data) - 8):
        raise InvalidInput(f"parameters: a header of {length} bytes does not fit")
    return data[8 : 8 + length], 8 + length


def _decode_header(header: bytes) -> dict[str, Shape]:
    """Names and shapes. Offsets and types are left to the comparison with the canonical header."""
    try:
        entries: Any = json.loads(header)
    except (ValueError, RecursionError):
        raise InvalidInput("parameters: the safetensors header is not JSON") from None
    if not isinstance(entries, dict):
        raise InvalidInput("parameters: the safetensors header is not a JSON object")
    shapes: dict[str, Shape] = {}
    for name, entry in cast(dict[str, Any], entries).items():
        shape: Any = cast(dict[str, Any], entry).get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(type(length) is int for length in cast(list[Any], shape)):
            raise InvalidInput("parameters: the safetensors header holds something other than arrays")
        shapes[name] = tuple(cast(list[int], shape))
    return shapes
