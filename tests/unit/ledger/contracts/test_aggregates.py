"""Rules of `ledger.contracts.aggregates`, and of `offices` and `proposals` as far as they are about sealed updates."""

from __future__ import annotations

import pytest
from msgspec import UNSET
from msgspec.structs import replace
from tests.support.ciphertexts import EncryptedStudyWorld, admit, encrypted_terms
from tests.support.ledger import FOUR, PHASE_MS, SEVEN, StudyWorld, World
from tests.support.sealed import AGGREGATOR, SealedStudyWorld, sealed_terms

from medfed.encoding import encode
from medfed.identifiers import sha256
from medfed.ledger.contracts.aggregates import Verdict, aggregate, disputes, session_keys
from medfed.ledger.contracts.ciphertexts import PublishCiphertextSum
from medfed.ledger.contracts.deadlines import AbortStudy, Advance, ResumeStudy
from medfed.ledger.contracts.offices import PublishEncryptionKey
from medfed.ledger.contracts.rewards import study_points
from medfed.ledger.contracts.survivors import RefuseSurvivors
from medfed.ledger.contracts.terms import CiphertextTerms, Step
from medfed.ledger.verify import verify_ledger


def _running(names: tuple[str, ...] = FOUR, most_left_out: int = 0) -> SealedStudyWorld:
    return SealedStudyWorld(World.build(names), sealed_terms(names, most_left_out=most_left_out)).to_running()


def _confirmed(names: tuple[str, ...] = FOUR, most_left_out: int = 0) -> SealedStudyWorld:
    study = _running(names, most_left_out)
    study.update_all()
    return study.confirm_all()


def test_a_study_runs_to_its_end_and_the_ledger_replays() -> None:
    study = _running()
    study.to_agreeing()
    study.to_completed()
    engine = study.world.engine
    assert verify_ledger(engine.genesis, engine.blocks(), engine.genesis.digest)


def test_a_round_goes_from_updates_to_confirmations_to_the_aggregate() -> None:
    study = _running()
    study.update_all()
    study.confirm_all(without=("gamma",))
    assert study.round.phase == "confirm"
    study.world.accept("gamma", study.sealed_confirmation())
    assert study.round.phase == "sum"
    study.world.accept(AGGREGATOR, study.publication())
    found = aggregate(study.world.view, study.study, 0, 0)
    assert found is not None
    assert (found.aggregator, found.total) == (AGGREGATOR, sha256(encode(("total", 0))))
    assert study.record.base_voters == FOUR
    assert study.round.number == 1


def test_a_masked_study_has_the_terms_that_it_always_had() -> None:
    assert b"sealed" not in encode(StudyWorld(World.build()).terms)
    assert b"sealed" in encode(sealed_terms())


# Rule 1, and the rules of proposals.


def test_no_round_begins_before_the_aggregator_has_issued_a_key_to_each_hospital() -> None:
    study = SealedStudyWorld(World.build())
    study.to_sealing()
    assert study.record.phase == "awaiting-key"
    good = study.keys()
    for stranger in ("alpha", "auditor", "organiser"):
        assert study.world.refuse(stranger, good) == "not-an-aggregator"
    for keys in (good.keys[:-1], (*good.keys, good.keys[0]), good.keys[::-1]):
        assert study.world.refuse(AGGREGATOR, replace(good, keys=keys)) == "wrong-receivers"
    study.world.accept(AGGREGATOR, good)
    found = session_keys(study.world.view, study.study)
    assert found is not None
    assert (found.aggregator, found.keys) == (AGGREGATOR, good.keys)
    assert study.world.refuse(AGGREGATOR, good) == "wrong-phase"


def test_an_aggregator_that_issues_nothing_pauses_the_study_and_its_successor_goes_on() -> None:
    world = World.build()
    admit(world, "second")
    study = SealedStudyWorld(world)
    study.to_sealing()
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("paused", "no-session-keys")
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, study.successor(AGGREGATOR, "second"))
    assert study.record.phase == "awaiting-key"
    assert study.world.refuse(AGGREGATOR, study.keys()) == "not-an-aggregator"
    study.world.accept("second", study.keys())
    study.run_round()
    assert study.record.base_round == 0


