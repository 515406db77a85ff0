"""Salted commitments: SHA-256 of a random salt and the data. Hiding needs a fresh, secret salt each time.

Nothing about a patient may ever be committed to without one: an unsalted hash can be found by trying.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from medfed.errors import InvalidInput
from medfed.identifiers import Digest

__all__ = ["SALT_BYTES", "commit", "equal", "is_commitment_to"]

SALT_BYTES: Final = 32


def commit(salt: bytes, data: bytes | memoryview) -> Digest:
    """SHA-256(salt ‖ data), the salt 32 bytes.

    Raises:
        InvalidInput: the salt has another length, which would let the border between salt and data move.
    """
    if len(salt) != SALT_BYTES:
        raise InvalidInput(f"commitment salt: expected {SALT_BYTES} bytes, found {len(salt)}")
    state = hashlib.sha256(salt)
    state.update(data)
    return state.digest()


def is_commitment_to(commitment: bytes, salt: bytes, data: bytes | memoryview) -> bool:
    """Whether `commitment` opens to `data` with `salt`; false for a salt of another length. Constant-time."""
    return len(salt) == SALT_BYTES and equal(commitment, commit(salt, data))


def equal(a: bytes, b: bytes) -> bool:
    """Whether two byte strings are equal, in a time that tells nothing but their lengths."""
    return hmac.compare_digest(a, b)
