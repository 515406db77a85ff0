"""The ledger in one SQLite file, shared by the processes of one machine. The default.

Whoever submits takes the file's write lock, replays and checks what others have added since, applies its own
transactions, seals the block with its own key and commits. A process never takes another's word for a block, and not
the file's for the state either: whoever can write the file could have changed it, so opening replays all blocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput, Tampered
from medfed.identifiers import Digest, Height
from medfed.ledger.block import Block
from medfed.ledger.engine import Clock, Sealer, StateView
from medfed.ledger.engines.ordering import Orderer, check_sealers
from medfed.ledger.genesis import Genesis, verify_genesis
from medfed.ledger.state import State
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt, Tip, apply_block, genesis_tip, tip_after

__all__ = ["EmbeddedEngine"]

_POLL_SECONDS: Final = 0.01


class EmbeddedEngine:
    """This process's hold on a ledger file."""

    def __init__(self, store: LedgerStore, clock: Clock, *sealers: Sealer) -> None:
        self._store = store
        self._state, self._tip = _replay(store)
        check_sealers(store.genesis, self._state, sealers)
        self._orderer = Orderer(store.genesis, sealers, clock)
        self._version = -1

    @staticmethod
    def create(path: Path, genesis: Genesis, clock: Clock, *sealers: Sealer) -> EmbeddedEngine:
        """Begin a ledger in a new file."""
        verify_genesis(genesis)
        return EmbeddedEngine(LedgerStore.create(path, genesis), clock, *sealers)

    @staticmethod
    def open(path: Path, clock: Clock, *sealers: Sealer) -> EmbeddedEngine:
        """Go on with a ledger file.

        Raises:
            InvalidInput: only consensus may add to it. Others: as `LedgerStore.open`.
        """
        store = LedgerStore.open(path)
        if store.replicated:
            store.close()
            raise InvalidInput(
                f"{path}: a replica of a network of hospitals; its node orders transactions, nobody else"
            )
        return EmbeddedEngine(store, clock, *sealers)

    @property
    def genesis(self) -> Genesis:
        """See `Engine.genesis`."""
        return self._store.genesis

    def submit(self, *transactions: SignedTransaction) -> list[Receipt]:
        """See `Engine.submit`; one durable commit for all of them."""
        known: dict[Digest, Receipt] = {}
        with self._store.writing():
            state, tip = self._caught_up()
            for signed in transactions:
                receipt = self._store.receipt(signed.id)
                if receipt is not None:
                    known[signed.id] = receipt
            new = [signed for signed in transactions if signed.id not in known]
            state, tip, receipts = self._orderer.order(state, tip, new, self._store.append)
        self._state, self._tip = state, tip
        return [known.get(signed.id) or receipts[signed.id] for signed in transactions]

    def view(self) -> StateView:
        """See `Engine.view`."""
        version = self._store.data_version()
        if version != self._version:
            self._state, self._tip = self._caught_up()
            self._version = version
        return StateView(self.genesis, self._state, self._tip)

    def wait(self, above: Height, timeout: float) -> Height:
        """See `Engine.wait`; polls the file's data version."""
        end = time.monotonic() + timeout
        while True:
            height = self.view().tip.height
            left = end - time.monotonic()
            if height > above or left <= 0:
                return height
            time.sleep(min(_POLL_SECONDS, left))

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        """See `Engine.blocks`."""
        return self._store.blocks(start)

    def block_id(self, height: Height) -> Digest | None:
        """See `Engine.block_id`."""
        return self._store.block_id(height)

    def close(self) -> None:
        """See `Engine.close`."""
        self._store.close()

    def _caught_up(self) -> tuple[State, Tip]:
        """The state after every block that other processes have added, each replayed and checked."""
        state, tip = self._state, self._tip
        if self._store.block_id(tip.height) != tip.block:
            raise Tampered(f"{self._store.path}: block {tip.height} is not the one that this process has seen")
        for block in self._store.blocks(tip.height + 1):
            writes, _ = apply_block(self.genesis, state, tip, block)
            state, tip = state.with_writes(writes), tip_after(block.header)
        return state, tip


def _replay(store: LedgerStore) -> tuple[State, Tip]:
    """The state that the stored blocks lead to.

    Raises:
        Tampered: a block is not valid, or the stored state is another.
    """
    stored, last = store.load_state()
    state, tip = genesis_tip(store.genesis)
    for block in store.blocks():
        if tip.height == last.height:
            break  # another process goes on meanwhile
        writes, _ = apply_block(store.genesis, state, tip, block)
        state, tip = state.with_writes(writes), tip_after(block.header)
    if tip != last or state.items() != stored.items():
        raise Tampered(f"{store.path}: the state tables are not what the blocks lead to")
    return state, tip
