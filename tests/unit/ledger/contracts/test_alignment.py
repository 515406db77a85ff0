from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from tests.support.ledger import FOUR, SECOND, StudyWorld, World, make_terms

from medfed.crypto import commit
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.alignment import (
    Alignment,
    CommitInputs,
    DeclineAlignment,
    OpenAlignment,
    alignment_of_study,
    alignment_question,
    alignment_record,
    alignments,
    list_length,
    list_owner,
    question_digest,
)
from medfed.ledger.contracts.alignment_blinding import (
    AdvanceAlignment,
    CompleteAlignment,
    PublishBlinded,
    ReportBlinded,
    blinded,
    publisher_of,
)
from medfed.ledger.contracts.membership import Leave
from medfed.ledger.verify import verify_ledger

ID = b"alignment-test-1"
STUDY = b"a study for test"
SALT = bytes(32)
QUESTION = b"question"
STAGE_MS = 60 * SECOND


@dataclass
class Run:
    """An alignment that can be driven to any phase; the contract sees digests only, so they are arbitrary."""

    world: World
    kind: str = "signatures"

    @property
    def record(self) -> Alignment:
        found = alignment_record(self.world.view, ID)
        assert found is not None
        return found

    def open(self, **changed: object) -> OpenAlignment:
        fields: dict[str, object] = {
            "alignment": ID,
            "study": STUDY,
            "kind": self.kind,
            "question": QUESTION,
            "bound": 100,
            "least": 2,
            "invited": FOUR,
            "commit_ms": STAGE_MS,
            "stage_ms": STAGE_MS,
        }
        return OpenAlignment(**(fields | changed))  # type: ignore[arg-type]

    def blob(self, who: Name, stage: int = 0) -> Digest:
        return sha256(f"{who} {stage} {self.record.attempt}".encode())

    def commit(self, who: Name, **changed: object) -> CommitInputs:
        fields: dict[str, object] = {
            "alignment": ID,
            "attempt": self.record.attempt,
            "question": self.record.question,
            "inputs": sha256(who.encode()),
            "elements": commit(SALT, self.blob(who)),
            "length": 16,
        }
        return CommitInputs(**(fields | changed))  # type: ignore[arg-type]

    def publish(self, who: Name, **changed: object) -> PublishBlinded:
        stage = self.record.stage
        fields: dict[str, object] = {
            "alignment": ID,
            "attempt": self.record.attempt,
            "stage": stage,
            "blob": self.blob(who, stage),
            "salt": SALT if stage == 0 else None,
        }
        return PublishBlinded(**(fields | changed))  # type: ignore[arg-type]

    def report(self, who: Name, about: Name) -> None:
        self.world.accept(who, ReportBlinded(ID, self.record.attempt, about))

    def committed(self, names: Iterable[Name] = FOUR) -> Run:
        for name in names:
            self.world.accept(name, self.commit(name))
        return self

    def published(self, names: Iterable[Name] | None = None) -> Run:
        for name in names or self.record.roster:
            self.world.accept(name, self.publish(name))
        return self

    def advance(self) -> None:
        self.world.clock.now_ms = self.record.deadline_ms + 1
        self.world.accept("alpha", AdvanceAlignment(ID))

    def complete(self, who: Name, sizes: bytes = b"sizes") -> None:
        self.world.accept(who, CompleteAlignment(ID, self.record.attempt, sha256(sizes)))

    def to_matching(self) -> Run:
        while self.record.phase == "blinding":
            self.published()
        return self


@pytest.fixture
def run() -> Run:
    run = Run(World.build(FOUR))
    run.world.accept("organiser", run.open())
    return run


def test_a_run_goes_once_around_the_ring_and_completes_by_majority(run: Run) -> None:
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


