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

from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Height
from medfed.ledger.block import Block
from medfed.ledger.engine import Clock, Sealer, StateView
from medfed.ledger.engines.ordering import Orderer, check_sealers
from medfed.ledger.engines.replaying import catch_up, replay
from medfed.ledger.genesis import Genesis, verify_genesis
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt

__all__ = ["EmbeddedEngine"]

_POLL_SECONDS: Final = 0.01
_LONGEST_POLL_SECONDS: Final = 0.1


class EmbeddedEngine:
    """This process's hold on a ledger file."""

    def __init__(self, store: LedgerStore, clock: Clock, *sealers: Sealer) -> None:
        self._store = store
        self._state, self._tip = replay(store)
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
            state, tip = catch_up(self._store, self._state, self._tip)
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
            self._state, self._tip = catch_up(self._store, self._state, self._tip)
            self._version = version
        return StateView(self.genesis, self._state, self._tip)

    def wait(self, above: Height, timeout: float) -> Height:
        """See `Engine.wait`; polls the file's data version, ever less often while nothing comes."""
        end = time.monotonic() + timeout
        pause = _POLL_SECONDS
        while True:
            height = self.view().tip.height
            left = end - time.monotonic()
            if height > above or left <= 0:
                return height
            time.sleep(min(pause, left))
            pause = min(1.2 * pause, _LONGEST_POLL_SECONDS)

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        """See `Engine.blocks`."""
        return self._store.blocks(start)

    def block_id(self, height: Height) -> Digest | None:
        """See `Engine.block_id`."""
        return self._store.block_id(height)

    def close(self) -> None:
        """See `Engine.close`."""
        self._store.close()
