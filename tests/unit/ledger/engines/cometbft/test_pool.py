"""What may wait in the pool and what goes into the next block, at the limits on both sides."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace
from tests.support.ledger import World, key_of

from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.membership import ChangeAddress, Leave
from medfed.ledger.engines.cometbft import pool
from medfed.ledger.engines.cometbft.pool import WINDOW, choose
from medfed.ledger.engines.cometbft.proposal import entry_size
from medfed.ledger.transaction import Anchor, SignedTransaction, sign
from medfed.ledger.transition import Inadmissible


@pytest.fixture
def world() -> World:
    return World.build()


def code(world: World, *batch: SignedTransaction, of: str = "check_new") -> str:
    """Why the pool does not take the batch; empty if it does."""
    view = world.view
    try:
        getattr(pool, of)(view.state, view.tip, world.engine.genesis, batch)
    except Inadmissible as reason:
        return reason.code
    return ""


def signed(
    world: World,
    ahead: int = 0,
    who: Name = "alpha",
    *,
    by: Name | None = None,
    seen: Anchor | None = None,
    chain: Digest | None = None,
) -> SignedTransaction:
    plain = world.sign(who, ChangeAddress("host:1"), ahead=ahead, seen=seen)
    if by is None and chain is None:
        return plain
    return sign(replace(plain.transaction, chain=chain or plain.transaction.chain), key_of(by or who))


def test_a_sender_has_a_window_of_sequences(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:0"))
    assert [ahead for ahead in range(-1, WINDOW + 3) if not code(world, signed(world, ahead))] == list(range(WINDOW))
    assert code(world, signed(world, WINDOW)) == code(world, signed(world, -1)) == "sequence"


def test_what_was_seen_may_lie_a_window_ahead_of_this_copy(world: World) -> None:
    tip = world.view.tip.height
    assert not code(world, signed(world, seen=Anchor(tip + WINDOW, bytes(32))))
    assert code(world, signed(world, seen=Anchor(tip + WINDOW + 1, bytes(32)))) == "sequence"


def test_what_can_never_enter_is_not_taken_and_says_why(world: World) -> None:
    assert code(world, signed(world, chain=sha256(b"another"))) == "other-chain"
    assert code(world, signed(world, by="beta")) == "bad-signature"
    world.accept("user", Leave())
    assert code(world, signed(world, who="user")) == "unknown-sender"
    assert code(world, signed(world, who="nobody")) == "unknown-sender"
    assert code(world) == "sequence"


def test_one_good_transaction_is_enough_wherever_it_stands(world: World) -> None:
    good, early, forged = signed(world), signed(world, WINDOW), signed(world, by="beta")
    for batch in ((good, early), (early, good), (forged, good), (early, forged, good)):
        assert code(world, *batch) == ""
    assert code(world, early, forged) == "bad-signature"


def test_after_a_block_only_what_may_enter_the_very_next_one_stays(world: World) -> None:
    first, second, third = (signed(world, ahead) for ahead in range(3))
    assert code(world, first, of="check_remaining") == ""
    assert code(world, second, of="check_remaining") == "sequence"
    world.engine.submit(first)
    assert code(world, first, of="check_remaining") == "sequence"
    assert code(world, first, second, of="check_remaining") == ""
    assert code(world, third, second, of="check_remaining") == ""
    assert code(world, third, of="check_remaining") == "sequence"
    assert code(world, signed(world, by="beta"), of="check_remaining") == "bad-signature"
    world.accept("user", Leave())
    assert code(world, signed(world, who="user", ahead=0), of="check_remaining") == "unknown-sender"


def chosen(world: World, batches: Iterable[tuple[SignedTransaction, ...]], most: int = 1 << 20) -> list[Digest]:
    return [one.id for one in choose(world.view.state, batches, most)]


def test_every_sender_keeps_its_places_and_fills_them_by_its_sequences(world: World) -> None:
    a0, a1, a2 = (signed(world, ahead) for ahead in range(3))
    b0, b1 = (signed(world, ahead, "beta") for ahead in range(2))
    assert chosen(world, [(a2, b1), (a0,), (b0, a1)]) == [one.id for one in (a0, b0, a1, b1, a2)]
    assert chosen(world, [(a0, a0), (a0,)]) == [a0.id]
    assert chosen(world, []) == []


def test_what_is_on_the_ledger_is_not_chosen_again(world: World) -> None:
    a0, a1 = (signed(world, ahead) for ahead in range(2))
    world.engine.submit(a0)
    assert chosen(world, [(a0, a1)]) == [a1.id]


def test_a_block_is_as_long_as_it_may_be_and_no_longer(world: World) -> None:
    batch = tuple(signed(world, ahead) for ahead in range(3))
    sizes = [entry_size(one.to_bytes()) for one in batch]
    for count in range(4):
        whole = sum(sizes[:count])
        assert len(chosen(world, [batch], whole)) == count
        if count:
            assert len(chosen(world, [batch], whole - 1)) == count - 1