def test_in_every_stage_everybody_has_one_list_and_over_all_stages_every_list_once(run: Run) -> None:
    run.committed()
    for stage in range(4):
        assert sorted(list_owner(run.record, stage, name) for name in FOUR) == list(FOUR)
        assert all(list_owner(run.record, stage, publisher_of(run.record, stage, name)) == name for name in FOUR)
    for name in FOUR:
        assert list_owner(run.record, 0, name) == name
        assert sorted(list_owner(run.record, stage, name) for stage in range(4)) == list(FOUR)
    assert list_length(run.record, "alpha") == 16
    assert list_length(run.record, "nobody") == 0


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
    run = Run(World.build(FOUR))
    assert run.world.refuse("organiser", run.open(**changed)) == code


def test_only_those_who_may_propose_open_an_alignment() -> None:
    run = Run(World.build(FOUR))
    assert run.world.refuse("auditor", run.open()) == "wrong-role"
    assert run.world.refuse("user", run.open()) == "wrong-role"
    run.world.accept("alpha", run.open())


def test_a_study_has_one_run_of_a_kind_until_that_has_ended(run: Run) -> None:
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
    run = Run(World.build((*FOUR, "omega")))
    StudyWorld(run.world, make_terms()).to_running()
    assert run.world.refuse("organiser", run.open(invited=("alpha", "omega"))) == "not-invited"
    run.world.accept("organiser", run.open())


def test_who_is_enrolled_is_held_to_its_number_of_examples() -> None:
    run = Run(World.build(FOUR))
    study = StudyWorld(run.world, make_terms()).to_running()
    run.world.accept("organiser", run.open(bound=1_000_000))
    examples = max(1, study.terms.min_examples)
    assert run.world.refuse("alpha", run.commit("alpha", length=100_000 + examples)) == "list-too-long"
    run.world.accept("alpha", run.commit("alpha", length=16))


def test_a_list_longer_than_the_bound_is_refused(run: Run) -> None:
    assert run.world.refuse("alpha", run.commit("alpha", length=101)) == "list-too-long"
    run.world.accept("alpha", run.commit("alpha", length=100))


def test_one_commits_once_and_to_the_question_that_is_asked(run: Run) -> None:
    assert run.world.refuse("alpha", run.commit("alpha", question=sha256(b"other"))) == "other-question"
    assert run.world.refuse("organiser", run.commit("organiser")) == "not-on-roster"
    run.world.accept("alpha", run.commit("alpha"))
    assert run.world.refuse("alpha", run.commit("alpha")) == "already-committed"
    assert run.world.refuse("alpha", DeclineAlignment(ID, "policy")) == "already-committed"
    assert run.world.refuse("beta", run.commit("beta", attempt=1)) == "wrong-attempt"


def test_signatures_go_on_without_who_declines(run: Run) -> None:
    run.world.accept("delta", DeclineAlignment(ID, "policy"))
    run.committed(("alpha", "beta", "gamma"))
    assert run.record.phase == "blinding"
    assert run.record.roster == ("alpha", "beta", "gamma")
    assert run.record.declined == ("delta",)


def test_an_alignment_ends_when_too_few_are_left(run: Run) -> None:
    for name in ("alpha", "beta", "delta"):
        run.world.accept(name, DeclineAlignment(ID, "policy"))
    assert (run.record.phase, run.record.code) == ("ended", "too-few-hospitals")


def test_one_hospital_without_a_legal_basis_ends_an_alignment_of_patients() -> None:
    run = Run(World.build(FOUR), "patients")
    run.world.accept("organiser", run.open())
    run.world.accept("alpha", run.commit("alpha"))
    run.world.accept("delta", DeclineAlignment(ID, "no-legal-basis"))
    assert (run.record.phase, run.record.code) == ("ended", "no-legal-basis")
    assert run.world.refuse("beta", run.commit("beta")) == "wrong-phase"


def test_who_is_silent_is_left_out_of_the_next_attempt_and_the_others_commit_anew(run: Run) -> None:
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


