"""Counting the votes for a block: whose, for what, and how many are enough. A real network's are tested end to end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.ledger import SEVEN, World, key_of

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, Tampered
from medfed.identifiers import Name
from medfed.ledger.block import Block, seal_block
from medfed.ledger.contracts.membership import ChangeAddress, Leave
from medfed.ledger.engines.cometbft import commit_proof
from medfed.ledger.engines.cometbft.commit_proof import CommitProof, Vote, proof_from_answer, verify_commit
from medfed.ledger.engines.cometbft.configuration import chain_id
from medfed.ledger.engines.cometbft.validators import address_of

EIGHT = (b"\1" * 32, b"\2" * 32, b"\3" * 32, b"\4" * 32, b"\5" * 32, b"", b"\7" * 32, b"\10" * 32)


def proof_of(world: World, voters: Iterable[Name], *, round_number: int = 0) -> CommitProof:
    """A header over the last block, signed by `voters` as CometBFT's validators sign."""
    tip = world.view.tip
    hashes = (*EIGHT[:5], tip.block, *EIGHT[6:])
    last = (b"\6" * 32, 1, b"\7" * 32)
    proof = CommitProof(11, 1, 1, 1_700_000_000, 5, last, hashes, b"\11" * 20, round_number, (1, b"\12" * 32), ())
    return signed(world, proof, voters)


def signed(world: World, proof: CommitProof, voters: Iterable[Name]) -> CommitProof:
    chain = chain_id(world.engine.genesis)
    header = commit_proof._header_hash(proof, chain)
    votes = []
    for seconds, name in enumerate(voters, start=1_700_000_001):
        vote = Vote(address_of(key_of(name).public), seconds, 7, bytes(64))
        message = commit_proof._sign_bytes(vote, proof, header, chain)
        votes.append(replace(vote, signature=key_of(name).sign(message)))
    return replace(proof, votes=tuple(votes))


def check(world: World, proof: CommitProof) -> int:
    return verify_commit(world.engine.genesis, world.engine.blocks(), proof)


@pytest.fixture
def world() -> World:
    world = World.build(SEVEN)
    world.accept("user", ChangeAddress("host:1"))
    return world


@pytest.mark.parametrize(("hospitals", "enough"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5)])
def test_more_than_two_thirds_of_the_validators_must_have_signed(hospitals: int, enough: int) -> None:
    names = SEVEN[:hospitals]
    world = World.build(names)
    world.accept("user", ChangeAddress("host:1"))
    assert check(world, proof_of(world, names[:enough])) == enough
    assert check(world, proof_of(world, names)) == hospitals
    with pytest.raises(Tampered, match=f"block 1: {enough - 1} of {hospitals} validators have signed it"):
        check(world, proof_of(world, names[: enough - 1]))


def test_votes_of_others_and_second_votes_do_not_count(world: World) -> None:
    proof = proof_of(world, SEVEN[:4])
    for others in (SEVEN[:1], ("organiser", "user", "stranger")):
        more = signed(world, proof, (*SEVEN[:4], *others))
        with pytest.raises(Tampered, match="4 of 7"):
            check(world, more)


def test_a_vote_in_a_later_round_is_a_vote_for_that_round(world: World) -> None:
    late = proof_of(world, SEVEN[:5], round_number=2)
    assert check(world, late) == 5
    with pytest.raises(Tampered, match="0 of 7"):
        check(world, replace(late, round=0))
    with pytest.raises(Tampered, match="0 of 7"):
        check(world, replace(proof_of(world, SEVEN[:5]), round=1))


def test_the_validators_are_those_before_the_last_block(world: World) -> None:
    """Who leaves in it has still voted on it, and does not vote on the next."""
    world.accept(SEVEN[0], Leave())
    assert check(world, proof_of(world, SEVEN)) == 7
    world.accept("user", ChangeAddress("host:2"))
    assert check(world, proof_of(world, SEVEN)) == 6


