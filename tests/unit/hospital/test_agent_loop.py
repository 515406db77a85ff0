"""The loop around an agent: it ends when it should, waits when nothing is due, and tries again what is unavailable."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from tests.support.study import NAMES, STUDY, TestWorld, small_plan

from medfed.errors import Tampered, Unavailable
from medfed.hospital import agent_loop
from medfed.hospital.agent_loop import is_done, run_agent
from medfed.hospital.consent import ConsentPolicy, ConsentRule
from medfed.ledger.contracts.membership import participant
from medfed.ledger.contracts.studies import DeclineStudy


def stop_after(times: int) -> Callable[[], bool]:
    left = iter(range(times))
    return lambda: next(left, None) is None


@pytest.fixture
def world() -> TestWorld:
    return TestWorld.build(small_plan(rounds=1))


def test_it_stops_when_it_is_told_and_has_sent_what_was_due(world: TestWorld) -> None:
    world.propose()
    seen: list[int] = []
    run_agent(world.agents["alpha"], stop_after(3), poll=0.0, observer=lambda view: seen.append(view.tip.height))
    assert len(seen) == 3
    assert seen[-1] > 1


def test_it_ends_by_itself_when_the_studies_of_this_hospital_have_ended(world: TestWorld) -> None:
    world.propose()
    assert not is_done(world.engine.view(), "alpha")
    assert world.run().phase == "completed"
    assert is_done(world.engine.view(), "alpha")
    run_agent(world.agents["alpha"], stop_after(5), poll=0.0, until_complete=True)
    assert not is_done(world.engine.view(), "nobody")


def test_a_study_that_this_hospital_declined_keeps_it_no_longer() -> None:
    decline = ConsentPolicy(rules=(ConsentRule("decline", code="no-thanks"),))
    world = TestWorld.build(small_plan(rounds=1), consent=decline)
    world.propose()
    run_agent(world.agents["alpha"], stop_after(20), poll=0.0, until_complete=True)
    view = world.engine.view()
    assert is_done(view, "alpha")
    assert not is_done(view, "beta"), "it has not answered yet"


def test_what_is_unavailable_is_tried_again_after_waits_that_grow(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.propose()
    waits: list[float] = []
    monkeypatch.setattr(agent_loop, "_pause", lambda seconds, _: waits.append(seconds))
    agent = world.agents["alpha"]
    step, failures = agent.step, iter([Unavailable("the ledger is away")] * 8)

    def failing_step() -> int:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return step()

    monkeypatch.setattr(agent, "step", failing_step)
    with caplog.at_level(logging.WARNING, "medfed.hospital"):
        run_agent(agent, stop_after(10), poll=0.2)
    assert waits[:6] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert waits[6:] == [5.0, 5.0]
    assert "the ledger is away; trying again in 0.2 s" in caplog.text
    assert participant(world.engine.view(), "alpha") is not None


def test_a_pause_ends_early_when_the_agent_is_told_to_stop() -> None:
    agent_loop._pause(3600, stop_after(2))


def test_a_ledger_that_contradicts_the_vault_ends_the_loop(world: TestWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def tampered() -> int:
        raise Tampered("history was rewritten")

    monkeypatch.setattr(world.agents["alpha"], "step", tampered)
    with pytest.raises(Tampered, match="rewritten"):
        run_agent(world.agents["alpha"], stop_after(3), poll=0.0)


def test_a_new_address_is_announced_once(world: TestWorld) -> None:
    agent = world.agents["alpha"]
    run_agent(agent, stop_after(2), poll=0.0, announce="https://alpha.example:7443")
    height = world.engine.view().tip.height
    found = participant(world.engine.view(), "alpha")
    assert found is not None
    assert found.address == "https://alpha.example:7443"
    run_agent(agent, stop_after(2), poll=0.0, announce="https://alpha.example:7443")
    assert world.engine.view().tip.height == height


def test_everybody_else_goes_on_when_one_declined_by_hand() -> None:
    world = TestWorld.build(small_plan(rounds=1))
    world.propose()
    receipt = world.agents["delta"].send(DeclineStudy(STUDY, "not-now"))
    assert receipt.code == ""
    for name in NAMES:
        if name != "delta":
            world.agents[name].step()
    assert is_done(world.engine.view(), "delta")
