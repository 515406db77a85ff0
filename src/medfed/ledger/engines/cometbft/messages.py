"""The messages of ABCI 2.0 that we read and write, with the field numbers of CometBFT v0.38.17.

Source: `proto/tendermint/abci/types.proto` of that version, and `crypto/keys.proto`. Fields that nothing here reads are
left out, and skipped when they arrive. This module holds no behaviour.
"""

from __future__ import annotations

from typing import Annotated, Final

from medfed.ledger.engines.cometbft.protobuf import Message

__all__ = [
    "ACCEPT",
    "NEW",
    "RECHECK",
    "REJECT",
    "CheckTxRequest",
    "CheckTxResponse",
    "CommitResponse",
    "Empty",
    "ExceptionResponse",
    "ExecTxResult",
    "FinalizeBlockRequest",
    "FinalizeBlockResponse",
    "InfoRequest",
    "InfoResponse",
    "InitChainRequest",
    "InitChainResponse",
    "OfferSnapshotResponse",
    "PrepareProposalRequest",
    "PrepareProposalResponse",
    "ProcessProposalRequest",
    "ProcessProposalResponse",
    "PublicKey",
    "QueryRequest",
    "QueryResponse",
    "Request",
    "Response",
    "Text",
    "Timestamp",
    "ValidatorUpdate",
]

NEW: Final = 0
RECHECK: Final = 1
"""`CheckTxRequest.kind`: a transaction that has just arrived, or one that a new block has left in the pool."""
ACCEPT: Final = 1
REJECT: Final = 2
"""`ProposalStatus`."""


class Empty(Message):
    """A message of which we read and write no field."""


class Text(Message):
    """Echo and its answer."""

    message: Annotated[str, 1] = ""


class Timestamp(Message):
    """`google.protobuf.Timestamp`."""

    seconds: Annotated[int, 1] = 0
    nanos: Annotated[int, 2] = 0

    @property
    def milliseconds(self) -> int:
        """Milliseconds since 1970, rounded down."""
        return self.seconds * 1_000 + self.nanos // 1_000_000


class PublicKey(Message):
    """A validator's key; only Ed25519 is allowed on our chains."""

    ed25519: Annotated[bytes, 1] = b""


class ValidatorUpdate(Message):
    """A validator's new power; 0 removes it."""

    pub_key: Annotated[PublicKey | None, 1] = None
    power: Annotated[int, 2] = 0


class InfoRequest(Message):
    """What CometBFT says of itself when it connects."""

    version: Annotated[str, 1] = ""
    block_version: Annotated[int, 2] = 0
    p2p_version: Annotated[int, 3] = 0
    abci_version: Annotated[str, 4] = ""


class InitChainRequest(Message):
    """CometBFT's genesis."""

    time: Annotated[Timestamp | None, 1] = None
    chain_id: Annotated[str, 2] = ""
    validators: Annotated[tuple[ValidatorUpdate, ...], 4] = ()
    app_state_bytes: Annotated[bytes, 5] = b""
    initial_height: Annotated[int, 6] = 0


class QueryRequest(Message):
    """A question about the state."""

    data: Annotated[bytes, 1] = b""
    path: Annotated[str, 2] = ""
    height: Annotated[int, 3] = 0


class CheckTxRequest(Message):
    """May this stay in the pool?"""

    tx: Annotated[bytes, 1] = b""
    kind: Annotated[int, 2] = NEW


class PrepareProposalRequest(Message):
    """What the pool offers for a block that we propose."""

    max_tx_bytes: Annotated[int, 1] = 0
    txs: Annotated[tuple[bytes, ...], 2] = ()
    height: Annotated[int, 5] = 0
    time: Annotated[Timestamp | None, 6] = None
    proposer_address: Annotated[bytes, 8] = b""


class ProcessProposalRequest(Message):
    """A block that somebody proposes."""

    txs: Annotated[tuple[bytes, ...], 1] = ()
    hash: Annotated[bytes, 4] = b""
    height: Annotated[int, 5] = 0
    time: Annotated[Timestamp | None, 6] = None
    proposer_address: Annotated[bytes, 8] = b""


class FinalizeBlockRequest(Message):
    """A block that is decided."""

    txs: Annotated[tuple[bytes, ...], 1] = ()
    hash: Annotated[bytes, 4] = b""
    height: Annotated[int, 5] = 0
    time: Annotated[Timestamp | None, 6] = None
    proposer_address: Annotated[bytes, 8] = b""


