"""Rules of `ledger.contracts.agreement`: a base by majority, rejections, early stopping, completion, disputes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, INITIAL, SEVEN, STUDY, StudyWorld, World, make_terms

from medfed.identifiers import Digest, sha256
from medfed.ledger.contracts.deadlines import ResumeStudy
from medfed.ledger.contracts.rewards import study_points
from medfed.ledger.contracts.rounds import round_record
from medfed.ledger.contracts.terms import Step

WRONG: Digest = sha256(b"a wrong outcome")


@pytest.fixture
def world() -> World:
    return World.build()


def training(world: World, rounds: int = 8, names: tuple[str, ...] = FOUR) -> StudyWorld:
    """A study whose first training round is released, and whose outcome is to be agreed."""
    steps = (Step("training", rounds), Step("evaluation"))
    return StudyWorld(world, make_terms(names, steps=steps)).to_running().run_round()


def resume(study: StudyWorld) -> None:
    for name in study.names[: study.terms.quorum]:
        study.world.accept(name, ResumeStudy(study.study))


def test_rule_1_the_voters_are_the_survivors_of_the_last_released_round(world: World) -> None:
    study = StudyWorld(world, make_terms(steps=(Step("training", 4),))).to_running().run_round(without=["gamma"])
    assert study.record.base_voters == ("alpha", "beta", "delta")
    world.accept("gamma", study.update("gamma", base=WRONG))
    assert study.record.base_votes == ()
    assert world.refuse("gamma", study.attestation(stop=True)) == "not-a-voter"


def test_rule_2_a_base_named_by_more_than_half_is_final(world: World) -> None:
    study = training(world)
    outcome = study.outcome
    for name in ("alpha", "beta"):
        world.accept(name, study.update(name))
        assert study.record.base is None
    world.accept("delta", study.update("delta"))
    assert study.record.base == outcome
    world.accept("gamma", study.update("gamma", base=WRONG))
    assert study.round.survivors == ("alpha", "beta", "delta")


def test_rule_2_half_is_not_more_than_half(world: World) -> None:
    study = training(world)
    for name, base in zip(FOUR, (study.outcome, study.outcome, WRONG, WRONG), strict=True):
        world.accept(name, study.update(name, base=base))
    assert study.record.base is None
    assert study.round.phase == "update"
    study.advance()
    assert (study.round.phase, study.record.pause_code) == ("unreleased", "disputed")


def test_rule_2_the_majority_is_of_the_voters_not_of_those_who_vote() -> None:
    study = training(World.build(SEVEN), names=SEVEN)
    for name in SEVEN[:3]:
        study.world.accept(name, study.update(name))
    assert study.record.base is None
    study.world.accept(SEVEN[3], study.update(SEVEN[3]))
    assert study.record.base is not None


def test_rule_1_a_voter_votes_once_for_a_round_also_over_several_attempts(world: World) -> None:
    study = training(world)
    world.accept("gamma", study.update("gamma", base=WRONG))
    for name in FOUR[:3]:
        world.accept(name, study.update(name))
    study.confirm_all(without=["delta"]).advance()
    before = study.record.base_votes
    assert study.round.attempt == 1
    world.accept("alpha", study.update("alpha", base=WRONG))
    assert study.record.base_votes == before


def test_rule_3_a_rejecting_majority_is_counted_and_an_accepting_one_starts_anew(world: World) -> None:
    study = training(world)
    assert study.record.previous_base == INITIAL
    for accepts, rejections in ((False, 1), (False, 2), (True, 0), (False, 1)):
        base = study.outcome
        for name in FOUR:
            world.accept(name, study.update(name, base=base, accepts=accepts))
        assert study.record.rejections == rejections
        study.confirm_all().reveal_all()


def test_rule_3_a_minority_that_rejects_is_no_rejection(world: World) -> None:
    study = training(world)
    base = study.outcome
    for name, accepts in zip(FOUR, (False, False, True, True), strict=True):
        world.accept(name, study.update(name, base=base, accepts=accepts))
    assert study.record.rejections == 0


def test_rule_3_three_rejections_in_a_row_pause_the_study(world: World) -> None:
    study, base = training(world), INITIAL
    for rejections in range(3):
        base = study.outcome
        for name in FOUR:
            if study.record.phase == "running" and study.round.phase == "update":
                world.accept(name, study.update(name, base=base, accepts=False))
        if rejections < 2:
            study.confirm_all().reveal_all()
    assert (study.record.phase, study.record.pause_code) == ("paused", "three-rejections")
    assert (study.round.phase, study.record.rejections, study.record.base) == ("unreleased", 0, base)
    resume(study)
    assert study.record.phase == "running"
    study.run_round()


def test_rule_4_a_stopping_majority_skips_the_rest_of_the_training(world: World) -> None:
    study = training(world)
    outcome = study.outcome
    for name in ("alpha", "beta"):
        world.accept(name, study.attestation(stop=True))
    assert study.round.kind == "training"
    world.accept("delta", study.attestation(stop=True))
    skipped = round_record(world.view, STUDY, 1)
    assert skipped is not None
    assert skipped.phase == "skipped"
    assert (study.round.number, study.round.kind, study.record.base) == (2, "evaluation", outcome)
    study.run_round().to_completed()


def test_rule_4_half_of_the_voters_do_not_stop_it(world: World) -> None:
    study = training(world)
    for name in ("alpha", "beta"):
        world.accept(name, study.attestation(stop=True))
    world.accept("delta", study.update("delta"))
    world.accept("gamma", study.update("gamma"))
    assert (study.round.number, study.round.kind) == (1, "training")
    for name in ("alpha", "beta"):  # who asked to stop in vain goes on
        world.accept(name, study.update(name))
    assert study.round.phase == "confirm"


def test_rule_4_one_hospital_that_goes_on_does_not_keep_a_majority_from_stopping(world: World) -> None:
    """Its update makes the base final before all who ask to stop have said so."""
    study = training(world)
    for name in ("alpha", "beta"):
        world.accept(name, study.attestation(stop=True))
    world.accept("gamma", study.update("gamma"))
    assert study.record.base is not None
    world.accept("delta", study.attestation(stop=True))
    assert (study.round.number, study.round.kind) == (2, "evaluation")
    skipped = round_record(world.view, STUDY, 1)
    assert skipped is not None
    assert skipped.phase == "skipped"


def test_rule_4_stopping_comes_too_late_once_the_survivors_are_proposed(world: World) -> None:
    study = training(world)
    world.accept("alpha", study.attestation(stop=True))
    for name in FOUR:
        world.accept(name, study.update(name))
    assert (study.round.number, study.round.phase) == (1, "confirm")


def test_rule_4_stops_on_different_bases_do_not_add_up(world: World) -> None:
    study = training(world)
    for name, base in zip(FOUR, (study.outcome, study.outcome, WRONG, WRONG), strict=True):
        world.accept(name, study.attestation(base=base, stop=True))
    assert study.record.base is None
    assert study.round.kind == "training"


def test_rule_4_there_is_nothing_to_stop_outside_training(world: World) -> None:
    study = training(world, rounds=1)
    assert study.round.kind == "evaluation"
    assert world.refuse("alpha", study.attestation(stop=True)) == "nothing-to-stop"
    study.run_round()
    assert study.record.phase == "agreeing"
    assert world.refuse("alpha", study.attestation(stop=True)) == "nothing-to-stop"


def test_in_a_running_study_the_next_update_names_the_base(world: World) -> None:
    study = training(world)
    assert world.refuse("alpha", study.attestation()) == "carried-by-update"


def test_rule_5_agreement_after_the_last_round_completes_the_study(world: World) -> None:
    study = training(world, rounds=1).run_round()
    outcome = study.outcome
    for name in ("alpha", "beta"):
        world.accept(name, study.attestation())
    assert study.record.phase == "agreeing"
    assert world.refuse("alpha", study.attestation()) == "already-voted"
    assert world.refuse("user", study.attestation()) == "not-a-voter"
    world.accept("delta", study.attestation())
    assert (study.record.phase, study.record.base) == ("completed", outcome)


def test_rule_5_the_rest_of_the_voters_may_still_attest_and_earn(world: World) -> None:
    study = training(world, rounds=1).run_round()
    before = study_points(world.view, STUDY, "gamma")
    study.to_completed()
    world.accept("gamma", study.attestation())
    assert study_points(world.view, STUDY, "gamma") == before + study.terms.rewards.agreement
    assert world.refuse("gamma", study.attestation()) == "already-voted"
    assert study.record.phase == "completed"


def test_an_attestation_names_the_last_released_round(world: World) -> None:
    study = training(world, rounds=1).run_round()
    for number in (0, 2, -1):
        assert world.refuse("alpha", replace(study.attestation(), round=number)) == "wrong-round"


def test_rule_6_without_a_majority_at_the_deadline_the_end_is_disputed_and_voted_anew(world: World) -> None:
    study = training(world, rounds=1).run_round()
    for name, base in zip(FOUR, (study.outcome, study.outcome, WRONG, WRONG), strict=True):
        world.accept(name, study.attestation(base=base))
    study.advance()
    assert (study.record.phase, study.record.pause_code, study.record.base_votes) == ("paused", "disputed", ())
    resume(study)
    assert study.record.phase == "agreeing"
    study.to_completed()


def test_rule_6_a_disputed_running_study_votes_anew_in_the_next_round(world: World) -> None:
    study = training(world)
    for name, base in zip(FOUR, (study.outcome, study.outcome, WRONG, WRONG), strict=True):
        world.accept(name, study.update(name, base=base))
    study.advance()
    resume(study)
    assert (study.round.number, study.record.base, study.record.base_votes) == (2, None, ())
    study.run_round()
    assert study.round.number == 3


def test_a_rejection_of_the_very_last_round_three_times_does_not_leave_the_study_without_an_end(world: World) -> None:
    """Three rejections, the third of them of the last round: the base is agreed and every voter has voted."""
    study = training(world, rounds=2)
    for _ in range(2):
        base = study.outcome
        for name in FOUR:
            world.accept(name, study.update(name, base=base, accepts=False))
        study.confirm_all().reveal_all()
    base = study.outcome
    for name in FOUR:
        if study.record.phase == "agreeing":
            world.accept(name, study.attestation(base=base, accepts=False))
    assert (study.record.phase, study.record.pause_code) == ("paused", "three-rejections")
    resume(study)
    assert (study.record.phase, study.record.base) == ("completed", base)


def test_rule_4_a_majority_that_comes_after_the_survivors_are_proposed_stops_nothing(world: World) -> None:
    study = training(world)
    for name in ("alpha", "beta"):
        world.accept(name, study.attestation(stop=True))
    study.update_all(without=["delta"])
    assert study.round.phase == "confirm"
    world.accept("delta", study.attestation(stop=True))
    assert (study.round.number, study.round.phase, study.record.phase) == (1, "confirm", "running")


def test_rule_4_after_the_training_every_later_round_is_still_due(world: World) -> None:
    steps = (Step("training", 4), Step("evaluation", 2))
    study = StudyWorld(world, make_terms(steps=steps)).to_running().run_round()
    for name in ("alpha", "beta", "delta"):
        world.accept(name, study.attestation(stop=True))
    kinds = []
    while study.record.phase == "running":
        kinds.append(study.round.kind)
        study.run_round()
    assert kinds == ["evaluation", "evaluation"]


def test_rule_6_a_dispute_at_the_end_leaves_the_last_round_released(world: World) -> None:
    study = training(world, rounds=1).run_round()
    for name, base in zip(FOUR, (study.outcome, study.outcome, WRONG, WRONG), strict=True):
        world.accept(name, study.attestation(base=base))
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("paused", "disputed")
    assert study.round.phase == "released"


def test_three_rejections_at_the_end_leave_the_last_round_released_and_what_was_agreed_agreed(world: World) -> None:
    study = StudyWorld(world, make_terms(steps=(Step("training", 3),))).to_running().run_round()
    for _ in range(2):
        for name in FOUR:
            world.accept(name, study.update(name, accepts=False))
        study.confirm_all().reveal_all()
    assert study.record.phase == "agreeing"
    for name in ("alpha", "beta", "delta"):
        world.accept(name, study.attestation(accepts=False))
    assert (study.record.phase, study.record.pause_code) == ("paused", "three-rejections")
    assert study.round.phase == "released"
    resume(study)
    assert study.record.phase == "completed", "its outcome was agreed before the pause"


def test_a_third_rejection_with_the_last_update_proposes_no_survivors(world: World) -> None:
    study = training(world)
    for _ in range(2):
        for name in FOUR:
            world.accept(name, study.update(name, accepts=False))
        study.confirm_all().reveal_all()
    assert study.record.rejections == 2
    world.accept("gamma", study.update("gamma", base=WRONG, accepts=False))
    for name in ("alpha", "beta", "delta"):
        world.accept(name, study.update(name, accepts=False))
    assert (study.record.phase, study.record.pause_code) == ("paused", "three-rejections")
    assert (study.round.phase, study.round.survivors) == ("unreleased", ())


def test_rule_4_one_who_asks_to_stop_after_the_base_is_final_stops_nothing(world: World) -> None:
    study = training(world)
    for name in ("alpha", "beta", "delta"):
        world.accept(name, study.update(name))
    assert study.record.base is not None
    world.accept("gamma", study.attestation(stop=True))
    assert (study.round.number, study.round.phase, study.round.kind) == (1, "update", "training")
    world.accept("gamma", study.update("gamma"))
    assert study.round.phase == "confirm"
