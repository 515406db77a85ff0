"""Rules of `ledger.contracts.deadlines`: nothing happens by itself, nothing waits for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.ledger import DAY, FOUR, PHASE_MS, STUDY, StudyWorld, World, make_terms

from medfed.ledger.contracts.deadlines import AbortStudy, Advance, ResumeStudy, due_at
from medfed.ledger.contracts.rounds import round_record
from medfed.ledger.contracts.studies import StudyPhase, WithdrawFromStudy
from medfed.ledger.contracts.terms import Step


def proposed(study: StudyWorld) -> StudyWorld:
    study.world.accept("organiser", study.proposal())
    return study


def paused(study: StudyWorld) -> StudyWorld:
    study.to_running().advance()
    return study


PHASES: dict[StudyPhase, tuple[Callable[[StudyWorld], StudyWorld], str]] = {
    "proposed": (proposed, "aborted"),
    "enrolling": (StudyWorld.to_enrolling, "aborted"),
    "sealing": (StudyWorld.to_sealing, "aborted"),
    "confirming": (StudyWorld.to_confirming, "aborted"),
    "running": (StudyWorld.to_running, "paused"),
    "agreeing": (lambda study: study.to_running().to_agreeing(), "paused"),
}


@pytest.fixture
def study() -> StudyWorld:
    return StudyWorld(World.build())


@pytest.mark.parametrize("phase", PHASES)
def test_rule_1_a_phase_ends_by_advance_past_its_deadline_and_not_before(study: StudyWorld, phase: StudyPhase) -> None:
    reach, after = PHASES[phase]
    reach(study)
    assert study.record.phase == phase
    due = due_at(study.world.view, study.record)
    assert due is not None
    assert due == study.world.view.tip.time_ms + PHASE_MS
    study.world.clock.now_ms = due
    assert study.world.refuse("user", Advance(STUDY)) == "too-early"
    assert study.record.phase == phase
    study.world.clock.now_ms = due + 1
    study.world.accept("user", Advance(STUDY))
    assert study.record.phase == after


@pytest.mark.parametrize("phase", [*PHASES, "paused"])
def test_rule_2_past_its_own_deadline_the_study_ends_whatever_its_phase(study: StudyWorld, phase: StudyPhase) -> None:
    (paused if phase == "paused" else PHASES[phase][0])(study)
    study.world.clock.now_ms = study.record.ends_ms + 1
    study.world.accept("user", Advance(STUDY))
    assert (study.record.phase, study.record.pause_code) == ("aborted", "study-deadline")
    assert due_at(study.world.view, study.record) is None
    assert study.world.refuse("user", Advance(STUDY)) == "wrong-phase"


@pytest.mark.parametrize("phase", ["update", "confirm", "reveal"])
def test_rule_2_the_studys_deadline_closes_the_open_round(study: StudyWorld, phase: str) -> None:
    study.to_running()
    if phase != "update":
        study.update_all()
    if phase == "reveal":
        study.confirm_all()
    study.world.clock.now_ms = study.record.ends_ms + 1
    study.world.accept("user", Advance(STUDY))
    record = round_record(study.world.view, STUDY, 0)
    assert record is not None
    assert record.phase == ("failed" if phase == "reveal" else "unreleased")
    assert study.world.refuse("alpha", AbortStudy(STUDY, "x")) == "wrong-phase"


def test_rule_2_the_studys_deadline_comes_before_a_phases_own() -> None:
    study = StudyWorld(World.build(), make_terms(study_ms=PHASE_MS // 2)).to_running()
    assert due_at(study.world.view, study.record) == study.record.ends_ms
    study.advance()
    assert study.record.phase == "aborted"


def test_rule_2_a_completed_study_has_no_deadline(study: StudyWorld) -> None:
    study.to_running().to_agreeing().to_completed()
    study.world.clock.now_ms += 100 * DAY
    assert study.world.refuse("user", Advance(STUDY)) == "wrong-phase"
    assert study.record.phase == "completed"


def test_rule_1_nobody_advances_what_is_not_there(study: StudyWorld) -> None:
    assert study.world.refuse("user", Advance(STUDY)) == "no-such-study"


def test_rule_3_a_paused_study_goes_on_when_the_quorum_has_voted(study: StudyWorld) -> None:
    paused(study)
    for name in FOUR[:2]:
        study.world.accept(name, ResumeStudy(STUDY))
        assert study.record.phase == "paused"
    study.world.accept("gamma", ResumeStudy(STUDY))
    assert (study.record.phase, study.record.pause_code, study.record.resume_votes) == ("running", "", ())


def test_rule_3_resuming_always_opens_a_new_round(study: StudyWorld) -> None:
    paused(study)
    for name in FOUR[:3]:
        study.world.accept(name, ResumeStudy(STUDY))
    assert (study.round.number, study.round.attempt, study.round.phase) == (1, 0, "update")


def test_rule_3_a_paused_study_does_not_advance_before_its_end(study: StudyWorld) -> None:
    paused(study)
    study.world.clock.now_ms += 10 * DAY
    assert study.world.refuse("user", Advance(STUDY)) == "too-early"


@pytest.mark.parametrize("reach", [StudyWorld.to_running, paused])
def test_rule_4_more_than_half_of_the_roster_end_a_study(
    study: StudyWorld, reach: Callable[[StudyWorld], StudyWorld]
) -> None:
    reach(study)
    for name in FOUR[:2]:
        study.world.accept(name, AbortStudy(STUDY, "no-use"))
    assert study.record.phase in ("running", "paused")
    study.world.accept("gamma", AbortStudy(STUDY, "no-use"))
    assert (study.record.phase, study.record.pause_code, study.round.phase) == ("aborted", "voted", "unreleased")


def test_rule_5_a_vote_is_cast_once_and_by_the_roster(study: StudyWorld) -> None:
    paused(study)
    study.world.accept("alpha", ResumeStudy(STUDY))
    assert study.world.refuse("alpha", ResumeStudy(STUDY)) == "already-voted"
    study.world.accept("alpha", AbortStudy(STUDY, "x"))
    assert study.world.refuse("alpha", AbortStudy(STUDY, "y")) == "already-voted"
    for stranger in ("organiser", "user"):
        assert study.world.refuse(stranger, ResumeStudy(STUDY)) == "not-in-study"
        assert study.world.refuse(stranger, AbortStudy(STUDY, "x")) == "not-in-study"


def test_rule_5_a_new_pause_is_voted_anew(study: StudyWorld) -> None:
    paused(study)
    study.world.accept("alpha", AbortStudy(STUDY, "x"))
    for name in FOUR[:3]:
        study.world.accept(name, ResumeStudy(STUDY))
    study.advance()
    assert (study.record.phase, study.record.pauses, study.record.abort_votes) == ("paused", 2, ())
    study.world.accept("alpha", AbortStudy(STUDY, "x"))


def test_only_a_paused_study_is_resumed(study: StudyWorld) -> None:
    study.to_running()
    assert study.world.refuse("alpha", ResumeStudy(STUDY)) == "wrong-phase"


def test_a_study_that_nobody_serves_any_more_ends_by_advance_alone() -> None:
    """Whatever phase it is left in, a stranger's `Advance` is enough to bring it to an end."""
    for phase, (reach, _) in PHASES.items():
        study = reach(StudyWorld(World.build(), make_terms(steps=(Step("training"),))))
        for _ in range(4):
            if study.record.phase != "aborted":
                study.advance()
        assert study.record.phase == "aborted", phase


