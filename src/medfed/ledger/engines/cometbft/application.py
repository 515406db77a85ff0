"""The application behind CometBFT: our state machine in the shape of ABCI 2.0. No sockets, no disk but in Commit.

- InitChain, FinalizeBlock and Info may be asked again at any time and answer the same.
- The app hash is the id of the last MedFed block, and the height that Info tells is the CometBFT height that this block
  was decided at. CometBFT blocks without entries change nothing and are not remembered: after a restart CometBFT
  replays those above, with the same outcome.
- A proposer builds and seals the whole MedFed block in PrepareProposal; everybody else applies it in ProcessProposal
  and votes against it if anything is wrong: a gap, a transaction that is not admissible, a seal of somebody else than
  CometBFT's proposer, a time ahead of this clock. That last check only ever turns from no to yes as time goes by, so
  what one validator has accepted no other refuses for good.
- CheckTx is lenient with what has just arrived, for this replica may be a few blocks behind its sender's: sequences in
  `[next, next + 64)` stay. What a block leaves in the pool must be admissible then, or it goes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from medfed.crypto import SigningKey
from medfed.errors import InvalidInput, MedFedError, Tampered
from medfed.identifiers import Name
from medfed.ledger.block import Block, seal_block
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import Clock, Sealer
from medfed.ledger.engines.cometbft.batches import decode_batch
from medfed.ledger.engines.cometbft.configuration import chain_id
from medfed.ledger.engines.cometbft.messages import (
    ACCEPT,
    RECHECK,
    REJECT,
    CheckTxRequest,
    CheckTxResponse,
    CommitResponse,
    Empty,
    ExecTxResult,
    FinalizeBlockRequest,
    FinalizeBlockResponse,
    InfoResponse,
    InitChainRequest,
    InitChainResponse,
    OfferSnapshotResponse,
    PrepareProposalRequest,
    PrepareProposalResponse,
    ProcessProposalRequest,
    ProcessProposalResponse,
    QueryResponse,
    Request,
    Response,
    Text,
)
from medfed.ledger.engines.cometbft.pool import check_new, check_remaining, choose
from medfed.ledger.engines.cometbft.proposal import HEADER_ROOM, decode_entries, encode_entries
from medfed.ledger.engines.cometbft.replica import Replica
from medfed.ledger.engines.cometbft.validators import address_of, check_validators, validator_updates
from medfed.ledger.state import State, Writes
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import RULES, Inadmissible, Receipt, apply_block, prepare_block

__all__ = ["MAX_DRIFT_MS", "Application"]

MAX_DRIFT_MS: Final = 10_000
"""How far ahead of this machine's clock another proposer's block may be."""
_LAST_MS: Final = 2**53 - 1
_REMEMBERED: Final = 256
_Applied = tuple[tuple[bytes, ...], Block, Writes, list[Receipt]]


class Application:
    """What CometBFT asks. Safe to use from the threads of its four connections."""

    def __init__(
        self, replica: Replica, clock: Clock, sealer: Sealer | None = None, validators: tuple[Name, ...] = ()
    ) -> None:
        self._replica = replica
        self._genesis = replica.genesis
        self._clock = clock
        self._name = sealer.name if sealer is not None else None
        self._key = SigningKey.from_seed(sealer.signing_seed) if sealer is not None else None
        self._named = validators
        self._lock = threading.RLock()
        self._applied: _Applied | None = None
        """The last block that was applied to the present state: what is proposed is finalised next."""
        self._decided: _Applied | None = None
        self._batches: OrderedDict[bytes, tuple[SignedTransaction, ...]] = OrderedDict()

    def answer(self, request: Request) -> Response:
        """The response to one request.

        Raises:
            InvalidInput, Tampered, Unavailable: this node cannot go on; CometBFT must stop.
        """
        with self._lock:
            return self._consensus(request) or self._rest(request)

    def _consensus(self, request: Request) -> Response | None:
        if request.init_chain is not None:
            return Response(init_chain=self._init_chain(request.init_chain))
        if request.prepare_proposal is not None:
            return Response(prepare_proposal=self._prepare_proposal(request.prepare_proposal))
        if request.process_proposal is not None:
            return Response(process_proposal=self._process_proposal(request.process_proposal))
        if request.finalize_block is not None:
            return Response(finalize_block=self._finalize_block(request.finalize_block))
        return Response(commit=self._commit()) if request.commit is not None else None

    def _rest(self, request: Request) -> Response:
        if request.check_tx is not None:
            return Response(check_tx=self._check_tx(request.check_tx))
        if request.echo is not None:
            return Response(echo=Text(request.echo.message))
        if request.flush is not None:
            return Response(flush=Empty())
        if request.info is not None:
            return Response(info=self._info())
        if request.query is not None:
            return Response(query=self._query(request.query.data))
        if request.list_snapshots is not None:
            return Response(list_snapshots=Empty())
        if request.offer_snapshot is not None:
            return Response(offer_snapshot=OfferSnapshotResponse())
        if request.load_snapshot_chunk is not None:
            return Response(load_snapshot_chunk=Empty())
        if request.apply_snapshot_chunk is not None:
            return Response(apply_snapshot_chunk=Empty())
        raise InvalidInput("ABCI: a request of none of the kinds that CometBFT v0.38 sends without vote extensions")

    def _info(self) -> InfoResponse:
        _, tip = self._replica.now()
        height = self._engine_height()
        return InfoResponse("medfed", str(RULES), RULES, height, tip.block if height else b"")

    def _engine_height(self) -> int:
        _, tip = self._replica.now()
        return next(self._replica.store.blocks(tip.height)).header.engine_height if tip.height else 0

    def _init_chain(self, request: InitChainRequest) -> InitChainResponse:
        state, tip = self._replica.now()
        if tip.height:
            raise Tampered(
                "CometBFT begins at its genesis, but this ledger has blocks: its data directory is another's"
            )
        if request.chain_id != chain_id(self._genesis):
            raise InvalidInput(f"CometBFT's genesis is that of chain {request.chain_id}, not {chain_id(self._genesis)}")
        check_validators(state, self._named, request.validators)
        return InitChainResponse(app_hash=tip.block)

    def _query(self, key: bytes) -> QueryResponse:
        state, tip = self._replica.now()
        value = state.get(key)
        return QueryResponse(int(value is None), "" if value else "no such key", key, value or b"", tip.height)

    def _check_tx(self, request: CheckTxRequest) -> CheckTxResponse:
        state, tip = self._replica.now()
        try:
            batch = self._decoded(request.tx)
            check = check_remaining if request.kind == RECHECK else check_new
            check(state, tip, self._genesis, batch)
        except Inadmissible as reason:
            return CheckTxResponse(1, f"{reason.code}: {reason}", "medfed")
        except InvalidInput as error:
            return CheckTxResponse(2, str(error)[:200], "medfed")
        return CheckTxResponse()

    def _prepare_proposal(self, request: PrepareProposalRequest) -> PrepareProposalResponse:
        state, tip = self._replica.now()
        now = self._clock()
        if self._name is None or not self._may_seal(state) or not 0 <= now <= _LAST_MS:
            return PrepareProposalResponse()
        batches = [batch for batch in map(self._decoded_or_none, request.txs) if batch is not None]
        candidates = choose(state, batches, request.max_tx_bytes - HEADER_ROOM)
        header, taken, writes, made = prepare_block(
            self._genesis, state, tip, candidates, now, self._name, request.height
        )
        if not taken:
            return PrepareProposalResponse()
        policy = self._genesis.policy
        seal = seal_block(header, self._key if policy.seal == "signature" else None, policy.difficulty)
        block = Block(header, seal, taken)
        entries = encode_entries(block)
        receipts = [receipt for receipt in made if receipt.height is not None]
        self._applied = (entries, block, writes, receipts)
        return PrepareProposalResponse(entries)

    def _process_proposal(self, request: ProcessProposalRequest) -> ProcessProposalResponse:
        if not request.txs:
            return ProcessProposalResponse(ACCEPT)
        try:
            state, tip = self._replica.now()
            block = self._apply(request.txs, request.height)[1]
            proposer = participant(state, block.header.proposer)
            if proposer is None or address_of(proposer.signing_key) != request.proposer_address:
                return ProcessProposalResponse(REJECT)
            late = block.header.time_ms > max(tip.time_ms, self._clock() + MAX_DRIFT_MS)
            return ProcessProposalResponse(REJECT if late else ACCEPT)
        except (InvalidInput, Tampered):
            return ProcessProposalResponse(REJECT)

    def _finalize_block(self, request: FinalizeBlockRequest) -> FinalizeBlockResponse:
        state, tip = self._replica.now()
        self._decided = None
        if not request.txs:
            return FinalizeBlockResponse(app_hash=tip.block)
        self._decided = self._apply(request.txs, request.height)
        _, block, writes, receipts = self._decided
        results = (ExecTxResult(), *(ExecTxResult(int(bool(receipt.code)), b"", receipt.code) for receipt in receipts))
        updates = validator_updates(state, state.with_writes(writes), self._named)
        return FinalizeBlockResponse(results, updates, block.header.id)

    def _commit(self) -> CommitResponse:
        if self._decided is not None:
            _, block, writes, receipts = self._decided
            self._replica.commit(block, writes, receipts)
        self._decided = self._applied = None
        return CommitResponse()

    def _apply(self, entries: tuple[bytes, ...], height: int) -> _Applied:
        """The block in `entries` applied to the present state.

        Raises:
            InvalidInput, Tampered: it is not valid at this CometBFT height.
        """
        known = self._applied
        if known is None or known[0] != entries:
            state, tip = self._replica.now()
            block = decode_entries(entries)
            if block is None:
                raise InvalidInput("a block without entries changes nothing")
            writes, receipts = apply_block(self._genesis, state, tip, block)
            known = (entries, block, writes, receipts)
            self._applied = known
        if known[1].header.engine_height != height:
            raise Tampered(f"block {known[1].header.height}: it was made for another height of CometBFT than {height}")
        return known

    def _may_seal(self, state: State) -> bool:
        found = participant(state, self._name) if self._name is not None else None
        mine = self._key.public if self._key is not None else None
        return found is not None and found.status == "active" and found.signing_key == mine

    def _decoded_or_none(self, data: bytes) -> tuple[SignedTransaction, ...] | None:
        try:
            return self._decoded(data)
        except MedFedError:
            return None

    def _decoded(self, data: bytes) -> tuple[SignedTransaction, ...]:
        """A batch, decoded once while it waits in the pool."""
        found = self._batches.get(data)
        if found is None:
            found = decode_batch(data)
            self._batches[data] = found
            while len(self._batches) > _REMEMBERED:
                self._batches.popitem(last=False)
        else:
            self._batches.move_to_end(data)
        return found
