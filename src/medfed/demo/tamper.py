"""Changing a copy of a finished ledger, to see that verification names the place."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from medfed.errors import Tampered
from medfed.ledger.verify import verify_store

__all__ = ["tamper_with_copy"]


def tamper_with_copy(ledger: Path, height: int) -> str:
    """Flip one bit in a transaction of block `height` of a copy of `ledger`; returns what verification says.

    The copy is deleted again.
    """
    copy = ledger.with_name("tampered.db")
    source = sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)
    target = sqlite3.connect(copy)
    try:
        source.backup(target)
        (data,) = target.execute("SELECT transactions FROM block WHERE height = ?", (height,)).fetchone()
        changed = bytearray(data)
        changed[len(changed) // 2] ^= 1
        target.execute("UPDATE block SET transactions = ? WHERE height = ?", (bytes(changed), height))
        target.commit()
    finally:
        source.close()
        target.close()
    try:
        verify_store(copy)
    except Tampered as found:
        return str(found)
    finally:
        for leftover in copy.parent.glob(copy.name + "*"):
            if leftover.is_file():
                leftover.unlink()
    return ""
