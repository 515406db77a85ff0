"""This node's copy of the ledger: the file, and the newest state in memory, shared by the application and the engine.

It changes only in `commit`, in one durable transaction, and only then do readers see the block. Opening replays every
block, as the embedded engine does: whoever can write the file could have changed its state tables.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

from medfed.errors import Tampered
from medfed.identifiers import Height
from medfed.ledger.block import Block
from medfed.ledger.engines.replaying import catch_up, replay
from medfed.ledger.genesis import Genesis
from medfed.ledger.state import State, Writes
from medfed.ledger.store import LedgerStore
from medfed.ledger.transition import Receipt, Tip, tip_after

__all__ = ["Follower", "Reader", "Replica"]

_POLL_SECONDS: Final = 0.005


class Reader(Protocol):
    """What an engine needs of this node's copy of the ledger."""

    @property
    def genesis(self) -> Genesis:
        """Where the ledger begins."""
        ...

    @property
    def readings(self) -> LedgerStore:
        """The file, to be read."""
        ...

    def now(self) -> tuple[State, Tip]:
        """The newest state and its tip."""
        ...

    def wait(self, above: Height, timeout: float) -> Height:
        """Wait until the tip is higher than `above`, the copy is closed, or `timeout` seconds are over."""
        ...

    def close(self) -> None:
        """Close the file and wake whoever waits."""
        ...


class Replica:
    """One open ledger file with its state. Safe to use from several threads."""

    def __init__(self, store: LedgerStore) -> None:
        self.store = store
        self.readings = LedgerStore.open(store.path, read_only=True)
        self.genesis = store.genesis
        self._now = replay(store)
        self._changed = threading.Condition()
        self._closed = False

    def now(self) -> tuple[State, Tip]:
        """The newest state and its tip."""
        return self._now

    def commit(self, block: Block, writes: Writes, receipts: list[Receipt]) -> None:
        """Make the next block durable, then show it.

        Raises:
            Unavailable: the disk would not take it; nothing has changed.
        """
        state, tip = self._now
        if block.header.previous != tip.block:
            raise Tampered(f"block {block.header.height}: it does not follow block {tip.height}")
        with self.store.writing():
            self.store.append(block, writes, receipts)
        with self._changed:
            self._now = state.with_writes(writes), tip_after(block.header)
            self._changed.notify_all()

    def wait(self, above: Height, timeout: float) -> Height:
        """Wait until the tip is higher than `above`, the replica is closed, or `timeout` seconds are over."""
        end = time.monotonic() + timeout
        with self._changed:
            while (height := self._now[1].height) <= above and not self._closed:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        return height

    def close(self) -> None:
        """Close the file and wake whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.store.close()
        self.readings.close()


class Follower:
    """The same copy as seen by another process of the machine: read-only, every new block replayed and checked."""

    def __init__(self, store: LedgerStore) -> None:
        self.readings = store
        self.genesis = store.genesis
        self._now = replay(store)
        self._version = -1
        self._lock = threading.Lock()

    def now(self) -> tuple[State, Tip]:
        """See `Reader.now`."""
        with self._lock:
            version = self.readings.data_version()
            if version != self._version:
                self._now = catch_up(self.readings, *self._now)
                self._version = version
            return self._now

    def wait(self, above: Height, timeout: float) -> Height:
        """See `Reader.wait`; polls the file's data version."""
        end = time.monotonic() + timeout
        while True:
            height = self.now()[1].height
            left = end - time.monotonic()
            if height > above or left <= 0:
                return height
            time.sleep(min(_POLL_SECONDS, left))

    def close(self) -> None:
        """See `Reader.close`."""
        self.readings.close()
