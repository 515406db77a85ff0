"""What an attacker may try on transactions and membership; see `ledger.md`, "What an attacker may try"."""

from __future__ import annotations

import struct

import msgspec
import pytest
from msgspec.structs import replace
from tests.support.ledger import (
    FOUR,
    HandClock,
    StudyWorld,
    World,
    key_of,
    make_genesis,
    make_terms,
    sealer,
)

from medfed.encoding import encode
from medfed.errors import InvalidInput, Tampered
from medfed.identifiers import sha256
from medfed.ledger.contracts.membership import (
    ChangeAddress,
    Leave,
    ProposeRemoval,
    VoteOnParticipant,
    VoteOnRemoval,
    active_hospitals,
    participant,
)
from medfed.ledger.contracts.studies import ApproveStudy
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Policy
from medfed.ledger.transaction import MAX_TRANSACTION_BYTES, Anchor, SignedTransaction, Transaction, sign
from medfed.ledger.transition import SEEN_WINDOW, anchor_of, next_sequence
from medfed.ledger.verify import verify_ledger

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""The order of Ed25519's group: adding it to S gives another encoding of the same signature."""


@pytest.fixture
def world() -> World:
    return World.build()


def rejected(world: World, signed: SignedTransaction) -> str:
    """It enters no block and changes nothing; why."""
    before = world.view
    receipt = world.engine.submit(signed)[0]
    assert receipt.height is None
    assert world.view.tip == before.tip
    return receipt.code


# Replay


