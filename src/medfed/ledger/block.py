"""Blocks: a header, a seal beside it, and transactions; and proofs that one transaction is in one block."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from medfed.crypto import SigningKey, is_valid_signature
from medfed.encoding import Record, encode
from medfed.errors import Tampered
from medfed.identifiers import Digest, Height, Name, sha256
from medfed.ledger.merkle import inclusion_path, merkle_root, verify_inclusion_path
from medfed.ledger.transaction import SignedTransaction

__all__ = [
    "Block",
    "Header",
    "InclusionProof",
    "Seal",
    "find_work",
    "has_work",
    "is_sealed_by",
    "prove_inclusion",
    "seal_block",
    "transactions_root",
    "verify_inclusion",
]

_SEAL_LABEL: Final = b"medfed/seal/1\0"
_WORK_LABEL: Final = b"medfed/work/1\0"


class Header(Record):
    """What a block's id covers."""

    chain: Digest
    height: Height
    previous: Digest
    time_ms: Annotated[int, Meta(ge=0, lt=2**53)]
    proposer: Name
    transactions_root: Digest
    state_digest: Digest
    engine_height: Annotated[int, Meta(ge=0, lt=2**62)] = 0

    @property
    def id(self) -> Digest:
        """SHA-256 of the header's canonical bytes."""
        return sha256(encode(self))


class Seal(Record):
    """What stands beside the header: the proposer's signature, and the nonce where work is asked for."""

    signature: Annotated[bytes, Meta(max_length=64)] = b""
    nonce: Annotated[int, Meta(ge=0, lt=2**62)] = 0


class Block(Record):
    """One step of the ledger. `transactions` are in wire form, in the order in which they were applied."""

    header: Header
    seal: Seal
    transactions: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=10_000)]


class InclusionProof(Record):
    """Shows that one transaction is in one block."""

    header: Header
    seal: Seal
    transaction: bytes
    index: int
    size: int
    path: tuple[Digest, ...]


def transactions_root(transactions: tuple[bytes, ...]) -> Digest:
    """The RFC 6962 root over the transactions' ids."""
    return merkle_root([_id(data) for data in transactions])


def seal_block(header: Header, key: SigningKey | None, difficulty: int) -> Seal:
    """Sign the header and do the work, as far as the policy asks for either."""
    signature = key.sign(_SEAL_LABEL + header.id) if key is not None else b""
    return Seal(signature, find_work(header.id, difficulty) if difficulty else 0)


def is_sealed_by(header: Header, seal: Seal, public_key: bytes) -> bool:
    """Whether the seal's signature is that of `public_key`."""
    return is_valid_signature(public_key, _SEAL_LABEL + header.id, seal.signature)


def find_work(block_id: Digest, difficulty: int) -> int:
    """The least nonce that meets `difficulty` (leading zero bits)."""
    nonce = 0
    while not has_work(block_id, nonce, difficulty):
        nonce += 1
    return nonce


def has_work(block_id: Digest, nonce: int, difficulty: int) -> bool:
    """Whether `SHA-256(label ‖ id ‖ nonce)` begins with `difficulty` zero bits."""
    digest = sha256(_WORK_LABEL + block_id + nonce.to_bytes(8, "big"))
    return int.from_bytes(digest, "big") >> (256 - difficulty) == 0 if difficulty else True


def prove_inclusion(block: Block, index: int) -> InclusionProof:
    """A proof for transaction `index` of `block`."""
    ids = [_id(data) for data in block.transactions]
    path = inclusion_path(ids, index)
    return InclusionProof(block.header, block.seal, block.transactions[index], index, len(ids), path)


def verify_inclusion(proof: InclusionProof, block_id: Digest) -> SignedTransaction:
    """The proven transaction, if the proof leads to the block `block_id`.

    Raises:
        Tampered: it does not.
    """
    if proof.header.id != block_id:
        raise Tampered("inclusion proof: it belongs to another block")
    leaf = _id(proof.transaction)
    verify_inclusion_path(leaf, proof.index, proof.size, proof.path, proof.header.transactions_root)
    return SignedTransaction.from_bytes(proof.transaction)


def _id(wire: bytes) -> Digest:
    return sha256(memoryview(wire)[64:])