@pytest.mark.parametrize("who", ["alpha", "auditor", "user", AGGREGATOR])
def test_only_another_active_aggregator_that_is_no_hospital_can_follow(who: str) -> None:
    study = SealedStudyWorld(World.build())
    study.to_sealing()
    study.advance()
    assert study.world.refuse("alpha", study.successor(AGGREGATOR, who)) in ("bad-office", "bad-successor")


def test_a_successor_in_the_middle_of_a_study_issues_new_keys_and_old_ones_cannot_be_issued_again() -> None:
    world = World.build()
    admit(world, "second")
    study = SealedStudyWorld(world).to_running()
    study.update_all()
    study.confirm_all()
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("paused", "no-aggregate")
    assert study.round.phase == "unreleased"
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, study.successor(AGGREGATOR, "second"))
    assert study.world.refuse("second", study.keys()) == "used-key"
    study.world.accept("second", study.keys(b"fresh"))
    assert study.round.number == 1
    study.run_round()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sealed": sealed_terms(aggregator="alpha").sealed}, "bad-office"),
        ({"sealed": sealed_terms(aggregator="auditor").sealed}, "bad-office"),
        ({"sealed": sealed_terms(aggregator="nobody").sealed}, "bad-office"),
        ({"sealed": sealed_terms(most_left_out=2).sealed}, "bad-terms"),
        ({"ciphertexts": CiphertextTerms("auditor", (AGGREGATOR,))}, "bad-terms"),
        ({"steps": (Step("votes"),)}, "bad-terms"),
    ],
)
def test_terms_that_do_not_hold_together_are_refused(change: dict[str, object], code: str) -> None:
    study = SealedStudyWorld(World.build(), replace(sealed_terms(), **change))
    assert study.world.refuse("organiser", study.proposal()) == code


# Rule 2, and what belongs to other modes.


def test_only_survivors_confirm_once_and_what_was_proposed() -> None:
    study = _running(SEVEN)
    study.update_all(without=("zeta",))
    good = study.sealed_confirmation()
    assert study.world.refuse("zeta", good) == "not-a-survivor"
    assert study.world.refuse("alpha", replace(good, survivors=sha256(b"others"))) == "other-survivors"
    study.world.accept("alpha", good)
    assert study.world.refuse("alpha", good) == "already-confirmed"


def test_transactions_of_the_other_modes_have_no_place_here() -> None:
    study = SealedStudyWorld(World.build())
    study.to_sealing()
    other_key = PublishEncryptionKey(study.study, sha256(b"key"), 131_072)
    assert study.world.refuse(AGGREGATOR, other_key) == "other-protection"
    study.world.accept(AGGREGATOR, study.keys())
    study.update_all()
    assert study.world.refuse("alpha", StudyWorld.confirmation(study, "alpha")) == "other-protection"
    assert study.world.refuse("alpha", study.missing("beta")) == "other-protection"
    study.confirm_all()
    now = study.round
    total = PublishCiphertextSum(study.study, 0, 0, now.survivors_digest or b"", sha256(b"sum"), 400)
    assert study.world.refuse(AGGREGATOR, total) == "other-protection"


