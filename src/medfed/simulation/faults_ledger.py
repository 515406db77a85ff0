"""A ledger seen through a bad network: old states, and transactions that are lost, delayed, doubled or reordered.

One engine orders for all. Each site sees it through its own window, which may lag but never goes back by itself. A
transaction that was sent is public from then on, whether or not it arrives.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from medfed.identifiers import Digest, Height, Name
from medfed.ledger.block import Block
from medfed.ledger.engine import StateView
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Genesis
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt
from medfed.simulation.faults import Rates

__all__ = ["History", "Network", "Window"]


class History:
    """The engine, and the state it was in at each height (or the next one kept, where one call made several blocks)."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine
        self.views: list[StateView] = [engine.view()] * (engine.view().tip.height + 1)

    @property
    def now(self) -> StateView:
        """The newest state."""
        return self.views[-1]

    def submit(self, transactions: Sequence[SignedTransaction]) -> list[Receipt]:
        """Have them ordered, in one block where they fit."""
        receipts = self.engine.submit(*transactions)
        newest = self.engine.view()
        self.views += [newest] * (newest.tip.height - self.now.tip.height)
        return receipts


class Window:
    """What one site sees of the ledger: an `Engine` for its agent."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.lag = 0
        """Blocks that it is behind."""
        self.shown: Height = 0
        self.last: StateView = history.now
        self.goes_back = False
        """Show a state older than the one that was seen, as a dishonest or restored operator would."""

    @property
    def genesis(self) -> Genesis:
        """Where the ledger begins."""
        return self._history.engine.genesis

    def submit(self, *transactions: SignedTransaction) -> list[Receipt]:
        """Straight to the engine."""
        return self._history.submit(transactions)

    def view(self) -> StateView:
        """The newest state that this site gets to see."""
        if self.goes_back and self.shown > 0:
            return self._history.views[self.shown - 1]
        newest = self._history.now.tip.height
        self.last = self._history.views[max(self.shown, newest - self.lag)]
        self.shown = self.last.tip.height
        return self.last

    def wait(self, above: Height, timeout: float) -> Height:
        """Nothing to wait for."""
        return self.shown

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        """The blocks from `start` on, as far as this site sees."""
        return (block for block in self._history.engine.blocks(start) if block.header.height <= self.shown)

    def block_id(self, height: Height) -> Digest | None:
        """The id of a block that this site sees."""
        return self._history.engine.block_id(height) if height <= self.shown else None

    def close(self) -> None:
        """Nothing to release."""


class Network:
    """Carries transactions to the engine."""

    def __init__(self, history: History, rng: random.Random, heard: Callable[[Name, list[Receipt]], None]) -> None:
        self._history = history
        self._rng = rng
        self._heard = heard
        self._pool: list[tuple[int, SignedTransaction]] = []
        self._past: list[SignedTransaction] = []
        self.tick = 0

    def __len__(self) -> int:
        return len(self._pool)

    def send(self, transactions: Sequence[SignedTransaction], rates: Rates) -> None:
        """Put transactions on their way; what was on its way already is not doubled."""
        waiting = {signed.payload for _, signed in self._pool}
        for signed in transactions:
            if signed.payload in waiting or self._hits(rates.lose):
                continue
            late = self._rng.randint(1, 12) if self._hits(rates.delay) else 0
            self._pool.append((self.tick + late, signed))
            self._past.append(signed)
            if self._hits(rates.duplicate):
                self._pool.append((self.tick + self._rng.randint(1, 20), self._rng.choice(self._past)))

    def deliver(self, rates: Rates, *, everything: bool = False) -> int:
        """Hand what has arrived to the engine, in any order; returns how many blocks that made."""
        ready = [signed for at, signed in self._pool if everything or at <= self.tick]
        if not ready:
            return 0
        self._pool = [(at, signed) for at, signed in self._pool if not everything and at > self.tick]
        if self._hits(rates.delay):
            self._rng.shuffle(ready)
        height = self._history.now.tip.height
        receipts = self._history.submit(ready)
        by_sender: dict[Name, list[Receipt]] = {}
        for signed, receipt in zip(ready, receipts, strict=True):
            by_sender.setdefault(signed.transaction.sender, []).append(receipt)
        for name, heard in by_sender.items():
            if not self._hits(rates.no_receipt):
                self._heard(name, heard)
        return self._history.now.tip.height - height

    def _hits(self, thousandths: int) -> bool:
        return thousandths > 0 and self._rng.randrange(1000) < thousandths
