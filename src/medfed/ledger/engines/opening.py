"""Opening a ledger file with the engine that it belongs to. Nothing else decides which one that is."""

from __future__ import annotations

from pathlib import Path

from medfed.ledger.engine import Clock, Engine, Sealer
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.store import reading

__all__ = ["open_engine"]


def open_engine(path: Path, clock: Clock, sealer: Sealer) -> Engine:
    """The embedded engine on a file of its own; on a node's replica, the pool of that node.

    Raises:
        InvalidInput, Tampered, Unavailable: as the engines say.
    """
    with reading(path) as store:
        replicated = store.replicated
    if not replicated:
        return EmbeddedEngine.open(path, clock, sealer)
    from medfed.ledger.engines.cometbft.engine import open_client

    return open_client(path, clock)
