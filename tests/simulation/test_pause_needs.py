"""A study that stands still says what it needs and from whom, and what is said is enough."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.simulation.test_faults_found import drive, state_of
from tests.support.study import NAMES, STUDY, TestWorld, small_plan

from medfed.federation.plan import Plan
from medfed.hospital.consent import ConsentPolicy, ConsentRule
from medfed.hospital.duties.confirming import ConfirmProposedSurvivors
from medfed.hospital.pause_needs import needs_of
from medfed.hospital.requests import request
from medfed.identifiers import Name
from medfed.ledger.contracts.deadlines import AbortStudy, ResumeStudy
from medfed.ledger.contracts.membership import ProposeRemoval, VoteOnRemoval
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import Study, WithdrawFromStudy

FIVE = ("alpha", "beta", "delta", "epsilon", "gamma")
PATIENT = ConsentPolicy(rules=(ConsentRule("approve"),), most_resumes=2)


def needs(world: TestWorld) -> tuple[str, ...]:
    return needs_of(world.engine.view(), state_of(world)[0], world.plan)


def failing(world: TestWorld, absent: tuple[Name, ...], silent: tuple[Name, ...]) -> None:
    """The statistics fail: the absent submit nothing, the silent reveal nothing; later the silent are away."""
    world.propose()

    def present(name: Name, study: Study, current: Round | None) -> bool:
        if current is None:
            return True
        if current.number == 0 and current.phase in ("update", "confirm"):
            return name not in absent
        return name not in silent

    for _ in range(40):
        if drive(world, present, passes=10).phase == "paused":
            return
    raise AssertionError("it did not pause")


def build(plan: Plan) -> TestWorld:
    return TestWorld.build(plan, consent=PATIENT)


def act(world: TestWorld, body: Any, *names: Name) -> None:
    for name in names:
        request(world.vaults[name], body)
    for name in names:
        world.agents[name].step()


def test_a_study_that_runs_or_has_ended_needs_nothing() -> None:
    world = build(small_plan(NAMES, rounds=1))
    world.propose()
    drive(world, passes=3)
    assert needs(world) == ()
    assert drive(world).phase == "completed"
    assert needs(world) == ()


def test_an_expelled_liar_among_three_leaves_nothing_but_to_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ConfirmProposedSurvivors._confirmation

    def lie(self: Any, site: Any, *rest: Any) -> Any:
        body = original(self, site, *rest)
        return replace(body, escrow=bytes(len(body.escrow))) if site.name == "delta" else body

    monkeypatch.setattr(ConfirmProposedSurvivors, "_confirmation", lie)
    world = build(small_plan(NAMES, rounds=1))
    failing(world, absent=("alpha",), silent=("delta",))
    assert needs(world) == (
        "it cannot go on (round 0 failed over beta, delta and gamma and can only be summed over the same, of whom beta "
        "and gamma are left; the quorum is 3): more than half of alpha, beta and gamma end it (`medfed study abort`)",
    )
    act(world, AbortStudy(STUDY, "cannot-go-on"), "alpha", "beta")
    assert state_of(world)[0].phase == "aborted"
    assert needs(world) == ()


def test_a_hospital_that_is_dead_after_a_failed_reveal_must_be_back_where_too_few_are_left_without_it() -> None:
    world = build(small_plan(NAMES, rounds=1))
    failing(world, absent=("alpha",), silent=("beta", "delta"))
    first, *_, last = needs(world)
    assert first == "beta and delta must be back: the agent, once it runs, says so by itself"
    assert len(needs(world)) == 2, "removing them would leave too few"
    assert "more votes to go on" in last
    assert drive(world).phase == "completed"


def test_a_dead_hospital_may_be_removed_where_enough_are_left_without_it() -> None:
    """Two of five must be silent for a round to fail; one of them is dead for good."""
    world = build(small_plan(FIVE, rounds=1, quorum=4))
    failing(world, absent=(), silent=("epsilon", "gamma"))
    assert not any("removal" in line for line in needs(world)), "without both too few are left"
    drive(world, lambda name, *_: name != "gamma", passes=30)
    assert "or, if gamma will not be back: removal from the consortium, by vote" in needs(world)
    act(world, ProposeRemoval("gamma"), "alpha")
    act(world, VoteOnRemoval("gamma", True), "alpha", "beta", "delta", "epsilon")
    if state_of(world)[0].phase == "paused":  # the agents of patient sites may have gone on already
        act(world, ResumeStudy(STUDY), "alpha", "beta", "delta", "epsilon")
    assert drive(world, lambda name, *_: name != "gamma").phase == "completed"


def test_who_withdrew_but_counts_in_what_failed_must_be_removed() -> None:
    world = build(small_plan(FIVE, rounds=1, quorum=4))
    failing(world, absent=(), silent=("epsilon", "gamma"))
    act(world, WithdrawFromStudy(STUDY), "alpha")
    assert needs(world)[0] == "alpha withdrew, but counts in what failed: removal from the consortium, by vote"


def test_who_must_still_vote_is_named() -> None:
    world = TestWorld.build(
        small_plan(NAMES, rounds=1), consent=ConsentPolicy(rules=(ConsentRule("approve"),), resume="ask")
    )
    failing(world, absent=(), silent=("beta", "delta"))
    drive(world, passes=5)
    expected = "by the agents or people of alpha, beta, delta and gamma (`medfed study resume`)"
    assert needs(world) == (f"3 more votes to go on, {expected}",)
    act(world, ResumeStudy(STUDY), "beta")
    assert needs(world)[0].startswith("2 more votes to go on, by the agents or people of alpha, delta and gamma")


def test_where_too_few_are_left_it_can_only_be_ended() -> None:
    world = build(small_plan(NAMES, rounds=1))
    failing(world, absent=(), silent=("beta", "delta"))
    act(world, WithdrawFromStudy(STUDY), "alpha")
    act(world, WithdrawFromStudy(STUDY), "beta")
    (only,) = needs(world)
    assert only.startswith("it cannot go on (delta and gamma of the roster are left, and the quorum is 3)")
