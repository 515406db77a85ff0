"""Blinding a list: every element times one's scalar of this attempt, the order kept, everything checked first.

A list with an invalid element, the identity, a repeated element or another length than declared is refused whole, never
mended: leaving one element out would tell its owner apart. The same list and scalar always give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from medfed.crypto import ELEMENT_BYTES, is_element, multiply_each
from medfed.errors import InvalidInput

__all__ = ["blind_list", "check_list", "elements_of"]

_CHUNK: Final = 512
"""Elements a thread takes at a time, about 25 ms."""


def elements_of(elements: bytes) -> list[bytes]:
    """The single elements of a list."""
    return [elements[at : at + ELEMENT_BYTES] for at in range(0, len(elements), ELEMENT_BYTES)]


def check_list(elements: bytes, length: int) -> None:
    """Whether `elements` can be a list of that length.

    Raises:
        InvalidInput: another length, an invalid element, the identity, or an element that is there twice.
    """
    _check_shape(elements, length)
    for position, element in enumerate(elements_of(elements)):
        if not is_element(element):
            raise InvalidInput(f"alignment list: position {position} holds no valid element, or the identity")


def blind_list(scalar: bytes, elements: bytes, length: int, workers: int | None = None) -> bytes:
    """`elements`, each times `scalar`, in the same order.

    Args:
        length: how many elements their owner has declared.
        workers: threads; libsodium runs outside the interpreter's lock, so they share the work. All cores by default.

    Raises:
        InvalidInput: as `check_list`.
    """
    _check_shape(elements, length)
    parts = list(_parts(elements))
    threads = min(workers or os.cpu_count() or 1, len(parts))
    if threads <= 1:
        return multiply_each(scalar, elements)
    with ThreadPoolExecutor(threads) as pool:
        return b"".join(pool.map(partial(multiply_each, scalar), parts))


def _parts(elements: bytes) -> Iterator[bytes]:
    step = _CHUNK * ELEMENT_BYTES
    for at in range(0, len(elements), step):
        yield elements[at : at + step]


def _check_shape(elements: bytes, length: int) -> None:
    if len(elements) != length * ELEMENT_BYTES:
        raise InvalidInput(
            f"alignment list: expected {length} elements of {ELEMENT_BYTES} bytes, found {len(elements)} bytes"
        )
    if len(set(elements_of(elements))) != length:
        raise InvalidInput("alignment list: an element is there twice")
