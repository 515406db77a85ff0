"""A hospital's commitment to the list of cases it trains on, so that an auditor on site can check the declared count.

The root is salted, so it says nothing about any patient to whoever has no salt. This module must never return leaves.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from medfed.errors import InvalidInput
from medfed.identifiers import Digest

__all__ = ["salted_root"]

SALT_BYTES: Final = 32


def salted_root(rows: Iterable[bytes], salt: bytes) -> Digest:
    """RFC 6962's Merkle tree hash over `HMAC-SHA256(salt, row)`, in the order of the leaves' bytes.

    Raises:
        InvalidInput: the salt is not 32 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise InvalidInput(f"salt of the cases' root: {len(salt)} bytes; expected {SALT_BYTES}")
    leaves = sorted(hmac.digest(salt, row, "sha256") for row in rows)
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    if not level:
        return hashlib.sha256(b"").digest()
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [hashlib.sha256(b"\1" + left + right).digest() for left, right in pairs]
        # RFC 6962 splits at the largest power of two; pairing level by level and carrying an odd last node up is equal.
        level = above + level[-1:] if len(level) % 2 else above
    return level[0]
