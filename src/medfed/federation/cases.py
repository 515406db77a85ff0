"""A hospital's commitment to the list of cases it trains on, so that an auditor on site can check the count.

The root is salted, so it says nothing about any patient to whoever has no salt. This module must never return
leaves.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

from medfed.errors import InvalidInput
from medfed.identifiers import Digest
from medfed.ledger.merkle import merkle_root

__all__ = ["SALT_BYTES", "salted_root"]

SALT_BYTES: Final = 32


def salted_root(rows: Iterable[bytes], salt: bytes) -> Digest:
    """RFC 6962's tree hash over `HMAC-SHA256(salt, row)`, leaves sorted, so the order of rows does not matter.

    Raises:
        InvalidInput: the salt is not 32 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise InvalidInput(f"salt of the cases' root: {len(salt)} bytes; expected {SALT_BYTES}")
    return merkle_root(sorted(hmac.digest(salt, row, "sha256") for row in rows))
