"""The ledger's file: what is wrong with it, in the right kind of error, and nothing that is not ours is touched."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from tests.support.ledger import HandClock, World, embedded, make_genesis, sealer

from medfed.errors import InvalidInput, MedFedError, Refused, Tampered, Unavailable
from medfed.identifiers import sha256
from medfed.ledger.contracts.membership import ChangeAddress, ProposeRemoval
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.store import APPLICATION_ID, LedgerStore
from medfed.ledger.transition import genesis_tip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def begun(path: Path) -> Path:
    world = World.build(make=embedded(path))
    world.accept("alpha", ChangeAddress("host:1"))
    world.refuse("beta", ProposeRemoval("nobody"))
    world.engine.close()
    return path


def fails(path: Path, kind: type[MedFedError], match: str) -> None:
    """To open, to open for reading, and to go on, all fail alike, and the file stays as it is."""
    before = path.read_bytes() if path.is_file() else None
    openings = (
        lambda: LedgerStore.open(path),
        lambda: LedgerStore.open(path, read_only=True),
        lambda: EmbeddedEngine.open(path, HandClock(), sealer("organiser")),
    )
    for opening in openings:
        with pytest.raises(kind, match=match) as caught:
            opening()
        assert str(path) in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_missing_file_is_invalid_input_and_is_not_made(path: Path) -> None:
    fails(path, InvalidInput, "no ledger file here")
    assert not path.exists()


def test_a_directory_is_invalid_input(path: Path) -> None:
    path.mkdir()
    fails(path, InvalidInput, "no ledger file here")


def test_an_empty_file_is_invalid_input_and_stays_empty(path: Path) -> None:
    path.touch()
    fails(path, InvalidInput, "not a MedFed ledger")
    assert path.stat().st_size == 0
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_no_database_is_invalid_input(path: Path) -> None:
    path.write_bytes(b"name,age\nsomebody,50\n" * 500)
    fails(path, InvalidInput, "not an SQLite database")


def test_a_foreign_database_is_invalid_input_and_is_not_converted(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE genesis (bytes BLOB)")
    connection.close()
    fails(path, InvalidInput, "not a MedFed ledger")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("table", ["genesis", "block", "state", "located"])
def test_a_ledger_without_one_of_its_tables_is_tampered(path: Path, table: str) -> None:
    begun(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"DROP TABLE {table}")
    connection.close()
    with pytest.raises(Tampered, match=rf"damaged \(no such table: {table}\)"):
        engine = EmbeddedEngine.open(path, HandClock(), sealer("organiser"))
        World(engine, HandClock()).send("alpha", ChangeAddress("host:2"))


def test_a_ledger_of_another_format_is_invalid_input(path: Path) -> None:
    begun(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID + 1}")
    connection.close()
    fails(path, InvalidInput, "not a MedFed ledger")


def test_a_file_of_the_same_name_is_never_overwritten(path: Path) -> None:
    path.write_bytes(b"something")
    with pytest.raises(Refused, match="never overwritten"):
        LedgerStore.create(path, make_genesis())
    assert path.read_bytes() == b"something"


def test_a_directory_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "ledger.db"
    with pytest.raises(Unavailable, match="unable to open"):
        LedgerStore.create(path, make_genesis())
    assert not path.parent.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes everywhere")
def test_a_directory_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(Unavailable):
            LedgerStore.create(tmp_path / "ledger.db", make_genesis())
    finally:
        tmp_path.chmod(0o700)


def test_a_locked_file_is_unavailable_to_writers_and_not_to_readers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(path)
    monkeypatch.setattr("medfed.ledger.store._BUSY_SECONDS", 0.05)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    store = LedgerStore.open(path)
    with pytest.raises(Unavailable, match="locked"), store.writing():
        pass
    assert [block.header.height for block in store.blocks()] == [1, 2]
    lock.execute("ROLLBACK")
    lock.close()
    with store.writing():
        pass
    store.close()


def test_an_error_while_writing_leaves_nothing_behind(path: Path) -> None:
    begun(path)
    world = World.build()
    world.accept("alpha", ChangeAddress("host:1"))
    (block,) = world.engine.blocks()
    store = LedgerStore.open(path)
    before = store.load_state()
    with pytest.raises(ZeroDivisionError), store.writing():
        store._connection.execute("DELETE FROM state")  # pyright: ignore[reportPrivateUsage]
        raise ZeroDivisionError
    with pytest.raises(Tampered), store.writing():  # a height that is there already
        store.append(block, {}, [])
    after = store.load_state()
    assert (after[0].items(), after[1]) == (before[0].items(), before[1])
    store.close()


def test_a_new_file_holds_the_genesis_state(path: Path) -> None:
    genesis = make_genesis()
    LedgerStore.create(path, genesis).close()
    store = LedgerStore.open(path)
    state, tip = store.load_state()
    expected, first = genesis_tip(genesis)
    assert store.genesis == genesis
    assert (state.items(), tip) == (expected.items(), first)
    assert store.receipt(sha256(b"unknown")) is None
    assert store.block_id(0) == genesis.digest
    assert store.block_id(1) is None
    store.close()


def test_what_a_commit_returned_is_durable(path: Path) -> None:
    """WAL with full synchronisation: the setting is per connection, so it is checked on both ways to one."""
    for store in (LedgerStore.create(path, make_genesis()), LedgerStore.open(path)):
        connection = store._connection  # pyright: ignore[reportPrivateUsage]
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        store.close()


def test_a_read_only_store_refuses_to_write(path: Path) -> None:
    begun(path)
    store = LedgerStore.open(path, read_only=True)
    (first, *_) = store.blocks()
    with pytest.raises(Unavailable, match="readonly"), store.writing():
        store.append(first, {}, [])
    store.close()


def test_more_blocks_than_one_batch_are_read_in_order(path: Path) -> None:
    world = World.build(make=embedded(path))
    for n in range(600):
        world.accept("alpha", ChangeAddress(f"host:{n}"))
    assert [block.header.height for block in world.engine.blocks()] == list(range(1, 601))
    assert [block.header.height for block in world.engine.blocks(257)] == list(range(257, 601))
    world.engine.close()
