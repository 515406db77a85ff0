"""The bytes of ABCI messages, against those that CometBFT v0.38.17's own Go types give for the same values.

The hexadecimal strings are the output of a Go program that fills `abci/types` of that version and marshals it.
"""

from __future__ import annotations

import pytest

from medfed.ledger.engines.cometbft.messages import (
    RECHECK,
    REJECT,
    CheckTxRequest,
    CheckTxResponse,
    CommitResponse,
    Empty,
    ExceptionResponse,
    ExecTxResult,
    FinalizeBlockRequest,
    FinalizeBlockResponse,
    InfoRequest,
    InfoResponse,
    InitChainRequest,
    InitChainResponse,
    OfferSnapshotResponse,
    PrepareProposalRequest,
    PrepareProposalResponse,
    ProcessProposalRequest,
    ProcessProposalResponse,
    PublicKey,
    QueryRequest,
    QueryResponse,
    Request,
    Response,
    Text,
    Timestamp,
    ValidatorUpdate,
)
from medfed.ledger.engines.cometbft.protobuf import decode_message, encode_message

KEY = bytes(range(32))
HASH = b"\xab" * 32
TIME = Timestamp(1_700_000_000, 123_456_789)

REQUESTS: dict[str, Request] = {
    "0a0a0a0868656c6c6f20c3a9": Request(echo=Text("hello é")),
    "1200": Request(flush=Empty()),
    "1a140a07302e33382e3137100b18082205322e302e30": Request(info=InfoRequest("0.38.17", 11, 8, "2.0.0")),
    "2a400a0b0880e2cfaa0610959aef3a120361626322260a220a20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d"
    "1e1f100a2a027b7d3001": Request(
        init_chain=InitChainRequest(TIME, "abc", (ValidatorUpdate(PublicKey(KEY), 10),), b"{}", 1)
    ),
    "42070a030102031001": Request(check_tx=CheckTxRequest(b"\1\2\3", RECHECK)),
    "5a00": Request(commit=Empty()),
    "32120a036b657912062f737461746518ac022001": Request(query=QueryRequest(b"key", "/state", 300)),
    "82015b088080808080201201011200120202031a0208022807320b0880e2cfaa0610959aef3a3a20abababababababababababababababab"
    "abababababababababababababababab4214000102030405060708090a0b0c0d0e0f10111213": Request(
        prepare_proposal=PrepareProposalRequest(1 << 40, (b"\1", b"", b"\2\3"), 7, TIME, KEY[:20])
    ),
    "8a01500a01010a02020312002220abababababababababababababababababababababababababababababababab2807320b0880e2cfaa06"
    "10959aef3a4214000102030405060708090a0b0c0d0e0f10111213": Request(
        process_proposal=ProcessProposalRequest((b"\1", b"\2\3"), HASH, 7, TIME, KEY[:20])
    ),
    "a201670a01010a02020312001a15080112001803220b0880e2cfaa0610959aef3a28282220ababababababababababababababababababab"
    "ababababababababababababab2807320b0880e2cfaa0610959aef3a4214000102030405060708090a0b0c0d0e0f10111213": Request(
        finalize_block=FinalizeBlockRequest((b"\1", b"\2\3"), HASH, 7, TIME, KEY[:20])
    ),
}
RESPONSES: dict[str, Response] = {
    "0a040a026e6f": Response(exception=ExceptionResponse("no")),
    "120a0a0868656c6c6f20c3a9": Response(echo=Text("hello é")),
    "1a00": Response(flush=Empty()),
    "22320a066d6564666564120131180320ac022a20ababababababababababababababababababab"
    "ababababababababababababab": Response(info=InfoResponse("medfed", "1", 3, 300, HASH)),
    "324a12260a220a20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f100a1a20abababababababababababab"
    "abababababababababababababababababababab": Response(
        init_chain=InitChainResponse((ValidatorUpdate(PublicKey(KEY), 10),), HASH)
    ),
    "3a0d08011a016c32016b3a01764809": Response(query=QueryResponse(1, "l", b"k", b"v", 9)),
    "4a1408041a0873657175656e636542066d6564666564": Response(check_tx=CheckTxResponse(4, "sequence", "medfed")),
    "6200": Response(commit=CommitResponse()),
    "62021805": Response(commit=CommitResponse(5)),
    "620b18fbffffffffffffffff01": Response(commit=CommitResponse(-5)),
    "6a00": Response(list_snapshots=Empty()),
    "72020803": Response(offer_snapshot=OfferSnapshotResponse()),
    "8a01070a01010a020203": Response(prepare_proposal=PrepareProposalResponse((b"\1", b"\2\3"))),
    "9201020802": Response(process_proposal=ProcessProposalResponse(REJECT)),
    "aa01541200120808011201091a01781a240a220a20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2a20ab"
    "ababababababababababababababababababababababababababababababab": Response(
        finalize_block=FinalizeBlockResponse(
            (ExecTxResult(), ExecTxResult(1, b"\x09", "x")), (ValidatorUpdate(PublicKey(KEY), 0),), HASH
        )
    ),
}


@pytest.mark.parametrize("wire", REQUESTS)
def test_what_go_sends_is_read_field_by_field(wire: str) -> None:
    assert decode_message(bytes.fromhex(wire), Request) == REQUESTS[wire]


@pytest.mark.parametrize("wire", RESPONSES)
def test_what_we_answer_has_the_bytes_that_go_would_send(wire: str) -> None:
    assert encode_message(RESPONSES[wire]).hex() == wire
    assert decode_message(bytes.fromhex(wire), Response) == RESPONSES[wire]


def test_time_is_read_in_whole_milliseconds() -> None:
    assert TIME.milliseconds == 1_700_000_000_123
