"""Ciphertexts as bytes: every coefficient little-endian in as many whole bytes as the modulus needs, no header.

One ciphertext has one byte string and the other way round, so that several parties that add the same ciphertexts agree
on a digest. What is read here may come from anybody: this module must never hand on a coefficient that is not below the
modulus, and never gives foreign bytes to the native library.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.homomorphic.parameters import Parameters

__all__ = ["Coefficients", "pack", "pack_key", "unpack", "unpack_key"]

Coefficients = NDArray[np.uint64]
"""uint64 of shape [ciphertexts, 2, degree], each below the modulus."""
_WORD: Final = np.dtype("<u8")
_KEY_BYTES: Final = 8


def pack(parameters: Parameters, ciphertexts: Coefficients) -> bytes:
    """The bytes of ciphertexts, one after the other."""
    return _packed(ciphertexts, parameters.coefficient_bytes)


def unpack(parameters: Parameters, data: bytes | memoryview) -> Coefficients:
    """The ciphertexts in `data`.

    Raises:
        InvalidInput: not a whole, positive number of ciphertexts, or a coefficient that is not below the modulus.
    """
    size = parameters.ciphertext_bytes
    if not len(data) or len(data) % size:
        raise InvalidInput(f"ciphertexts: expected whole ones of {size} bytes, found {len(data)} bytes")
    found = _unpacked(data, parameters.coefficient_bytes).reshape(-1, 2, parameters.degree)
    if bool((found >= parameters.modulus).any()):
        raise InvalidInput("ciphertexts: a coefficient is not below the modulus")
    return found


def pack_key(key: Coefficients) -> bytes:
    """The bytes of a key: uint64 of shape [polynomials, 2, degree], the residues modulo q, then those modulo p."""
    return _packed(key, _KEY_BYTES)


def unpack_key(parameters: Parameters, data: bytes | memoryview, polynomials: int) -> Coefficients:
    """The key in `data`: uint64 of shape [polynomials, 2, degree].

    Raises:
        InvalidInput: another length, or a residue that is not below its prime.
    """
    expected = polynomials * 2 * parameters.degree * _KEY_BYTES
    if len(data) != expected:
        raise InvalidInput(f"encryption key: expected {expected} bytes, found {len(data)}")
    found = _unpacked(data, _KEY_BYTES).reshape(polynomials, 2, parameters.degree)
    for index, prime in enumerate((parameters.modulus, parameters.special)):
        if bool((found[:, index] >= prime).any()):
            raise InvalidInput("encryption key: a residue is not below its prime")
    return found


def _packed(values: Coefficients, width: int) -> bytes:
    octets = np.ascontiguousarray(values, dtype=_WORD).view(np.uint8).reshape(-1, _WORD.itemsize)
    return octets[:, :width].tobytes()


def _unpacked(data: bytes | memoryview, width: int) -> Coefficients:
    octets = np.zeros((len(data) // width, _WORD.itemsize), dtype=np.uint8)
    octets[:, :width] = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    return octets.view(_WORD).reshape(-1).astype(np.uint64, copy=False)
