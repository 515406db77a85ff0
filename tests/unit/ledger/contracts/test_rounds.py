"""Rules of `ledger.contracts.rounds`, `updates` and `survivors`: one attempt after another until all have signed."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, INITIAL, PHASE_MS, SEVEN, STUDY, StudyWorld, World, make_terms

from medfed.identifiers import sha256
from medfed.ledger.contracts.deadlines import ResumeStudy
from medfed.ledger.contracts.rounds import holders_of, round_record
from medfed.ledger.contracts.studies import WithdrawFromStudy
from medfed.ledger.contracts.survivors import ConfirmSurvivors, RefuseSurvivors, confirmation
from medfed.ledger.contracts.terms import Step
from medfed.ledger.contracts.updates import submission, survivors_digest


@pytest.fixture
def world() -> World:
    return World.build()


@pytest.fixture
def study(world: World) -> StudyWorld:
    return StudyWorld(world).to_running()


def seven(*, training: int = 3, max_attempts: int = 7) -> StudyWorld:
    terms = make_terms(SEVEN, steps=(Step("training", training),), max_attempts=max_attempts)
    return StudyWorld(World.build(SEVEN), terms).to_running()


# Rounds


def test_rule_1_rounds_are_counted_by_one_number_in_the_plans_order(world: World, study: StudyWorld) -> None:
    kinds: list[tuple[int, str]] = []
    while study.record.phase == "running":
        kinds.append((study.round.number, study.round.kind))
        study.run_round()
    assert kinds == [(0, "statistics"), (1, "training"), (2, "training"), (3, "evaluation")]
    assert [record.phase for n in range(4) if (record := round_record(world.view, STUDY, n))] == ["released"] * 4
    assert round_record(world.view, STUDY, 4) is None


def test_rule_1_only_the_current_round_and_attempt_take_anything(world: World, study: StudyWorld) -> None:
    body = study.update("alpha")
    assert world.refuse("alpha", replace(body, round=1)) == "wrong-round"
    assert world.refuse("alpha", replace(body, attempt=1)) == "wrong-attempt"
    assert world.refuse("alpha", replace(body, study=b"another study id")) == "no-such-study"
    study.run_round()
    assert world.refuse("alpha", body) == "wrong-round"


def test_rule_3_an_unreleased_round_does_not_move_the_plan_on(world: World, study: StudyWorld) -> None:
    study.advance()
    assert study.round.phase == "unreleased"
    assert (study.record.phase, study.record.pause_code) == ("paused", "too-few-updates")
    for name in FOUR[:3]:
        world.accept(name, ResumeStudy(STUDY))
    assert (study.round.number, study.round.kind) == (1, "statistics")


# Updates


def test_updates_1_each_of_the_roster_submits_once_an_attempt(world: World, study: StudyWorld) -> None:
    body = study.update("alpha")
    world.accept("alpha", body)
    assert world.refuse("alpha", body) == "already-submitted"
    assert world.refuse("alpha", replace(body, blob=sha256(b"another"))) == "already-submitted"
    assert world.refuse("organiser", study.update("organiser")) == "not-on-roster"
    found = submission(world.view, STUDY, 0, 0, "alpha")
    assert found is not None
    assert (found.base, found.blob, found.seed_commitment) == (INITIAL, body.blob, sha256(study.self_seed("alpha")))


def test_updates_2_an_update_on_another_base_stands_recorded_but_does_not_count(
    world: World, study: StudyWorld
) -> None:
    world.accept("alpha", study.update("alpha", base=sha256(b"a wrong base")))
    for name in ("beta", "delta", "gamma"):
        world.accept(name, study.update(name))
    assert (study.round.phase, study.round.survivors) == ("confirm", ("beta", "delta", "gamma"))
    assert study.round.submitted == FOUR
    found = submission(world.view, STUDY, 0, 0, "alpha")
    assert found is not None
    assert found.base == sha256(b"a wrong base")


def test_updates_2_bases_of_others_do_not_count_towards_the_quorum(world: World, study: StudyWorld) -> None:
    for name in ("alpha", "beta"):
        world.accept(name, study.update(name))
    for name in ("delta", "gamma"):
        world.accept(name, study.update(name, base=sha256(b"a wrong base")))
    assert study.round.phase == "update"
    study.advance()
    assert (study.round.phase, study.record.pause_code) == ("unreleased", "too-few-updates")


def test_updates_3_all_submissions_propose_the_survivors_at_once(world: World, study: StudyWorld) -> None:
    study.update_all()
    now = study.round
    assert (now.phase, now.survivors) == ("confirm", FOUR)
    blobs = tuple((name, entry.blob) for name in FOUR if (entry := submission(world.view, STUDY, 0, 0, name)))
    assert now.survivors_digest == survivors_digest(STUDY, 0, 0, blobs)
    assert now.deadline_ms == world.view.tip.time_ms + PHASE_MS


@pytest.mark.parametrize("silent", [("alpha",), ("gamma",)])
def test_updates_3_the_deadline_proposes_at_least_the_quorum(study: StudyWorld, silent: tuple[str, ...]) -> None:
    study.update_all(without=silent)
    assert study.round.survivors == tuple(name for name in FOUR if name not in silent)


def test_updates_4_a_late_update_is_recorded_and_its_sender_stays_expected(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"])
    world.accept("gamma", study.update("gamma"))
    assert (study.round.survivors, study.round.tardy) == (FOUR[:3], ("gamma",))
    assert world.refuse("gamma", study.update("gamma")) == "already-submitted"
    assert world.refuse("gamma", study.confirmation("gamma")) == "not-a-survivor"
    study.confirm_all(without=["alpha"]).advance()
    assert (study.round.attempt, study.round.roster) == (1, ("beta", "delta", "gamma"))


def test_updates_4_after_all_have_confirmed_no_update_is_taken(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"]).confirm_all()
    assert world.refuse("gamma", study.update("gamma")) == "wrong-phase"


# Survivors


def test_survivors_1_only_survivors_confirm_each_once(world: World, study: StudyWorld) -> None:
    assert world.refuse("alpha", study.missing("beta")) == "wrong-phase"
    study.update_all(without=["gamma"])
    world.accept("alpha", study.confirmation("alpha"))
    assert world.refuse("alpha", study.confirmation("alpha")) == "already-confirmed"
    assert world.refuse("gamma", study.confirmation("gamma")) == "not-a-survivor"
    assert world.refuse("user", ConfirmSurvivors(STUDY, 0, 0, bytes(32), b"x", ())) == "not-a-survivor"


def test_survivors_1_only_what_was_proposed_is_confirmed(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"])
    good = study.confirmation("alpha")
    blobs = tuple((name, study.update(name).blob) for name in FOUR)
    assert world.refuse("alpha", replace(good, survivors=survivors_digest(STUDY, 0, 0, blobs))) == "other-survivors"
    assert world.refuse("alpha", replace(good, survivors=bytes(32))) == "other-survivors"
    assert world.refuse("alpha", replace(good, attempt=1)) == "wrong-attempt"


def test_survivors_2_an_escrow_has_one_share_for_every_holder(world: World, study: StudyWorld) -> None:
    study.update_all()
    good = study.confirmation("beta")
    assert (
        tuple(share.holder for share in good.shares) == holders_of(study.record, "beta") == ("alpha", "delta", "gamma")
    )
    for shares in (good.shares[:-1], (*good.shares, good.shares[0]), tuple(reversed(good.shares)), ()):
        assert world.refuse("beta", replace(good, shares=shares)) == "wrong-holders"
    world.accept("beta", good)
    stored = confirmation(world.view, STUDY, 0, 0, "beta")
    assert stored is not None
    assert (stored.escrow, stored.shares) == (good.escrow, good.shares)


def test_survivors_2_holders_are_the_study_roster_also_who_is_left_out(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"])
    assert "gamma" in {share.holder for share in study.confirmation("alpha").shares}


def test_survivors_3_a_reporter_may_still_confirm_but_not_the_reverse(world: World, study: StudyWorld) -> None:
    study.update_all()
    world.accept("alpha", study.missing("beta", "gamma"))
    assert study.round.reports == (("alpha", "beta"), ("alpha", "gamma"))
    world.accept("alpha", study.confirmation("alpha"))
    assert study.round.reports == ()
    assert world.refuse("alpha", study.missing("beta")) == "already-confirmed"


@pytest.mark.parametrize("who", [("alpha",), ("gamma", "beta"), ("beta", "beta"), ("omega",), ("alpha", "beta")])
def test_survivors_3_a_report_names_other_survivors_each_once(
    world: World, study: StudyWorld, who: tuple[str, ...]
) -> None:
    study.update_all()
    assert world.refuse("alpha", study.missing(*who)) == "bad-report"


def test_survivors_3_one_reports_once_an_attempt_and_only_as_a_survivor(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"])
    world.accept("alpha", study.missing("beta"))
    assert world.refuse("alpha", study.missing("delta")) == "already-reported"
    assert world.refuse("beta", study.missing("gamma")) == "bad-report"
    assert world.refuse("gamma", study.missing("beta")) == "not-a-survivor"


def test_survivors_4_only_all_confirmations_move_on_to_reveal(world: World, study: StudyWorld) -> None:
    study.update_all()
    for name in FOUR[:3]:
        world.accept(name, study.confirmation(name))
        assert study.round.phase == "confirm"
        assert world.refuse(name, study.reveal(name)) == "wrong-phase"
    world.accept("gamma", study.confirmation("gamma"))
    assert study.round.phase == "reveal"


def test_survivors_5_the_deadline_voids_the_attempt_and_leaves_out_the_silent(study: StudyWorld) -> None:
    study.update_all().confirm_all(without=["delta"]).advance()
    now = study.round
    assert (now.number, now.attempt, now.phase) == (0, 1, "update")
    assert now.roster == ("alpha", "beta", "gamma")
    assert (now.submitted, now.confirmed, now.revealed, now.survivors) == ((), (), (), ())
    study.run_round()
    assert study.round.number == 1


def test_survivors_5_who_never_submitted_is_left_out_of_the_next_attempt() -> None:
    study = seven()
    study.update_all(without=["zeta"]).confirm_all(without=["alpha"]).advance()
    assert study.round.roster == ("beta", "delta", "epsilon", "eta", "gamma")


def test_survivors_5_who_submitted_on_another_base_is_not_silent(world: World) -> None:
    study = seven()
    study.world.accept("alpha", study.update("alpha", base=sha256(b"a wrong base")))
    for name in SEVEN[1:]:
        study.world.accept(name, study.update(name))
    study.confirm_all(without=["zeta"]).advance()
    assert study.round.roster == SEVEN[:-1]


def test_survivors_5_reported_by_more_than_a_third_is_left_out_and_the_reporters_stay() -> None:
    study = seven()
    study.update_all()
    for name in ("alpha", "beta", "delta"):
        study.world.accept(name, study.missing("zeta"))
    study.confirm_all(without=["alpha", "beta", "delta"])
    study.advance()
    assert study.round.roster == SEVEN[:-1]


def test_survivors_5_reported_by_a_third_or_fewer_stays_and_the_reporters_are_left_out() -> None:
    study = seven()
    study.update_all()
    for name in ("alpha", "beta"):
        study.world.accept(name, study.missing("zeta"))
    study.confirm_all(without=["alpha", "beta"]).advance()
    assert study.round.roster == ("delta", "epsilon", "eta", "gamma", "zeta")


def test_survivors_5_a_reporter_of_the_guilty_and_of_the_innocent_is_left_out() -> None:
    study = seven(max_attempts=3)
    study.update_all()
    study.world.accept("alpha", study.missing("eta", "zeta"))
    for name in ("beta", "delta"):
        study.world.accept(name, study.missing("zeta"))
    study.confirm_all(without=["alpha", "beta", "delta"]).advance()
    assert study.round.roster == ("beta", "delta", "epsilon", "eta", "gamma")


def test_survivors_5_who_confirmed_after_its_report_is_not_a_reporter() -> None:
    study = seven()
    study.update_all()
    study.world.accept("alpha", study.missing("zeta"))
    study.confirm_all(without=["beta"]).advance()
    assert study.round.roster == ("alpha", "delta", "epsilon", "eta", "gamma", "zeta")


def test_survivors_6_a_next_roster_below_the_quorum_ends_the_round_unreleased(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all(without=["alpha", "beta"]).advance()
    assert (study.round.phase, study.record.phase, study.record.pause_code) == (
        "unreleased",
        "paused",
        "attempts-used",
    )


def test_survivors_6_the_last_attempt_ends_the_round_unreleased() -> None:
    study = seven(max_attempts=3)
    for attempt, silent in enumerate(("alpha", "beta")):
        assert study.round.attempt == attempt
        study.update_all().confirm_all(without=[silent]).advance()
    assert (study.round.attempt, study.round.roster) == (2, SEVEN[2:])
    study.update_all().confirm_all(without=["gamma"]).advance()
    assert (study.round.phase, study.record.phase) == ("unreleased", "paused")


def test_survivors_5_who_withdrew_is_left_out_of_the_next_attempt() -> None:
    study = seven()
    study.update_all().confirm_all(without=["zeta"])
    study.world.accept("alpha", WithdrawFromStudy(STUDY))
    study.advance()
    assert study.round.roster == SEVEN[1:-1]


def test_survivors_7_a_refusal_voids_without_penalty_and_pauses(world: World, study: StudyWorld) -> None:
    study.update_all()
    world.accept("alpha", study.confirmation("alpha"))
    assert world.refuse("alpha", RefuseSurvivors(STUDY, 0, 0, "released-over-others")) == "already-confirmed"
    assert world.refuse("user", RefuseSurvivors(STUDY, 0, 0, "released-over-others")) == "not-a-survivor"
    world.accept("beta", RefuseSurvivors(STUDY, 0, 0, "released-over-others"))
    assert (study.round.phase, study.record.phase, study.record.pause_code) == (
        "unreleased",
        "paused",
        "survivors-refused",
    )
    for name in FOUR[:3]:
        world.accept(name, ResumeStudy(STUDY))
    assert (study.round.number, study.round.roster) == (1, FOUR)


def test_every_submission_of_an_earlier_attempt_is_kept_apart(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all(without=["delta"]).advance()
    first = submission(world.view, STUDY, 0, 0, "alpha")
    world.accept("alpha", study.update("alpha"))
    second = submission(world.view, STUDY, 0, 1, "alpha")
    assert first is not None
    assert second is not None
    assert first == submission(world.view, STUDY, 0, 0, "alpha")
    assert first.seed_commitment != second.seed_commitment


def test_enough_attempts_for_every_silent_hospital_that_the_quorum_allows() -> None:
    """max_attempts = n - quorum + 1 suffices where one falls silent after another, each in its own attempt."""
    study = seven(max_attempts=len(SEVEN) - 5 + 1)
    study.update_all().confirm_all(without=["alpha"]).advance()
    study.update_all().confirm_all(without=["beta"]).advance()
    study.run_round()
    assert study.round.number == 1
    assert dict(study.record.missed) == {"alpha": 1, "beta": 1}


def test_every_phase_of_a_round_lasts_as_long_as_the_plan_says(world: World, study: StudyWorld) -> None:
    assert study.round.deadline_ms == world.clock.now_ms + PHASE_MS
    study.update_all()
    assert study.round.deadline_ms == world.clock.now_ms + PHASE_MS
    world.clock.now_ms += 1_000
    study.confirm_all()
    assert study.round.deadline_ms == world.clock.now_ms + PHASE_MS
    study.reveal_all(without=["alpha"]).advance()
    assert study.round.shares_due
    assert study.round.deadline_ms == world.clock.now_ms + PHASE_MS


def test_survivors_5_exactly_a_third_is_not_more_than_a_third() -> None:
    """Two of six report zeta: it stays, and both are left out, which leaves fewer than the quorum."""
    six = SEVEN[:5] + SEVEN[6:]
    study = StudyWorld(World.build(six), make_terms(six, steps=(Step("training", 1),))).to_running()
    study.update_all()
    for name in ("alpha", "beta"):
        study.world.accept(name, study.missing("zeta"))
    study.confirm_all(without=["alpha", "beta"]).advance()
    assert (study.round.phase, study.record.pause_code) == ("unreleased", "attempts-used")


def test_a_failed_round_adds_to_what_was_missed_and_forgets_nothing() -> None:
    study = StudyWorld(World.build(), make_terms(steps=(Step("training", 3),))).to_running()
    study.run_round(without=["gamma"]).update_all().confirm_all().reveal_all(without=["beta", "delta"])
    study.advance()
    study.advance()
    assert study.round.phase == "failed"
    assert study.record.missed == (("beta", 2), ("delta", 2), ("gamma", 1))
