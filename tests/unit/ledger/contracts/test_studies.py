"""Rules of `ledger.contracts.studies`: proposing, answering, withdrawing, coming back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, INITIAL, SEVEN, STUDY, StudyWorld, World, make_terms

from medfed.encoding import digest_of
from medfed.identifiers import sha256
from medfed.ledger.contracts.deadlines import AbortStudy, ResumeStudy
from medfed.ledger.contracts.membership import Leave
from medfed.ledger.contracts.studies import (
    ApproveStudy,
    DeclineStudy,
    ProposeStudy,
    Rejoin,
    WithdrawFromStudy,
    capped_examples,
    eligible,
    has_edge,
    missed_rounds,
    proposal_digest,
    proposed_plan,
    studies,
)
from medfed.ledger.contracts.terms import Step


@pytest.fixture
def world() -> World:
    return World.build()


@pytest.fixture
def study(world: World) -> StudyWorld:
    return StudyWorld(world)


def test_rule_1_organisers_aggregators_and_hospitals_propose(world: World) -> None:
    for index, who in enumerate(("organiser", "server", "alpha")):
        study = StudyWorld(world, study=bytes([index]) * 16)
        world.accept(who, study.proposal())
        assert (study.record.phase, study.record.proposer) == ("proposed", who)
    assert studies(world.view) == tuple(bytes([index]) * 16 for index in range(3))
    for who in ("user", "auditor"):
        assert world.refuse(who, StudyWorld(world).proposal()) == "wrong-role"


def test_rule_1_the_whole_plan_is_on_the_ledger(world: World, study: StudyWorld) -> None:
    world.accept("organiser", study.proposal())
    assert proposed_plan(world.view, STUDY) == study.plan
    assert study.record.digest == proposal_digest(STUDY, study.terms, study.plan)


def test_rule_1_an_id_is_used_once_also_after_the_study_has_ended(world: World, study: StudyWorld) -> None:
    world.accept("organiser", study.proposal())
    assert world.refuse("alpha", study.proposal()) == "study-exists"
    study.advance()
    assert study.record.phase == "aborted"
    assert world.refuse("organiser", study.proposal()) == "study-exists"


def test_rule_1_only_active_hospitals_are_invited(world: World) -> None:
    terms = make_terms()
    for other in ("user", "organiser", "zulu"):
        invited = tuple(sorted(("alpha", "beta", "gamma", other)))
        body = ProposeStudy(STUDY, replace(terms, invited=invited), b"\x90")
        assert world.refuse("organiser", body) == "not-a-hospital"
    world.accept("delta", Leave())
    assert world.refuse("organiser", ProposeStudy(STUDY, terms, b"\x90")) == "not-a-hospital"


@pytest.mark.parametrize(
    "change",
    [
        {"invited": ("beta", "alpha", "delta", "gamma")},
        {"invited": ("alpha", "alpha", "beta", "gamma")},
        {"quorum": 5},
        {"max_attempts": 1},
        {"max_examples": 10},
        {"plan": sha256(b"another plan")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_rule_1_the_terms_hold_together(world: World, change: dict[str, object]) -> None:
    body = ProposeStudy(STUDY, replace(make_terms(), **change), b"\x90")
    assert world.refuse("organiser", body) == "bad-terms"


@pytest.mark.parametrize(("size", "least"), [(3, 3), (4, 3), (5, 4), (6, 5), (7, 5)])
def test_rule_1_the_quorum_is_more_than_two_thirds_of_the_invited(size: int, least: int) -> None:
    world = World.build(SEVEN)
    names = SEVEN[:size]
    if least > 3:
        low = StudyWorld(world, make_terms(names, quorum=least - 1))
        assert world.refuse("organiser", low.proposal()) == "bad-terms"
    world.accept("organiser", StudyWorld(world, make_terms(names, quorum=least)).proposal())


def test_rule_2_all_answers_close_the_approval(world: World, study: StudyWorld) -> None:
    world.accept("organiser", study.proposal())
    world.accept("delta", DeclineStudy(STUDY, "no-data"))
    for name in ("alpha", "beta"):
        world.accept(name, study.approval())
        assert study.record.phase == "proposed"
    world.accept("gamma", study.approval())
    assert study.record.phase == "enrolling"
    assert (study.record.approved, study.record.declined) == (("alpha", "beta", "gamma"), ("delta",))


def test_rule_2_too_many_declines_abort(world: World, study: StudyWorld) -> None:
    world.accept("organiser", study.proposal())
    for name in ("alpha", "beta"):
        world.accept(name, DeclineStudy(STUDY, "no-data"))
    for name in ("delta", "gamma"):
        world.accept(name, study.approval())
    assert (study.record.phase, study.record.pause_code) == ("aborted", "too-few-approvals")


@pytest.mark.parametrize(("approvals", "phase"), [(2, "aborted"), (3, "enrolling")])
def test_rule_2_the_deadline_closes_the_approval(world: World, study: StudyWorld, approvals: int, phase: str) -> None:
    world.accept("organiser", study.proposal())
    for name in FOUR[:approvals]:
        world.accept(name, study.approval())
    study.advance()
    assert study.record.phase == phase


def test_rule_2_only_the_invited_answer_each_once(world: World) -> None:
    study = StudyWorld(world, make_terms(FOUR[:3]))
    world.accept("organiser", study.proposal())
    assert world.refuse("gamma", study.approval()) == "not-invited"
    assert world.refuse("organiser", study.approval()) == "not-invited"
    assert world.refuse("gamma", DeclineStudy(STUDY, "x")) == "not-invited"
    world.accept("alpha", study.approval())
    assert world.refuse("alpha", study.approval()) == "already-answered"
    assert world.refuse("alpha", DeclineStudy(STUDY, "x")) == "already-answered"
    world.accept("beta", DeclineStudy(STUDY, "x"))
    assert world.refuse("beta", study.approval()) == "already-answered"


def test_rule_2_an_approval_names_exactly_what_was_proposed(world: World, study: StudyWorld) -> None:
    world.accept("organiser", study.proposal())
    others = (
        proposal_digest(b"another study id", study.terms, study.plan),
        proposal_digest(STUDY, replace(study.terms, quorum=4), study.plan),
        proposal_digest(STUDY, study.terms, b"\x91\x01"),
        digest_of("medfed/plan", 0),
    )
    for digest in others:
        assert world.refuse("alpha", ApproveStudy(STUDY, digest)) == "other-plan"


def test_rule_2_the_proposers_own_approval_is_one_among_the_quorum(world: World, study: StudyWorld) -> None:
    world.accept("alpha", study.proposal())
    assert study.record.approved == ()
    world.accept("alpha", study.approval())
    study.advance()
    assert study.record.phase == "aborted"


def test_nothing_is_answered_before_it_is_proposed_or_after_it_is_decided(world: World, study: StudyWorld) -> None:
    assert world.refuse("alpha", study.approval()) == "no-such-study"
    study.to_enrolling()
    assert world.refuse("alpha", DeclineStudy(STUDY, "x")) == "wrong-phase"


def test_rule_3_who_withdraws_is_expected_in_no_later_round(world: World, study: StudyWorld) -> None:
    study.to_running()
    world.accept("delta", WithdrawFromStudy(STUDY))
    assert "delta" in study.round.roster
    study.run_round(without=["delta"])
    assert study.round.roster == ("alpha", "beta", "gamma")
    assert world.refuse("delta", WithdrawFromStudy(STUDY)) == "not-in-study"
    assert world.refuse("delta", Rejoin(STUDY)) == "not-in-study"


def test_rule_3_only_members_withdraw_and_only_after_keying(world: World, study: StudyWorld) -> None:
    study.to_confirming()
    assert world.refuse("delta", WithdrawFromStudy(STUDY)) == "wrong-phase"


def test_rule_3_a_stranger_does_not_withdraw(world: World, study: StudyWorld) -> None:
    study.to_running()
    assert world.refuse("organiser", WithdrawFromStudy(STUDY)) == "not-in-study"


def test_rule_3_who_missed_one_round_is_back_by_itself(world: World, study: StudyWorld) -> None:
    study.to_running().run_round(without=["delta"])
    assert missed_rounds(study.record, "delta") == 1
    assert study.round.roster == FOUR
    assert world.refuse("delta", Rejoin(STUDY)) == "not-away"
    study.run_round()
    assert missed_rounds(study.record, "delta") == 0


def test_rule_3_who_missed_two_rounds_says_when_it_is_back(world: World) -> None:
    study = StudyWorld(world, make_terms(steps=(Step("training", 6),))).to_running()
    study.run_round(without=["delta"]).run_round(without=["delta"])
    assert study.round.roster == ("alpha", "beta", "gamma")
    assert world.refuse("delta", study.update("delta")) == "not-on-roster"
    assert world.refuse("organiser", Rejoin(STUDY)) == "not-in-study"
    world.accept("delta", Rejoin(STUDY))
    assert study.round.roster == ("alpha", "beta", "gamma")  # never in a round that is open
    study.run_round()
    assert study.round.roster == FOUR


def test_rule_3_who_has_left_the_consortium_is_expected_no_more(world: World, study: StudyWorld) -> None:
    study.to_running()
    world.accept("delta", Leave())
    assert eligible(world.view, study.record) == ("alpha", "beta", "gamma")
    study.run_round(without=["delta"])
    assert study.round.roster == ("alpha", "beta", "gamma")


def test_a_next_roster_below_the_quorum_pauses_until_those_who_are_left_end_the_study(world: World) -> None:
    study = StudyWorld(world, make_terms(FOUR[:3], steps=(Step("training", 4),))).to_running()
    world.accept("beta", WithdrawFromStudy(STUDY))
    study.run_round()
    assert (study.record.phase, study.record.pause_code) == ("paused", "too-few-hospitals")
    world.accept("alpha", ResumeStudy(STUDY))
    assert world.refuse("beta", ResumeStudy(STUDY)) == "not-in-study"
    world.accept("delta", ResumeStudy(STUDY))
    assert (study.record.phase, study.record.pauses) == ("paused", 1)
    world.accept("alpha", AbortStudy(STUDY, "too-few"))
    world.accept("delta", AbortStudy(STUDY, "too-few"))
    assert (study.record.phase, study.record.pause_code) == ("aborted", "voted")


def test_the_first_base_is_the_plans(world: World, study: StudyWorld) -> None:
    study.to_running()
    assert study.record.base == INITIAL
    assert (study.round.kind, study.round.number, study.round.phase) == ("statistics", 0, "update")


def test_rule_1_terms_at_their_limits_are_taken(world: World) -> None:
    terms = replace(make_terms(), max_attempts=len(FOUR) - 3 + 1, min_examples=100, max_examples=100)
    for change in ({"max_attempts": terms.max_attempts - 1}, {"max_examples": 99}):
        assert world.refuse("organiser", ProposeStudy(STUDY, replace(terms, **change), b"\x90")) == "bad-terms"
    world.accept("organiser", ProposeStudy(STUDY, terms, b"\x90"))


def test_rule_2_the_last_answer_closes_the_approval_also_where_it_is_a_decline(world: World, study: StudyWorld) -> None:
    world.accept("organiser", study.proposal())
    for name in ("alpha", "beta", "gamma"):
        world.accept(name, study.approval())
    assert study.record.phase == "proposed"
    world.accept("delta", DeclineStudy(STUDY, "no-data"))
    assert study.record.phase == "enrolling"


def test_every_step_of_the_plan_has_as_many_rounds_as_it_says(world: World) -> None:
    steps = (Step("training", 2), Step("evaluation", 2), Step("training", 1))
    study = StudyWorld(world, make_terms(steps=steps)).to_running()
    kinds = []
    while study.record.phase == "running":
        kinds.append(study.round.kind)
        study.run_round()
    assert kinds == ["training", "training", "evaluation", "evaluation", "training"]


def test_who_has_not_enrolled_has_no_examples_and_a_lost_edge_is_lost_in_both_directions(world: World) -> None:
    study = StudyWorld(world).to_running(("beta", "alpha"))
    assert capped_examples(world.view, study.record, "alpha") == 250
    assert capped_examples(world.view, study.record, "user") == 0
    for one in study.names:
        for other in study.names:
            if one != other:
                assert has_edge(study.record, one, other) == ({one, other} != {"alpha", "beta"})
