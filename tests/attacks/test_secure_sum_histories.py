"""An operator of the ledger that shows two hospitals two histories, with another survivor set in each.

The solver holds what both histories made the honest publish against what may be known; see `secure-sum.md`, "Why it is
safe".
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest

from medfed.errors import Tampered
from medfed.hospital.agent import Agent
from medfed.hospital.progress import AttemptRecord, study_key
from medfed.identifiers import Name
from medfed.ledger.contracts.deadlines import Advance
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.transaction import Anchor, SignedTransaction, Transaction, sign
from medfed.ledger.transition import next_sequence
from medfed.simulation.faults import Cast
from medfed.simulation.faults_study import PHASE_MS, STUDY
from medfed.simulation.faults_world import FaultWorld
from medfed.simulation.opening import Published, broken_promises

NAMES = ("alpha", "beta", "delta", "gamma")
"""Alpha works for the operator."""


@dataclass
class Forked:
    """Two histories that part when the first round has opened, and every update that was sent before."""

    world: FaultWorld
    one: MemoryEngine
    two: MemoryEngine
    updates: dict[Name, SignedTransaction]


def fork() -> Forked:
    world = FaultWorld(Cast(5, NAMES, rounds=1, ticks=0), lambda _: None)
    world._take_turns(lambda: bool(world.study.roster))
    updates: dict[Name, SignedTransaction] = {}
    for name, site in world.sites.items():
        for signed in site.agent.prepare():
            world.witness.sent(signed, site.agent.site)
            if isinstance(signed.transaction.body, SubmitUpdate):
                updates[name] = signed
    assert set(updates) == set(NAMES)
    world.witness.is_honest = lambda name: name != "alpha"
    two = copy.copy(world.engine)
    two._blocks, two._receipts = list(world.engine._blocks), dict(world.engine._receipts)
    return Forked(world, world.engine, two, updates)


def part(forked: Forked, first: tuple[Name, ...], second: tuple[Name, ...]) -> None:
    """In each history only these updates are in time."""
    forked.one.submit(*(forked.updates[name] for name in first))
    forked.two.submit(*(forked.updates[name] for name in second))
    forked.world.clock.advance(PHASE_MS + 1_000)
    advance(forked, forked.one, "gamma" if "gamma" not in first else "delta")
    advance(forked, forked.two, "gamma" if "gamma" not in second else "delta")


def advance(forked: Forked, engine: MemoryEngine, late: Name) -> None:
    view, keys = engine.view(), forked.world.sites[late].keys
    anchor = Anchor(view.tip.height, view.tip.block)
    transaction = Transaction(view.chain, late, next_sequence(view, late), anchor, Advance(STUDY))
    (receipt,) = engine.submit(sign(transaction, keys.signing_key))
    assert receipt.accepted


def live(forked: Forked, engine: MemoryEngine, agents: dict[Name, Agent]) -> None:
    """Who lives in this history does what is due there."""
    witness = forked.world.witness
    witness.ledger_moved(engine.view())
    for _ in range(4):
        for name, agent in agents.items():
            agent.engine = engine
            forked.world.sites[name].window.last = engine.view()
            waiting = agent.prepare()
            for signed in waiting:
                if signed.transaction.sender != "alpha":
                    witness.sent(signed, agent.site)
            agent.settle(engine.submit(*waiting))
            witness.ledger_moved(engine.view())
        forked.world.clock.advance(1_000)


def agents_of(forked: Forked, *names: Name) -> dict[Name, Agent]:
    return {name: forked.world.sites[name].agent for name in names}


def test_a_hospital_that_has_seen_one_history_stops_at_the_other() -> None:
    forked = fork()
    part(forked, ("alpha", "beta", "delta"), ("alpha", "beta", "gamma"))
    live(forked, forked.one, agents_of(forked, "beta"))
    beta = forked.world.sites["beta"].agent
    beta.engine = forked.two
    with pytest.raises(Tampered, match="no longer holds the block"):
        beta.prepare()


def test_a_vault_signs_one_survivor_set_even_where_histories_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agent, "_check_history", lambda *_: None)
    forked = fork()
    part(forked, ("alpha", "beta", "delta"), ("alpha", "beta", "gamma"))
    live(forked, forked.one, agents_of(forked, "beta"))
    site = forked.world.sites["beta"]
    known = site.vault.load(study_key(forked.world.witness.study, "attempt", 0, 0), AttemptRecord)
    assert known is not None
    assert known.survivors is not None
    site.agent.engine = forked.two
    with pytest.raises(Tampered, match="two survivor sets"):
        site.agent.prepare()


def test_two_histories_without_a_common_honest_signer_open_nothing() -> None:
    """Delta lives in one history, gamma in the other, beta in one: only one of them can reach the reveal."""
    forked = fork()
    part(forked, ("alpha", "beta", "delta"), ("alpha", "beta", "gamma"))
    live(forked, forked.one, agents_of(forked, "alpha", "beta", "delta"))
    live(forked, forked.two, agents_of(forked, "gamma"))
    published = forked.world.witness.published
    assert [release.survivors for release in published.releases.values()] == [frozenset(("alpha", "beta", "delta"))]
    assert broken_promises(published, {"alpha"}, quorum=3) == []


def test_a_vault_that_signs_in_both_histories_gives_two_hospitals_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with both rules off the solver sees the break that the model has for it."""
    monkeypatch.setattr(Agent, "_check_history", lambda *_: None)
    monkeypatch.setattr(Agent, "_check_own_history", lambda *_: None)
    forked = fork()
    part(forked, ("alpha", "beta", "delta"), ("alpha", "beta", "gamma"))
    for name in ("alpha", "beta"):
        forked.world.sites[name].vault.make_copy()
    first, second = forked.world.witness, copy.deepcopy(forked.world.witness)
    live(forked, forked.one, agents_of(forked, "alpha", "beta", "delta"))
    forked.world.witness = second
    for name in ("alpha", "beta"):
        forked.world.sites[name].vault.go_back()
        forked.world.sites[name].restart()
    live(forked, forked.two, agents_of(forked, "alpha", "beta", "gamma"))
    one, two = first.published, second.published
    assert broken_promises(one, {"alpha"}) == broken_promises(two, {"alpha"}) == []
    both = Published(
        {**one.vectors, **two.vectors},
        one.seeds | two.seeds,
        [*one.escrows, *two.escrows],
        {**one.shares, **two.shares},
        {**one.releases, **two.releases},
    )
    first_round = {release.survivors for release in both.releases.values() if release.round == 0}
    assert first_round == {frozenset(("alpha", "beta", "delta")), frozenset(("alpha", "beta", "gamma"))}
    assert "not a released sum" in broken_promises(both, {"alpha"})[0]
