"""Turning what was submitted into blocks: turns, full blocks, and what nobody could read any more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from tests.support.ledger import START_MS, HandClock, World, key_of, make_genesis, sealer

from medfed.errors import InvalidInput, Refused
from medfed.identifiers import Digest
from medfed.ledger.block import Block, has_work, is_sealed_by
from medfed.ledger.contracts.membership import ChangeAddress, Leave
from medfed.ledger.engine import Sealer
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.engines.ordering import Orderer, check_bytes, check_sealers, checked_now
from medfed.ledger.genesis import Genesis, Policy
from medfed.ledger.state import Writes
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt, genesis_tip

LAST_MS = 2**53 - 1


class Made:
    """An orderer at the genesis, and the blocks that it has made."""

    def __init__(self, policy: Policy | None = None, *sealers: Sealer) -> None:
        self.world = World.build(policy=policy)
        self.genesis: Genesis = self.world.engine.genesis
        self.blocks: list[Block] = []
        self.receipts: list[list[Receipt]] = []
        self.state, self.tip = genesis_tip(self.genesis)
        self.orderer = Orderer(self.genesis, sealers or (sealer("organiser"),), HandClock())

    def append(self, block: Block, writes: Writes, receipts: list[Receipt]) -> None:
        self.blocks.append(block)
        self.receipts.append(receipts)

    def order(self, *transactions: SignedTransaction) -> dict[Digest, Receipt]:
        self.state, self.tip, receipts = self.orderer.order(self.state, self.tip, list(transactions), self.append)
        return receipts

    def mine(self, count: int, who: str = "alpha") -> list[SignedTransaction]:
        return [self.world.sign(who, ChangeAddress(f"host:{n}"), ahead=n) for n in range(count)]


def test_what_does_not_fit_into_one_block_fills_the_next() -> None:
    made = Made(Policy(max_block_transactions=3))
    receipts = made.order(*made.mine(7))
    assert [len(block.transactions) for block in made.blocks] == [3, 3, 1]
    assert made.tip.height == 3
    assert [(receipt.height, receipt.index) for receipt in receipts.values()] == [
        (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0),
    ]  # fmt: skip
    assert [[receipt.index for receipt in block] for block in made.receipts] == [[0, 1, 2], [0, 1, 2], [0]]


def test_a_used_up_share_of_a_block_fills_the_next() -> None:
    made = Made(Policy(sender_quota=2))
    made.order(*made.mine(5), *made.mine(1, "beta"))
    assert [len(block.transactions) for block in made.blocks] == [3, 2, 1]


def test_the_same_transaction_twice_is_ordered_once() -> None:
    made = Made()
    (one,) = made.mine(1)
    assert list(made.order(one, one)) == [one.id]
    assert [len(block.transactions) for block in made.blocks] == [1]


def test_what_can_enter_no_block_makes_none_and_says_why() -> None:
    made = Made()
    late = made.mine(3)[2]
    assert [receipt.code for receipt in made.order(late).values()] == ["sequence"]
    assert made.blocks == []
    assert made.tip.height == 0
    assert made.order() == {}


def test_what_stays_out_beside_a_full_block_is_tried_once_more_and_no_longer() -> None:
    made = Made(Policy(max_block_transactions=1))
    early, first, gap = (made.world.sign("alpha", ChangeAddress("x"), ahead=n) for n in (1, 0, 5))
    receipts = made.order(early, first, gap)
    assert [receipts[signed.id].height for signed in (early, first, gap)] == [2, 1, None]
    assert receipts[gap.id].code == "sequence"
    assert len(made.blocks) == 2


def test_several_sealers_take_turns_by_height() -> None:
    names = ("alpha", "beta", "gamma")
    made = Made(Policy(max_block_transactions=1), *map(sealer, names))
    made.order(*made.mine(7, "delta"))
    proposers = [block.header.proposer for block in made.blocks]
    assert proposers == ["alpha", "beta", "gamma", "alpha", "beta", "gamma", "alpha"]
    for block in made.blocks:
        assert is_sealed_by(block.header, block.seal, key_of(block.header.proposer).public)


def test_a_sealer_that_has_left_or_has_other_keys_is_passed_over() -> None:
    made = Made(Policy(max_block_transactions=1), sealer("alpha"), sealer("beta"), sealer("gamma"))
    made.order(made.world.sign("beta", Leave()))
    made.order(made.world.sign("gamma", made.world.new_keys("gamma", 1)))
    made.order(*made.mine(2, "delta"))
    assert [block.header.proposer for block in made.blocks] == ["alpha", "gamma", "alpha", "alpha"]


def test_nobody_who_can_seal_is_an_error_before_the_first_block_and_an_end_after_it() -> None:
    made = Made(Policy(max_block_transactions=1), sealer("user"))
    leaving, waiting = made.world.sign("user", Leave()), made.mine(1)[0]
    receipts = made.order(leaving, waiting)
    assert (receipts[leaving.id].height, receipts[waiting.id].code) == (1, "block-full")
    with pytest.raises(Refused) as refused:
        made.order(waiting)
    assert refused.value.code == "cannot-seal"


@pytest.mark.parametrize("difficulty", [0, 5])
@pytest.mark.parametrize("seal", ["none", "signature"])
def test_blocks_are_sealed_as_the_policy_says(seal: str, difficulty: int) -> None:
    made = Made(Policy(seal=seal, difficulty=difficulty))  # type: ignore[arg-type]
    made.order(*made.mine(1))
    (block,) = made.blocks
    assert bool(block.seal.signature) == (seal == "signature")
    assert has_work(block.header.id, block.seal.nonce, difficulty)
    assert block.seal.nonce == 0 or difficulty


def test_a_transaction_that_is_not_what_its_bytes_say_is_refused() -> None:
    made = Made()
    good, other = made.mine(2)
    for bad in (replace(good, payload=other.payload), replace(good, transaction=other.transaction)):
        with pytest.raises(InvalidInput, match=f"transaction {bad.id.hex()}: it is not what its bytes say"):
            check_bytes([good, bad])
        with pytest.raises(InvalidInput):
            made.order(good, bad)
    check_bytes([good, other])
    assert made.blocks == []


@pytest.mark.parametrize("now", [0, 1, LAST_MS])
def test_a_clock_within_its_range_is_taken(now: int) -> None:
    assert checked_now(lambda: now) == now


@pytest.mark.parametrize("now", [-1, LAST_MS + 1])
def test_a_clock_out_of_range_makes_no_block(now: int) -> None:
    with pytest.raises(InvalidInput, match=f"found {now}"):
        checked_now(lambda: now)


@pytest.mark.parametrize(
    ("sealers", "words"),
    [
        ((), "needs a sealer"),
        ((sealer("nobody"),), "nobody is not an active participant of test"),
        ((sealer("organiser"), sealer("alpha", 1)), "the key of alpha is not the one that the ledger knows"),
    ],
)
def test_who_cannot_seal_opens_no_engine(sealers: Sequence[Sealer], words: str) -> None:
    genesis = make_genesis()
    with pytest.raises(InvalidInput, match=words):
        check_sealers(genesis, genesis_tip(genesis)[0], sealers)
    with pytest.raises(InvalidInput, match=words):
        MemoryEngine(genesis, HandClock(), *sealers)


def test_who_has_left_is_no_sealer() -> None:
    world = World.build()
    world.accept("user", Leave())
    with pytest.raises(InvalidInput, match="user is not an active participant"):
        check_sealers(world.engine.genesis, world.view.state, [sealer("user")])
    check_sealers(world.engine.genesis, world.view.state, [sealer("alpha"), sealer("organiser")])


def test_the_memory_engine_gives_its_blocks_from_any_height_and_their_ids() -> None:
    world = World.build(policy=Policy(max_block_transactions=1))
    world.accept("alpha", *(ChangeAddress(f"host:{n}") for n in range(3)))
    engine = world.engine
    heights = {start: [block.header.height for block in engine.blocks(start)] for start in (0, 1, 2, 3, 4)}
    assert heights == {0: [1, 2, 3], 1: [1, 2, 3], 2: [2, 3], 3: [3], 4: []}
    assert [engine.block_id(n) for n in range(5)] == [
        engine.genesis.digest, *(block.header.id for block in engine.blocks()), None,
    ]  # fmt: skip
    assert engine.block_id(-1) is None
    assert engine.wait(0, 0) == engine.wait(3, 0) == 3
    assert world.view.tip.time_ms == START_MS
    engine.close()
