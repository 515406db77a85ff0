"""Studies whose updates are encrypted, by real agents: the same model as masked, and no standing still."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.study import NAMES, STUDY, TestWorld, patients, small_plan

from medfed.errors import InvalidInput
from medfed.federation.plan import Plan, Protection
from medfed.homomorphic import NativeCipher, is_available
from medfed.homomorphic.parameters import PARAMETERS
from medfed.hospital.aggregation import plan_of, recompute_state
from medfed.hospital.progress import release_keys
from medfed.identifiers import Name
from medfed.ledger.contracts.ciphertexts import decryption
from medfed.ledger.contracts.deadlines import ResumeStudy
from medfed.ledger.contracts.offices import VoteOnSuccessor, need_offices
from medfed.ledger.verify import verify_ledger
from medfed.simulation.api import simulate
from medfed.simulation.scheduler import Absence, Scheduler

pytestmark = pytest.mark.skipif(not is_available(), reason="needs TenSEAL")

KEEPER, ADDER = "keeper", "adder"


def encrypted_plan(*aggregators: Name, **others: Any) -> Plan:
    plan = small_plan(**others)
    return replace(plan, protection=Protection("homomorphic", KEEPER, aggregators or (ADDER,)))


@pytest.fixture(scope="module")
def cipher() -> NativeCipher:
    """In this process: what crashes or is slow there is tested with the worker."""
    return NativeCipher(PARAMETERS)


def _world(cipher: NativeCipher, plan: Plan | None = None, **others: Any) -> TestWorld:
    world = TestWorld.build(plan or encrypted_plan(), **others)
    world.cipher = cipher
    for name in world.agents:
        world.restart(name)
    world.propose()
    return world


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fedadam"])
def test_every_decrypted_total_is_the_masked_modes_bit_for_bit(cipher: NativeCipher, strategy: Any) -> None:
    from medfed.federation.plan import StrategySettings

    settings = StrategySettings(name=strategy, rate=0.5)
    encrypted = _world(cipher, encrypted_plan(rounds=3, strategy=settings))
    masked = TestWorld.build(small_plan(rounds=3, strategy=settings))
    masked.propose()
    assert encrypted.run().phase == masked.run().phase == "completed"
    assert len(encrypted.totals) == 5
    assert encrypted.totals == masked.totals
    states = [recompute_state(world.engine.view(), STUDY, world.blobs) for world in (encrypted, masked)]
    assert states[0].digest == states[1].digest


def test_an_encrypted_ledger_replays() -> None:
    world = _world(NativeCipher(PARAMETERS))
    world.run()
    assert verify_ledger(world.engine.genesis, world.engine.blocks(), world.engine.genesis.digest)


def test_several_aggregators_come_to_the_same_sum(cipher: NativeCipher) -> None:
    world = _world(cipher, encrypted_plan("adder", "second", "third"))
    assert world.run().phase == "completed"
    assert not any(agent.problems for agent in world.agents.values())


def test_a_dropout_leaves_the_smaller_sum(cipher: NativeCipher) -> None:
    away = {"delta": Absence(1, 1)}
    encrypted, masked = _world(cipher), TestWorld.build(small_plan())
    masked.propose()
    assert encrypted.run(away=away).phase == masked.run(away=away).phase == "completed"
    assert encrypted.rounds[1].survivors == ("alpha", "beta", "gamma")
    assert encrypted.totals == masked.totals


def test_a_hospital_that_falls_silent_before_it_confirms_voids_the_attempt_only(cipher: NativeCipher) -> None:
    world = _world(cipher)
    for _ in range(200):
        current = world.rounds[-1:] or [None]
        silent = current[0] is not None and current[0].number == 1 and current[0].phase == "confirm"
        moved = sum(agent.step() for name, agent in world.agents.items() if not (silent and name == "gamma"))
        if current[0] is not None and current[0].number == 1 and current[0].attempt == 1:
            break
        if not moved:
            world.clock.now_ms += 10_000
    assert world.run().phase == "completed"
    assert world.rounds[1].attempt == 1
    assert world.rounds[1].survivors == ("alpha", "beta", "delta")


def test_an_aggregator_that_is_gone_pauses_the_study_and_its_successor_goes_on(cipher: NativeCipher) -> None:
    world = _world(cipher, others={"second": "aggregator"})
    assert world.step_until_paused(ADDER) == "no-ciphertext-sum"
    for name in ("alpha", "beta", "gamma"):
        world.send(name, VoteOnSuccessor(STUDY, ADDER, "second"))
    del world.agents[ADDER]
    assert world.run().phase == "completed"


def test_a_key_holder_that_is_gone_pauses_the_study_and_its_successor_goes_on_with_a_new_key(
    cipher: NativeCipher,
) -> None:
    world = _world(cipher, others={"second": "auditor"})
    for _ in range(100):
        for agent in world.agents.values():
            agent.step()
        if world.rounds and world.rounds[-1].number == 1:
            break
    before = need_offices(world.engine.view(), world.study).key
    assert world.step_until_paused(KEEPER) == "no-decryption"
    for name in ("alpha", "beta", "gamma"):
        world.send(name, VoteOnSuccessor(STUDY, KEEPER, "second"))
    del world.agents[KEEPER]
    assert world.run().phase == "completed"
    assert need_offices(world.engine.view(), world.study).key != before


def test_a_key_holder_that_never_comes_pauses_the_study_before_its_first_round(cipher: NativeCipher) -> None:
    world = _world(cipher)
    assert world.step_until_paused(KEEPER) == "no-encryption-key"
    for name in ("alpha", "beta", "gamma"):
        world.send(name, ResumeStudy(STUDY))
    assert world.run().phase == "completed"


@pytest.mark.parametrize("who", [*NAMES, KEEPER, ADDER])
def test_a_restart_at_any_vault_write_changes_nothing(cipher: NativeCipher, who: Name) -> None:
    """The agent of `who` is made anew over its vault after every step; one of them in the middle of every work."""
    world = _world(cipher)

    class Stop(Exception):
        pass

    counts = {"left": 0, "writes": 0}

    def effect(name: str) -> None:
        counts["writes"] += 1
        if counts["left"] and counts["writes"] % 3 == 0 and name.startswith(("before work", "after work")):
            counts["left"] -= 1
            raise Stop

    world.vaults[who]._effect = effect
    counts["left"] = 30
    for _ in range(600):
        for name, agent in list(world.agents.items()):
            try:
                agent.step()
            except Stop:
                world.restart(name)
        if world.study.phase == "completed":
            break
        world.clock.now_ms += 600
        world.restart(who)
    assert world.study.phase == "completed"
    masked = TestWorld.build(small_plan())
    masked.propose()
    masked.run()
    assert world.totals == masked.totals


def test_what_was_decrypted_counts_as_released_in_every_survivors_vault(cipher: NativeCipher) -> None:
    world = _world(cipher)
    world.step_until_paused(KEEPER)
    for agent in world.agents.values():
        assert agent.site.vault.keys_under("release/") == []
    for name in ("alpha", "beta", "gamma"):
        world.send(name, ResumeStudy(STUDY))
    for _ in range(200):
        moved = sum(agent.step() for name, agent in world.agents.items() if name != KEEPER or not world.rounds)
        if world.rounds and world.rounds[-1].phase == "decrypt" and not moved:
            break
    for name in NAMES:
        site = world.agents[name].site
        plan = plan_of(world.engine.view(), STUDY)
        state = recompute_state(world.engine.view(), STUDY, world.blobs)
        keys = release_keys(site, plan, "statistics", state)
        assert set(keys) <= set(site.vault.keys_under("release/"))


def test_office_holders_never_see_patients_or_a_model(cipher: NativeCipher) -> None:
    world = _world(cipher)
    world.run()
    for name in (KEEPER, ADDER):
        site = world.agents[name].site
        assert site.followed == {}
        with pytest.raises(InvalidInput, match="no patients"):
            site.prepared(plan_of(world.engine.view(), STUDY))


def test_the_secret_key_is_forgotten_when_the_study_has_ended(cipher: NativeCipher) -> None:
    world = _world(cipher)
    world.run()
    for agent in world.agents.values():
        agent.step()
    assert not [key for key in world.vaults[KEEPER].keys_under("study/") if "encryption-key" in key]


def test_a_total_that_is_none_is_a_rejected_aggregate_and_stops_no_agent(cipher: NativeCipher) -> None:
    """A lying key holder: a blob of another length."""
    from medfed.ledger.contracts.ciphertexts import PublishDecryption

    world = _world(cipher)
    keeper = world.agents[KEEPER]
    lied = False
    for _ in range(400):
        moved = 0
        for name, agent in world.agents.items():
            current = world.rounds[-1] if world.rounds else None
            if name == KEEPER and current is not None and current.phase == "decrypt" and current.number == 1:
                from medfed.ledger.contracts.ciphertexts import ciphertext_sums

                view = world.engine.view()
                (digest,) = set(ciphertext_sums(view, STUDY, 1, 0).values())
                blob = world.blobs.put(b"\0" * 8)
                world.send(KEEPER, PublishDecryption(STUDY, 1, 0, digest, blob, 8))
                lied = True
            moved += agent.step()
        if world.study.phase == "completed":
            break
        if not moved:
            world.clock.now_ms += 1_000
    assert lied
    assert keeper.site.name == KEEPER
    assert world.study.phase == "completed"
    history = recompute_state(world.engine.view(), STUDY, world.blobs).history
    assert history[0].verdict == "diverged"


def test_simulate_runs_an_encrypted_plan_with_the_same_metrics_as_masked() -> None:
    tables: Any = {name: patients(name) for name in NAMES}
    masked = simulate(small_plan(), tables, progress=False)
    encrypted = simulate(encrypted_plan(), tables, progress=False)
    assert encrypted.metrics() == masked.metrics()
    assert encrypted.state.parameters.digest == masked.state.parameters.digest
    np.testing.assert_array_equal(encrypted.state.parameters.flat, masked.state.parameters.flat)
    assert set(encrypted.rewards) == set(NAMES)
    found = [decryption(encrypted.ledger.view, encrypted.study.study, number, 0) for number in range(4)]
    assert all(entry is not None for entry in found)


def test_simulate_says_in_one_line_that_tenseal_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from medfed.errors import Unavailable

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tenseal" else found(name))
    with pytest.raises(Unavailable, match=r"^homomorphic protection needs TenSEAL: pip install 'medfed\[he\]'$"):
        simulate(encrypted_plan(), {name: patients(name) for name in NAMES}, progress=False)


def test_a_hospital_without_tenseal_declines_rather_than_falling_silent(
    cipher: NativeCipher, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medfed.hospital.duties import joining

    world = _world(cipher)
    monkeypatch.setattr(joining, "is_available", lambda: False)
    world.agents["gamma"].step()
    monkeypatch.undo()
    assert world.study.declined == ("gamma",)
    assert world.run().phase == "completed"
    assert world.study.roster == ("alpha", "beta", "delta")


def test_the_schedule_does_not_matter(cipher: NativeCipher) -> None:
    totals: set[tuple[bytes, ...]] = set()
    for seed in range(4):
        world = _world(cipher)
        Scheduler(world.agents, world.engine, world.idle, seed=seed).run(STUDY)
        totals.add(tuple(world.totals))
    assert len(totals) == 1


def test_the_heart_study_gives_the_same_figures_masked_and_encrypted() -> None:
    from medfed.demo.heart import heart_plan, heart_tables

    masked, encrypted = (
        simulate(heart_plan(mode), heart_tables(), progress=False) for mode in ("masked", "homomorphic")
    )
    for name, figure in masked.metrics().items():
        assert encrypted.metrics()[name].value == pytest.approx(figure.value, abs=5e-4), name
    assert encrypted.state.parameters.digest == masked.state.parameters.digest