class Request(Message):
    """One request; exactly one field is there."""

    echo: Annotated[Text | None, 1] = None
    flush: Annotated[Empty | None, 2] = None
    info: Annotated[InfoRequest | None, 3] = None
    init_chain: Annotated[InitChainRequest | None, 5] = None
    query: Annotated[QueryRequest | None, 6] = None
    check_tx: Annotated[CheckTxRequest | None, 8] = None
    commit: Annotated[Empty | None, 11] = None
    list_snapshots: Annotated[Empty | None, 12] = None
    offer_snapshot: Annotated[Empty | None, 13] = None
    load_snapshot_chunk: Annotated[Empty | None, 14] = None
    apply_snapshot_chunk: Annotated[Empty | None, 15] = None
    prepare_proposal: Annotated[PrepareProposalRequest | None, 16] = None
    process_proposal: Annotated[ProcessProposalRequest | None, 17] = None
    finalize_block: Annotated[FinalizeBlockRequest | None, 20] = None


class ExceptionResponse(Message):
    """We cannot answer; CometBFT stops."""

    error: Annotated[str, 1] = ""


class InfoResponse(Message):
    """Where this replica stands."""

    data: Annotated[str, 1] = ""
    version: Annotated[str, 2] = ""
    app_version: Annotated[int, 3] = 0
    last_block_height: Annotated[int, 4] = 0
    last_block_app_hash: Annotated[bytes, 5] = b""


class InitChainResponse(Message):
    """The validators (none: as the request has them) and the first app hash."""

    validators: Annotated[tuple[ValidatorUpdate, ...], 2] = ()
    app_hash: Annotated[bytes, 3] = b""


class QueryResponse(Message):
    """The answer to a question; `code` 0 is good."""

    code: Annotated[int, 1] = 0
    log: Annotated[str, 3] = ""
    key: Annotated[bytes, 6] = b""
    value: Annotated[bytes, 7] = b""
    height: Annotated[int, 9] = 0


class CheckTxResponse(Message):
    """`code` 0 keeps it in the pool."""

    code: Annotated[int, 1] = 0
    log: Annotated[str, 3] = ""
    codespace: Annotated[str, 8] = ""


class CommitResponse(Message):
    """0: CometBFT keeps all its blocks."""

    retain_height: Annotated[int, 3] = 0


class OfferSnapshotResponse(Message):
    """3 refuses the snapshot."""

    result: Annotated[int, 1] = 3


class PrepareProposalResponse(Message):
    """The block that we propose."""

    txs: Annotated[tuple[bytes, ...], 1] = ()


class ProcessProposalResponse(Message):
    """Whether we would vote for it."""

    status: Annotated[int, 1] = 0


class ExecTxResult(Message):
    """What became of one entry of a block; `code` and `data` go into CometBFT's results hash."""

    code: Annotated[int, 1] = 0
    data: Annotated[bytes, 2] = b""
    log: Annotated[str, 3] = ""


class FinalizeBlockResponse(Message):
    """What a decided block leads to."""

    tx_results: Annotated[tuple[ExecTxResult, ...], 2] = ()
    validator_updates: Annotated[tuple[ValidatorUpdate, ...], 3] = ()
    app_hash: Annotated[bytes, 5] = b""


class Response(Message):
    """One response; exactly one field is there."""

    exception: Annotated[ExceptionResponse | None, 1] = None
    echo: Annotated[Text | None, 2] = None
    flush: Annotated[Empty | None, 3] = None
    info: Annotated[InfoResponse | None, 4] = None
    init_chain: Annotated[InitChainResponse | None, 6] = None
    query: Annotated[QueryResponse | None, 7] = None
    check_tx: Annotated[CheckTxResponse | None, 9] = None
    commit: Annotated[CommitResponse | None, 12] = None
    list_snapshots: Annotated[Empty | None, 13] = None
    offer_snapshot: Annotated[OfferSnapshotResponse | None, 14] = None
    load_snapshot_chunk: Annotated[Empty | None, 15] = None
    apply_snapshot_chunk: Annotated[Empty | None, 16] = None
    prepare_proposal: Annotated[PrepareProposalResponse | None, 17] = None
    process_proposal: Annotated[ProcessProposalResponse | None, 18] = None
    finalize_block: Annotated[FinalizeBlockResponse | None, 21] = None
