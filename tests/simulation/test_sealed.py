"""Studies whose updates are sealed, by real agents: the same model as masked, and no standing still."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.sealed import AGGREGATOR, sealed_plan
from tests.support.study import NAMES, STUDY, TestWorld, patients, small_plan

from medfed.errors import InvalidInput
from medfed.federation.plan import Plan, StrategySettings
from medfed.federation.robust import RobustStrategy
from medfed.hospital.aggregation import plan_of, recompute_state
from medfed.hospital.duties.aggregating import SessionKeyStore
from medfed.hospital.progress import study_key
from medfed.identifiers import Name
from medfed.ledger.contracts.aggregates import aggregate
from medfed.ledger.contracts.offices import VoteOnSuccessor, need_offices
from medfed.ledger.verify import verify_ledger
from medfed.simulation.api import simulate
from medfed.simulation.scheduler import Absence, Scheduler

FIVE = ("alpha", "beta", "delta", "epsilon", "gamma")


def _world(plan: Plan | None = None, **others: Any) -> TestWorld:
    world = TestWorld.build(plan or sealed_plan(), **others)
    world.propose()
    return world


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fedadam"])
def test_every_published_total_is_the_masked_modes_bit_for_bit(strategy: Any) -> None:
    settings = StrategySettings(name=strategy, rate=0.5)
    sealed = _world(sealed_plan(rounds=3, strategy=settings))
    masked = _world(small_plan(rounds=3, strategy=settings))
    assert sealed.run().phase == masked.run().phase == "completed"
    assert len(sealed.totals) == 5
    assert sealed.totals == masked.totals
    states = [recompute_state(world.engine.view(), STUDY, world.blobs) for world in (sealed, masked)]
    assert states[0].digest == states[1].digest
    assert not any(agent.problems for agent in sealed.agents.values())


@pytest.mark.parametrize("kind", ["median", "trimmed-mean", "norm-clipping", "multi-krum"])
def test_every_robust_strategy_trains_a_model_that_is_not_the_means_and_the_ledger_replays(kind: Any) -> None:
    robust = _world(sealed_plan(RobustStrategy(kind), names=FIVE, quorum=5))
    plain = _world(sealed_plan(names=FIVE, quorum=5))
    assert robust.run().phase == plain.run().phase == "completed"
    states = [recompute_state(world.engine.view(), STUDY, world.blobs) for world in (robust, plain)]
    assert states[0].parameters.digest != states[1].parameters.digest
    assert all(record.verdict in ("accepted", "evaluated") for record in states[0].history)
    found = aggregate(robust.engine.view(), STUDY, 1, 0)
    assert found is not None
    assert len(found.left_out) == (1 if kind == "multi-krum" else 0)
    assert bool(found.shortened) == (kind == "norm-clipping")
    engine = robust.engine
    assert verify_ledger(engine.genesis, engine.blocks(), engine.genesis.digest)


def test_a_dropout_leaves_the_smaller_sum() -> None:
    away = {"delta": Absence(1, 1)}
    sealed, masked = _world(), _world(small_plan())
    assert sealed.run(away=away).phase == masked.run(away=away).phase == "completed"
    assert sealed.rounds[1].survivors == ("alpha", "beta", "gamma")
    assert sealed.totals == masked.totals


def test_an_aggregator_that_is_gone_pauses_the_study_and_its_successor_goes_on_with_new_keys() -> None:
    world = _world(others={"second": "aggregator"})
    for _ in range(100):
        for agent in world.agents.values():
            agent.step()
        if world.rounds and world.rounds[-1].number == 1:
            break
    before = need_offices(world.engine.view(), world.study).key
    assert world.step_until_paused(AGGREGATOR) == "no-aggregate"
    for name in ("alpha", "beta", "gamma"):
        world.send(name, VoteOnSuccessor(STUDY, AGGREGATOR, "second"))
    del world.agents[AGGREGATOR]
    assert world.run().phase == "completed"
    assert need_offices(world.engine.view(), world.study).key != before


def test_an_aggregator_that_never_comes_pauses_the_study_before_its_first_round() -> None:
    assert _world().step_until_paused(AGGREGATOR) == "no-session-keys"


@pytest.mark.parametrize("who", [*NAMES, AGGREGATOR])
def test_a_restart_at_any_vault_write_changes_nothing(who: Name) -> None:
    """The agent of `who` is made anew over its vault after every step; one of them in the middle of every work."""
    world = _world()
    counts = {"left": 30, "writes": 0}

    class Stop(Exception):
        pass

    def effect(name: str) -> None:
        counts["writes"] += 1
        if counts["left"] and counts["writes"] % 3 == 0 and name.startswith(("before", "after")):
            counts["left"] -= 1
            raise Stop

    world.vaults[who]._effect = effect
    for _ in range(600):
        for name in list(world.agents):
            try:
                world.agents[name].step()
            except Stop:
                world.restart(name)
        if world.study.phase == "completed":
            break
        world.clock.now_ms += 600
        try:
            world.restart(who)
        except Stop:
            continue
    assert world.study.phase == "completed"
    masked = _world(small_plan())
    masked.run()
    assert world.totals == masked.totals


def test_the_aggregator_keeps_no_patients_no_model_and_no_single_update() -> None:
    """Its vault has session keys while the study runs, its blobs what it published, and nothing else of anybody."""
    world = _world()
    world.run()
    site = world.agents[AGGREGATOR].site
    assert site.followed == {}
    with pytest.raises(InvalidInput, match="no patients"):
        site.prepared(plan_of(world.engine.view(), STUDY))
    assert site.vault.keys_under("study/") == [study_key(STUDY, "forgotten")]
    assert site.vault.keys_under("release/") == []


def test_session_keys_are_forgotten_when_the_study_has_ended() -> None:
    world = _world()
    for _ in range(100):
        for agent in world.agents.values():
            agent.step()
        if world.rounds:
            break
    place = study_key(STUDY, "session-keys")
    assert world.vaults[AGGREGATOR].load(place, SessionKeyStore) is not None
    world.run()
    for agent in world.agents.values():
        agent.step()
    assert world.vaults[AGGREGATOR].load(place, SessionKeyStore) is None
    for name in NAMES:
        assert not [key for key in world.vaults[name].keys_under("study/") if key.endswith("/private")]


def test_the_schedule_does_not_matter() -> None:
    totals: set[tuple[bytes, ...]] = set()
    for seed in range(4):
        world = _world()
        Scheduler(world.agents, world.engine, world.idle, seed=seed).run(STUDY)
        totals.add(tuple(world.totals))
    assert len(totals) == 1


def test_simulate_runs_a_sealed_plan_with_the_same_metrics_as_masked() -> None:
    tables: Any = {name: patients(name) for name in NAMES}
    masked = simulate(small_plan(), tables, progress=False)
    sealed = simulate(sealed_plan(), tables, progress=False)
    assert sealed.metrics() == masked.metrics()
    assert sealed.state.parameters.digest == masked.state.parameters.digest
    assert set(sealed.rewards) == set(NAMES)


def test_the_heart_study_gives_the_same_figures_masked_and_sealed() -> None:
    from medfed.demo.heart import heart_plan, heart_tables

    masked, sealed = (simulate(heart_plan(mode), heart_tables(), progress=False) for mode in ("masked", "sealed"))
    for name, figure in masked.metrics().items():
        assert sealed.metrics()[name].value == pytest.approx(figure.value, abs=5e-4), name
    assert sealed.state.parameters.digest == masked.state.parameters.digest


def test_a_vault_of_a_hospital_restored_from_a_copy_seals_nothing_under_a_key_that_it_has_used() -> None:
    """Restored to before it sealed: another salt, so another blob and another commitment, and it sits the round out."""
    world = _world()
    for _ in range(200):
        for agent in world.agents.values():
            agent.step()
        if world.rounds and "beta" in world.rounds[-1].submitted:
            break
    place = study_key(STUDY, "attempt", 0, 0)
    vault = world.vaults["beta"]
    assert vault.get(place) is not None
    vault.delete_under(place)
    vault.store("passed", 0)  # as a copy that is behind its own transactions
    world.restart("beta")
    assert world.run().phase == "completed"
    assert "beta" not in world.rounds[0].survivors


def test_a_plan_of_another_protection_is_another_plan() -> None:
    assert replace(sealed_plan(), protection=small_plan().protection).digest == small_plan().digest
    assert sealed_plan().digest != small_plan().digest
