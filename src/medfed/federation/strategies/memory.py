"""What a strategy remembers from round to round: named float64 vectors and integers with one canonical form.

Hospitals agree on a memory by its digest, so equal contents have equal bytes. It must never hold anything
that is not a function of released sums (the server's memory) or of one hospital's own data (its local memory,
which never leaves).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, sha256

__all__ = ["EMPTY", "Memory"]

_Label = Annotated[str, Meta(min_length=1, max_length=40)]


class _Stored(Record):
    arrays: Annotated[dict[_Label, bytes], Meta(max_length=16)]
    integers: Annotated[dict[_Label, Annotated[int, Meta(ge=0, lt=2**53)]], Meta(max_length=16)]
    kept: bytes | UnsetType = UNSET


class Memory:
    """An immutable mapping of names to float64 vectors, of names to non-negative integers, and what a learner keeps."""

    __slots__ = ("arrays", "integers", "kept")

    def __init__(
        self,
        arrays: Mapping[str, NDArray[np.float64]] | None = None,
        integers: Mapping[str, int] | None = None,
        kept: bytes = b"",
    ) -> None:
        """Take over `arrays` (each (k,) float64, finite); they become read-only.

        Raises:
            InvalidInput: an array is not a finite float64 vector.
        """
        for name, array in (arrays or {}).items():
            if array.dtype != np.float64 or array.ndim != 1 or not math.isfinite(float(np.abs(array).sum())):
                raise InvalidInput(f"strategy memory {name!r}: expected a finite float64 vector")
            array.flags.writeable = False
        self.arrays: Mapping[str, NDArray[np.float64]] = MappingProxyType(dict(arrays or {}))
        self.integers: Mapping[str, int] = MappingProxyType(dict(integers or {}))
        self.kept = kept

    def keeping(self, kept: bytes) -> Memory:
        """The same with other bytes of the learner: its optimizer's state, only in a hospital's own memory."""
        return self if kept == self.kept else Memory(self.arrays, self.integers, kept)

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical bytes."""
        return sha256(self.save())

    def save(self) -> bytes:
        """Canonical bytes: vectors as little-endian float64."""
        arrays = {name: array.astype("<f8", copy=False).tobytes() for name, array in self.arrays.items()}
        return encode(_Stored(arrays, dict(self.integers), self.kept or UNSET))

    @staticmethod
    def load(data: bytes) -> Memory:
        """The memory whose canonical bytes are `data`.

        Raises:
            InvalidInput: they are damaged.
        """
        stored = decode(data, _Stored)
        if any(len(raw) % 8 for raw in stored.arrays.values()):
            raise InvalidInput("strategy memory: a vector's length is not a multiple of 8 bytes")
        arrays = {name: np.frombuffer(raw, "<f8").astype(np.float64) for name, raw in stored.arrays.items()}
        return Memory(arrays, stored.integers, stored.kept if isinstance(stored.kept, bytes) else b"")


EMPTY: Final = Memory()
"""The memory of a strategy that has none."""
