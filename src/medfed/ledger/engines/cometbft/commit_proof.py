"""What shows an outsider that a network has agreed on a block: CometBFT's next header and the votes for it.

The header at the height after a MedFed block's carries that block's id as its app hash. More than two thirds of the
validators, as a replay of the ledger gives them, must have signed that header. Nothing else of CometBFT is trusted or
needed. Sources: `types/block.go`, `types/canonical.go`, `crypto/merkle` and the proto files of CometBFT v0.38.17.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

from msgspec import Meta

from medfed.crypto import is_valid_signature
from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, Tampered
from medfed.identifiers import Digest
from medfed.ledger.block import Block
from medfed.ledger.engines.cometbft.configuration import chain_id
from medfed.ledger.engines.cometbft.messages import Timestamp
from medfed.ledger.engines.cometbft.protobuf import Message, encode_message, encode_varint
from medfed.ledger.engines.cometbft.validators import address_of, validators_of
from medfed.ledger.genesis import Genesis
from medfed.ledger.merkle import merkle_root
from medfed.ledger.state import State
from medfed.ledger.transition import apply_block, genesis_tip, tip_after

__all__ = ["CommitProof", "Vote", "proof_from_answer", "verify_commit"]

_PRECOMMIT: Final = 2
_FOR_THE_BLOCK: Final = 2
_TIME: Final = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\Z")
Hash = Annotated[bytes, Meta(max_length=32)]
Number = Annotated[int, Meta(ge=0, lt=2**62)]


class Vote(Record):
    """One validator's precommit for the header."""

    address: Annotated[bytes, Meta(min_length=20, max_length=20)]
    seconds: Number
    nanos: Annotated[int, Meta(ge=0, lt=10**9)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class CommitProof(Record):
    """CometBFT's header in the order of its hash, and the votes for it."""

    version_block: Number
    version_app: Number
    height: Number
    seconds: Number
    nanos: Annotated[int, Meta(ge=0, lt=10**9)]
    last_block: tuple[Hash, Number, Hash]
    """Hash, number of parts, hash of the parts."""
    hashes: Annotated[tuple[Hash, ...], Meta(min_length=8, max_length=8)]
    """Of the last commit, data, validators, next validators, consensus, app, last results and evidence."""
    proposer: Annotated[bytes, Meta(max_length=20)]
    round: Number
    parts: tuple[Number, Hash]
    """Number of this block's parts, and their hash."""
    votes: Annotated[tuple[Vote, ...], Meta(max_length=1000)]


class _Text(Message):
    value: Annotated[str, 1] = ""


class _Integer(Message):
    value: Annotated[int, 1] = 0


class _Bytes(Message):
    value: Annotated[bytes, 1] = b""


class _Version(Message):
    block: Annotated[int, 1] = 0
    app: Annotated[int, 2] = 0


class _Parts(Message):
    total: Annotated[int, 1] = 0
    hash: Annotated[bytes, 2] = b""


class _BlockId(Message):
    hash: Annotated[bytes, 1] = b""
    parts: Annotated[_Parts | None, 2] = None


def verify_commit(genesis: Genesis, blocks: Iterable[Block], proof: CommitProof) -> int:
    """Check that a network of the ledger's validators has signed its last block; returns how many did.

    Replays the ledger for the validators of that height: those of the state before the last block.

    Raises:
        Tampered: too few of them have, or the proof is for another block.
    """
    state, tip = genesis_tip(genesis)
    before: State = state
    last: Block | None = None
    for block in blocks:
        writes, _ = apply_block(genesis, state, tip, block)
        before, last = state, block
        state, tip = state.with_writes(writes), tip_after(block.header)
    if last is None or proof.hashes[5] != tip.block:
        raise Tampered(f"commit: it is not for block {tip.height}, the last one")
    if proof.height != last.header.engine_height + 1:
        raise Tampered(f"commit: expected height {last.header.engine_height + 1}, found {proof.height}")
    keys = {address_of(key): key for key in validators_of(before)}
    signed = _header_hash(proof, chain_id(genesis))
    good = {vote.address for vote in proof.votes if _is_good(vote, keys, proof, signed, chain_id(genesis))}
    if 3 * len(good) <= 2 * len(keys):
        raise Tampered(f"block {tip.height}: {len(good)} of {len(keys)} validators have signed it; more than 2/3 must")
    return len(good)


def proof_from_answer(answer: dict[str, Any]) -> CommitProof:
    """The proof in CometBFT's answer to `commit`.

    Raises:
        InvalidInput: the answer is something else.
    """
    try:
        header, commit = answer["signed_header"]["header"], answer["signed_header"]["commit"]
        seconds, nanos = _time(header["time"])
        names = ("last_commit", "data", "validators", "next_validators", "consensus", "app", "last_results", "evidence")
        proof = CommitProof(
            int(header["version"]["block"]),
            int(header["version"].get("app", 0)),
            int(header["height"]),
            seconds,
            nanos,
            _block_id(header["last_block_id"]),
            tuple(bytes.fromhex(header[f"{name}_hash"]) for name in names),
            bytes.fromhex(header["proposer_address"]),
            int(commit["round"]),
            _block_id(commit["block_id"])[1:],
            tuple(_vote(entry) for entry in commit["signatures"] if entry["block_id_flag"] == _FOR_THE_BLOCK),
        )
        encoded = encode(proof)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidInput(f"CometBFT's commit: not as v0.38 gives it ({type(error).__name__})") from None
    return decode(encoded, CommitProof)  # made from values, it has not passed its own bounds yet


def _header_hash(proof: CommitProof, chain: str) -> Digest:
    last = _BlockId(proof.last_block[0], _Parts(*proof.last_block[1:]))
    fields = [
        encode_message(_Version(proof.version_block, proof.version_app)),
        encode_message(_Text(chain)),
        encode_message(_Integer(proof.height)),
        encode_message(Timestamp(proof.seconds, proof.nanos)),
        encode_message(last),
        *(encode_message(_Bytes(value)) for value in proof.hashes),
        encode_message(_Bytes(proof.proposer)),
    ]
    return merkle_root(fields)


def _is_good(vote: Vote, keys: dict[bytes, bytes], proof: CommitProof, header: Digest, chain: str) -> bool:
    key = keys.get(vote.address)
    return key is not None and is_valid_signature(key, _sign_bytes(vote, proof, header, chain), vote.signature)


def _sign_bytes(vote: Vote, proof: CommitProof, header: Digest, chain: str) -> bytes:
    """A `CanonicalVote`, with its length before it. Height and round are 8 bytes, little endian."""
    block = encode_message(_BlockId(header, _Parts(*proof.parts)))
    time = encode_message(Timestamp(vote.seconds, vote.nanos))
    data = bytes([0x08, _PRECOMMIT, 0x11]) + proof.height.to_bytes(8, "little")
    if proof.round:
        data += b"\x19" + proof.round.to_bytes(8, "little")
    for key, content in ((0x22, block), (0x2A, time), (0x32, chain.encode())):
        data += bytes([key]) + encode_varint(len(content)) + content
    return encode_varint(len(data)) + data


def _vote(entry: dict[str, Any]) -> Vote:
    address = bytes.fromhex(entry["validator_address"])
    return Vote(address, *_time(entry["timestamp"]), base64.b64decode(entry["signature"], validate=True))


def _block_id(value: dict[str, Any]) -> tuple[bytes, int, bytes]:
    return bytes.fromhex(value["hash"]), int(value["parts"]["total"]), bytes.fromhex(value["parts"]["hash"])


def _time(text: str) -> tuple[int, int]:
    found = _TIME.match(text)
    if found is None:
        raise ValueError(text)
    whole = datetime.datetime.fromisoformat(found[1]).replace(tzinfo=datetime.UTC)
    return int(whole.timestamp()), int((found[2] or "").ljust(9, "0"))
