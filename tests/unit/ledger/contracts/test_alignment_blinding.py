"""Rules of `ledger.contracts.alignment_blinding`: the ring, its deadlines, and what is reported and agreed."""

from __future__ import annotations

import pytest
from tests.support.alignment import ID
from tests.support.alignment_run import COMMIT_MS, QUESTION, SALT, STAGE_MS, AlignmentRun
from tests.support.ledger import FOUR, SEVEN, World

from medfed.crypto import commit
from medfed.identifiers import sha256
from medfed.ledger.contracts.alignment import (
    alignment_question,
    alignments,
    list_length,
    list_owner,
    question_digest,
)
from medfed.ledger.contracts.alignment_blinding import (
    AdvanceAlignment,
    CompleteAlignment,
    ReportBlinded,
    blinded,
    publisher_of,
)
from medfed.ledger.contracts.membership import Leave
from medfed.ledger.verify import verify_ledger


@pytest.fixture
def run() -> AlignmentRun:
    run = AlignmentRun(World.build(FOUR))
    run.world.accept("organiser", run.open())
    return run


def test_a_run_goes_once_around_the_ring_and_completes_by_majority(run: AlignmentRun) -> None:
    assert run.record.phase == "committing"
    assert alignments(run.world.view) == (ID,)
    assert alignment_question(run.world.view, ID) == QUESTION
    assert run.record.question == question_digest("signatures", QUESTION)
    run.committed().to_matching()
    assert run.record.stage == len(FOUR) - 1
    run.complete("alpha")
    run.complete("beta")
    assert run.record.phase == "matching"
    run.complete("delta")
    assert (run.record.phase, run.record.outcome) == ("completed", sha256(b"sizes"))
    run.complete("gamma")
    assert len(run.record.results) == 4
    verify_ledger(run.world.engine.genesis, run.world.engine.blocks(), run.world.engine.genesis.digest)


def test_in_every_stage_everybody_has_one_list_and_over_all_stages_every_list_once(run: AlignmentRun) -> None:
    run.committed()
    for stage in range(4):
        assert sorted(list_owner(run.record, stage, name) for name in FOUR) == list(FOUR)
        assert all(list_owner(run.record, stage, publisher_of(run.record, stage, name)) == name for name in FOUR)
    for name in FOUR:
        assert list_owner(run.record, 0, name) == name
        assert sorted(list_owner(run.record, stage, name) for stage in range(4)) == list(FOUR)
    assert list_length(run.record, "alpha") == 16
    assert list_length(run.record, "nobody") == 0


def test_who_is_silent_is_left_out_of_the_next_attempt_and_the_others_commit_anew(run: AlignmentRun) -> None:
    run.committed().published()
    assert run.record.stage == 1
    run.published(("alpha", "beta", "gamma"))
    assert run.world.refuse("alpha", AdvanceAlignment(ID)) == "too-early"
    run.advance()
    record = run.record
    assert (record.phase, record.attempt, record.stage, record.roster) == (
        "committing",
        1,
        0,
        ("alpha", "beta", "gamma"),
    )
    assert (record.lengths, record.published, record.reports) == ((), (), ())
    assert run.world.refuse("delta", run.commit("delta")) == "not-on-roster"
    run.committed(record.roster).to_matching()
    assert run.record.phase == "matching"
    assert blinded(run.world.view, run.record, 2, "alpha") == run.blob("alpha", 2)


def test_an_alignment_with_one_hospital_left_ends(run: AlignmentRun) -> None:
    run.committed().published(("alpha",))
    run.advance()
    assert (run.record.phase, run.record.code) == ("ended", "too-few-hospitals")
    assert run.world.refuse("alpha", AdvanceAlignment(ID)) == "wrong-phase"


def test_more_than_half_of_the_others_find_one_guilty_and_begin_anew_without_it(run: AlignmentRun) -> None:
    run.committed().published()
    run.report("alpha", "delta")
    assert run.record.attempt == 0
    run.report("beta", "delta")
    assert (run.record.attempt, run.record.roster) == (1, ("alpha", "beta", "gamma"))