def test_transactions_of_this_mode_have_no_place_elsewhere() -> None:
    masked = StudyWorld(World.build()).to_running()
    masked.update_all()
    sealed = _running()
    sealed.update_all()
    body = replace(sealed.sealed_confirmation(), survivors=masked.round.survivors_digest)
    assert masked.world.refuse("alpha", body) == "other-protection"
    encrypted = EncryptedStudyWorld(World.build(), encrypted_terms())
    encrypted.to_sealing()
    assert encrypted.world.refuse(AGGREGATOR, sealed.keys()) == "other-protection"
    encrypted.world.accept(encrypted.offices.key_holder, encrypted.key())
    encrypted.update_all()
    encrypted.confirm_all()
    sealed.confirm_all()
    total = replace(sealed.publication(), survivors=encrypted.round.survivors_digest)
    assert encrypted.world.refuse(AGGREGATOR, total) == "other-protection"
    assert encrypted.world.refuse(AGGREGATOR, sealed.bad("alpha")) == "other-protection"
    assert encrypted.world.refuse("alpha", sealed.dispute(0)) == "other-protection"


def test_an_attempt_that_not_all_confirm_is_void_and_the_silent_are_left_out_of_the_next() -> None:
    study = _running()
    study.update_all()
    study.confirm_all(without=("delta",))
    study.advance()
    assert (study.round.attempt, study.round.phase) == (1, "update")
    assert study.round.roster == ("alpha", "beta", "gamma")


def test_refusing_the_survivors_voids_as_in_a_masked_round() -> None:
    study = _running()
    study.update_all()
    study.world.accept("beta", RefuseSurvivors(study.study, 0, 0, "released-over-others"))
    assert (study.record.phase, study.record.pause_code) == ("paused", "survivors-refused")


# Rules 3 to 5.


def test_only_the_aggregator_publishes_once_all_have_confirmed_and_over_these_survivors() -> None:
    study = _running()
    study.update_all()
    assert study.world.refuse(AGGREGATOR, study.publication()) == "wrong-phase"
    study.confirm_all()
    for stranger in ("alpha", "auditor", "organiser"):
        assert study.world.refuse(stranger, study.publication()) == "not-an-aggregator"
        assert study.world.refuse(stranger, study.bad("beta")) == "not-an-aggregator"
    other = replace(study.publication(), survivors=sha256(b"others"))
    assert study.world.refuse(AGGREGATOR, other) == "other-survivors"
    assert study.world.refuse(AGGREGATOR, replace(study.publication(), attempt=1)) == "wrong-attempt"
    again = study.publication()
    study.world.accept(AGGREGATOR, again)
    assert study.world.refuse(AGGREGATOR, again) == "wrong-round"


def test_no_more_are_left_out_than_the_plans_strategy_does_and_they_earn_nothing_but_keep_their_word() -> None:
    study = _running(SEVEN, most_left_out=1)
    study.run_round()
    study.update_all()
    study.confirm_all()
    two = study.publication((("alpha", "outlier"), ("beta", "outlier")))
    assert study.world.refuse(AGGREGATOR, two) == "too-many-left-out"
    for wrong in ((("organiser", "outlier"),), (("beta", "outlier"), ("alpha", "outlier"))):
        assert study.world.refuse(AGGREGATOR, study.publication(wrong)) in ("bad-report", "too-many-left-out")
    assert study.world.refuse(AGGREGATOR, study.publication(shortened=("organiser",))) == "bad-report"
    study.world.accept(AGGREGATOR, study.publication((("beta", "outlier"),), ("gamma",)))
    found = aggregate(study.world.view, study.study, 1, 0)
    assert found is not None
    assert found.left_out == (Verdict("beta", "outlier"),)
    assert found.shortened == ("gamma",)
    earned = {name: study_points(study.world.view, study.study, name) for name in SEVEN}
    assert earned["beta"] < earned["alpha"] == earned["gamma"]
    assert "beta" in study.record.base_voters
    assert "beta" in study.round.roster


def test_a_plan_without_a_strategy_that_leaves_out_lets_nobody_be_left_out_at_publication() -> None:
    study = _confirmed()
    assert study.world.refuse(AGGREGATOR, study.publication((("alpha", "outlier"),))) == "too-many-left-out"