def test_replay_on_the_same_ledger_gives_the_old_receipt_and_changes_nothing(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    first = world.engine.submit(signed)[0]
    world.accept("alpha", ChangeAddress("host:2"))
    tip = world.view.tip
    assert world.engine.submit(signed) == [first]
    assert world.view.tip == tip
    found = participant(world.view, "alpha")
    assert found is not None
    assert found.address == "host:2"


def test_replay_under_another_signature_of_the_same_payload_changes_nothing(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    first = world.engine.submit(signed)[0]
    tip = world.view.tip
    forged = replace(signed, signature=bytes(64))
    assert world.engine.submit(forged) == [first]
    assert world.view.tip == tip


def test_replay_on_another_ledger_is_refused(world: World) -> None:
    other = World.build(consortium="elsewhere")
    assert rejected(other, world.sign("alpha", ChangeAddress("host:1"))) == "other-chain"


def test_replay_with_the_other_ledgers_name_breaks_the_signature(world: World) -> None:
    other = World.build(consortium="elsewhere")
    signed = world.sign("alpha", ChangeAddress("host:1"))
    moved = replace(signed.transaction, chain=other.view.chain, seen=anchor_of(other.view.tip))
    assert rejected(other, SignedTransaction(signed.signature, encode(moved), moved)) == "bad-signature"


def test_replay_on_a_fork_of_the_same_ledger_is_refused_beyond_the_fork(world: World) -> None:
    """Same genesis, another first block: what was signed after having seen the one is nothing on the other."""
    fork = World.build()
    world.accept("alpha", ChangeAddress("host:1"))
    fork.accept("alpha", ChangeAddress("host:2"))
    assert rejected(fork, world.sign("beta", ChangeAddress("host:b"))) == "stale-seen"


# Signatures


def test_a_forged_signature_is_refused(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    for signature in (bytes(64), b"\xff" * 64, key_of("beta").sign(signed.payload), signed.signature[::-1]):
        assert rejected(world, replace(signed, signature=signature)) == "bad-signature"


def test_a_signature_over_the_bare_payload_is_refused(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    assert rejected(world, replace(signed, signature=key_of("alpha").sign(signed.payload))) == "bad-signature"


def test_a_malleable_signature_is_refused(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    s = int.from_bytes(signed.signature[32:], "little") + GROUP_ORDER
    malleated = signed.signature[:32] + s.to_bytes(32, "little")
    assert rejected(world, replace(signed, signature=malleated)) == "bad-signature"


def test_every_single_flipped_bit_of_a_signature_is_refused(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    for bit in range(512):
        changed = bytearray(signed.signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert rejected(world, replace(signed, signature=bytes(changed))) == "bad-signature"


def test_a_key_of_small_order_cannot_be_made_a_participant(world: World) -> None:
    """With such a key one signature would fit many messages."""
    good = world.candidate("omega")
    for key in (bytes(32), b"\1" + bytes(31)):
        for proof in (bytes(64), key + bytes(32), b"\1" + bytes(63)):
            assert world.refuse("alpha", replace(good, signing_key=key, proof=proof)) == "bad-key-proof"


def test_a_transaction_in_anothers_name_is_refused(world: World) -> None:
    stolen = Transaction(world.view.chain, "beta", 0, anchor_of(world.view.tip), Leave())
    assert rejected(world, sign(stolen, key_of("alpha"))) == "bad-signature"


def test_a_lost_key_opens_nothing_after_it_was_replaced(world: World) -> None:
    for asker in ("alpha", "beta", "gamma"):
        world.accept(asker, world.replacement("delta", 1))
    assert rejected(world, world.sign("delta", Leave())) == "bad-signature"


# Bytes


def variants(payload: bytes) -> dict[str, bytes]:
    """The same value in other bytes, and bytes around it."""
    value = msgspec.msgpack.decode(payload)
    names = list(value)
    longer = bytearray(payload)
    assert longer[0] == 0x80 | len(names)
    reordered = msgspec.msgpack.encode({name: value[name] for name in reversed(names)})
    return {
        "a byte after the end": payload + b"\0",
        "a byte less": payload[:-1],
        "another order of the fields": reordered,
        "a map header of 16 bits": b"\xde" + struct.pack(">H", len(names)) + payload[1:],
        "a map header of 32 bits": b"\xdf" + struct.pack(">I", len(names)) + payload[1:],
        "a field twice": bytes([0x80 | len(names) + 1]) + payload[1:] + encode(names[0]) + encode(value[names[0]]),
        "an unknown field": bytes([0x80 | len(names) + 1]) + payload[1:] + encode("more") + encode(1),
        "a field less": msgspec.msgpack.encode({name: value[name] for name in names[:-1]}),
        "a number in 64 bits": payload.replace(encode("sequence") + b"\0", encode("sequence") + b"\xcf" + bytes(8)),
        "a text in 8 bits": payload.replace(encode("alpha"), b"\xd9\x05alpha"),
        "nothing": b"\xc0",
        "an array of the values": msgspec.msgpack.encode([value[name] for name in names]),
    }


def test_bytes_that_are_not_canonical_are_no_transaction(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    for what, payload in variants(signed.payload).items():
        assert payload != signed.payload, what
        wire = key_of("alpha").sign(b"medfed/transaction/1\0" + payload) + payload
        with pytest.raises(InvalidInput):
            SignedTransaction.from_bytes(wire)


def test_oversized_input_is_refused_before_it_is_decoded() -> None:
    for size in (MAX_TRANSACTION_BYTES + 1, 10 * 2**20):
        with pytest.raises(InvalidInput, match="at most 65536"):
            SignedTransaction.from_bytes(b"\x91" * size)


@pytest.mark.parametrize(
    "header", [b"\x91", b"\x81\xa1a", b"\x81\xa4body", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"]
)
def test_deeply_nested_or_boastful_input_is_refused(header: bytes) -> None:
    room = MAX_TRANSACTION_BYTES - 64
    with pytest.raises(InvalidInput):
        SignedTransaction.from_bytes(bytes(64) + (header * room)[:room])


def hand_made(world: World, body: ChangeAddress) -> SignedTransaction:
    """Signed without the checks of `sign`, as by another program."""
    transaction = Transaction(world.view.chain, "alpha", 0, anchor_of(world.view.tip), body)
    payload = encode(transaction)
    return SignedTransaction(key_of("alpha").sign(b"medfed/transaction/1\0" + payload), payload, transaction)


@pytest.mark.parametrize("address", ["Müller", "a b", "host\n", "<script>", "x" * 201])
def test_a_text_that_a_person_may_type_is_neither_signed_nor_decoded_nor_sealed(world: World, address: str) -> None:
    """One such block, and nobody could read the ledger any more."""
    with pytest.raises(InvalidInput):
        world.sign("alpha", ChangeAddress(address))
    signed = hand_made(world, ChangeAddress(address))
    with pytest.raises(InvalidInput):
        SignedTransaction.from_bytes(signed.to_bytes())
    with pytest.raises(InvalidInput):
        world.engine.submit(signed)
    assert world.view.tip.height == 0


def test_a_payload_that_says_something_else_than_the_transaction_is_not_sealed(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    liar = replace(signed, transaction=replace(signed.transaction, body=Leave()))
    with pytest.raises(InvalidInput):
        world.engine.submit(liar)
    assert world.view.tip.height == 0


# Sequence and seen


def test_a_sequence_gap_holds_back_what_follows_it(world: World) -> None:
    later = [world.sign("alpha", ChangeAddress(f"host:{n}"), ahead=n) for n in (1, 2, 63)]
    assert [receipt.code for receipt in world.engine.submit(*later)] == ["sequence"] * 3
    assert world.view.tip.height == 0


def test_a_sequence_cannot_be_used_again_with_another_body(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    assert rejected(world, world.sign("alpha", Leave(), sequence=0)) == "sequence"


def test_a_refused_transaction_cannot_be_tried_until_it_fits(world: World) -> None:
    """Its sequence is used up, so the same bytes never take effect later."""
    vote = world.sign("beta", VoteOnParticipant("omega", True))
    assert world.engine.submit(vote)[0].code == "no-such-proposal"
    world.accept("alpha", world.candidate("omega"))
    assert world.engine.submit(vote)[0].code == "no-such-proposal"
    world.accept("delta", VoteOnParticipant("omega", True))
    assert participant(world.view, "omega") is None


def test_a_transaction_held_back_for_more_than_a_thousand_blocks_is_stale() -> None:
    world = World.build(policy=Policy(max_block_transactions=1))
    held = world.sign("beta", Leave())
    world.engine.submit(*(world.sign("alpha", ChangeAddress(f"h{n}"), ahead=n) for n in range(SEEN_WINDOW)))
    assert rejected(world, held) == "stale-seen"


def test_a_seen_that_no_block_has_is_stale(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    for seen in (
        Anchor(0, bytes(32)),
        Anchor(1, world.view.chain),
        Anchor(0, world.view.tip.block),
        Anchor(5, bytes(32)),
    ):
        assert rejected(world, world.sign("beta", ChangeAddress("x"), seen=seen)) == "stale-seen"


def test_one_sender_does_not_fill_a_block() -> None:
    world = World.build(policy=Policy(sender_quota=2))
    flood = [world.sign("user", ChangeAddress(f"h{n}"), ahead=n) for n in range(20)]
    receipts = world.engine.submit(*flood, world.sign("alpha", ChangeAddress("host:1")))
    assert receipts[-1].height == 1


# Votes and approvals


def test_votes_by_those_who_have_none_are_refused(world: World) -> None:
    world.accept("alpha", world.candidate("omega"), ProposeRemoval("user"))
    for stranger in ("user", "organiser", "auditor", "server"):
        assert world.refuse(stranger, VoteOnParticipant("omega", True)) == "not-a-voter"
        assert world.refuse(stranger, VoteOnRemoval("user", False)) == "not-a-voter"


def test_votes_of_those_who_have_left_do_not_count(world: World) -> None:
    world.accept("alpha", world.candidate("omega"))
    world.accept("beta", VoteOnParticipant("omega", True))
    world.accept("beta", Leave())
    world.accept("delta", VoteOnParticipant("omega", True))
    assert participant(world.view, "omega") is None
    world.accept("gamma", VoteOnParticipant("omega", True))
    assert participant(world.view, "omega") is not None


def test_double_votes_are_refused(world: World) -> None:
    world.accept("alpha", world.candidate("omega"))
    assert world.refuse("alpha", VoteOnParticipant("omega", True)) == "already-voted"
    world.accept("beta", VoteOnParticipant("omega", True))
    assert world.refuse("beta", VoteOnParticipant("omega", False)) == "already-voted"
    assert participant(world.view, "omega") is None


def test_one_hospital_neither_admits_nor_removes_anybody_alone(world: World) -> None:
    world.accept("alpha", world.candidate("omega"), ProposeRemoval("beta"), world.replacement("gamma", 1))
    assert active_hospitals(world.view) == FOUR
    assert participant(world.view, "omega") is None
    found = participant(world.view, "gamma")
    assert found is not None
    assert found.signing_key == key_of("gamma").public


def test_a_study_cannot_be_approved_by_its_proposer_for_the_others(world: World) -> None:
    study = StudyWorld(world, make_terms(FOUR[:3]))
    world.accept("alpha", study.proposal(), study.approval())
    assert world.refuse("alpha", study.approval()) == "already-answered"
    assert world.refuse("organiser", study.approval()) == "not-invited"
    study.advance()
    assert study.record.phase == "aborted"


def test_a_plan_cannot_be_exchanged_after_it_was_approved(world: World) -> None:
    study = StudyWorld(world)
    world.accept("organiser", study.proposal())
    world.accept("alpha", study.approval())
    other = StudyWorld(world, make_terms(quorum=4))
    assert world.refuse("organiser", other.proposal()) == "study-exists"
    assert world.refuse("beta", other.approval()) == "other-plan"
    assert world.refuse("beta", ApproveStudy(study.study, sha256(study.plan))) == "other-plan"


# History


def test_a_rewritten_block_is_noticed_by_a_replica_that_has_the_old_one(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"), ChangeAddress("host:2"))
    seen = anchor_of(world.view.tip)
    fork = MemoryEngine(world.engine.genesis, HandClock(), sealer("organiser"))
    first = next(iter(world.engine.blocks()))
    fork.submit(*(SignedTransaction.from_bytes(wire) for wire in first.transactions))
    view = fork.view()
    sequence = next_sequence(view, "beta")
    fork.submit(sign(Transaction(view.chain, "beta", sequence, anchor_of(view.tip), Leave()), key_of("beta")))
    verify_ledger(fork.genesis, fork.blocks())
    with pytest.raises(Tampered, match="block 2"):
        verify_ledger(fork.genesis, fork.blocks(), expected_tip=seen)


def test_a_truncated_ledger_is_noticed_by_whoever_has_seen_more(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"), ChangeAddress("host:2"))
    blocks = list(world.engine.blocks())
    with pytest.raises(Tampered, match="block 2: the ledger ends before it"):
        verify_ledger(world.engine.genesis, blocks[:1], expected_tip=anchor_of(world.view.tip))


def test_a_swapped_genesis_is_noticed(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    swapped = make_genesis(policy=Policy(seal="none"))
    with pytest.raises(Tampered, match="genesis"):
        verify_ledger(swapped, world.engine.blocks(), world.view.chain)
    with pytest.raises(Tampered, match="another ledger"):
        verify_ledger(swapped, world.engine.blocks())
