"""Rules of `ledger.contracts.alignment`: who is asked, who commits to what, and until when."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.alignment import ID, STUDY
from tests.support.alignment_run import COMMIT_MS, STAGE_MS, AlignmentRun
from tests.support.ledger import FOUR, StudyWorld, World, make_terms

from medfed.identifiers import sha256
from medfed.ledger.contracts.alignment import DeclineAlignment, alignment_of_study
from medfed.ledger.contracts.alignment_blinding import AdvanceAlignment
from medfed.ledger.contracts.membership import Leave


@pytest.fixture
def run() -> AlignmentRun:
    run = AlignmentRun(World.build(FOUR))
    run.world.accept("organiser", run.open())
    return run


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"invited": ("beta", "alpha")}, "bad-terms"),
        ({"invited": ("alpha", "alpha")}, "bad-terms"),
        ({"least": 5}, "bad-terms"),
        ({"invited": ("alpha", "organiser")}, "not-a-hospital"),
        ({"invited": ("alpha", "nobody")}, "not-a-hospital"),
    ],
)
def test_terms_that_do_not_hold_together_are_refused(changed: dict[str, object], code: str) -> None:
    run = AlignmentRun(World.build(FOUR))
    assert run.world.refuse("organiser", run.open(**changed)) == code


def test_only_those_who_may_propose_open_an_alignment() -> None:
    run = AlignmentRun(World.build(FOUR))
    assert run.world.refuse("auditor", run.open()) == "wrong-role"
    assert run.world.refuse("user", run.open()) == "wrong-role"
    run.world.accept("alpha", run.open())


def test_a_study_has_one_run_of_a_kind_until_that_has_ended(run: AlignmentRun) -> None:
    assert run.world.refuse("organiser", run.open()) == "alignment-exists"
    other = b"alignment-test-2"
    assert run.world.refuse("organiser", run.open(alignment=other)) == "one-run"
    run.world.accept("organiser", run.open(alignment=other, kind="patients"))
    run.advance()
    assert (run.record.phase, run.record.code) == ("ended", "too-few-hospitals")
    third = b"alignment-test-3"
    run.world.accept("organiser", run.open(alignment=third))
    found = alignment_of_study(run.world.view, STUDY, "signatures")
    assert found is not None
    assert found.alignment == third


def test_a_study_on_the_ledger_aligns_only_whom_it_invites_and_only_while_it_lasts() -> None:
    run = AlignmentRun(World.build((*FOUR, "omega")))
    StudyWorld(run.world, make_terms()).to_running()
    assert run.world.refuse("organiser", run.open(invited=("alpha", "omega"))) == "not-invited"
    run.world.accept("organiser", run.open())


def test_who_is_enrolled_is_held_to_its_number_of_examples() -> None:
    run = AlignmentRun(World.build(FOUR))
    study = StudyWorld(run.world, make_terms()).to_running()
    run.world.accept("organiser", run.open(bound=1_000_000))
    examples = max(1, study.terms.min_examples)
    assert run.world.refuse("alpha", run.commit("alpha", length=100_000 + examples)) == "list-too-long"
    run.world.accept("alpha", run.commit("alpha", length=16))


def test_a_list_longer_than_the_bound_is_refused(run: AlignmentRun) -> None:
    assert run.world.refuse("alpha", run.commit("alpha", length=101)) == "list-too-long"
    run.world.accept("alpha", run.commit("alpha", length=100))


def test_one_commits_once_and_to_the_question_that_is_asked(run: AlignmentRun) -> None:
    assert run.world.refuse("alpha", run.commit("alpha", question=sha256(b"other"))) == "other-question"
    assert run.world.refuse("organiser", run.commit("organiser")) == "not-on-roster"
    run.world.accept("alpha", run.commit("alpha"))
    assert run.world.refuse("alpha", run.commit("alpha")) == "already-committed"
    assert run.world.refuse("alpha", DeclineAlignment(ID, "policy")) == "already-committed"
    assert run.world.refuse("beta", run.commit("beta", attempt=1)) == "wrong-attempt"


def test_signatures_go_on_without_who_declines(run: AlignmentRun) -> None:
    run.world.accept("delta", DeclineAlignment(ID, "policy"))
    run.committed(("alpha", "beta", "gamma"))
    assert run.record.phase == "blinding"
    assert run.record.roster == ("alpha", "beta", "gamma")
    assert run.record.declined == ("delta",)


def test_an_alignment_ends_when_too_few_are_left(run: AlignmentRun) -> None:
    for name in ("alpha", "beta", "delta"):
        run.world.accept(name, DeclineAlignment(ID, "policy"))
    assert (run.record.phase, run.record.code) == ("ended", "too-few-hospitals")


def test_one_hospital_without_a_legal_basis_ends_an_alignment_of_patients() -> None:
    run = AlignmentRun(World.build(FOUR), "patients")
    run.world.accept("organiser", run.open())
    run.world.accept("alpha", run.commit("alpha"))
    run.world.accept("delta", DeclineAlignment(ID, "no-legal-basis"))
    assert (run.record.phase, run.record.code) == ("ended", "no-legal-basis")
    assert run.world.refuse("beta", run.commit("beta")) == "wrong-phase"


def test_a_silent_one_in_commitment_is_left_out(run: AlignmentRun) -> None:
    run.committed(("alpha", "beta", "gamma"))
    run.advance()
    assert (run.record.phase, run.record.attempt, run.record.roster) == ("blinding", 0, ("alpha", "beta", "gamma"))


def test_an_unknown_alignment_is_refused() -> None:
    world = World.build(FOUR)
    assert world.refuse("alpha", AdvanceAlignment(ID)) == "no-such-alignment"


@pytest.mark.parametrize(("least", "goes_on"), [(2, True), (3, True), (4, False)])
def test_exactly_the_least_number_of_hospitals_is_enough(least: int, goes_on: bool) -> None:
    run = AlignmentRun(World.build(FOUR))
    run.world.accept("organiser", run.open(least=least))
    run.committed(FOUR[:3]).advance()
    assert (run.record.phase, run.record.code) == (("blinding", "") if goes_on else ("ended", "too-few-hospitals"))


def test_only_the_invited_have_until_the_deadline_and_not_a_millisecond_less(run: AlignmentRun) -> None:
    opened = run.world.view.tip.time_ms
    assert run.record.deadline_ms == opened + COMMIT_MS
    run.committed(FOUR[:2])
    run.world.clock.now_ms = opened + COMMIT_MS
    receipt = run.world.send("alpha", AdvanceAlignment(ID))
    assert (receipt.code, receipt.message) == ("too-early", "the deadline passes in 0 ms of block time")
    run.world.clock.now_ms = opened + COMMIT_MS + 1
    run.world.accept("alpha", AdvanceAlignment(ID))
    assert (run.record.phase, run.record.roster) == ("blinding", FOUR[:2])
    assert run.record.deadline_ms == opened + COMMIT_MS + 1 + STAGE_MS


def test_too_early_says_how_long_is_left(run: AlignmentRun) -> None:
    run.world.clock.now_ms = run.record.deadline_ms - 1_234
    assert run.world.send("alpha", AdvanceAlignment(ID)).message == "the deadline passes in 1234 ms of block time"


def test_the_last_commitment_begins_the_first_stage_with_its_own_deadline(run: AlignmentRun) -> None:
    run.world.clock.now_ms += 7_000
    run.committed()
    assert run.record.phase == "blinding"
    assert run.record.deadline_ms == run.world.clock.now_ms + STAGE_MS


@pytest.mark.parametrize(("examples", "most"), [(250, 300), (13, 16), (14, 16), (15, 18), (1, 16)])
def test_a_list_of_who_is_enrolled_is_at_most_a_fifth_longer_than_its_examples_or_16(examples: int, most: int) -> None:
    run = AlignmentRun(World.build(FOUR))
    study = StudyWorld(run.world, replace(make_terms(), min_examples=1)).to_enrolling()
    run.world.accept("alpha", study.enrolment("alpha", examples))
    run.world.accept("organiser", run.open(bound=1_000))
    assert run.world.refuse("alpha", run.commit("alpha", length=most + 1)) == "list-too-long"
    run.world.accept("alpha", run.commit("alpha", length=most))
    run.world.accept("beta", run.commit("beta", length=1_000))  # has not enrolled


def test_the_bound_holds_for_who_is_enrolled_with_more(run: AlignmentRun) -> None:
    StudyWorld(run.world, make_terms()).to_running()
    assert run.world.refuse("alpha", run.commit("alpha", length=101)) == "list-too-long"
    run.world.accept("alpha", run.commit("alpha", length=100))


def test_inputs_are_the_same_in_every_attempt(run: AlignmentRun) -> None:
    run.committed().published(("alpha", "beta", "delta"))
    run.advance()
    assert run.record.attempt == 1
    assert run.world.refuse("alpha", run.commit("alpha", inputs=sha256(b"others"))) == "inputs-changed"
    run.committed(("alpha", "beta", "delta"))
    run.published(("alpha", "beta"))
    run.advance()
    assert run.record.attempt == 2
    assert run.world.refuse("beta", run.commit("beta", inputs=sha256(b"others"))) == "inputs-changed"
    run.committed(("alpha", "beta"))
    assert run.record.phase == "blinding"


def test_a_study_that_has_ended_is_aligned_for_no_more() -> None:
    run = AlignmentRun(World.build(FOUR))
    study = StudyWorld(run.world, make_terms()).to_running().to_agreeing()
    study.to_completed()
    assert run.world.refuse("organiser", run.open()) == "wrong-phase"
    aborted = StudyWorld(run.world, make_terms(), b"an aborted study")
    run.world.accept("organiser", aborted.proposal())
    aborted.advance()
    assert aborted.record.phase == "aborted"
    assert run.world.refuse("organiser", run.open(study=aborted.study)) == "wrong-phase"


def test_a_hospital_that_has_left_is_not_invited() -> None:
    run = AlignmentRun(World.build(FOUR))
    run.world.accept("delta", Leave())
    assert run.world.refuse("organiser", run.open()) == "not-a-hospital"
    run.world.accept("organiser", run.open(invited=("alpha", "beta")))


def test_an_aggregator_opens_an_alignment() -> None:
    run = AlignmentRun(World.build(FOUR))
    run.world.accept("server", run.open())
    assert run.record.opener == "server"


def test_a_decline_of_the_last_who_was_awaited_begins_the_blinding(run: AlignmentRun) -> None:
    run.committed(("alpha", "beta", "gamma"))
    assert run.record.phase == "committing"
    run.world.accept("delta", DeclineAlignment(ID, "policy"))
    assert (run.record.phase, run.record.roster) == ("blinding", ("alpha", "beta", "gamma"))


def test_a_decline_that_leaves_the_least_number_waits_for_the_others() -> None:
    run = AlignmentRun(World.build(FOUR))
    run.world.accept("organiser", run.open(least=3))
    run.world.accept("delta", DeclineAlignment(ID, "policy"))
    assert run.record.phase == "committing"
    run.world.accept("gamma", DeclineAlignment(ID, "policy"))
    assert (run.record.phase, run.record.code) == ("ended", "too-few-hospitals")


def test_who_is_not_invited_declines_nothing(run: AlignmentRun) -> None:
    assert run.world.refuse("organiser", DeclineAlignment(ID, "policy")) == "not-on-roster"
    run.world.accept("delta", DeclineAlignment(ID, "policy"))
    assert run.world.refuse("delta", DeclineAlignment(ID, "policy")) == "not-on-roster"
    assert run.world.refuse("delta", run.commit("delta")) == "not-on-roster"


def test_a_completed_run_bars_another_of_its_kind(run: AlignmentRun) -> None:
    run.committed().to_matching()
    for name in FOUR[:3]:
        run.complete(name)
    assert run.record.phase == "completed"
    assert run.world.refuse("organiser", run.open(alignment=b"alignment-test-2")) == "one-run"
    run.world.accept("organiser", run.open(alignment=b"alignment-test-2", study=b"of another study"))