def test_updates_that_are_bad_void_the_attempt_and_leave_their_owner_out_of_the_next() -> None:
    study = _confirmed()
    study.world.accept(AGGREGATOR, study.bad("beta"))
    assert (study.round.attempt, study.round.phase) == (1, "update")
    assert study.round.roster == ("alpha", "delta", "gamma")
    study.run_round()
    assert study.round.roster == FOUR
    assert study.record.base_voters == ("alpha", "delta", "gamma")


@pytest.mark.parametrize("who", [("organiser",), ("beta", "alpha"), ("alpha", "alpha")])
def test_a_report_names_survivors_in_order_each_once(who: tuple[str, ...]) -> None:
    study = _confirmed()
    assert study.world.refuse(AGGREGATOR, study.bad(*who)) == "bad-report"


def test_too_many_bad_updates_pause_the_study() -> None:
    study = _confirmed()
    study.world.accept(AGGREGATOR, study.bad("alpha", "beta"))
    assert (study.record.phase, study.record.pause_code) == ("paused", "attempts-used")


def test_aborting_before_the_aggregate_closes_the_round_with_nothing_released() -> None:
    study = _confirmed()
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, AbortStudy(study.study, "enough"))
    assert study.round.phase == "unreleased"


# Rule 6.


def test_a_survivor_disputes_an_aggregate_once_and_the_study_pauses_for_people() -> None:
    study = _running()
    study.run_round()
    study.update_all(without=("delta",))
    assert study.world.refuse("organiser", study.dispute()) == "not-a-survivor"
    assert study.world.refuse("gamma", study.dispute(5)) == "wrong-round"
    study.world.accept("gamma", study.dispute())
    assert (study.record.phase, study.record.pause_code) == ("paused", "aggregate-disputed")
    assert study.round.phase == "unreleased"
    assert disputes(study.world.view, study.study, 0) == (Verdict("gamma", "count-without-mine"),)
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, ResumeStudy(study.study))
    assert study.world.refuse("gamma", study.dispute()) == "already-disputed"
    study.run_round()
    assert study.world.refuse("gamma", study.dispute(0)) == "wrong-round"


def test_the_last_aggregate_is_disputed_before_it_is_agreed() -> None:
    study = _running()
    study.to_agreeing()
    study.world.accept("gamma", study.dispute())
    assert (study.record.phase, study.record.pause_code) == ("paused", "aggregate-disputed")
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, ResumeStudy(study.study))
    study.to_completed()
    assert study.world.refuse("gamma", study.dispute()) == "wrong-phase"


def test_masked_terms_have_no_office() -> None:
    assert StudyWorld(World.build()).terms.sealed is UNSET


def test_exactly_two_updates_of_a_quorum_are_enough_to_count() -> None:
    world = World.build()
    assert world.refuse("organiser", SealedStudyWorld(world, sealed_terms(most_left_out=2)).proposal()) == "bad-terms"
    world.accept("organiser", SealedStudyWorld(world, sealed_terms(most_left_out=1)).proposal())


def test_an_aggregate_is_awaited_for_as_long_as_revealing_may_take() -> None:
    study = _running()
    study.update_all()
    study.world.clock.now_ms += 5_000
    study.confirm_all()
    assert (study.round.phase, study.round.deadline_ms) == ("sum", study.world.clock.now_ms + PHASE_MS)
    study.world.clock.now_ms = study.round.deadline_ms
    assert study.world.refuse("user", Advance(study.study)) == "too-early"
    study.world.accept(AGGREGATOR, study.publication())


def test_all_updates_may_be_bad_and_all_be_shortened() -> None:
    study = _confirmed()
    study.world.accept(AGGREGATOR, study.publication(shortened=FOUR))
    study = _confirmed()
    study.world.accept(AGGREGATOR, study.bad(*FOUR))
    assert (study.record.phase, study.record.pause_code) == ("paused", "attempts-used")


def test_a_dispute_of_the_last_aggregate_leaves_its_round_released() -> None:
    study = _running()
    study.to_agreeing()
    study.world.accept("gamma", study.dispute())
    assert study.round.phase == "released"
