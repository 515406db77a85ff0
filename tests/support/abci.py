"""An application driven by hand, as CometBFT would drive it, without CometBFT."""

from __future__ import annotations

from pathlib import Path

from tests.support.ledger import FOUR, HandClock, World, make_genesis, sealer

from medfed.identifiers import Name
from medfed.ledger.engines.cometbft.application import Application
from medfed.ledger.engines.cometbft.batches import encode_batches
from medfed.ledger.engines.cometbft.messages import (
    ACCEPT,
    CheckTxRequest,
    Empty,
    FinalizeBlockRequest,
    FinalizeBlockResponse,
    InfoRequest,
    InfoResponse,
    PrepareProposalRequest,
    ProcessProposalRequest,
    Request,
)
from medfed.ledger.engines.cometbft.replica import Replica
from medfed.ledger.engines.cometbft.validators import address_of
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Genesis, Policy
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import Body, SignedTransaction, Transaction, sign
from medfed.ledger.transition import anchor_of, next_sequence

MOST = 1 << 20


class Driver:
    """One validator's application, and CometBFT's part played by the test."""

    def __init__(self, root: Path, name: Name | None = "alpha", genesis: Genesis | None = None) -> None:
        self.root = root
        self.name = name
        self.clock = HandClock()
        self.genesis = genesis or make_genesis(FOUR, Policy())
        root.mkdir(exist_ok=True)
        self.path = root / "ledger.db"
        if not self.path.exists():
            LedgerStore.create(self.path, self.genesis, replicated=True).close()
        self.open()

    def open(self) -> None:
        self.replica = Replica(LedgerStore.open(self.path))
        by = None if self.name is None else sealer(self.name)
        self.application = Application(self.replica, self.clock, by)

    def reopen(self) -> None:
        self.replica.close()
        self.open()

    def world(self) -> World:
        """Signs as the ledger's participants; its own engine is not used."""
        return World(MemoryEngine(self.genesis, self.clock, sealer("alpha")), self.clock)

    def sign(self, who: Name, body: Body, *, ahead: int = 0) -> SignedTransaction:
        state, tip = self.replica.now()
        number = next_sequence(state, who) + ahead
        transaction = Transaction(self.genesis.digest, who, number, anchor_of(tip), body)
        return sign(transaction, self.world().key(who))

    def check(self, entry: bytes, kind: int = 0) -> int:
        response = self.application.answer(Request(check_tx=CheckTxRequest(entry, kind))).check_tx
        assert response is not None
        return response.code

    def propose(self, *transactions: SignedTransaction, height: int = 1, most: int = MOST) -> tuple[bytes, ...]:
        entries = tuple(encode_batches(transactions))
        request = PrepareProposalRequest(most, entries, height, None, b"")
        response = self.application.answer(Request(prepare_proposal=request)).prepare_proposal
        assert response is not None
        return response.txs

    def accepts(self, entries: tuple[bytes, ...], *, by: Name = "alpha", height: int = 1) -> bool:
        address = address_of(self.world().key(by).public)
        request = ProcessProposalRequest(entries, b"", height, None, address)
        response = self.application.answer(Request(process_proposal=request)).process_proposal
        assert response is not None
        return response.status == ACCEPT

    def finalize(self, entries: tuple[bytes, ...], *, height: int = 1) -> FinalizeBlockResponse:
        request = FinalizeBlockRequest(entries, b"", height, None, b"")
        response = self.application.answer(Request(finalize_block=request)).finalize_block
        assert response is not None
        return response

    def commit(self) -> None:
        response = self.application.answer(Request(commit=Empty())).commit
        assert response is not None
        assert response.retain_height == 0

    def info(self) -> InfoResponse:
        response = self.application.answer(Request(info=InfoRequest())).info
        assert response is not None
        return response
