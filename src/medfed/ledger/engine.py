"""What an engine offers: it orders transactions, makes blocks final and keeps them. Agents know no more than this."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from medfed.encoding import Record
from medfed.identifiers import Digest, Height, Name
from medfed.ledger.block import Block
from medfed.ledger.genesis import Genesis
from medfed.ledger.state import State
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt, Tip

__all__ = ["Clock", "Engine", "StateView"]

Clock = Callable[[], int]
"""Milliseconds since 1970, UTC."""


class StateView:
    """An immutable snapshot of the ledger: its tip and its state."""

    __slots__ = ("genesis", "state", "tip")

    def __init__(self, genesis: Genesis, state: State, tip: Tip) -> None:
        self.genesis = genesis
        self.state = state
        self.tip = tip

    @property
    def chain(self) -> Digest:
        """The genesis digest."""
        return self.genesis.digest

    def get(self, key: bytes) -> bytes | None:
        """A view reads like its state."""
        return self.state.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """A view reads like its state."""
        return self.state.scan(prefix)


class Engine(Protocol):
    """Orders and stores. All engines pass one conformance suite."""

    @property
    def genesis(self) -> Genesis:
        """Where the ledger begins."""
        ...

    def submit(self, *transactions: SignedTransaction) -> list[Receipt]:
        """Have transactions ordered; returns when they are final, one receipt each, in their order.

        A receipt without a height says why the transaction entered no block; it may be sent again, the same bytes. One
        that is on the ledger already gets the receipt that it got then.
        """
        ...

    def view(self) -> StateView:
        """The newest final state."""
        ...

    def wait(self, above: Height, timeout: float) -> Height:
        """Wait until the ledger is higher than `above`, at most `timeout` seconds; returns its height."""
        ...

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        """The blocks from `start` on."""
        ...

    def block_id(self, height: Height) -> Digest | None:
        """The id of the block at `height`, or None above the tip; height 0 is the genesis."""
        ...

    def close(self) -> None:
        """Release files and locks."""
        ...


class Sealer(Record):
    """Who proposes the blocks that an engine makes, and the seed of the key it seals them with."""

    name: Name
    signing_seed: bytes
