"""Deriving keys from keys: HKDF (RFC 5869) and HMAC (RFC 2104), both with SHA-256.

`info` says what the derived key is for; two purposes must never share one.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medfed.errors import InvalidInput

__all__ = ["hkdf_sha256", "hmac_sha256"]

_MAX_LENGTH: Final = 255 * 32


def hkdf_sha256(secret: bytes, info: bytes, length: int = 32, salt: bytes = b"") -> bytes:
    """`length` bytes (1 to 8,160) derived from `secret` for the purpose `info`.

    Raises:
        InvalidInput: the length is out of range.
    """
    if not 1 <= length <= _MAX_LENGTH:
        raise InvalidInput(f"derived length: expected 1 to {_MAX_LENGTH} bytes, found {length}")
    return HKDF(algorithm=SHA256(), length=length, salt=salt or None, info=info).derive(secret)


def hmac_sha256(key: bytes, data: bytes | memoryview) -> bytes:
    """The authentication code (32 bytes) of `data` under `key`."""
    return hmac.digest(key, data, "sha256")
