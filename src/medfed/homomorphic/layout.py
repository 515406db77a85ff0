"""Where the elements of a vector lie in its ciphertexts, and the tags that show whose ciphertexts a sum has in it.

A ciphertext holds `degree` numbers. The first two for every hospital of the study roster are its tag, then come zeros
up to at least 64 numbers in all, and the others are elements of the vector. A hospital's tag is 64 bits that nobody
else knows, fresh for every attempt and different in every ciphertext; it writes zeros at the places of the others.
The key holder, who is told the tags, sees in every ciphertext of a sum whether each survivor is in it exactly once
and nobody else is, before it tells anybody the total.

An aggregator can only add ciphertexts, multiply them by polynomials and add numbers of its own. None of that changes
what a ciphertext holds at one place and leaves another as it was, so with the right tags a ciphertext of the sum holds
the survivors' elements and at most numbers that the aggregator added: it cannot hold one hospital's elements alone.
Nor can it be used to ask for the secret key: what is added to a ciphertext's second polynomial adds coefficients of the
key, each -1, 0 or 1, to the tags and zeros as well, and who has to guess 64 of them has one chance in 2^101.
This module must never derive a tag from anything that another participant knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import Keystream
from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.homomorphic.parameters import PARAMETERS, Parameters

__all__ = ["MAX_ELEMENTS", "MAX_HOSPITALS", "TAG_WORDS", "Layout"]

MAX_HOSPITALS: Final = 50
MAX_ELEMENTS: Final = 1 << 28
"""Both as in the secure sum's manifest, of which this package knows no more."""
TAG_WORDS: Final = 2
"""64 bits: whoever guesses has one chance in 2^64, once for every ciphertext."""
MIN_TAG_ELEMENTS: Final = 64


class Layout(Record, frozen=True):
    """How one vector is spread over ciphertexts. All that take part derive the same one."""

    hospitals: int
    """Of the study roster, whether or not they take part in the round."""
    length: int
    """Elements of the vector."""
    parameters: Parameters = PARAMETERS

    def __post_init__(self) -> None:
        if not 1 <= self.hospitals <= MAX_HOSPITALS:
            raise InvalidInput(f"hospitals: expected 1 to {MAX_HOSPITALS}, found {self.hospitals}")
        if not 1 <= self.length <= MAX_ELEMENTS:
            raise InvalidInput(f"vector length: expected 1 to {MAX_ELEMENTS}, found {self.length}")

    @property
    def tag_elements(self) -> int:
        """Numbers of every ciphertext that are tags, or zeros that are looked at like tags."""
        return max(MIN_TAG_ELEMENTS, TAG_WORDS * self.hospitals)

    @property
    def elements(self) -> int:
        """Elements of the vector in one ciphertext."""
        return self.parameters.degree - self.tag_elements

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of one vector."""
        return -(-self.length // self.elements)

    @property
    def size(self) -> int:
        """Bytes of one vector's ciphertexts."""
        return self.ciphertexts * self.parameters.ciphertext_bytes

    def plaintexts(
        self, vector: NDArray[np.uint32], hospital: int, seed: bytes, batch: int
    ) -> Iterator[NDArray[np.uint32]]:
        """What a hospital encrypts, at most `batch` ciphertexts at a time: uint32 [up to batch, degree].

        Args:
            vector: uint32 of shape [length].
            hospital: the sender's place in the study roster.
            seed: 32 fresh random bytes, for this attempt only.
            batch: 1 or more.

        Raises:
            InvalidInput: another shape or type, or no such place.
        """
        if vector.dtype != np.uint32 or vector.shape != (self.length,):
            raise InvalidInput(f"vector: expected uint32 [{self.length}], found {vector.dtype} of shape {vector.shape}")
        tags, first = self._tags(seed), self._place(hospital)
        for at in range(0, self.ciphertexts, batch):
            count = min(batch, self.ciphertexts - at)
            block = np.zeros((count, self.parameters.degree), dtype=np.uint32)
            block[:, first : first + TAG_WORDS] = tags[at : at + count]
            part = vector[at * self.elements : (at + count) * self.elements]
            _fill(block[:, self.tag_elements :], part)
            yield block

    def elements_of(self, plaintexts: NDArray[np.uint32], first: int) -> NDArray[np.uint32]:
        """The vector's elements in decrypted ciphertexts, of which the first is number `first`."""
        found = plaintexts[:, self.tag_elements :].reshape(-1)
        return found[: min(found.size, self.length - first * self.elements)]

    def expected_tags(self, seeds: Mapping[int, bytes]) -> NDArray[np.uint32]:
        """The tags of a sum over the hospitals in `seeds`, by place: uint32 [ciphertexts, tag elements]."""
        expected = np.zeros((self.ciphertexts, self.tag_elements), dtype=np.uint32)
        for hospital, seed in seeds.items():
            first = self._place(hospital)
            expected[:, first : first + TAG_WORDS] = self._tags(seed)
        return expected

    def _place(self, hospital: int) -> int:
        if not 0 <= hospital < self.hospitals:
            raise InvalidInput(f"hospital: expected a place from 0 to {self.hospitals - 1}, found {hospital}")
        return TAG_WORDS * hospital

    def _tags(self, seed: bytes) -> NDArray[np.uint32]:
        words = np.empty(TAG_WORDS * self.ciphertexts, dtype=np.uint32)
        Keystream(seed).fill(words)
        return words.reshape(self.ciphertexts, TAG_WORDS)


def _fill(target: NDArray[np.uint32], part: NDArray[np.uint32]) -> None:
    """Write `part` into the rows of `target`, which may be longer."""
    rows, left = divmod(part.size, target.shape[1])
    target[:rows] = part[: part.size - left].reshape(rows, target.shape[1])
    if left:
        target[rows, :left] = part[part.size - left :]