def test_one_report_that_nobody_shares_costs_the_reporter_its_place_not_the_reported(run: AlignmentRun) -> None:
    run.committed().published()
    run.report("alpha", "delta")
    run.published(("beta", "delta", "gamma"))
    run.advance()
    assert run.record.roster == ("beta", "delta", "gamma")


def test_a_report_names_another_hospital_once_that_has_published(run: AlignmentRun) -> None:
    run.committed()
    refuse = run.world.refuse
    assert refuse("alpha", ReportBlinded(ID, 0, "beta")) == "bad-report"
    run.published(("beta",))
    assert refuse("alpha", ReportBlinded(ID, 0, "alpha")) == "bad-report"
    assert refuse("alpha", ReportBlinded(ID, 0, "nobody")) == "bad-report"
    run.report("alpha", "beta")
    assert refuse("alpha", ReportBlinded(ID, 0, "beta")) == "already-reported"
    run.published(("alpha", "delta", "gamma"))
    assert run.record.stage == 1
    assert refuse("alpha", ReportBlinded(ID, 0, "alpha")) == "bad-report"
    assert refuse("alpha", ReportBlinded(ID, 0, "nobody")) == "bad-report"
    assert refuse("organiser", ReportBlinded(ID, 0, "beta")) == "not-on-roster"


def test_publishing_out_of_turn_is_refused(run: AlignmentRun) -> None:
    run.committed()
    refuse = run.world.refuse
    assert refuse("organiser", run.publish("organiser")) == "not-on-roster"
    assert refuse("alpha", run.publish("alpha", stage=1)) == "wrong-stage"
    assert refuse("alpha", run.publish("alpha", attempt=1)) == "wrong-attempt"
    run.published(("alpha",))
    assert refuse("alpha", run.publish("alpha")) == "already-published"
    run.published(("beta", "delta", "gamma"))
    assert refuse("alpha", run.publish("alpha", salt=SALT)) == "no-salt"


def test_sizes_that_no_majority_names_end_as_disputed(run: AlignmentRun) -> None:
    run.committed().to_matching()
    for name in FOUR:
        run.complete(name, name.encode())
    assert run.record.phase == "matching"
    assert run.world.refuse("alpha", CompleteAlignment(ID, 0, sha256(b"again"))) == "already-completed"
    run.advance()
    assert (run.record.phase, run.record.code) == ("ended", "disputed")


def test_who_has_left_the_consortium_is_left_out_of_a_new_attempt(run: AlignmentRun) -> None:
    run.committed().published()
    run.published(("gamma",))
    run.world.accept("gamma", Leave())
    run.published(("alpha", "beta"))
    run.advance()
    assert run.record.roster == ("alpha", "beta")


def test_every_stage_has_its_own_deadline_and_it_may_be_used_up(run: AlignmentRun) -> None:
    run.committed()
    for stage in range(4):
        assert (run.record.stage, run.record.deadline_ms) == (stage, run.world.clock.now_ms + STAGE_MS)
        run.world.clock.now_ms += STAGE_MS
        assert run.world.refuse("user", AdvanceAlignment(ID)) == "too-early"
        run.published()
    assert (run.record.phase, run.record.deadline_ms) == ("matching", run.world.clock.now_ms + STAGE_MS)
    run.world.clock.now_ms += STAGE_MS
    assert run.world.refuse("user", AdvanceAlignment(ID)) == "too-early"
    run.complete("alpha")


def test_a_new_attempt_has_the_time_that_commitments_have(run: AlignmentRun) -> None:
    run.committed().published(("alpha", "beta", "gamma"))
    run.advance()
    assert run.record.deadline_ms == run.world.clock.now_ms + COMMIT_MS