def test_a_proof_is_for_the_last_block_and_for_the_height_after_it(world: World) -> None:
    proof = proof_of(world, SEVEN)
    for height in (0, 2):
        with pytest.raises(Tampered, match=f"commit: expected height 1, found {height}"):
            check(world, signed(world, replace(proof, height=height), SEVEN))
    world.accept("user", ChangeAddress("host:2"))
    with pytest.raises(Tampered, match="commit: it is not for block 2, the last one"):
        check(world, proof)
    with pytest.raises(Tampered, match="commit: it is not for block 0, the last one"):
        verify_commit(world.engine.genesis, (), proof)


def test_the_height_is_that_of_the_engine(world: World) -> None:
    (block,) = world.engine.blocks()
    header = replace(block.header, engine_height=41)
    later = Block(header, seal_block(header, key_of("organiser"), 0), block.transactions)
    tip = replace(world.view.tip, block=header.id)
    proof = proof_of(world, SEVEN)
    fitting = replace(proof, height=42, hashes=(*EIGHT[:5], tip.block, *EIGHT[6:]))
    assert verify_commit(world.engine.genesis, [later], signed(world, fitting, SEVEN)) == 7


# What CometBFT answers.


def answer() -> dict[str, Any]:
    names = ("last_commit", "data", "validators", "next_validators", "consensus", "app", "last_results", "evidence")
    block_id = {"hash": "AA" * 32, "parts": {"total": 1, "hash": "BB" * 32}}
    vote = {
        "block_id_flag": 2,
        "validator_address": "CC" * 20,
        "timestamp": "2023-11-14T22:13:21.000000007Z",
        "signature": "A" * 86 + "==",
    }
    absent = {"block_id_flag": 1, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": None}
    header = {
        "version": {"block": "11"},
        "height": "7",
        "time": "2023-11-14T22:13:20.25Z",
        "last_block_id": block_id,
        "proposer_address": "DD" * 20,
        **{f"{name}_hash": f"{number:02X}" * 32 for number, name in enumerate(names, start=1)},
    }
    commit = {"round": 3, "block_id": block_id, "signatures": [vote, absent]}
    return {"signed_header": {"header": header, "commit": commit}}


def test_the_answer_is_read_field_by_field_and_absent_votes_are_left_out() -> None:
    proof = proof_from_answer(answer())
    assert (proof.version_block, proof.version_app, proof.height, proof.round) == (11, 0, 7, 3)
    assert (proof.seconds, proof.nanos) == (1_700_000_000, 250_000_000)
    assert proof.last_block == (b"\xaa" * 32, 1, b"\xbb" * 32)
    assert proof.parts == (1, b"\xbb" * 32)
    assert proof.hashes == tuple(bytes([number]) * 32 for number in range(1, 9))
    assert proof.proposer == b"\xdd" * 20
    assert proof.votes == (Vote(b"\xcc" * 20, 1_700_000_001, 7, bytes(64)),)
    assert decode(encode(proof), CommitProof) == proof


@pytest.mark.parametrize(
    ("text", "nanos"), [("", 0), (".1", 100_000_000), (".000000001", 1), (".123456789", 123_456_789)]
)
def test_times_are_exact_to_the_nanosecond(text: str, nanos: int) -> None:
    given = answer()
    given["signed_header"]["header"]["time"] = f"2023-11-14T22:13:20{text}Z"
    assert (proof_from_answer(given).seconds, proof_from_answer(given).nanos) == (1_700_000_000, nanos)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("header", "time"), "2023-11-14T22:13:20+01:00"),
        (("header", "time"), "2023-11-14T22:13:20.1234567890Z"),
        (("header", "time"), "yesterday"),
        (("header", "time"), None),
        (("header", "height"), "x"),
        (("header", "height"), "-1"),
        (("header", "app_hash"), "zz"),
        (("header", "app_hash"), "00" * 33),
        (("header", "version"), None),
        (("header", "proposer_address"), "DD" * 21),
        (("commit", "round"), None),
        (("commit", "round"), str(2**62)),
        (("commit", "signatures"), None),
        (("commit", "block_id"), {}),
        (("commit", "signatures"), [{"block_id_flag": 2, "validator_address": "CC"}]),
    ],
)
def test_another_answer_is_invalid_input(path: tuple[str, str], value: object) -> None:
    given = answer()
    given["signed_header"][path[0]][path[1]] = value
    with pytest.raises(InvalidInput):
        proof_from_answer(given)
