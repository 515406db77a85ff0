"""What every engine must do. A new engine joins by one entry in `KINDS`."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft
from tests.support.ledger import (
    DAY,
    FOUR,
    HandClock,
    StudyWorld,
    World,
    changed_tables,
    embedded,
    make_genesis,
    sealer,
    seed_of,
)

from medfed.errors import InvalidInput, Refused, Tampered, Unavailable
from medfed.identifiers import Name, sha256
from medfed.ledger.block import has_work, is_sealed_by
from medfed.ledger.contracts.deadlines import Advance
from medfed.ledger.contracts.membership import ChangeAddress, Leave, ProposeRemoval, participant
from medfed.ledger.contracts.studies import DeclineStudy
from medfed.ledger.engine import Clock, Engine, Sealer
from medfed.ledger.engines.cometbft.configuration import NodeSettings
from medfed.ledger.engines.cometbft.host import CometEngine
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Genesis, Policy
from medfed.ledger.transaction import Anchor, SignedTransaction, Transaction, sign
from medfed.ledger.transition import SEEN_WINDOW, Receipt, anchor_of, next_sequence
from medfed.ledger.verify import verify_ledger, verify_store


@dataclass(frozen=True)
class Kind:
    """How to make an engine of a kind in a directory, and how to open it again where it is durable."""

    name: str
    create: Callable[[Path, Genesis, Clock, Sealer], Engine]
    reopen: Callable[[Path, Clock, Sealer], Engine] | None = None
    marks: tuple[pytest.MarkDecorator, ...] = ()


def alone(by: Sealer) -> NodeSettings:
    """A network of one node."""
    return NodeSettings(validators=(by.name,))


KINDS = (
    Kind("memory", lambda _, genesis, clock, by: MemoryEngine(genesis, clock, by)),
    Kind(
        "embedded",
        lambda root, genesis, clock, by: EmbeddedEngine.create(root / "ledger.db", genesis, clock, by),
        lambda root, clock, by: EmbeddedEngine.open(root / "ledger.db", clock, by),
    ),
    Kind(
        "cometbft",
        lambda root, genesis, clock, by: CometEngine.create(root, genesis, clock, by, alone(by)),
        lambda root, clock, by: CometEngine.open(root, clock, by, alone(by)),
        (needs_cometbft,),
    ),
)


@pytest.fixture(params=[pytest.param(one, id=one.name, marks=one.marks) for one in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def build(kind: Kind, tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(policy: Policy | None = None) -> World:
        root = tmp_path / str(len(worlds))
        root.mkdir()
        world = World.build(policy=policy, make=partial(kind.create, root))
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.engine.close()


@pytest.fixture
def world(build: Callable[..., World]) -> World:
    return build()


def addresses(world: World, who: Name, count: int) -> list[SignedTransaction]:
    """A batch of harmless transactions in their sequence."""
    return [world.sign(who, ChangeAddress(f"host:{n}"), ahead=n) for n in range(count)]


def verified(world: World) -> None:
    """The blocks of the engine, replayed from the genesis, lead to its tip and state."""
    found, state = verify_ledger(world.engine.genesis, world.engine.blocks())
    assert found.tip == world.view.tip
    assert state.items() == world.view.state.items()


def test_begins_at_the_genesis(world: World) -> None:
    genesis = world.engine.genesis
    assert (world.view.tip.height, world.view.tip.block) == (0, genesis.digest)
    assert world.engine.block_id(0) == genesis.digest
    assert world.engine.block_id(1) is None
    assert list(world.engine.blocks()) == []
    assert world.view.chain == genesis.digest


def test_is_final_when_submit_returns(world: World) -> None:
    receipt = world.send("alpha", ChangeAddress("host:1"))
    assert receipt.accepted
    assert receipt.height == world.view.tip.height == 1
    alpha = participant(world.view, "alpha")
    assert alpha is not None
    assert alpha.address == "host:1"
    (block,) = world.engine.blocks()
    assert block.header.id == world.view.tip.block == world.engine.block_id(1)
    verified(world)


def test_gives_one_receipt_each_in_the_order_of_submission(world: World) -> None:
    batch = [world.sign(name, ChangeAddress(name)) for name in reversed(FOUR)]
    receipts = world.engine.submit(*batch)
    assert [receipt.transaction for receipt in receipts] == [signed.id for signed in batch]
    assert [receipt.index for receipt in receipts] == [0, 1, 2, 3]
    assert len(list(world.engine.blocks())) == 1


def test_submitting_nothing_makes_no_block(world: World) -> None:
    assert world.engine.submit() == []
    assert world.view.tip.height == 0


def test_the_same_bytes_again_get_the_receipt_that_they_got_then(world: World) -> None:
    good, bad = world.sign("alpha", ChangeAddress("host:1")), world.sign("beta", ProposeRemoval("nobody"))
    first = world.engine.submit(good, bad)
    height = world.view.tip.height
    world.accept("gamma", ChangeAddress("host:2"))
    again = SignedTransaction.from_bytes(good.to_bytes())
    assert world.engine.submit(bad, again) == [first[1], first[0]]
    assert world.view.tip.height == height + 1


def test_the_same_bytes_twice_in_one_call_take_effect_once(world: World) -> None:
    signed = world.sign("alpha", ChangeAddress("host:1"))
    first, second = world.engine.submit(signed, signed)
    assert first == second
    assert first.accepted
    assert next_sequence(world.view, "alpha") == 1
    assert [len(block.transactions) for block in world.engine.blocks()] == [1]


def test_what_was_refused_admission_may_be_sent_again(world: World) -> None:
    second = world.sign("alpha", ChangeAddress("host:2"), ahead=1)
    assert [world.engine.submit(second)[0].code, world.view.tip.height] == ["sequence", 0]
    world.accept("alpha", ChangeAddress("host:1"))
    assert world.engine.submit(second)[0].accepted


def test_a_refused_transaction_advances_nothing_but_the_sequence(world: World) -> None:
    before = world.view
    receipt = world.send("beta", ProposeRemoval("nobody"))
    assert (receipt.code, receipt.height) == ("not-active", 1)
    assert changed_tables(before, world.view) == {b"sequence", b"block"}
    assert next_sequence(world.view, "beta") == 1
    verified(world)


@pytest.mark.parametrize("offset", [-1, 1, 63, 64, 2**40])
def test_a_sequence_that_is_not_the_next_enters_no_block(world: World, offset: int) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    receipt = world.engine.submit(world.sign("alpha", ChangeAddress("host:2"), sequence=1 + offset))[0]
    assert (receipt.height, receipt.code) == (None, "sequence")
    assert world.view.tip.height == 1


def test_a_gap_in_a_batch_stops_only_what_follows_it(world: World) -> None:
    batch = addresses(world, "alpha", 4)
    receipts = world.engine.submit(batch[0], batch[2], batch[3], world.sign("beta", ChangeAddress("host:b")))
    assert [receipt.code for receipt in receipts] == ["", "sequence", "sequence", ""]
    assert [r.code for r in world.engine.submit(*batch)] == ["", "", "", ""]


def test_two_bodies_under_one_sequence_only_the_first_takes_effect(world: World) -> None:
    one, other = world.sign("alpha", ChangeAddress("host:1")), world.sign("alpha", ChangeAddress("host:2"))
    assert [receipt.code for receipt in world.engine.submit(one, other)] == ["", "sequence"]
    found = participant(world.view, "alpha")
    assert found is not None
    assert found.address == "host:1"


def test_a_block_seen_1000_back_is_recent_and_one_more_is_stale(build: Callable[..., World]) -> None:
    world = build(Policy(max_block_transactions=1, sender_quota=1))
    old = world.sign("beta", ChangeAddress("host:old"))
    older = world.sign("gamma", ChangeAddress("host:older"))
    world.engine.submit(*addresses(world, "alpha", SEEN_WINDOW - 1))
    assert world.view.tip.height == SEEN_WINDOW - 1
    assert world.engine.submit(old)[0].height == SEEN_WINDOW
    late = world.engine.submit(older)[0]
    assert (late.height, late.code) == (None, "stale-seen")
    anew = sign(
        Transaction(world.view.chain, "gamma", 0, anchor_of(world.view.tip), older.transaction.body),
        world.key("gamma"),
    )
    assert world.engine.submit(anew)[0].accepted


def test_a_seen_block_of_another_history_or_of_the_future_is_stale(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    for seen in (Anchor(1, sha256(b"another block")), Anchor(2, world.view.tip.block), Anchor(2**52, bytes(32))):
        receipt = world.engine.submit(world.sign("beta", ChangeAddress("host:2"), seen=seen))[0]
        assert (receipt.height, receipt.code) == (None, "stale-seen")


def test_what_passes_a_senders_quota_spills_into_the_next_blocks(build: Callable[..., World]) -> None:
    world = build(Policy(sender_quota=3))
    batch = [*addresses(world, "alpha", 7), world.sign("beta", ChangeAddress("host:b"))]
    receipts = world.engine.submit(*batch)
    assert [receipt.height for receipt in receipts] == [1, 1, 1, 2, 2, 2, 3, 1]
    assert all(receipt.accepted for receipt in receipts)
    assert [len(block.transactions) for block in world.engine.blocks()] == [4, 3, 1]
    verified(world)


def test_what_passes_a_blocks_limit_spills_into_the_next_blocks(build: Callable[..., World]) -> None:
    world = build(Policy(max_block_transactions=2))
    batch = [world.sign(name, ChangeAddress(name)) for name in (*FOUR, "user")]
    assert [receipt.height for receipt in world.engine.submit(*batch)] == [1, 1, 2, 2, 3]
    verified(world)


def test_a_stranger_and_one_who_has_left_enter_no_block(world: World) -> None:
    stranger = Transaction(world.view.chain, "omega", 0, anchor_of(world.view.tip), ChangeAddress("x"))
    assert world.engine.submit(sign(stranger, world.key("omega")))[0].code == "unknown-sender"
    world.accept("delta", Leave())
    receipt = world.send("delta", ChangeAddress("x"))
    assert (receipt.height, receipt.code) == (None, "unknown-sender")


def test_a_view_is_a_snapshot_that_never_changes(world: World) -> None:
    before = world.view
    items = before.state.items()
    StudyWorld(world).to_running()
    assert before.state.items() == items
    assert before.tip.height == 0
    assert world.view.tip.height > 0
    items.clear()
    assert before.state.items()


def test_blocks_can_be_read_from_any_height(world: World) -> None:
    for n in range(5):
        world.accept("alpha", ChangeAddress(f"host:{n}"))
    assert [block.header.height for block in world.engine.blocks(3)] == [3, 4, 5]
    assert [block.header.height for block in world.engine.blocks(0)] == [1, 2, 3, 4, 5]
    assert list(world.engine.blocks(6)) == []
    assert [world.engine.block_id(n) for n in range(1, 6)] == [block.header.id for block in world.engine.blocks()]
    assert world.engine.block_id(6) is None


def test_wait_returns_at_once_where_there_is_news_and_after_its_timeout_where_there_is_none(world: World) -> None:
    world.accept("alpha", ChangeAddress("host:1"))
    began = time.monotonic()
    assert world.engine.wait(0, 30.0) == 1
    assert time.monotonic() - began < 5
    assert world.engine.wait(1, 0.02) == 1


def test_time_never_goes_backwards_when_the_clock_does(world: World) -> None:
    world.clock.now_ms += DAY
    world.accept("alpha", ChangeAddress("host:1"))
    world.clock.now_ms -= 2 * DAY
    world.accept("alpha", ChangeAddress("host:2"))
    world.clock.now_ms += 4 * DAY
    world.accept("alpha", ChangeAddress("host:3"))
    times = [block.header.time_ms for block in world.engine.blocks()]
    assert times == sorted(times)
    assert times[0] == times[1] < times[2]
    verified(world)


def test_a_clock_out_of_range_makes_no_block(world: World) -> None:
    world.clock.now_ms = 2**53
    with pytest.raises(InvalidInput, match="clock"):
        world.send("alpha", ChangeAddress("host:1"))
    world.clock.now_ms = 0
    assert world.send("alpha", ChangeAddress("host:1")).accepted
    verified(world)


def test_after_an_idle_hour_advance_is_too_early_until_block_time_has_passed_the_deadline(world: World) -> None:
    study = StudyWorld(world)
    world.accept("organiser", study.proposal())
    deadline = study.record.deadline_ms
    world.clock.now_ms = deadline  # an hour or more without a block; the deadline is reached, not passed
    assert world.refuse("user", Advance(study.study)) == "too-early"
    world.clock.now_ms += 1
    assert world.send("user", Advance(study.study)).accepted
    assert study.record.phase == "aborted"


def test_work_is_done_where_the_policy_asks_for_it(build: Callable[..., World]) -> None:
    world = build(Policy(difficulty=8))
    world.accept("alpha", ChangeAddress("host:1"), ChangeAddress("host:2"))
    organiser = participant(world.view, "organiser")
    assert organiser is not None
    for block in world.engine.blocks():
        assert has_work(block.header.id, block.seal.nonce, 8)
        assert is_sealed_by(block.header, block.seal, organiser.signing_key)
    verified(world)


def test_nobody_signs_where_the_policy_asks_for_no_seal(build: Callable[..., World]) -> None:
    world = build(Policy(seal="none"))
    world.accept("alpha", ChangeAddress("host:1"))
    assert [block.seal.signature for block in world.engine.blocks()] == [b""]
    verified(world)


def test_a_sealer_needs_the_key_that_the_ledger_knows(kind: Kind, tmp_path: Path) -> None:
    for index, (by, message) in enumerate(
        ((sealer("omega"), "not an active participant"), (Sealer("alpha", seed_of("beta")), "not the one"))
    ):
        root = tmp_path / str(index)
        root.mkdir()
        with pytest.raises(InvalidInput, match=message):
            kind.create(root, make_genesis(), HandClock(), by)


def test_a_sealer_whose_keys_have_changed_makes_no_block_that_others_would_refuse(world: World) -> None:
    world.accept("organiser", world.new_keys("organiser", 1))
    with pytest.raises(Refused) as refused:
        world.send("alpha", ChangeAddress("host:1"))
    assert refused.value.code == "cannot-seal"
    assert world.view.tip.height == 1
    verified(world)


def test_a_sealer_that_has_left_makes_no_block_that_others_would_refuse(world: World) -> None:
    world.accept("organiser", Leave())
    with pytest.raises(Refused) as refused:
        world.send("alpha", ChangeAddress("host:1"))
    assert refused.value.code == "cannot-seal"
    verified(world)


def test_a_batch_that_disables_its_sealer_half_way_leaves_a_valid_ledger(build: Callable[..., World]) -> None:
    world = build(Policy(max_block_transactions=1))
    leave, rest = world.sign("organiser", Leave()), world.sign("alpha", ChangeAddress("host:1"))
    assert [receipt.height for receipt in world.engine.submit(leave, rest)] == [1, None]
    verified(world)


def test_a_restart_keeps_everything(kind: Kind, tmp_path: Path) -> None:
    if kind.reopen is None:
        pytest.skip(f"the {kind.name} engine keeps nothing")
    world = World.build(make=partial(kind.create, tmp_path))
    study = StudyWorld(world).to_running().update_all()
    known = world.sign("alpha", ChangeAddress("host:1"))
    receipt = world.engine.submit(known)[0]
    before, blocks = world.view, list(world.engine.blocks())
    world.engine.close()
    world.engine = kind.reopen(tmp_path, world.clock, sealer("organiser"))
    assert world.view.tip == before.tip
    assert world.view.state.items() == before.state.items()
    assert list(world.engine.blocks()) == blocks
    assert world.engine.submit(known) == [receipt]
    study.confirm_all().reveal_all().to_agreeing().to_completed()
    world.engine.close()
    assert verify_store(tmp_path / "ledger.db").tip.height > before.tip.height


def test_a_new_ledger_never_takes_the_place_of_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    EmbeddedEngine.create(path, make_genesis(), HandClock(), sealer("organiser")).close()
    content = path.read_bytes()
    with pytest.raises(Refused, match="never overwritten"):
        EmbeddedEngine.create(path, make_genesis(consortium="other"), HandClock(), sealer("organiser"))
    assert path.read_bytes() == content


def test_opening_does_not_take_the_state_tables_word_for_it(tmp_path: Path) -> None:
    """The state table is a cache that anybody who writes the file can change; agents decide by what it says."""
    path = tmp_path / "ledger.db"
    world = World.build(make=embedded(path))
    StudyWorld(world).to_running().update_all()
    world.engine.close()
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT key, value FROM state").fetchall()
        key, value = next(row for row in rows if row[0].startswith(b"round/"))
        connection.execute("UPDATE state SET value = ? WHERE key = ?", (value.replace(b"alpha", b"gamma"), key))
    connection.close()
    with pytest.raises(Tampered, match="state tables"):
        EmbeddedEngine.open(path, world.clock, sealer("organiser"))


def test_a_history_that_was_exchanged_under_an_open_engine_stops_it(tmp_path: Path) -> None:
    path, other = tmp_path / "ledger.db", tmp_path / "other.db"
    world = World.build(make=embedded(path))
    fork = World.build(make=embedded(other))
    world.accept("alpha", ChangeAddress("host:1"))
    fork.accept("alpha", ChangeAddress("host:2"))
    fork.accept("alpha", ChangeAddress("host:3"))
    fork.engine.close()
    source, target = sqlite3.connect(other), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    with pytest.raises(Tampered, match="block 1 is not the one"):
        world.engine.view()
    with pytest.raises(Tampered, match="block 1 is not the one"):
        world.engine.submit()


def test_a_ledger_cut_short_under_an_open_engine_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    world = World.build(make=embedded(path))
    world.accept("alpha", ChangeAddress("host:1"), ChangeAddress("host:2"))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM block WHERE height = 2")
    connection.close()
    with pytest.raises(Tampered, match="block 2"):
        world.engine.view()


def _write_in_another_process(path: Path, who: Name, count: int, ready: Barrier) -> None:
    engine = EmbeddedEngine.open(path, HandClock(), sealer(who))
    world = World(engine, HandClock())
    ready.wait(60)
    for n in range(count):
        world.accept(who, ChangeAddress(f"{who}:{n}"))
    engine.close()


def test_processes_that_share_a_file_interleave_and_agree(tmp_path: Path) -> None:
    path, count = tmp_path / "ledger.db", 40
    world = World.build(make=embedded(path))
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    writers = [
        spawn.Process(target=_write_in_another_process, args=(path, who, count, barrier)) for who in ("alpha", "beta")
    ]
    for writer in writers:
        writer.start()
    barrier.wait(60)
    seen = [0]
    while seen[-1] < 2 * count and (height := world.engine.wait(seen[-1], 30.0)) > seen[-1]:
        seen.append(height)
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert world.view.tip.height == 2 * count
    proposers = [block.header.proposer for block in world.engine.blocks()]
    assert {name: proposers.count(name) for name in ("alpha", "beta")} == {"alpha": count, "beta": count}
    verified(world)
    world.engine.close()
    assert verify_store(path).blocks == 2 * count


def test_two_engines_on_one_file_see_each_others_blocks_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    one = World.build(make=embedded(path))
    other = World(EmbeddedEngine.open(path, one.clock, sealer("alpha")), one.clock)
    one.accept("beta", ChangeAddress("host:1"))
    assert other.view.tip == one.view.tip
    other.accept("beta", ChangeAddress("host:2"))
    one.accept("beta", ChangeAddress("host:3"))
    assert other.view.state.items() == one.view.state.items()
    signed = one.sign("gamma", ChangeAddress("host:g"))
    assert one.engine.submit(signed) == other.engine.submit(signed)


def test_a_receipt_that_the_files_index_misplaces_is_not_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    world = World.build(make=embedded(path))
    good, bad = world.sign("alpha", ChangeAddress("host:1")), world.sign("beta", ProposeRemoval("nobody"))
    world.engine.submit(good, bad)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE located SET place = 1 - place")
    connection.close()
    with pytest.raises(Tampered, match="block 1"):
        world.engine.submit(good)


def test_a_locked_file_is_unavailable_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfed.ledger.store._BUSY_SECONDS", 0.05)
    path = tmp_path / "ledger.db"
    world = World.build(make=embedded(path))
    signed = world.sign("alpha", ChangeAddress("host:1"))
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        world.engine.submit(signed)
    assert world.view.tip.height == 0
    lock.execute("ROLLBACK")
    lock.close()
    receipts: list[Receipt] = world.engine.submit(signed)
    assert receipts[0].accepted


def test_what_a_study_declines_is_the_same_on_every_engine(build: Callable[..., World]) -> None:
    world = build()
    study = StudyWorld(world)
    world.accept("organiser", study.proposal())
    world.accept("alpha", DeclineStudy(study.study, "no-data"))
    assert world.refuse("alpha", study.approval()) == "already-answered"
    verified(world)
