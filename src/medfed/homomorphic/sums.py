"""Encrypting a vector, adding ciphertexts, decrypting their sum: whole vectors as bytes, a batch at a time.

A vector's ciphertexts are `Layout.ciphertexts` ciphertexts, packed one after the other. Adding needs no key and no
library, and gives the same bytes to everybody who adds the same ciphertexts in any order. This module must never hold
more than one batch of anything that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput, Refused
from medfed.homomorphic.layout import MAX_HOSPITALS, TAG_WORDS, Layout
from medfed.homomorphic.library import Cipher
from medfed.homomorphic.packing import Coefficients, pack, unpack
from medfed.homomorphic.parameters import Parameters

__all__ = ["BATCH", "CiphertextReader", "add_ciphertexts", "decrypt_sum", "encrypt_vector"]

BATCH: Final = 16
"""Ciphertexts at a time: 64 Ki numbers, 768 KiB packed, 1 MiB unpacked."""


class CiphertextReader(Protocol):
    """A binary stream of packed ciphertexts."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def encrypt_vector(
    cipher: Cipher, public: bytes, layout: Layout, vector: NDArray[np.uint32], hospital: int, seed: bytes
) -> Iterator[bytes]:
    """The ciphertexts of a vector, packed, a batch at a time.

    Args:
        cipher: where encryptions of zero come from.
        public: the key holder's public key.
        layout: how the vector is spread.
        vector: uint32 [length], as the secure sum's manifest has it.
        hospital: the sender's place in the study roster.
        seed: 32 fresh random bytes from which its tags come; never for a second attempt.

    Raises:
        InvalidInput: another shape, no such place, or not a public key.
    """
    for block in layout.plaintexts(vector, hospital, seed, BATCH):
        sealed = cipher.encrypt_zeros(public, len(block))
        _add_plaintexts(layout.parameters, sealed, block)
        yield pack(layout.parameters, sealed)


def add_ciphertexts(layout: Layout, vectors: Sequence[CiphertextReader]) -> Iterator[bytes]:
    """The sum of several vectors' ciphertexts, packed, a batch at a time.

    Raises:
        InvalidInput: none or more than 50, one of another length, or bytes that are no ciphertexts; names its number.
    """
    if not 1 <= len(vectors) <= MAX_HOSPITALS:
        raise InvalidInput(f"ciphertexts to add: expected 1 to {MAX_HOSPITALS} hospitals, found {len(vectors)}")
    for count in _batches(layout):
        total = np.zeros((count, 2, layout.parameters.degree), dtype=np.uint64)
        for number, reader in enumerate(vectors, start=1):
            np.add(total, _read(layout.parameters, reader, count, number), out=total)
        np.remainder(total, np.uint64(layout.parameters.modulus), out=total)
        yield pack(layout.parameters, total)
    for number, reader in enumerate(vectors, start=1):
        _check_end(reader, number)


def decrypt_sum(
    cipher: Cipher, secret: bytes, layout: Layout, total: CiphertextReader, seeds: Mapping[int, bytes]
) -> NDArray[np.uint32]:
    """The total of a sum's vectors modulo 2^32, uint32 [length], if it is the sum over exactly these hospitals.

    Args:
        cipher: what decrypts.
        secret: the key holder's secret key.
        layout: how the vectors are spread.
        total: the ciphertexts of the sum.
        seeds: the survivors' tag seeds by their places in the study roster.

    Raises:
        InvalidInput: another length, or bytes that are no ciphertexts.
        Refused: `wrong-tags`: a survivor is missing or counted twice, somebody else is in it, the sum is of another
            round or under another key. Nothing of the total may be told to anybody then.
    """
    expected = layout.expected_tags(seeds)
    found = np.empty(layout.length, dtype=np.uint32)
    first = 0
    for count in _batches(layout):
        plain = cipher.decrypt(secret, _read(layout.parameters, total, count, 1))
        _verify_tags(layout, plain, expected[first : first + count])
        elements = layout.elements_of(plain, first)
        at = first * layout.elements
        found[at : at + elements.size] = elements
        first += count
    _check_end(total, 1)
    return found


def _add_plaintexts(parameters: Parameters, sealed: Coefficients, block: NDArray[np.uint32]) -> None:
    """Add Δ times the numbers, read as signed, so that a sum holds Δ times the total and nothing that rounding left."""
    signed = block.view(np.int32).astype(np.int64) * np.int64(parameters.delta)
    part = sealed[:, 0]
    np.add(part, (signed % np.int64(parameters.modulus)).astype(np.uint64), out=part)
    np.remainder(part, np.uint64(parameters.modulus), out=part)


def _verify_tags(layout: Layout, plain: NDArray[np.uint32], expected: NDArray[np.uint32]) -> None:
    wrong = (plain[:, : layout.tag_elements] != expected).any(axis=0).reshape(-1, TAG_WORDS).any(axis=1)
    if bool(wrong.any()):
        places = ", ".join(str(place) for place in np.flatnonzero(wrong))
        raise Refused("wrong-tags", f"sum: the tags at the places {places} of the roster are not the survivors'")


def _batches(layout: Layout) -> Iterable[int]:
    for at in range(0, layout.ciphertexts, BATCH):
        yield min(BATCH, layout.ciphertexts - at)


def _read(parameters: Parameters, reader: CiphertextReader, count: int, number: int) -> Coefficients:
    wanted = count * parameters.ciphertext_bytes
    parts: list[bytes] = []
    have = 0
    while have < wanted and (data := reader.read(wanted - have)):
        parts.append(data)
        have += len(data)
    if have != wanted:
        raise InvalidInput(f"ciphertexts of vector {number}: {wanted - have} bytes are missing")
    try:
        return unpack(parameters, parts[0] if len(parts) == 1 else b"".join(parts))
    except InvalidInput as error:
        raise InvalidInput(f"vector {number}: {error}") from None


def _check_end(reader: CiphertextReader, number: int) -> None:
    if reader.read(1):
        raise InvalidInput(f"ciphertexts of vector {number}: there are more bytes than its length allows")
