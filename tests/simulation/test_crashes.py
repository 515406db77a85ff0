"""Agents are crash-only: killed between any two durable effects and started again, they end with the same model."""

from __future__ import annotations

import pytest
from tests.support.study import STUDY, TestWorld, small_plan

from medfed.blobs import MemoryBlobs
from medfed.hospital.aggregation import recompute_state
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.studies import study_record
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt
from medfed.ledger.verify import verify_ledger


class Crash(BaseException):
    """The process dies here."""


class Bomb:
    """Goes off at the n-th effect, once."""

    def __init__(self, fuse: int | None) -> None:
        self.fuse = fuse
        self.count = 0
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.count += 1
        self.names.append(name)
        if self.count == self.fuse:
            raise Crash(name)


class ExplosiveBlobs(MemoryBlobs):
    """A blob store whose writes are effects."""

    def __init__(self, bomb: Bomb) -> None:
        super().__init__()
        self._bomb = bomb

    def put(self, data: bytes | memoryview) -> Digest:
        self._bomb("before blob")
        digest = super().put(data)
        self._bomb("after blob")
        return digest


def run_with_crash(fuse: int | None, names: tuple[str, ...], rounds: int) -> tuple[TestWorld, Bomb, Digest]:
    bomb = Bomb(None)
    victim = names[1]
    quiet = Bomb(None)

    def effect(name: Name) -> Bomb:
        return bomb if name == victim else quiet

    blobs = ExplosiveBlobs(quiet)
    world = TestWorld.build(small_plan(names, rounds=rounds), effect=effect, blobs=blobs)
    bomb.count, bomb.names, bomb.fuse = 0, [], fuse
    world.propose()
    for _ in range(2_000):
        view = world.engine.view()
        study = study_record(view, STUDY)
        assert study is not None
        if step_all(world, blobs, bomb, quiet, victim):
            continue
        if study.phase in ("completed", "aborted"):
            break
        world.idle(None)
    assert study.phase == "completed", (study.phase, study.pause_code)
    return world, bomb, recompute_state(world.engine.view(), STUDY, blobs).digest


def step_all(world: TestWorld, blobs: ExplosiveBlobs, bomb: Bomb, quiet: Bomb, victim: Name) -> int:
    done = 0
    for name in sorted(world.agents):
        blobs._bomb = bomb if name == victim else quiet
        try:
            waiting = world.agents[name].prepare()
            if name == victim:
                bomb("before submit")
            receipts = world.engine.submit(*waiting) if waiting else []
            if name == victim:
                bomb("after submit")
            done += world.agents[name].settle(receipts)
        except Crash:
            world.restart(name)
            done += 1
    return done


def test_an_agent_that_is_killed_at_any_effect_ends_with_the_same_model() -> None:
    names = ("alpha", "beta", "gamma")
    _, bomb, expected = run_with_crash(None, names, rounds=1)
    assert bomb.count > 100
    seen: dict[str, int] = {}
    for fuse in range(1, bomb.count + 1):
        name = bomb.names[fuse - 1]
        kind = name.split(" vector")[0]
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] > 6 and "submit" in kind:
            continue  # stepping with nothing to send looks the same every time
        world, _, digest = run_with_crash(fuse, names, rounds=1)
        assert digest == expected, f"crash at effect {fuse} ({name})"
        study = study_record(world.engine.view(), STUDY)
        assert study is not None
        assert study.pauses == 0, f"crash at effect {fuse} ({name})"
        verify_ledger(world.engine.genesis, world.engine.blocks(), world.engine.genesis.digest)


@pytest.mark.slow
def test_an_agent_that_is_killed_twice_in_a_row_ends_with_the_same_model() -> None:
    names = ("alpha", "beta", "gamma")
    _, bomb, expected = run_with_crash(None, names, rounds=1)
    for fuse in range(1, bomb.count, 7):
        world, second, digest = run_with_crash(fuse, names, rounds=1)
        assert digest == expected
        assert second.count > fuse
        assert isinstance(world.engine.view(), StateView)


def test_what_the_outbox_sends_after_a_crash_is_byte_for_byte_what_it_sent_before() -> None:
    sent: dict[tuple[str, int], bytes] = {}

    def note(transactions: tuple[SignedTransaction, ...], receipts: list[Receipt]) -> None:
        for signed in transactions:
            key = (signed.transaction.sender, signed.transaction.sequence)
            assert sent.setdefault(key, signed.to_bytes()) == signed.to_bytes()

    world = TestWorld.build(small_plan(("alpha", "beta", "gamma"), rounds=1))
    world.propose()
    for _ in range(200):
        moved = 0
        for name in sorted(world.agents):
            waiting = world.agents[name].prepare()
            note(tuple(waiting), [])
            world.restart(name)  # dies before sending
            again = world.agents[name].prepare()
            note(tuple(again), [])
            assert [signed.id for signed in again][: len(waiting)] == [signed.id for signed in waiting]
            moved += world.agents[name].settle(world.engine.submit(*again)) if again else 0
        study = study_record(world.engine.view(), STUDY)
        assert study is not None
        if not moved and study.phase == "completed":
            break
    else:
        raise AssertionError(f"still {study.phase}")
    assert len(sent) > 20