@pytest.mark.parametrize(("least", "goes_on"), [(2, True), (3, True), (4, False)])
def test_exactly_the_least_number_is_enough_for_a_new_attempt(least: int, goes_on: bool) -> None:
    run = AlignmentRun(World.build(FOUR))
    run.world.accept("organiser", run.open(least=least))
    run.committed().published(("alpha", "beta", "gamma"))
    run.advance()
    assert run.record.roster == ("alpha", "beta", "gamma")
    assert (run.record.phase, run.record.code) == (("committing", "") if goes_on else ("ended", "too-few-hospitals"))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_half_of_the_others_find_nobody_guilty_and_one_more_does(size: int) -> None:
    names = SEVEN[:size]
    run = AlignmentRun(World.build(SEVEN))
    run.world.accept("organiser", run.open(invited=names))
    run.committed(names).published()
    guilty, *others = names
    enough = len(others) // 2 + 1
    for reporter in others[: enough - 1]:
        run.report(reporter, guilty)
    assert (run.record.attempt, run.record.roster) == (0, names)
    run.report(others[enough - 1], guilty)
    assert run.record.roster == tuple(others)
    assert (run.record.phase, run.record.attempt) == (("committing", 1) if size > 2 else ("ended", 0))


def test_a_report_while_sizes_are_compared_begins_anew(run: AlignmentRun) -> None:
    run.committed().to_matching()
    run.complete("gamma")
    for reporter in ("alpha", "beta"):
        run.report(reporter, "delta")
    assert (run.record.phase, run.record.attempt, run.record.results) == ("committing", 1, ())


def test_the_first_list_is_the_one_that_was_committed_to(run: AlignmentRun) -> None:
    run.committed()
    assert run.world.refuse("alpha", run.publish("alpha", blob=sha256(b"another"))) == "other-inputs"
    assert run.world.refuse("alpha", run.publish("alpha", salt=b"x" * 32)) == "other-inputs"
    assert run.world.refuse("alpha", run.publish("alpha", salt=None)) == "other-inputs"
    run.published(("alpha",))


def test_nobody_passes_on_a_list_that_was_published_before(run: AlignmentRun) -> None:
    run.committed().published()
    for name in FOUR:
        assert run.world.refuse("alpha", run.publish("alpha", blob=run.blob(name, 0))) == "replayed-list"
    run.published(("beta",))
    assert run.world.refuse("alpha", run.publish("alpha", blob=run.blob("beta", 1))) == "replayed-list"
    run.published(("alpha", "delta", "gamma"))
    assert run.record.stage == 2


def test_a_list_of_an_earlier_attempt_is_not_published_again(run: AlignmentRun) -> None:
    run.committed().published(("alpha", "beta", "gamma"))
    first = run.blob("alpha")
    run.advance()
    run.world.accept("alpha", run.commit("alpha", elements=commit(SALT, first)))
    run.committed(("beta", "gamma"))
    assert run.world.refuse("alpha", run.publish("alpha", blob=first)) == "replayed-list"


def test_sizes_are_said_by_the_roster_once_they_are_known_and_a_completed_run_keeps_them(run: AlignmentRun) -> None:
    run.committed()
    assert run.world.refuse("alpha", CompleteAlignment(ID, 0, sha256(b"sizes"))) == "wrong-phase"
    run.to_matching()
    assert run.world.refuse("user", CompleteAlignment(ID, 0, sha256(b"sizes"))) == "not-on-roster"
    assert run.world.refuse("alpha", CompleteAlignment(ID, 1, sha256(b"sizes"))) == "wrong-attempt"
    for name in FOUR[:3]:
        run.complete(name)
    run.complete("gamma", b"others")
    assert (run.record.phase, run.record.outcome) == ("completed", sha256(b"sizes"))
    assert run.world.refuse("alpha", AdvanceAlignment(ID)) == "wrong-phase"
    assert run.world.refuse("alpha", ReportBlinded(ID, 0, "gamma")) == "wrong-phase"


def test_the_last_of_a_roster_of_two_to_publish_ends_the_ring() -> None:
    run = AlignmentRun(World.build(FOUR))
    run.world.accept("organiser", run.open(invited=("alpha", "beta")))
    run.committed(("alpha", "beta")).published()
    assert (run.record.phase, run.record.stage) == ("blinding", 1)
    run.published()
    assert run.record.phase == "matching"
    run.complete("alpha")
    assert run.record.phase == "matching"
    run.complete("beta")
    assert run.record.phase == "completed"
