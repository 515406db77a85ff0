"""Blocks: what their id covers, how they are sealed, and proofs that a transaction is in one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, World, key_of

from medfed.encoding import decode, encode
from medfed.errors import Tampered
from medfed.ledger.block import (
    Block,
    InclusionProof,
    Seal,
    find_work,
    has_work,
    is_sealed_by,
    prove_inclusion,
    seal_block,
    verify_inclusion,
)
from medfed.ledger.contracts.membership import ChangeAddress


@pytest.fixture(scope="module")
def block() -> Block:
    world = World.build()
    world.engine.submit(*(world.sign(name, ChangeAddress(f"host:{name}")) for name in (*FOUR, "user")))
    return next(iter(world.engine.blocks()))


def test_the_id_covers_every_field_of_the_header(block: Block) -> None:
    header = block.header
    changes: dict[str, object] = {
        "chain": bytes(32),
        "height": 2,
        "previous": bytes(32),
        "time_ms": 0,
        "proposer": "alpha",
        "transactions_root": bytes(32),
        "state_digest": bytes(32),
        "engine_height": 1,
    }
    assert set(changes) == set(header.__struct_fields__)
    ids = {replace(header, **{name: value}).id for name, value in changes.items()} | {header.id}
    assert len(ids) == len(changes) + 1


def test_a_seal_is_the_proposers_for_this_header_alone(block: Block) -> None:
    assert is_sealed_by(block.header, block.seal, key_of("organiser").public)
    assert not is_sealed_by(block.header, block.seal, key_of("alpha").public)
    assert not is_sealed_by(replace(block.header, height=2), block.seal, key_of("organiser").public)
    assert not is_sealed_by(block.header, Seal(), key_of("organiser").public)


def test_a_seal_is_no_transactions_signature(block: Block) -> None:
    """Labels keep the uses of one key apart."""
    assert block.seal.signature != key_of("organiser").sign(block.header.id)


@pytest.mark.parametrize("difficulty", [0, 1, 4, 8, 12])
def test_work_is_the_least_nonce_with_enough_zero_bits(block: Block, difficulty: int) -> None:
    nonce = find_work(block.header.id, difficulty)
    assert has_work(block.header.id, nonce, difficulty)
    assert not any(has_work(block.header.id, earlier, difficulty) for earlier in range(nonce))
    assert seal_block(block.header, None, difficulty) == Seal(b"", nonce)


def test_work_for_one_block_is_none_for_another(block: Block) -> None:
    nonce = find_work(block.header.id, 12)
    assert not has_work(replace(block.header, height=2).id, nonce, 12)


def test_every_transaction_of_a_block_is_proven_by_its_proof(block: Block) -> None:
    for index, wire in enumerate(block.transactions):
        proof = prove_inclusion(block, index)
        travelled = decode(encode(proof), InclusionProof)
        assert verify_inclusion(travelled, block.header.id).to_bytes() == wire


def test_a_proof_proves_nothing_else(block: Block) -> None:
    proof = prove_inclusion(block, 1)
    wrong = [
        replace(proof, transaction=block.transactions[0]),
        replace(proof, transaction=proof.transaction + b"\0"),
        replace(proof, transaction=proof.transaction[:40]),
        replace(proof, transaction=b""),
        replace(proof, index=0),
        replace(proof, index=-1),
        replace(proof, index=2**40),
        replace(proof, size=1),
        replace(proof, size=0),
        replace(proof, path=()),
        replace(proof, path=(*proof.path, bytes(32))),
        replace(proof, header=replace(proof.header, transactions_root=bytes(32))),
        replace(proof, header=replace(proof.header, height=2)),
    ]
    for changed in wrong:
        with pytest.raises(Tampered):
            verify_inclusion(changed, block.header.id)
    with pytest.raises(Tampered):
        verify_inclusion(proof, bytes(32))


def test_no_index_outside_the_block_is_proven(block: Block) -> None:
    with pytest.raises(IndexError):
        prove_inclusion(block, 5)
