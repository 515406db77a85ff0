"""This node's copy of the ledger: changed in one commit, shown afterwards, and followed by other processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.abci import Driver
from tests.support.ledger import sealer

from medfed.errors import InvalidInput, Refused, Tampered
from medfed.ledger.block import Block
from medfed.ledger.contracts.membership import ChangeAddress, Leave
from medfed.ledger.engines.cometbft.batches import decode_batch
from medfed.ledger.engines.cometbft.engine import PoolEngine, open_client
from medfed.ledger.engines.cometbft.replica import Follower
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import SignedTransaction


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path / "alpha")
    yield driver
    driver.replica.close()


def make(node: Driver, *transactions: SignedTransaction) -> None:
    """One block of these, as CometBFT would have it made."""
    height = node.replica.now()[1].height + 1
    entries = node.propose(*transactions, height=height)
    assert entries
    node.finalize(entries, height=height)
    node.commit()


def add(node: Driver, number: int = 1) -> None:
    make(node, node.sign("beta", ChangeAddress(f"host:{number}")))


def test_waiting_ends_with_the_next_block_with_closing_or_with_the_time(node: Driver) -> None:
    assert node.replica.wait(-1, 0.0) == 0
    assert node.replica.wait(0, 0.01) == 0
    later = threading.Timer(0.05, add, (node,))
    later.start()
    assert node.replica.wait(0, 30.0) == 1
    later.join()
    closing = threading.Timer(0.05, node.replica.close)
    closing.start()
    assert node.replica.wait(1, 30.0) == 1
    closing.join()


def test_a_block_that_does_not_follow_changes_nothing(node: Driver) -> None:
    add(node, 1)
    (block,) = node.replica.readings.blocks()
    before = node.replica.now()
    with pytest.raises(Tampered, match="block 1: it does not follow block 1"):
        node.replica.commit(block, {}, [])
    assert node.replica.now() == before


def test_what_the_disk_does_not_take_is_not_shown(node: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    add(node, 1)
    before = node.replica.now()

    def full(block: Block, writes: object, receipts: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(node.replica.store, "append", full)
    with pytest.raises(OSError, match="no space"):
        add(node, 2)
    assert node.replica.now() == before
    assert [block.header.height for block in node.replica.readings.blocks()] == [1]


def test_opening_a_copy_replays_it(node: Driver) -> None:
    add(node, 1)
    add(node, 2)
    before = node.replica.now()
    node.reopen()
    state, tip = node.replica.now()
    assert (tip, state.items()) == (before[1], before[0].items())


def test_a_follower_sees_every_block_and_checks_it(node: Driver) -> None:
    follower = Follower(LedgerStore.open(node.path, read_only=True))
    assert follower.wait(0, 0.0) == 0
    add(node, 1)
    assert follower.now()[1] == node.replica.now()[1]
    later = threading.Timer(0.05, add, (node, 2))
    later.start()
    assert follower.wait(1, 30.0) == 2
    later.join()
    assert follower.wait(2, 0.02) == 2
    assert follower.genesis == node.genesis
    follower.close()


# The engine over a copy, with a pool whose part the test plays.


class Pool:
    """Takes what is spread; makes a block of it at once, or refuses."""

    def __init__(self, node: Driver, refusal: str = "") -> None:
        self.node = node
        self.refusal = refusal
        self.entries: list[bytes] = []
        self.closed = False

    def broadcast(self, entry: bytes) -> str:
        self.entries.append(entry)
        if not self.refusal:
            make(self.node, *decode_batch(entry))
        return self.refusal

    def close(self) -> None:
        self.closed = True


def engine(node: Driver, name: str | None = "alpha", **given: str) -> tuple[PoolEngine, Pool]:
    pool = Pool(node, **given)
    by = None if name is None else sealer(name)
    return PoolEngine(node.replica, pool, node.clock, by), pool  # type: ignore[arg-type]


def test_what_is_submitted_is_final_when_this_copy_holds_it(node: Driver) -> None:
    made, pool = engine(node)
    first, second = (node.sign("beta", ChangeAddress("host:1"), ahead=n) for n in range(2))
    receipts = made.submit(first, second, first)
    assert [receipt.transaction for receipt in receipts] == [first.id, second.id, first.id]
    assert all(receipt.accepted for receipt in receipts)
    assert made.submit(second) == [receipts[1]], "it is on the ledger already"
    assert len(pool.entries) == 1
    assert made.view().tip == node.replica.now()[1]
    assert made.block_id(1) == made.view().tip.block
    assert [height for height, _, _ in made.stored(1)] == [1]
    assert [block.header.height for block in made.blocks()] == [1]
    made.close()
    assert pool.closed


def test_what_can_enter_no_block_is_not_spread(node: Driver) -> None:
    made, pool = engine(node)
    late = node.sign("beta", ChangeAddress("host:1"), ahead=3)
    (receipt,) = made.submit(late)
    assert (receipt.code, receipt.height) == ("sequence", None)
    assert pool.entries == []


def test_a_node_whose_key_is_not_the_ledgers_any_more_submits_nothing(node: Driver) -> None:
    made, pool = engine(node, "user")
    leave = node.sign("user", Leave())
    waiting = node.sign("beta", ChangeAddress("host:1"))
    assert [receipt.accepted for receipt in made.submit(leave)] == [True]
    with pytest.raises(Refused) as refused:
        made.submit(node.sign("beta", ChangeAddress("host:1")))
    assert refused.value.code == "cannot-seal"
    assert len(pool.entries) == 1
    follower, _ = engine(node, None)
    assert follower.submit(waiting)[0].accepted, "who only follows leaves sealing to others"


def test_a_transaction_that_is_not_what_its_bytes_say_is_not_spread(node: Driver) -> None:
    made, pool = engine(node)
    first, second = (node.sign("beta", ChangeAddress("host:1"), ahead=n) for n in range(2))
    with pytest.raises(InvalidInput, match="not what its bytes say"):
        made.submit(replace(first, payload=second.payload))
    node.clock.now_ms = -1
    with pytest.raises(InvalidInput, match="clock"):
        made.submit(first)
    assert pool.entries == []


def test_only_the_file_of_a_node_opens_as_a_client(node: Driver, tmp_path: Path) -> None:
    own = tmp_path / "own.db"
    LedgerStore.create(own, node.genesis).close()
    with pytest.raises(InvalidInput, match="not the ledger of a node of a network"):
        open_client(own, node.clock)
