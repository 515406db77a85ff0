"""The ledger in memory: for tests and simulations. Immediate finality, nothing survives the process."""

from __future__ import annotations

from collections.abc import Iterator

from medfed.identifiers import Digest, Height
from medfed.ledger.block import Block
from medfed.ledger.engine import Clock, Sealer, StateView
from medfed.ledger.engines.ordering import Orderer, check_sealers
from medfed.ledger.genesis import Genesis, verify_genesis
from medfed.ledger.state import Writes
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt, genesis_tip

__all__ = ["MemoryEngine"]


class MemoryEngine:
    """One ledger, shared by whoever holds this object."""

    def __init__(self, genesis: Genesis, clock: Clock, *sealers: Sealer) -> None:
        verify_genesis(genesis)
        self.genesis = genesis
        self._state, self._tip = genesis_tip(genesis)
        check_sealers(genesis, self._state, sealers)
        self._orderer = Orderer(genesis, sealers, clock)
        self._blocks: list[Block] = []
        self._receipts: dict[Digest, Receipt] = {}

    def submit(self, *transactions: SignedTransaction) -> list[Receipt]:
        """See `Engine.submit`."""
        new = [signed for signed in transactions if signed.id not in self._receipts]
        self._state, self._tip, receipts = self._orderer.order(self._state, self._tip, new, self._append)
        return [self._receipts.get(signed.id) or receipts[signed.id] for signed in transactions]

    def view(self) -> StateView:
        """See `Engine.view`."""
        return StateView(self.genesis, self._state, self._tip)

    def wait(self, above: Height, timeout: float) -> Height:
        """Nobody else can make a block meanwhile, so there is nothing to wait for."""
        return self._tip.height

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        """See `Engine.blocks`."""
        yield from self._blocks[max(start, 1) - 1 :]

    def block_id(self, height: Height) -> Digest | None:
        """See `Engine.block_id`."""
        if height == 0:
            return self.genesis.digest
        return self._blocks[height - 1].header.id if 0 < height <= len(self._blocks) else None

    def close(self) -> None:
        """Nothing to release."""

    def _append(self, block: Block, writes: Writes, receipts: list[Receipt]) -> None:
        self._blocks.append(block)
        self._receipts.update((receipt.transaction, receipt) for receipt in receipts)
