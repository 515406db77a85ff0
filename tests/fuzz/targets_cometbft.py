"""Targets of the replicated ledger: what CometBFT hands over, and what another hospital's node may propose."""

from __future__ import annotations

import base64
import io
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson
from tests.fuzz.target import Target, quietly
from tests.fuzz.targets_contracts import Moment, moments
from tests.fuzz.targets_ledger import ledger_bytes, study_transactions, write_alone
from tests.support.ledger import key_of, sealer

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, MedFedError, Tampered
from medfed.ledger.block import Block, Header, seal_block, transactions_root
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engines.cometbft import messages
from medfed.ledger.engines.cometbft.abci_server import _read_frame
from medfed.ledger.engines.cometbft.application import Application
from medfed.ledger.engines.cometbft.batches import decode_batch, encode_batches
from medfed.ledger.engines.cometbft.commit_proof import CommitProof, proof_from_answer, verify_commit
from medfed.ledger.engines.cometbft.proposal import decode_entries, encode_entries
from medfed.ledger.engines.cometbft.protobuf import decode_message, encode_message, encode_varint
from medfed.ledger.engines.cometbft.replica import Replica
from medfed.ledger.engines.cometbft.rpc import _result
from medfed.ledger.engines.cometbft.validators import address_of
from medfed.ledger.genesis import Genesis
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import apply_block, prepare_block

NOW = 2**41


def request(data: bytes, folder: Path) -> None:
    """A request's bytes: decoded, encoded, and answered by an application with a few blocks."""
    found = decode_message(data, messages.Request)
    assert decode_message(encode_message(found), messages.Request) == found
    path = folder / "ledger.db"
    write_alone(path, ledger_bytes()[0])
    store = LedgerStore.open(path)
    replica = Replica(store)
    try:
        application = Application(replica, lambda: NOW, sealer("organiser"))
        answer = application.answer(found)
        assert decode_message(encode_message(answer), messages.Response) == answer
        if found.finalize_block is not None:
            application.answer(messages.Request(commit=messages.Empty()))
            replica.now()
    finally:
        replica.close()


def response(data: bytes, folder: Path) -> None:
    found = decode_message(data, messages.Response)
    assert decode_message(encode_message(found), messages.Response) == found


def frames(data: bytes, folder: Path) -> None:
    """A connection's bytes: frames until one is cut short."""
    stream = io.BytesIO(data)
    while (frame := _read_frame(stream.read)) is not None:
        quietly(decode_message, frame, messages.Request)


def batch(data: bytes, folder: Path) -> None:
    found = decode_batch(data)
    assert [one.id for one in decode_batch(encode_batches(found)[0])] == [one.id for one in found]


def entries(data: bytes, folder: Path) -> None:
    """The entries of a proposed block, as one list."""
    found = decode_entries(decode(data, tuple[bytes, ...]))
    if found is not None:
        assert encode_entries(found) == decode(data, tuple[bytes, ...])


def answer(data: bytes, folder: Path) -> None:
    """What CometBFT's RPC answers."""
    _result("status", data)


def commit_answer(data: bytes, folder: Path) -> None:
    """CometBFT's answer to `commit`, as a proof that has one encoding."""
    try:
        document = orjson.loads(data)
    except ValueError:
        raise InvalidInput("not JSON") from None
    if not isinstance(document, dict):
        raise InvalidInput("not an object")
    found = proof_from_answer(document)
    assert encode(decode(encode(found), CommitProof)) == encode(found)


def commit_proof(data: bytes, folder: Path) -> None:
    """Votes for the last block, none of which a validator has cast: never enough."""
    _, blocks, genesis = ledger_bytes()
    verify_commit(genesis, blocks, decode(data, CommitProof))
    raise AssertionError("votes that nobody has cast were counted")


def proposal(data: bytes, folder: Path) -> None:
    """A state as one byte, then a block as a proposer with a key would make it: root and seal are put right, so that
    nothing but the rules can refuse it. It leads to the state that it commits to, or it is refused as tampered."""
    moment = moments()[data[0] % len(moments())] if data else moments()[0]
    block = decode(data[1:], Block)
    header, proposer = block.header, block.header.proposer
    found = participant(moment.state, proposer)
    if found is None or found.signing_key != key_of(proposer).public:
        raise InvalidInput("nobody has the proposer's key")
    with _only(Tampered, InvalidInput):
        root = transactions_root(block.transactions)
        header = msgspec.structs.replace(
            header, chain=moment.chain, previous=moment.tip.block, height=moment.tip.height + 1, transactions_root=root,
            time_ms=max(header.time_ms, moment.tip.time_ms),
        )  # fmt: skip
        block = Block(_led(moment, header, block), block.seal, block.transactions)
        block = Block(block.header, seal_block(block.header, key_of(proposer), 0), block.transactions)
        writes, receipts = apply_block(_genesis(moment), moment.state, moment.tip, block)
    assert len(receipts) == len(block.transactions)
    assert writes