def test_a_silent_one_in_commitment_is_left_out(run: Run) -> None:
    run.committed(("alpha", "beta", "gamma"))
    run.advance()
    assert (run.record.phase, run.record.attempt, run.record.roster) == ("blinding", 0, ("alpha", "beta", "gamma"))


def test_an_alignment_with_one_hospital_left_ends(run: Run) -> None:
    run.committed().published(("alpha",))
    run.advance()
    assert (run.record.phase, run.record.code) == ("ended", "too-few-hospitals")
    assert run.world.refuse("alpha", AdvanceAlignment(ID)) == "wrong-phase"


def test_more_than_half_of_the_others_find_one_guilty_and_begin_anew_without_it(run: Run) -> None:
    run.committed().published()
    run.report("alpha", "delta")
    assert run.record.attempt == 0
    run.report("beta", "delta")
    assert (run.record.attempt, run.record.roster) == (1, ("alpha", "beta", "gamma"))


def test_one_report_that_nobody_shares_costs_the_reporter_its_place_not_the_reported(run: Run) -> None:
    run.committed().published()
    run.report("alpha", "delta")
    run.published(("beta", "delta", "gamma"))
    run.advance()
    assert run.record.roster == ("beta", "delta", "gamma")


def test_a_report_names_another_hospital_once_that_has_published(run: Run) -> None:
    run.committed()
    refuse = run.world.refuse
    assert refuse("alpha", ReportBlinded(ID, 0, "beta")) == "bad-report"
    run.published(("beta",))
    assert refuse("alpha", ReportBlinded(ID, 0, "alpha")) == "bad-report"
    assert refuse("alpha", ReportBlinded(ID, 0, "nobody")) == "bad-report"
    run.report("alpha", "beta")
    assert refuse("alpha", ReportBlinded(ID, 0, "beta")) == "already-reported"
    assert refuse("organiser", ReportBlinded(ID, 0, "beta")) == "not-on-roster"


def test_publishing_out_of_turn_is_refused(run: Run) -> None:
    run.committed()
    refuse = run.world.refuse
    assert refuse("organiser", run.publish("organiser")) == "not-on-roster"
    assert refuse("alpha", run.publish("alpha", stage=1)) == "wrong-stage"
    assert refuse("alpha", run.publish("alpha", attempt=1)) == "wrong-attempt"
    run.published(("alpha",))
    assert refuse("alpha", run.publish("alpha")) == "already-published"
    run.published(("beta", "delta", "gamma"))
    assert refuse("alpha", run.publish("alpha", salt=SALT)) == "no-salt"


def test_sizes_that_no_majority_names_end_as_disputed(run: Run) -> None:
    run.committed().to_matching()
    for name in FOUR:
        run.complete(name, name.encode())
    assert run.record.phase == "matching"
    assert run.world.refuse("alpha", CompleteAlignment(ID, 0, sha256(b"again"))) == "already-completed"
    run.advance()
    assert (run.record.phase, run.record.code) == ("ended", "disputed")


def test_who_has_left_the_consortium_is_left_out_of_a_new_attempt(run: Run) -> None:
    run.committed().published()
    run.published(("gamma",))
    run.world.accept("gamma", Leave())
    run.published(("alpha", "beta"))
    run.advance()
    assert run.record.roster == ("alpha", "beta")


def test_an_unknown_alignment_is_refused() -> None:
    world = World.build(FOUR)
    assert world.refuse("alpha", AdvanceAlignment(ID)) == "no-such-alignment"


@pytest.mark.parametrize(("least", "goes_on"), [(2, True), (3, True), (4, False)])
def test_exactly_the_least_number_of_hospitals_is_enough(least: int, goes_on: bool) -> None:
    run = Run(World.build(FOUR))
    run.world.accept("organiser", run.open(least=least))
    run.committed(FOUR[:3]).advance()
    assert (run.record.phase, run.record.code) == (("blinding", "") if goes_on else ("ended", "too-few-hospitals"))
