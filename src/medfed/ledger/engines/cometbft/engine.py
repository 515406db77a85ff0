"""The engine that agents use on a node of a CometBFT network: what they submit goes to the pool of this node's
CometBFT, and is final when this node's application has committed it.

Nothing is signed, and nothing is trusted that the copy of the ledger has not applied. `submit` waits; while it does, it
spreads what is still missing again, so a pool that has lost it (a restart, a peer that was behind) gets it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from medfed.crypto import SigningKey
from medfed.errors import InvalidInput, Refused
from medfed.identifiers import Digest, Height
from medfed.ledger.block import Block
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import Clock, Sealer, StateView
from medfed.ledger.engines.cometbft.configuration import find_sockets
from medfed.ledger.engines.cometbft.replica import Follower, Reader
from medfed.ledger.engines.cometbft.rpc import RpcClient
from medfed.ledger.engines.cometbft.spreading import Spreading
from medfed.ledger.engines.ordering import check_bytes, checked_now
from medfed.ledger.genesis import Genesis
from medfed.ledger.state import State
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt, Tip, prepare_block

__all__ = ["PoolEngine", "open_client"]

_FULL: Final = ("block-full", "quota")
_CANNOT_SEAL: Final = "the key of this node is not that of an active participant any more"


class PoolEngine:
    """An engine over a copy of the ledger and the pool of one CometBFT. See `medfed.ledger.engine.Engine`."""

    def __init__(self, reader: Reader, rpc: RpcClient, clock: Clock, sealer: Sealer | None = None) -> None:
        """`sealer` is whose votes this node casts; where it may seal no more, nothing is submitted."""
        self._reader = reader
        self.rpc = rpc
        self._clock = clock
        self._sealer = sealer
        self._public = None if sealer is None else SigningKey.from_seed(sealer.signing_seed).public

    @property
    def genesis(self) -> Genesis:
        """See `Engine.genesis`."""
        return self._reader.genesis

    def submit(self, *transactions: SignedTransaction) -> list[Receipt]:
        """See `Engine.submit`. Waits for consensus.

        Raises:
            Refused: `cannot-seal`: this node's own key is no longer the ledger's. InvalidInput: the clock is off.
            Unavailable: no consensus in time; the same bytes may still enter a block, and may be sent again.
        """
        checked_now(self._clock)
        check_bytes(transactions)
        receipts = self._order(list({signed.id: signed for signed in transactions}.values()))
        return [receipts[signed.id] for signed in transactions]

    def view(self) -> StateView:
        """See `Engine.view`."""
        state, tip = self._reader.now()
        return StateView(self.genesis, state, tip)

    def wait(self, above: Height, timeout: float) -> Height:
        """See `Engine.wait`."""
        return self._reader.wait(above, timeout)

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        """See `Engine.blocks`."""
        return self._reader.readings.blocks(start)

    def block_id(self, height: Height) -> Digest | None:
        """See `Engine.block_id`."""
        return self._reader.readings.block_id(height)

    def stored(self, start: Height) -> Iterator[tuple[Height, Block, list[Receipt]]]:
        """The blocks from `start` on with their receipts, as they are in the file."""
        return self._reader.readings.rows(start)

    def close(self) -> None:
        """See `Engine.close`."""
        self.rpc.close()
        self._reader.close()

    def check_alive(self) -> None:
        """Raise what has stopped this node, if something has; where only another process knows, its pool tells."""

    def _order(self, waiting: list[SignedTransaction]) -> dict[Digest, Receipt]:
        """Wait until every transaction is final, or can enter no block; the receipts of all."""
        state, tip = self._reader.now()
        receipts = self._final(waiting, tip)
        known = len(receipts)
        spreading = Spreading(self.rpc.broadcast)
        while waiting := [signed for signed in waiting if signed.id not in receipts]:
            if not self._may_seal(state):
                if len(receipts) == known:
                    raise Refused("cannot-seal", _CANNOT_SEAL)
                left = {signed.id: Receipt(signed.id, None, 0, "cannot-seal", _CANNOT_SEAL) for signed in waiting}
                return receipts | left
            verdicts = self._verdicts(state, tip, waiting)
            able = [signed for signed in waiting if _may_enter(verdicts[signed.id])]
            if not able:
                return receipts | verdicts
            self.check_alive()
            self._reader.wait(tip.height, spreading.send(able))
            state, tip = self._reader.now()
            found = self._final(waiting, tip)
            receipts.update(found)
            if found:
                spreading.moved()
        return receipts

    def _final(self, transactions: Sequence[SignedTransaction], tip: Tip) -> dict[Digest, Receipt]:
        """The receipts of those that are on the ledger up to `tip`: the file may be a block ahead of the state."""
        found = [self._reader.readings.receipt(signed.id) for signed in transactions]
        return {one.transaction: one for one in found if one is not None and (one.height or 0) <= tip.height}

    def _verdicts(self, state: State, tip: Tip, transactions: list[SignedTransaction]) -> dict[Digest, Receipt]:
        """What would become of the transactions in the next block, if it held nothing else."""
        proposer = self._sealer.name if self._sealer is not None else transactions[0].transaction.sender
        _, _, _, made = prepare_block(self.genesis, state, tip, transactions, tip.time_ms, proposer)
        return {receipt.transaction: receipt for receipt in made}

    def _may_seal(self, state: State) -> bool:
        """A node that only follows leaves sealing to others."""
        if self._sealer is None:
            return True
        found = participant(state, self._sealer.name)
        return found is not None and found.status == "active" and found.signing_key == self._public


def open_client(ledger: Path, clock: Clock) -> PoolEngine:
    """The engine of another process on the machine of a running node, whose ledger file `ledger` is.

    Raises:
        InvalidInput: not the file of a node. Others: as `LedgerStore.open`.
    """
    store = LedgerStore.open(ledger, read_only=True)
    try:
        if not store.replicated:
            raise InvalidInput(f"{ledger}: not the ledger of a node of a network")
        sockets = find_sockets(ledger.parent)
        return PoolEngine(Follower(store), RpcClient(str(sockets.rpc)), clock)
    except BaseException:
        store.close()
        raise


def _may_enter(verdict: Receipt) -> bool:
    """Whether a transaction may enter the next block, or one after it as soon as there is room."""
    return verdict.height is not None or verdict.code in _FULL