def test_the_reveal_phase_ends_by_advance_alone(study: StudyWorld) -> None:
    study.to_running().update_all().confirm_all()
    study.advance()
    assert study.round.shares_due
    study.advance()
    assert (study.round.phase, study.record.phase) == ("failed", "paused")


def test_rule_4_who_has_withdrawn_neither_votes_nor_counts(study: StudyWorld) -> None:
    paused(study)
    for name in FOUR[:2]:
        study.world.accept(name, WithdrawFromStudy(STUDY))
    assert study.world.refuse("alpha", ResumeStudy(STUDY)) == "not-in-study"
    assert study.world.refuse("alpha", AbortStudy(STUDY, "x")) == "not-in-study"
    study.world.accept("delta", AbortStudy(STUDY, "x"))
    assert study.record.phase == "paused"
    study.world.accept(FOUR[3], AbortStudy(STUDY, "x"))
    assert (study.record.phase, study.record.pause_code) == ("aborted", "voted")


def test_rule_3_a_vote_to_resume_is_void_once_its_voter_has_withdrawn(study: StudyWorld) -> None:
    paused(study)
    study.world.accept("alpha", ResumeStudy(STUDY))
    study.world.accept("alpha", WithdrawFromStudy(STUDY))
    for name in FOUR[1:3]:
        study.world.accept(name, ResumeStudy(STUDY))
    assert study.record.phase == "paused"
    study.world.accept(FOUR[3], ResumeStudy(STUDY))
    assert study.record.phase == "running"


def test_rule_2_at_its_own_deadline_a_study_is_not_over_yet(study: StudyWorld) -> None:
    study.world.accept("organiser", study.proposal())
    study.world.clock.now_ms = study.record.ends_ms
    study.world.accept("user", Advance(STUDY))
    assert (study.record.phase, study.record.pause_code) == ("aborted", "too-few-approvals")