@contextmanager
def _only(*kinds: type[MedFedError]) -> Generator[None]:
    try:
        yield
    except kinds:
        raise
    except MedFedError as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def _led(moment: Moment, header: Header, block: Block) -> Header:
    """The header with the state digest that the block's transactions lead to."""
    signed = [SignedTransaction.from_bytes(wire) for wire in block.transactions]
    place = (header.time_ms, header.proposer, header.engine_height)
    made, taken, _, _ = prepare_block(_genesis(moment), moment.state, moment.tip, signed, *place)
    assert set(taken) <= set(block.transactions)
    return msgspec.structs.replace(header, state_digest=made.state_digest)


def _genesis(moment: Moment) -> Genesis:
    return moment.genesis


def _request_seeds() -> Sequence[bytes]:
    wires = [SignedTransaction.from_bytes(wire) for wire in study_transactions()[:3]]
    pool = encode_batches(wires)
    place: Any = (40, messages.Timestamp(9), b"a" * 20)
    made: list[dict[str, Any]] = [
        {"echo": messages.Text("hello")},
        {"info": messages.InfoRequest("0.38.17", 11, 8, "2.0.0")},
        {"check_tx": messages.CheckTxRequest(b"medfed/batch/1\0", messages.RECHECK)},
        {"query": messages.QueryRequest(b"participant/\x91\xa5alpha", "/state")},
        {"check_tx": messages.CheckTxRequest(pool[0])},
        {"prepare_proposal": messages.PrepareProposalRequest(100_000, tuple(pool), *place)},
        {"process_proposal": messages.ProcessProposalRequest(_entries(), b"h" * 32, *place)},
        {"finalize_block": messages.FinalizeBlockRequest((), b"h" * 32, *place)},
        {"flush": messages.Empty()},
    ]
    return [encode_message(messages.Request(**one)) for one in made]


def _entries() -> tuple[bytes, ...]:
    return encode_entries(ledger_bytes()[1][1])


def _commit() -> dict[str, Any]:
    block = {"hash": "ab" * 32, "parts": {"total": 1, "hash": "cd" * 32}}
    names = ("last_commit", "data", "validators", "next_validators", "consensus", "app", "last_results", "evidence")
    header = {
        "version": {"block": "11"}, "height": "5", "time": "2026-01-02T03:04:05.6Z", "last_block_id": block,
        "proposer_address": "00" * 20, **{f"{name}_hash": "11" * 32 for name in names},
    }  # fmt: skip
    vote = {"block_id_flag": 2, "validator_address": "22" * 20, "timestamp": "2026-01-02T03:04:06Z",
            "signature": base64.b64encode(bytes(64)).decode()}  # fmt: skip
    return {"signed_header": {"header": header, "commit": {"round": 0, "block_id": block, "signatures": [vote]}}}


def _proof_seeds() -> Sequence[bytes]:
    proof, last = proof_from_answer(_commit()), ledger_bytes()[1][-1].header
    hashes = (*proof.hashes[:5], last.id, *proof.hashes[6:])
    fitting = msgspec.structs.replace(proof, hashes=hashes, height=last.engine_height + 1)
    alpha = msgspec.structs.replace(proof.votes[0], address=address_of(key_of("alpha").public))
    return [encode(proof), encode(msgspec.structs.replace(fitting, votes=(alpha, *proof.votes)))]


def _pool_seeds() -> Sequence[bytes]:
    return encode_batches([SignedTransaction.from_bytes(wire) for wire in study_transactions()[:3]])


def _response_seeds() -> Sequence[bytes]:
    results = (messages.ExecTxResult(1, b"d", "log"), messages.ExecTxResult())
    update = messages.ValidatorUpdate(messages.PublicKey(bytes(32)), 10)
    made = messages.Response(finalize_block=messages.FinalizeBlockResponse(results, (update,), b"h" * 32))
    return [encode_message(made), encode_message(messages.Response(exception=messages.ExceptionResponse("no")))]


def _proposals() -> Sequence[bytes]:
    """Blocks of the stories, each in the state before it."""
    found: list[bytes] = []
    for number, moment in enumerate(moments()):
        if moment.following and moment.block is not None and len(found) < 12:
            found.append(bytes([number]) + encode(moment.block))
    return found


TARGETS = (
    Target("abci-request", request, _request_seeds, cost=4),
    Target("abci-response", response, _response_seeds),
    Target("abci-frames", frames, lambda: [b"".join(encode_varint(len(d)) + d for d in _request_seeds())], cost=2),
    Target(
        "pool-batch",
        batch,
        _pool_seeds,
        "msgpack",
        offset=-1,
    ),
    Target("block-entries", entries, lambda: [encode(_entries())], "msgpack"),
    Target(
        "rpc-answer",
        answer,
        lambda: [b'{"jsonrpc":"2.0","id":1,"result":{"height":"5","a":[1]}}'],
        "json",
    ),
    Target("commit-answer", commit_answer, lambda: [orjson.dumps(_commit())], "json"),
    Target("commit-proof", commit_proof, _proof_seeds, "msgpack", cost=4),
    Target("proposal", proposal, _proposals, "msgpack", offset=1, cost=2, keep=False),
)
