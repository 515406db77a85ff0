"""The bytes in which the SEAL library saves and loads its objects, as far as ciphertexts and keys need them.

Format: SEAL 4, native/src/seal/serialization.h, ciphertext.cpp, plaintext.cpp and dynarray.h. What is written is not
compressed and has been checked by `packing`. What is read was written by the library of this very process, never by
anybody else: this module must never be given foreign bytes.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import Unavailable

__all__ = ["read_words", "write_ciphertext", "write_plaintext"]

_HEADER: Final = struct.Struct("<HBBBBHQ")
"""Magic, header size, major and minor version, compression, reserved, size with the header."""
_MAGIC: Final = 0xA15E
_CIPHERTEXT: Final = struct.Struct("<4QBQQQdQ")
"""Parameters' id, whether in transformed form, polynomials, degree, primes, scale, correction factor."""
_PLAINTEXT: Final = struct.Struct("<4QQd")
"""Parameters' id, coefficients, scale."""
_COUNT: Final = struct.Struct("<Q")
_NOT_COMPRESSED: Final = 0
_ZSTANDARD: Final = 2
_MAX_BYTES: Final = 1 << 26

ParametersId = Sequence[int]
Version = tuple[int, int]


def write_ciphertext(
    words: NDArray[np.uint64], identity: ParametersId, version: Version, *, transformed: bool
) -> bytes:
    """A ciphertext or public key of `words`, uint64 [polynomials, primes, degree]."""
    polynomials, primes, degree = words.shape
    members = _CIPHERTEXT.pack(*identity, int(transformed), polynomials, degree, primes, 1.0, 1)
    return _object(members + _array(words, version), version)


def write_plaintext(words: NDArray[np.uint64], identity: ParametersId, version: Version) -> bytes:
    """A plaintext or secret key of `words`, uint64 of any shape."""
    return _object(_PLAINTEXT.pack(*identity, words.size, 1.0) + _array(words, version), version)


def read_words(data: bytes, *, ciphertext: bool) -> NDArray[np.uint64]:
    """The flat uint64 words of an object that this process's library has saved.

    Raises:
        Unavailable: the library writes another format than the one known here.
    """
    body = _body(data)
    at = (_CIPHERTEXT if ciphertext else _PLAINTEXT).size
    inner = _body(body[at:])
    (count,) = _COUNT.unpack_from(inner)
    if len(inner) != _COUNT.size + 8 * count:
        raise _unknown()
    return np.frombuffer(inner, dtype="<u8", offset=_COUNT.size).astype(np.uint64, copy=False)


def version_of(data: bytes) -> Version:
    """The version of the library that saved `data`."""
    _, _, major, minor, _, _, _ = _HEADER.unpack_from(data)
    return major, minor


def _array(words: NDArray[np.uint64], version: Version) -> bytes:
    return _object(_COUNT.pack(words.size) + words.astype("<u8", copy=False).tobytes(), version)


def _object(body: bytes, version: Version) -> bytes:
    return _HEADER.pack(_MAGIC, _HEADER.size, *version, _NOT_COMPRESSED, 0, _HEADER.size + len(body)) + body


def _body(data: bytes) -> bytes:
    if len(data) < _HEADER.size:
        raise _unknown()
    magic, size, _, _, compression, _, total = _HEADER.unpack_from(data)
    if magic != _MAGIC or size != _HEADER.size or total != len(data):
        raise _unknown()
    if compression == _NOT_COMPRESSED:
        return data[size:]
    if compression != _ZSTANDARD:
        raise _unknown()
    zstandard: Any = importlib.import_module("zstandard")
    return zstandard.ZstdDecompressor().decompressobj().decompress(data[size:])[:_MAX_BYTES]


def _unknown() -> Unavailable:
    return Unavailable("TenSEAL's library saves its objects in a format that this version of MedFed does not know")
