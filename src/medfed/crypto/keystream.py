"""The masks' keystream: AES-256 in counter mode from a zero nonce, read as little-endian uint32.

A seed must never be used for two purposes: the stream depends on nothing else. Any part of it can be made on
its own, so a vector of any length is masked in chunks.
"""

from __future__ import annotations

import sys
from typing import Any, Final, cast

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from medfed.errors import InvalidInput

__all__ = ["SEED_BYTES", "Keystream", "fill_keystream"]

SEED_BYTES: Final = 32
_WORD: Final = 4
_BLOCK_WORDS: Final = 4
_ZEROS: Final = bytes(1 << 18)
"""Plaintext for the counter mode; small enough to stay in the processor's cache."""


class Keystream:
    """The keystream of one seed, read on from word `start`: opened once, it costs no more for many parts than for one.

    Raises:
        InvalidInput: a seed that is not 32 bytes, or a negative start.
    """

    __slots__ = ("_stream",)

    def __init__(self, seed: bytes, start: int = 0) -> None:
        if len(seed) != SEED_BYTES:
            raise InvalidInput(f"keystream seed: expected {SEED_BYTES} bytes, found {len(seed)}")
        if start < 0:
            raise InvalidInput(f"keystream start: expected 0 or more, found {start}")
        counter = (start // _BLOCK_WORDS).to_bytes(16, "big")
        self._stream = Cipher(algorithms.AES(seed), modes.CTR(counter)).encryptor()
        self._stream.update(_ZEROS[: start % _BLOCK_WORDS * _WORD])

    def fill(self, out: NDArray[np.uint32] | bytearray | memoryview[Any]) -> None:
        """Overwrite `out` with the next words.

        Raises:
            InvalidInput: an `out` that cannot be written in place.
        """
        target = _byte_view(out)
        for at in range(0, len(target), len(_ZEROS)):
            part = target[at : at + len(_ZEROS)]
            zeros = _ZEROS if len(part) == len(_ZEROS) else memoryview(_ZEROS)[: len(part)]
            self._stream.update_into(zeros, part)
        if sys.byteorder == "big":
            np.frombuffer(target, dtype=np.uint32).byteswap(inplace=True)


def fill_keystream(seed: bytes, out: NDArray[np.uint32] | bytearray | memoryview[Any], start: int = 0) -> None:
    """Overwrite `out` with the keystream of `seed` (32 bytes) from word `start` on.

    Args:
        seed: the AES-256 key.
        out: contiguous and writable, a whole number of 4-byte words.
        start: offset into the stream in words, at least 0.

    Raises:
        InvalidInput: a seed of another length, a negative start, or an `out` that cannot be written in place.
    """
    Keystream(seed, start).fill(out)


def _byte_view(out: NDArray[np.uint32] | bytearray | memoryview[Any]) -> memoryview[int]:
    view = memoryview(cast(Any, out))
    if view.readonly or not view.c_contiguous or view.nbytes % _WORD:
        raise InvalidInput("keystream target: expected contiguous, writable memory of whole 4-byte words")
    if view.nbytes == 0:
        return memoryview(bytearray())
    return view.cast("B")
