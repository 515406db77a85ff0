"""The embedded engine over one file: what other processes add is replayed, and nobody's word is taken for a state."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.ledger import HandClock, World, embedded, make_genesis, sealer

from medfed.errors import InvalidInput, Tampered
from medfed.ledger.contracts.membership import ChangeAddress, Leave
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.engines.opening import open_engine
from medfed.ledger.engines.replaying import catch_up, replay
from medfed.ledger.store import LedgerStore
from medfed.ledger.transition import genesis_tip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World.build(make=embedded(tmp_path / "ledger.db"))
    yield world
    world.engine.close()


def another(world: World, path: Path, by: str = "organiser") -> World:
    """What another process has of the same ledger."""
    return World(EmbeddedEngine.open(path, world.clock, sealer(by)), world.clock)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount


def test_what_another_process_adds_is_in_the_next_view_and_under_ones_own_next_block(
    world: World, tmp_path: Path
) -> None:
    other = another(world, tmp_path / "ledger.db", "alpha")
    other.accept("beta", ChangeAddress("host:1"))
    assert world.view.tip == other.view.tip
    other.accept("beta", ChangeAddress("host:2"))
    signed = world.sign("gamma", ChangeAddress("host:3"))
    other.accept("beta", ChangeAddress("host:4"))
    (receipt,) = world.engine.submit(signed)
    assert (receipt.accepted, receipt.height) == (True, 4)
    assert [block.header.proposer for block in world.engine.blocks()] == ["alpha", "alpha", "alpha", "organiser"]
    other.engine.close()


def test_the_same_view_is_given_while_nothing_is_added(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    assert world.view.state is world.view.state


def test_what_is_on_the_ledger_already_gets_the_receipt_that_it_got_then(world: World, tmp_path: Path) -> None:
    first, second = (world.sign("alpha", ChangeAddress("host:1"), ahead=n) for n in range(2))
    receipts = world.engine.submit(first)
    other = another(world, tmp_path / "ledger.db")
    assert other.engine.submit(second, first)[1] == receipts[0]
    assert other.view.tip.height == 2
    assert world.engine.submit(first, second, first)[::2] == [receipts[0]] * 2
    assert world.view.tip.height == 2
    other.engine.close()


def test_waiting_ends_when_another_process_adds_a_block_or_the_time_is_over(world: World, tmp_path: Path) -> None:
    assert world.engine.wait(0, 0.0) == 0
    assert world.engine.wait(0, 0.03) == 0
    other = another(world, tmp_path / "ledger.db")
    signed = other.sign("alpha", ChangeAddress("host:1"))
    later = threading.Timer(0.05, other.engine.submit, (signed,))
    later.start()
    assert world.engine.wait(0, 30.0) == 1
    assert world.engine.wait(1, 0.0) == 1
    later.join()
    other.engine.close()


def test_opening_replays_every_block_and_compares_the_state(world: World, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    world.accept("alpha", ChangeAddress("host:1"), ChangeAddress("host:2"))
    before = world.view
    world.engine.close()
    again = another(world, path)
    assert (again.view.tip, again.view.state.items()) == (before.tip, before.state.items())
    again.engine.close()
    change(path, "UPDATE state SET value = x'00' WHERE key = (SELECT max(key) FROM state)")
    with pytest.raises(Tampered, match="the state tables are not what the blocks lead to"):
        another(world, path)


def test_a_block_that_is_not_valid_opens_no_engine(world: World, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    world.accept("alpha", ChangeAddress("host:1"), ChangeAddress("host:2"))
    world.engine.close()
    change(path, "UPDATE block SET transactions = (SELECT transactions FROM block WHERE height = 1) WHERE height = 2")
    with pytest.raises(Tampered, match="block 2"):
        another(world, path)


def test_a_history_that_was_exchanged_behind_an_open_engine_stops_it(world: World, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    world.accept("alpha", ChangeAddress("host:1"))
    seen = world.view
    elsewhere = World.build(make=embedded(tmp_path / "other.db"))
    elsewhere.accept("beta", ChangeAddress("host:1"))
    elsewhere.engine.close()
    other = LedgerStore.open(tmp_path / "other.db")
    with pytest.raises(Tampered, match="block 1 is not the one that this process has seen"):
        catch_up(other, seen.state, seen.tip)
    other.close()
    change(path, "DELETE FROM block")
    with pytest.raises(Tampered, match="block 1 is not the one that this process has seen"):
        world.send("alpha", ChangeAddress("host:2"))


def test_catching_up_from_the_genesis_is_a_replay(world: World, tmp_path: Path) -> None:
    world.accept("alpha", ChangeAddress("host:1"), ChangeAddress("host:2"))
    store = LedgerStore.open(tmp_path / "ledger.db", read_only=True)
    replayed, caught = replay(store), catch_up(store, *genesis_tip(store.genesis))
    assert replayed[1] == caught[1] == world.view.tip
    assert replayed[0].items() == caught[0].items() == world.view.state.items()
    store.close()


def test_a_sealer_that_the_ledger_does_not_know_any_more_opens_no_engine(world: World, tmp_path: Path) -> None:
    world.accept("user", Leave())
    world.engine.close()
    with pytest.raises(InvalidInput, match="user is not an active participant"):
        another(world, tmp_path / "ledger.db", "user")


def test_a_replica_of_a_network_is_not_opened_as_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    LedgerStore.create(path, make_genesis(), replicated=True).close()
    with pytest.raises(InvalidInput, match="a replica of a network of hospitals"):
        EmbeddedEngine.open(path, HandClock(), sealer("organiser"))


def test_a_file_is_opened_with_the_engine_that_it_belongs_to(world: World, tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "ledger.db", world.clock, sealer("organiser"))
    assert isinstance(engine, EmbeddedEngine)
    engine.close()
    with pytest.raises(InvalidInput, match="no ledger file here"):
        open_engine(tmp_path / "absent.db", world.clock, sealer("organiser"))


def test_a_genesis_that_proves_no_keys_begins_no_file(tmp_path: Path) -> None:
    genesis = make_genesis()
    forged = replace(genesis, founders=(replace(genesis.founders[0], proof=bytes(64)), *genesis.founders[1:]))
    with pytest.raises(InvalidInput, match="key proof"):
        EmbeddedEngine.create(tmp_path / "ledger.db", forged, HandClock(), sealer("organiser"))
    assert not (tmp_path / "ledger.db").exists()


def test_ids_of_blocks_are_read_from_the_file(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    assert [world.engine.block_id(n) for n in range(3)] == [
        world.engine.genesis.digest, world.view.tip.block, None,
    ]  # fmt: skip
