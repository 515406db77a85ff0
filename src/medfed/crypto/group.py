"""Elements and scalars of ristretto255 (RFC 9496), a group of prime order: what private set intersection computes in.

Elements are 32 bytes in their only valid encoding. Nothing here ever accepts or returns the identity: it is the same
under every scalar, so it hides nothing. Scalars are secret and are never printed; multiplying takes a constant time.

libsodium is loaded by the first call, through `rbcl`, which unpacks it into a temporary file that is removed here.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from medfed.crypto.randomness import Entropy
from medfed.errors import InvalidInput

__all__ = [
    "ELEMENT_BYTES",
    "SCALAR_BYTES",
    "hash_to_element",
    "is_element",
    "multiply",
    "multiply_each",
    "new_scalar",
    "random_element",
    "uniform_element",
]

ELEMENT_BYTES: Final = 32
SCALAR_BYTES: Final = 32
UNIFORM_BYTES: Final = 64
_BLOCK_BYTES: Final = 128
"""Input block of SHA-512."""
_MAX_DOMAIN: Final = 255
_IDENTITY: Final = bytes(ELEMENT_BYTES)
_HIGH_BIT: Final = 0x80
"""Of the last byte; libsodium 1.0.18, which rbcl holds, ignores it, and an element must have one encoding only."""


def hash_to_element(data: bytes, domain: bytes) -> bytes:
    """The element that `data` stands for in `domain`: `hash_to_ristretto255` of RFC 9380, with SHA-512.

    Nobody knows its discrete logarithm, nor the relation of two. It is no secret: who can guess `data` can make it.

    Raises:
        InvalidInput: a domain that is not 1 to 255 bytes.
    """
    if not 1 <= len(domain) <= _MAX_DOMAIN:
        raise InvalidInput(f"hash domain: expected 1 to {_MAX_DOMAIN} bytes, found {len(domain)}")
    tail = domain + bytes((len(domain),))  # expand_message_xmd: RFC 9380, 5.3.1
    first = hashlib.sha512(bytes(_BLOCK_BYTES) + data + UNIFORM_BYTES.to_bytes(2, "big") + b"\0" + tail).digest()
    return uniform_element(hashlib.sha512(first + b"\1" + tail).digest())


def uniform_element(uniform: bytes) -> bytes:
    """The element derived from 64 uniform bytes (RFC 9496, 4.3.4).

    Raises:
        InvalidInput: not 64 bytes, or bytes that give the identity.
    """
    if len(uniform) != UNIFORM_BYTES:
        raise InvalidInput(f"uniform bytes: expected {UNIFORM_BYTES}, found {len(uniform)}")
    element: bytes = _sodium().crypto_core_ristretto255_from_hash(uniform)
    if element == _IDENTITY:
        raise InvalidInput("uniform bytes: they give the identity")
    return element


def random_element(entropy: Entropy) -> bytes:
    """An element that nobody knows anything about."""
    return uniform_element(entropy(UNIFORM_BYTES))


def new_scalar(entropy: Entropy) -> bytes:
    """A secret scalar (32 bytes, little-endian, below the group's order, not zero) from 64 bytes of `entropy`.

    Raises:
        InvalidInput: the entropy gives zero, which no random source ever does.
    """
    scalar: bytes = _sodium().crypto_core_ristretto255_scalar_reduce(entropy(UNIFORM_BYTES))
    if scalar == bytes(SCALAR_BYTES):
        raise InvalidInput("scalar: the entropy gives zero")
    return scalar


def multiply(scalar: bytes, element: bytes) -> bytes:
    """`element` times `scalar`, checked: never the identity, and only for a valid element.

    Raises:
        InvalidInput: the element is not a valid encoding or is the identity, the scalar is zero, or either has another
            length.
    """
    if len(scalar) != SCALAR_BYTES:
        raise InvalidInput(f"scalar: expected {SCALAR_BYTES} bytes, found {len(scalar)}")
    if len(element) != ELEMENT_BYTES:
        raise InvalidInput(f"group element: expected {ELEMENT_BYTES} bytes, found {len(element)}")
    if element[-1] & _HIGH_BIT:
        raise InvalidInput("group element: not a valid element: its highest bit is set")
    try:
        product: bytes = _sodium().crypto_scalarmult_ristretto255(scalar, element)
    except RuntimeError:
        raise InvalidInput("group element: not a valid element, or the identity") from None
    return product


def multiply_each(scalar: bytes, elements: bytes) -> bytes:
    """Every element of a list times `scalar`, in the same order: `multiply`, without an object for each.

    Raises:
        InvalidInput: as `multiply`, of the first element that is refused, or a length that is no multiple of 32.
    """
    if len(scalar) != SCALAR_BYTES:
        raise InvalidInput(f"scalar: expected {SCALAR_BYTES} bytes, found {len(scalar)}")
    if len(elements) % ELEMENT_BYTES:
        raise InvalidInput(f"group elements: expected {ELEMENT_BYTES} bytes each, found {len(elements)} in all")
    if elements and max(elements[ELEMENT_BYTES - 1 :: ELEMENT_BYTES]) & _HIGH_BIT:
        raise InvalidInput("group element: not a valid element: its highest bit is set")
    made = ctypes.create_string_buffer(len(elements))
    source = ctypes.create_string_buffer(elements, len(elements))  # libsodium reads at addresses, so they must stay
    factor = ctypes.create_string_buffer(scalar, SCALAR_BYTES)
    product, at, times = ctypes.addressof(made), ctypes.addressof(source), ctypes.addressof(factor)
    multiplied = _multiplication()
    for place in range(0, len(elements), ELEMENT_BYTES):
        if multiplied(product + place, times, at + place):
            raise InvalidInput("group element: not a valid element, or the identity")
    ctypes.memset(times, 0, SCALAR_BYTES)
    return made.raw


def is_element(data: bytes) -> bool:
    """Whether `data` is the valid encoding of an element other than the identity."""
    if len(data) != ELEMENT_BYTES or data == _IDENTITY or data[-1] & _HIGH_BIT:
        return False
    return bool(_sodium().crypto_core_ristretto255_is_valid_point(data))


@cache
def _multiplication() -> Callable[[int, int, int], int]:
    """libsodium's multiplication on addresses: of the product, the scalar and the element; not 0 where it refuses."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    return prototype(("crypto_scalarmult_ristretto255", _sodium()._sodium))


@cache
def _sodium() -> Any:
    import rbcl

    _remove_unpacked(rbcl)
    return rbcl


def _remove_unpacked(module: ModuleType) -> None:
    """rbcl leaves a copy of libsodium in the temporary directory; where a loaded file can be removed, it is."""
    name = getattr(getattr(module, "_sodium", None), "_name", None)
    if isinstance(name, str):
        try:
            Path(name).unlink(missing_ok=True)
        except OSError:  # Windows keeps a loaded library open
            return
