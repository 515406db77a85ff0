"""Masking one hospital's vector, and taking the masks off the sum of many. All arithmetic is modulo 2^32.

A seed must never mask two vectors: that is the caller's vault to ensure. Everything goes in chunks, so that
besides the vectors themselves only one scratch chunk is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import Keystream
from medfed.errors import InvalidInput

__all__ = ["CHUNK_ELEMENTS", "UpdateReader", "decode_update", "encode_update", "mask_update", "unmask_sum"]

CHUNK_ELEMENTS: Final = 1 << 18
"""1 MiB: large enough to make the cost of a step vanish, small enough to stay in the cache."""
_WORD: Final = np.dtype("<u4")

SignedSeed = tuple[bytes, int]
"""A pair seed and +1 if its mask was added, -1 if it was subtracted."""


class UpdateReader(Protocol):
    """A binary stream, such as `BlobStore.open_stream` gives."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def mask_update(
    vector: NDArray[np.uint32],
    self_seed: bytes,
    pair_seeds: Sequence[SignedSeed],
    *,
    in_place: bool = False,
) -> NDArray[np.uint32]:
    """y = x + PRG(self) + Σ ±PRG(pair), modulo 2^32: the update that may leave the hospital.

    Args:
        vector: x, contiguous uint32 of shape [length].
        self_seed: 32 fresh random bytes, for this attempt only.
        pair_seeds: each 32 bytes; sign +1 towards higher names, -1 towards lower (`keying.mask_sign`).
        in_place: overwrite `vector` instead of making a second one.

    Raises:
        InvalidInput: another shape or type, a malformed seed or sign, or no pair seed at all.
    """
    _check_vector(vector)
    if not pair_seeds:
        raise InvalidInput("pair seeds: expected at least one, or revealing the self seed would open the update")
    seeds = _signed([(self_seed, 1), *pair_seeds])
    if len({seed for seed, _ in seeds}) != len(seeds):
        raise InvalidInput("mask seeds: expected distinct ones")
    masked = vector if in_place else np.empty_like(vector)
    streams = [(Keystream(seed), sign) for seed, sign in seeds]
    scratch = np.empty(min(CHUNK_ELEMENTS, vector.size), dtype=np.uint32)
    for at in range(0, vector.size, CHUNK_ELEMENTS):
        chunk = masked[at : at + CHUNK_ELEMENTS]
        source = vector[at : at + CHUNK_ELEMENTS]
        for stream, sign in streams:
            _add_keystream(source, stream, sign, chunk, scratch)
            source = chunk
    return masked


def unmask_sum(
    updates: Iterable[NDArray[np.uint32] | UpdateReader],
    self_seeds: Sequence[bytes],
    leftover_pair_seeds: Sequence[SignedSeed],
    length: int,
) -> NDArray[np.uint32]:
    """Σ_U x_i modulo 2^32: the survivors' updates, less their self masks and the dropped ones' pair masks.

    Args:
        updates: y_i of every survivor, arrays of shape [length] or streams of little-endian uint32; read one
            after the other, so an iterator may open each when its turn comes.
        self_seeds: one for each update, in any order.
        leftover_pair_seeds: for every survivor and every dropped hospital with which it shares a mask, the
            pair seed and the sign with which the *survivor* applied it.
        length: elements of the vector.

    Raises:
        InvalidInput: an update of another length, a malformed seed or sign, or not one self seed an update.
    """
    if length < 1:
        raise InvalidInput(f"vector length: expected 1 or more, found {length}")
    # Equal seeds are not refused here: a hospital may have copied another's, and must not stop the round by it.
    seeds = _signed([(seed, 1) for seed in self_seeds] + list(leftover_pair_seeds))
    total = np.zeros(length, dtype=np.uint32)
    count = 0
    for update in updates:
        count += 1
        at = 0
        for chunk in _chunks(update, length, count):
            part = total[at : at + chunk.size]
            np.add(part, chunk, out=part)
            at += chunk.size
    if count != len(self_seeds) or not count:
        raise InvalidInput(f"self seeds: expected one for each of {count} updates, found {len(self_seeds)}")
    streams = [(Keystream(seed), -sign) for seed, sign in seeds]
    scratch = np.empty(min(CHUNK_ELEMENTS, length), dtype=np.uint32)
    for at in range(0, length, CHUNK_ELEMENTS):
        chunk = total[at : at + CHUNK_ELEMENTS]
        for stream, sign in streams:
            _add_keystream(chunk, stream, sign, chunk, scratch)
    return total


def encode_update(masked: NDArray[np.uint32]) -> memoryview:
    """The bytes of an update's blob, little-endian, without copying on a little-endian machine."""
    _check_vector(masked)
    return masked.astype(_WORD, copy=False).data.cast("B")


def decode_update(data: bytes | memoryview) -> NDArray[np.uint32]:
    """The update in a blob, read-only and without copying on a little-endian machine.

    Raises:
        InvalidInput: not a whole, positive number of elements.
    """
    if not len(data) or len(data) % 4:
        raise InvalidInput(f"update: expected whole 4-byte elements, found {len(data)} bytes")
    return np.frombuffer(data, dtype=_WORD).astype(np.uint32, copy=False)


def _add_keystream(
    source: NDArray[np.uint32],
    stream: Keystream,
    sign: int,
    out: NDArray[np.uint32],
    scratch: NDArray[np.uint32],
) -> None:
    mask = scratch[: out.size]
    stream.fill(mask)
    (np.add if sign > 0 else np.subtract)(source, mask, out=out)


def _chunks(update: NDArray[np.uint32] | UpdateReader, length: int, number: int) -> Iterator[NDArray[np.uint32]]:
    if isinstance(update, np.ndarray):
        _check_vector(update)
        if update.size != length:
            raise InvalidInput(f"update {number}: expected {length} elements, found {update.size}")
        yield update
        return
    left = 4 * length
    while left:
        data = _read_fully(update, min(left, 4 * CHUNK_ELEMENTS))
        if not data:
            raise InvalidInput(f"update {number}: expected {4 * length} bytes, {left} of them are missing")
        left -= len(data)
        yield decode_update(data)
    if update.read(1):
        raise InvalidInput(f"update {number}: expected {4 * length} bytes, found more")


def _read_fully(reader: UpdateReader, size: int) -> bytes:
    """`size` bytes, or fewer whole elements at the end of the stream."""
    data = reader.read(size)
    if len(data) == size or not data:
        return data
    parts = [data]
    have = len(data)
    while have < size and (data := reader.read(size - have)):
        parts.append(data)
        have += len(data)
    return b"".join(parts)


def _signed(seeds: Sequence[SignedSeed]) -> Sequence[SignedSeed]:
    for _, sign in seeds:
        if sign not in (1, -1):
            raise InvalidInput(f"mask sign: expected +1 or -1, found {sign}")
    return seeds


def _check_vector(vector: NDArray[np.uint32]) -> None:
    if vector.dtype != np.uint32 or vector.ndim != 1 or not vector.flags.c_contiguous or not vector.size:
        raise InvalidInput(f"vector: expected contiguous uint32 [length], found {vector.dtype} of shape {vector.shape}")
