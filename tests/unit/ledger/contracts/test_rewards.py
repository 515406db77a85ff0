"""Rules of `ledger.contracts.rewards`: integer points, every change with its cause."""

from __future__ import annotations

import pytest
from tests.support.ledger import FOUR, STUDY, StudyWorld, World, make_terms

from medfed.identifiers import sha256
from medfed.ledger.contracts.keying import KeysReady
from medfed.ledger.contracts.membership import ChangeAddress, ProposeRemoval
from medfed.ledger.contracts.rewards import Award, points, sealing_points, statement, study_points
from medfed.ledger.contracts.terms import RewardPolicy, RoundKind, Step
from medfed.ledger.genesis import Policy

REWARDS = RewardPolicy(per_hundred_examples=7, cap_examples=500, agreement=3)


def running(examples: dict[str, int] | None = None, steps: tuple[Step, ...] = (Step("training", 3),)) -> StudyWorld:
    study = StudyWorld(World.build(), make_terms(steps=steps, rewards=REWARDS)).to_enrolling()
    for name in FOUR:
        study.world.accept(name, study.enrolment(name, (examples or {}).get(name, 250)))
    for name in FOUR:
        study.world.accept(name, study.pair_secrets(name))
    for name in FOUR:
        study.world.accept(name, KeysReady(STUDY))
    return study


@pytest.mark.parametrize(
    ("examples", "earned"), [(50, 0), (99, 0), (100, 7), (199, 7), (250, 14), (500, 35), (501, 35), (10_000, 35)]
)
def test_rule_1_examples_earn_by_the_hundred_rounded_down_and_capped(examples: int, earned: int) -> None:
    study = running({"alpha": examples}).run_round()
    assert study_points(study.world.view, STUDY, "alpha") == earned


def test_rule_1_an_enrolled_count_above_the_plans_greatest_earns_no_more() -> None:
    rewards = RewardPolicy(per_hundred_examples=1, cap_examples=10_000_000, agreement=0)
    study = StudyWorld(World.build(), make_terms(steps=(Step("training"),), rewards=rewards)).to_enrolling()
    for name in FOUR:
        study.world.accept(name, study.enrolment(name, 5_000))
    for name in FOUR:
        study.world.accept(name, study.pair_secrets(name))
    for name in FOUR:
        study.world.accept(name, KeysReady(STUDY))
    study.run_round()
    assert study_points(study.world.view, STUDY, "alpha") == study.terms.max_examples // 100


@pytest.mark.parametrize("kind", ["statistics", "evaluation"])
def test_rule_1_only_training_earns_for_examples(kind: RoundKind) -> None:
    study = running(steps=(Step(kind), Step("training"))).run_round()
    assert {study_points(study.world.view, STUDY, name) for name in FOUR} == {0}


def test_rule_2_naming_the_final_base_earns_and_naming_another_or_none_does_not() -> None:
    study = running().run_round()
    before = {name: study_points(study.world.view, STUDY, name) for name in FOUR}
    for name in ("alpha", "beta", "delta"):
        study.world.accept(name, study.update(name))
    study.world.accept("gamma", study.update("gamma", base=sha256(b"another")))
    earned = {name: study_points(study.world.view, STUDY, name) - before[name] for name in FOUR}
    assert earned == {"alpha": 3, "beta": 3, "delta": 3, "gamma": 0}


def test_rule_2_naming_it_after_it_has_become_final_earns_as_well() -> None:
    study = running().run_round()
    before = study_points(study.world.view, STUDY, "gamma")
    for name in FOUR:
        study.world.accept(name, study.update(name))
    assert study_points(study.world.view, STUDY, "gamma") == before + 3


def test_rule_3_sealing_earns_for_an_accepted_transaction_of_another() -> None:
    world = World.build(policy=Policy(seal_points=5))
    world.accept("organiser", ChangeAddress("own"))
    assert points(world.view, "organiser") == 0
    world.refuse("alpha", ProposeRemoval("nobody"))
    assert points(world.view, "organiser") == 0
    world.accept("alpha", ChangeAddress("host:1"))
    assert points(world.view, "organiser") == sealing_points(world.view, "organiser") == 5
    batch = [world.sign(name, ChangeAddress("host:2")) for name in FOUR]
    world.engine.submit(*batch)
    assert points(world.view, "organiser") == 10


def test_rule_3_a_policy_without_points_leaves_no_trace() -> None:
    world = World.build(policy=Policy(seal_points=0))
    world.accept("alpha", ChangeAddress("host:1"))
    assert points(world.view, "organiser") == 0


def test_rule_4_an_update_that_was_left_out_earns_nothing() -> None:
    study = running().run_round(without=["gamma"])
    assert study_points(study.world.view, STUDY, "gamma") == 0
    study.update_all(without=["gamma"])
    study.world.accept("gamma", study.update("gamma"))
    study.confirm_all().reveal_all()
    assert not [award for _, award in statement(study.world.view, "gamma") if award.cause == "examples"]


def test_rule_4_void_and_failed_rounds_earn_nothing_for_examples() -> None:
    study = running()
    study.update_all().confirm_all(without=["delta"]).advance()
    assert study_points(study.world.view, STUDY, "alpha") == 0
    study.update_all().confirm_all()
    study.advance()
    study.advance()
    assert study.round.phase == "failed"
    assert study_points(study.world.view, STUDY, "alpha") == 0


def test_a_statement_names_every_award_with_its_cause_and_sums_to_the_points() -> None:
    study = running().run_round().run_round().run_round().to_completed()
    view = study.world.view
    for name in FOUR:
        awards = statement(view, name)
        assert {identifier for identifier, _ in awards} == {STUDY}
        assert sum(award.points for _, award in awards) == study_points(view, STUDY, name) == points(view, name)
    assert [award for _, award in statement(view, "alpha")] == [
        Award("examples", 14, 0),
        Award("agreement", 3, 0),
        Award("examples", 14, 1),
        Award("agreement", 3, 1),
        Award("examples", 14, 2),
        Award("agreement", 3, 2),
    ]


def test_one_point_counts_and_none_leaves_no_trace() -> None:
    rewards = RewardPolicy(per_hundred_examples=1, cap_examples=500, agreement=0)
    study = StudyWorld(World.build(), make_terms(steps=(Step("training", 2),), rewards=rewards)).to_enrolling()
    for name, examples in zip(FOUR, (99, 100, 100, 100), strict=True):
        study.world.accept(name, study.enrolment(name, examples))
    for name in FOUR:
        study.world.accept(name, study.pair_secrets(name))
    for name in FOUR:
        study.world.accept(name, KeysReady(STUDY))
    view = study.run_round().world.view
    assert statement(view, "alpha") == []
    assert statement(view, "beta") == [(STUDY, Award("examples", 1, 0))]
