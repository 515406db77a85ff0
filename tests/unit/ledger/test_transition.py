"""`ledger.transition` at its limits: what enters a block, how many, in which order, and what a block must be."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, START_MS, World, changed_tables, key_of, make_genesis

from medfed.errors import Outdated, Refused, Tampered
from medfed.identifiers import sha256
from medfed.ledger import transition
from medfed.ledger.block import Block, Seal, has_work, seal_block
from medfed.ledger.contracts.membership import ChangeAddress, Leave, ProposeRemoval, ProposeUpgrade, VoteOnUpgrade
from medfed.ledger.contracts.rewards import points
from medfed.ledger.genesis import Policy
from medfed.ledger.state import Overlay
from medfed.ledger.transaction import Anchor, Body, SignedTransaction, sign
from medfed.ledger.transition import (
    SEEN_WINDOW,
    Inadmissible,
    Receipt,
    Tip,
    anchor_of,
    apply_block,
    begin_block,
    check_body,
    genesis_tip,
    next_sequence,
    prepare_block,
    tip_after,
    verify_admissible,
)


@pytest.fixture
def world() -> World:
    return World.build()


def test_a_receipt_is_accepted_with_a_height_and_no_code() -> None:
    some = sha256(b"transaction")
    assert Receipt(some, 1, 0).accepted
    assert not Receipt(some, None, 0).accepted
    assert not Receipt(some, 1, 0, "code", "words").accepted
    assert not Receipt(some, None, 0, "code", "words").accepted


def test_before_the_first_block_stands_the_genesis() -> None:
    genesis = make_genesis()
    state, tip = genesis_tip(genesis)
    assert (tip.height, tip.block, tip.time_ms) == (0, genesis.digest, genesis.created_ms)
    assert tip.state_digest not in (bytes(32), genesis.digest)
    assert next_sequence(state, "alpha") == 0
    assert anchor_of(tip) == Anchor(0, genesis.digest)


# What enters a block.


def _code(world: World, signed: SignedTransaction) -> str:
    view = world.view
    try:
        verify_admissible(begin_block(view.state, view.tip), signed, view.chain)
    except Inadmissible as reason:
        return reason.code
    return ""


def test_a_transaction_is_admissible_on_its_ledger_by_its_sender_in_its_sequence(world: World) -> None:
    world.accept("user", Leave())
    view, good = world.view, world.sign("alpha", ChangeAddress("host:1"))
    plain = good.transaction
    assert _code(world, good) == ""

    def signed(by: str = "alpha", **changed: object) -> SignedTransaction:
        return sign(replace(plain, **changed), key_of(by))

    assert _code(world, signed(chain=sha256(b"another"))) == "other-chain"
    assert _code(world, signed("nobody", sender="nobody")) == "unknown-sender"
    assert _code(world, signed("user", sender="user", sequence=1)) == "unknown-sender"
    assert _code(world, signed("beta")) == "bad-signature"
    for sequence in (1, 2, 64):
        assert _code(world, signed(sequence=sequence)) == "sequence"
    assert _code(world, signed(seen=Anchor(view.tip.height, sha256(b"another")))) == "stale-seen"
    assert _code(world, signed(seen=Anchor(view.tip.height + 1, view.tip.block))) == "stale-seen"
    assert _code(world, signed(seen=Anchor(0, view.chain))) == ""


def test_the_sequence_goes_up_by_one_also_where_the_contract_refuses(world: World) -> None:
    view, overlay = world.view, begin_block(world.view.state, world.view.tip)
    context = transition._context(world.engine.genesis, view.state, view.tip, START_MS, "organiser")
    for number, body in enumerate((ChangeAddress("host:1"), ProposeRemoval("nobody"), ChangeAddress("host:2"))):
        signed = world.sign("alpha", body, sequence=number)
        verify_admissible(overlay, signed, view.chain)
        receipt = transition.apply_transaction(overlay, signed, context, 7 + number)
        assert (receipt.transaction, receipt.height, receipt.index) == (signed.id, 1, 7 + number)
        assert receipt.code == ("not-active" if number == 1 else "")
        assert next_sequence(overlay, "alpha") == number + 1


def test_a_body_is_checked_as_the_next_block_would_without_a_signature_and_without_a_trace(world: World) -> None:
    view, before = world.view, world.view.state.items()

    def check(body: Body) -> None:
        check_body(view.genesis, view.state, view.tip, "alpha", body, START_MS)

    check(ChangeAddress("host:1"))
    with pytest.raises(Refused, match="nobody") as caught:
        check(ProposeRemoval("nobody"))
    assert caught.value.code == world.refuse("alpha", ProposeRemoval("nobody")) == "not-active"
    assert view.state.items() == before


def test_a_refused_transaction_leaves_nothing_of_what_it_had_begun(world: World) -> None:
    before = world.view
    assert world.send("alpha", ProposeRemoval("nobody")).code == "not-active"
    assert changed_tables(before, world.view) == {b"sequence", b"block"}


@pytest.mark.parametrize("window", [1, 2, 5])
def test_what_was_seen_counts_for_as_many_blocks_as_the_window_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    """The same with a thousand takes long; it is held once, in the conformance suite."""
    assert SEEN_WINDOW == 1_000
    monkeypatch.setattr(transition, "SEEN_WINDOW", window)
    anchors = [anchor_of(world.view.tip)]
    for number in range(2 * window + 1):
        world.accept("beta", ChangeAddress(f"host:{number}"))
        anchors.append(anchor_of(world.view.tip))
    tip = world.view.tip.height
    for anchor in anchors:
        signed = world.sign("alpha", ChangeAddress("host:1"), seen=anchor)
        assert _code(world, signed) == ("" if tip - anchor.height < window else "stale-seen"), anchor.height
    kept = [key for key in world.view.state.items() if key.startswith(b"block/")]
    assert len(kept) == window


# Blocks.


def _prepared(world: World, *candidates: SignedTransaction, time_ms: int = START_MS) -> tuple[object, list[Receipt]]:
    view = world.view
    made = prepare_block(world.engine.genesis, view.state, view.tip, list(candidates), time_ms, "organiser")
    return made[0], made[3]


def test_a_block_takes_as_many_as_the_policy_allows_and_of_one_sender_its_quota() -> None:
    world = World.build(policy=Policy(max_block_transactions=3, sender_quota=2))
    mine = [world.sign("alpha", ChangeAddress(f"host:{n}"), ahead=n) for n in range(3)]
    others = [world.sign(name, ChangeAddress("host:1")) for name in ("beta", "delta")]
    _, receipts = _prepared(world, *mine, *others)
    assert [receipt.code for receipt in receipts] == ["", "", "quota", "", "block-full"]
    assert [receipt.height for receipt in receipts] == [1, 1, None, 1, None]
    assert [receipt.index for receipt in receipts] == [0, 1, 0, 2, 0]


def test_what_cannot_enter_takes_no_room() -> None:
    world = World.build(policy=Policy(max_block_transactions=1, sender_quota=1))
    early, good = (world.sign("alpha", ChangeAddress("host:1"), ahead=n) for n in (1, 0))
    _, receipts = _prepared(world, early, good)
    assert [(receipt.code, receipt.height) for receipt in receipts] == [("sequence", None), ("", 1)]


def test_time_never_goes_back_and_may_stand_still(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    for clock, expected in ((START_MS - 5, START_MS), (START_MS, START_MS), (START_MS + 5, START_MS + 5)):
        header, _ = _prepared(world, signed, time_ms=clock)
        assert header.time_ms == expected  # type: ignore[attr-defined]


def test_a_block_of_nothing_has_no_transactions(world: World) -> None:
    view = world.view
    _, taken, _, receipts = prepare_block(world.engine.genesis, view.state, view.tip, [], START_MS, "organiser")
    assert (taken, receipts) == ((), [])


def test_sealing_is_rewarded_for_a_block_with_something_accepted_of_somebody_else() -> None:
    world = World.build(policy=Policy(seal_points=7))
    world.accept("organiser", ChangeAddress("host:1"))
    assert points(world.view, "organiser") == 0
    world.refuse("alpha", ProposeRemoval("nobody"))
    assert points(world.view, "organiser") == 0
    world.accept("alpha", ChangeAddress("host:1"))
    assert points(world.view, "organiser") == 7
    batch = [world.sign(name, ChangeAddress("host:2")) for name in ("organiser", *FOUR)]
    world.engine.submit(*batch)
    assert points(world.view, "organiser") == 14
    mixed = [world.sign("alpha", ChangeAddress("host:3")), world.sign("organiser", ChangeAddress("host:3"))]
    world.engine.submit(*mixed)
    assert points(world.view, "organiser") == 21


def _made(world: World, body: ChangeAddress, time_ms: int = START_MS) -> Block:
    view = world.view
    signed = world.sign("alpha", body)
    header, taken, _, _ = prepare_block(world.engine.genesis, view.state, view.tip, [signed], time_ms, "organiser")
    return Block(header, seal_block(header, key_of("organiser"), 0), taken)


def test_a_block_leads_to_its_own_tip(world: World) -> None:
    block, view = _made(world, ChangeAddress("host:1")), world.view
    writes, receipts = apply_block(world.engine.genesis, view.state, view.tip, block)
    assert [receipt.accepted for receipt in receipts] == [True]
    tip = tip_after(block.header)
    assert tip == Tip(1, block.header.id, START_MS, block.header.state_digest)
    state = view.state.with_writes(writes)
    with pytest.raises(Tampered, match="block 2: it does not follow block 1"):
        apply_block(world.engine.genesis, state, tip, block)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chain": sha256(b"x")}, "it belongs to another ledger"),
        ({"height": 2}, "it does not follow block 0"),
        ({"height": 0}, "it does not follow block 0"),
        ({"previous": sha256(b"x")}, "it does not follow block 0"),
        ({"time_ms": START_MS - 1}, "time goes backwards"),
        ({"transactions_root": sha256(b"x")}, "the transactions are not those that the header commits to"),
        ({"state_digest": sha256(b"x")}, "the transactions do not lead to the state that the header commits to"),
    ],
)
def test_a_block_that_is_wrong_in_one_place_is_refused_by_name(
    world: World, change: dict[str, object], words: str
) -> None:
    block, view = _made(world, ChangeAddress("host:1")), world.view
    header = replace(block.header, **change)
    forged = Block(header, seal_block(header, key_of("organiser"), 0), block.transactions)
    with pytest.raises(Tampered, match=f"^block 1: {words}$"):
        apply_block(world.engine.genesis, view.state, view.tip, forged)


def test_an_inadmissible_transaction_in_a_block_is_named_by_its_place(world: World) -> None:
    view = world.view
    good, late = (world.sign("alpha", ChangeAddress("host:1"), ahead=n) for n in (0, 5))
    header, _, _, _ = prepare_block(world.engine.genesis, view.state, view.tip, [good], START_MS, "organiser")
    wires = (good.to_bytes(), late.to_bytes())
    header = replace(header, transactions_root=transition.transactions_root(wires))
    block = Block(header, seal_block(header, key_of("organiser"), 0), wires)
    with pytest.raises(Tampered, match=r"^block 1, transaction 1: sequence 5 where 1 is next$"):
        apply_block(world.engine.genesis, view.state, view.tip, block)


# Seals.


def _sealed(policy: Policy, seal: Seal | None = None, by: str = "organiser", proposer: str = "organiser") -> str:
    """What is wrong with a block of a ledger with that policy, sealed so."""
    world = World.build(policy=policy)
    view = world.view
    signed = world.sign("alpha", ChangeAddress("host:1"))
    header, taken, _, _ = prepare_block(world.engine.genesis, view.state, view.tip, [signed], START_MS, proposer)
    given = seal or seal_block(header, key_of(by), policy.difficulty)
    try:
        apply_block(world.engine.genesis, view.state, view.tip, Block(header, given, taken))
    except Tampered as error:
        return str(error)
    return ""


def test_a_signed_ledger_takes_the_signature_of_an_active_proposer() -> None:
    signed = Policy()
    assert _sealed(signed) == ""
    assert _sealed(signed, by="alpha") == "block 1: the seal is not that of organiser"
    assert _sealed(signed, Seal()) == "block 1: the seal is not that of organiser"
    assert _sealed(signed, by="alpha", proposer="alpha") == ""
    assert _sealed(signed, by="nobody", proposer="nobody") == (
        "block 1: its proposer nobody is not an active participant"
    )


def test_a_proposer_that_has_left_seals_nothing() -> None:
    world = World.build()
    world.accept("user", Leave())
    view = world.view
    signed = world.sign("alpha", ChangeAddress("host:1"))
    header, taken, _, _ = prepare_block(world.engine.genesis, view.state, view.tip, [signed], START_MS, "user")
    with pytest.raises(Tampered, match="block 2: its proposer user is not an active participant"):
        apply_block(
            world.engine.genesis, view.state, view.tip, Block(header, seal_block(header, key_of("user"), 0), taken)
        )


def test_a_ledger_without_seals_takes_none_and_no_nonce() -> None:
    plain = Policy(seal="none")
    assert _sealed(plain, Seal()) == ""
    assert _sealed(plain, Seal(b"x" * 64)) == "block 1: it carries a seal where the policy asks for none"
    assert _sealed(plain, Seal(b"", 1)) == "block 1: it carries a nonce where the policy asks for no work"


def test_work_is_as_much_as_the_policy_asks_for() -> None:
    mined = Policy(seal="none", difficulty=6)
    world = World.build(policy=mined)
    view, signed = world.view, world.sign("alpha", ChangeAddress("host:1"))
    header, taken, _, _ = prepare_block(world.engine.genesis, view.state, view.tip, [signed], START_MS, "organiser")
    found: set[bool] = set()
    for nonce in range(300):
        block = Block(header, Seal(b"", nonce), taken)
        found.add(enough := has_work(header.id, nonce, 6))
        if enough:
            apply_block(world.engine.genesis, view.state, view.tip, block)
            continue
        with pytest.raises(Tampered, match=r"^block 1: the seal's work does not meet the policy's difficulty"):
            apply_block(world.engine.genesis, view.state, view.tip, block)
    assert found == {True, False}


# Versions of the rules.


def test_the_first_block_that_needs_other_rules_is_not_made_and_the_one_before_is(world: World) -> None:
    world.accept("alpha", ProposeUpgrade(2, 5))
    for name in ("beta", "gamma"):
        world.accept(name, VoteOnUpgrade(2, True))
    world.accept("delta", ChangeAddress("host:4"))
    assert world.view.tip.height == 4
    with pytest.raises(Outdated, match=r"^block 5 needs rules 2; this program knows up to 1: update it$"):
        world.accept("delta", ChangeAddress("host:5"))


def test_the_context_of_a_block_is_its_own(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    view = world.view
    context = transition._context(world.engine.genesis, view.state, view.tip, 123, "beta")
    assert (context.chain, context.height, context.time_ms, context.proposer, context.rules) == (
        view.chain, 2, 123, "beta", 1,
    )  # fmt: skip


def test_a_block_is_begun_on_a_copy(world: World) -> None:
    before = world.view.state.items()
    overlay = begin_block(world.view.state, world.view.tip)
    assert isinstance(overlay, Overlay)
    assert overlay.writes
    assert world.view.state.items() == before
