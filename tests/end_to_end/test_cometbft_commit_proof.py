"""What a real CometBFT has signed is accepted, and nothing that was changed afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.cometbft import needs_cometbft
from tests.support.ledger import START_MS, HandClock, World, found, key_of, sealer, sealing_key_of

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, Tampered
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.engines.cometbft.commit_proof import CommitProof, proof_from_answer, verify_commit
from medfed.ledger.engines.cometbft.host import CometEngine
from medfed.ledger.genesis import Genesis

pytestmark = needs_cometbft


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A consortium of one hospital, so that its votes are all."""
    alone = found("test", "alpha", "hospital", key_of("alpha"), sealing_key_of("alpha"))
    user = found("test", "user", "user", key_of("user"), sealing_key_of("user"))
    clock = HandClock()
    engine = CometEngine.create(tmp_path, Genesis("test", START_MS, (alone, user)), clock, sealer("alpha"))
    made = World(engine, clock)
    for number in range(3):
        made.accept("user", ChangeAddress(f"host:{number}"))
    yield made
    engine.close()


def proof_of(world: World) -> CommitProof:
    engine = world.engine
    assert isinstance(engine, CometEngine)
    (last,) = engine.blocks(world.view.tip.height)
    end = time.monotonic() + 10
    while True:
        try:
            return proof_from_answer(engine.rpc.commit(last.header.engine_height + 1))
        except InvalidInput:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_the_votes_for_the_last_block_are_accepted(world: World) -> None:
    proof = proof_of(world)
    assert decode(encode(proof), CommitProof) == proof
    assert verify_commit(world.engine.genesis, world.engine.blocks(), proof) == 1


def test_nothing_of_it_can_be_changed(world: World) -> None:
    proof, genesis, blocks = proof_of(world), world.engine.genesis, list(world.engine.blocks())
    (vote,) = proof.votes
    hashes = list(proof.hashes)
    changed = [
        replace(proof, height=proof.height + 1),
        replace(proof, version_app=proof.version_app + 1),
        replace(proof, nanos=(proof.nanos + 1) % 10**9),
        replace(proof, round=proof.round + 1),
        replace(proof, parts=(proof.parts[0] + 1, proof.parts[1])),
        replace(proof, last_block=(bytes(32), *proof.last_block[1:])),
        replace(proof, proposer=bytes(20)),
        replace(proof, votes=()),
        replace(proof, votes=(replace(vote, seconds=vote.seconds + 1),)),
        replace(proof, votes=(replace(vote, signature=bytes(64)),)),
        replace(proof, votes=(replace(vote, address=bytes(20)),)),
        *(replace(proof, hashes=(*hashes[:at], bytes(32), *hashes[at + 1 :])) for at in range(8)),
    ]
    for one in changed:
        with pytest.raises(Tampered):
            verify_commit(genesis, blocks, one)


def test_it_is_for_the_last_block_only(world: World) -> None:
    proof, genesis, blocks = proof_of(world), world.engine.genesis, list(world.engine.blocks())
    for shorter in (blocks[:-1], []):
        with pytest.raises(Tampered, match="not for block"):
            verify_commit(genesis, shorter, proof)


def test_two_votes_of_one_validator_are_one(world: World) -> None:
    proof = proof_of(world)
    doubled = replace(proof, votes=proof.votes * 5)
    assert verify_commit(world.engine.genesis, world.engine.blocks(), doubled) == 1


@pytest.mark.parametrize("answer", [{}, {"signed_header": None}, {"signed_header": {"header": {}, "commit": {}}}])
def test_another_answer_is_no_proof(answer: dict) -> None:
    with pytest.raises(InvalidInput, match="not as"):
        proof_from_answer(answer)
