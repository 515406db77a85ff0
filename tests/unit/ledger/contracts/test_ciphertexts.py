"""Rules of `ledger.contracts.ciphertexts`: nothing is opened before all is fixed, and only one sum ever is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ciphertexts import AGGREGATOR, KEY_HOLDER, EncryptedStudyWorld, admit, encrypted_terms
from tests.support.ledger import FOUR, PHASE_MS, SEVEN, StudyWorld, World
from tests.support.sealed import SealedStudyWorld

from medfed.identifiers import sha256
from medfed.ledger.contracts.ciphertexts import SealedKey, ciphertext_confirmation, ciphertext_sums, decryption
from medfed.ledger.contracts.deadlines import AbortStudy, Advance, ResumeStudy
from medfed.ledger.contracts.rewards import study_points
from medfed.ledger.contracts.survivors import RefuseSurvivors
from medfed.ledger.verify import verify_ledger


def _running(names: tuple[str, ...] = FOUR, **others: object) -> EncryptedStudyWorld:
    return EncryptedStudyWorld(World.build(names), encrypted_terms(names, **others)).to_running()  # type: ignore[arg-type]


def _confirmed(names: tuple[str, ...] = FOUR) -> EncryptedStudyWorld:
    study = _running(names)
    study.update_all()
    return study.confirm_all()


def test_a_study_runs_to_its_end_and_the_ledger_replays() -> None:
    study = _running()
    study.to_agreeing()
    study.to_completed()
    engine = study.world.engine
    assert verify_ledger(engine.genesis, engine.blocks(), engine.genesis.digest)


def test_a_round_goes_from_updates_to_confirmations_to_the_sum_to_its_decryption() -> None:
    study = _running()
    study.update_all()
    assert study.round.phase == "confirm"
    study.confirm_all(without=("gamma",))
    assert study.round.phase == "confirm"
    study.world.accept("gamma", study.encrypted_confirmation("gamma"))
    assert study.round.phase == "sum"
    study.world.accept(AGGREGATOR, study.sum())
    assert study.round.phase == "decrypt"
    study.world.accept(KEY_HOLDER, study.decryption())
    view = study.world.view
    assert study.record.base_round == 0
    assert study.record.base_voters == FOUR
    found = decryption(view, study.study, 0, 0)
    assert found is not None
    assert found.sum == study.sum().sum
    assert study.round.number == 1


def test_training_earns_points_as_in_a_masked_study() -> None:
    encrypted, masked = _running(), StudyWorld(World.build()).to_running()
    for study in (encrypted, masked):
        study.run_round()
        study.run_round()
    for name in FOUR:
        assert study_points(encrypted.world.view, encrypted.study, name) == study_points(
            masked.world.view, masked.study, name
        )


# Rules 1 to 3: confirmations.


def test_only_survivors_confirm_once_and_what_was_proposed() -> None:
    study = _running(SEVEN)
    study.update_all(without=("zeta",))
    assert study.world.refuse("zeta", replace(study.encrypted_confirmation("alpha"))) == "not-a-survivor"
    other = replace(study.encrypted_confirmation("alpha"), survivors=sha256(b"others"))
    assert study.world.refuse("alpha", other) == "other-survivors"
    study.world.accept("alpha", study.encrypted_confirmation("alpha"))
    assert study.world.refuse("alpha", study.encrypted_confirmation("alpha")) == "already-confirmed"
    assert ciphertext_confirmation(study.world.view, study.study, 0, 0, "alpha") is not None


@pytest.mark.parametrize("field", ["seed", "key", "ciphertexts"])
def test_a_confirmation_opens_exactly_what_the_update_committed_to(field: str) -> None:
    study = _running()
    study.update_all()
    changed = replace(study.encrypted_confirmation("alpha"), **{field: sha256(b"chosen later")})
    assert study.world.refuse("alpha", changed) == "wrong-commitment"
    theirs = replace(study.encrypted_confirmation("beta"))
    assert study.world.refuse("alpha", theirs) == "wrong-commitment"


def test_the_key_of_a_blob_goes_to_every_aggregator_and_to_nobody_else() -> None:
    study = _running()
    study.update_all()
    good = study.encrypted_confirmation("alpha")
    for keys in (
        (SealedKey(KEY_HOLDER, b"k"),),
        (SealedKey(AGGREGATOR, b"k"), SealedKey(KEY_HOLDER, b"k")),
        (SealedKey(AGGREGATOR, b"k"), SealedKey(AGGREGATOR, b"k")),
    ):
        assert study.world.refuse("alpha", replace(good, sealed_keys=keys)) == "wrong-aggregators"


def test_masked_confirmations_reports_and_reveals_have_no_place_here() -> None:
    study = _running()
    study.update_all()
    plain = StudyWorld.confirmation(study, "alpha")
    assert study.world.refuse("alpha", plain) == "other-protection"
    assert study.world.refuse("alpha", study.missing("beta")) == "other-protection"
    study.confirm_all()
    assert study.world.refuse("alpha", study.reveal("alpha")) == "wrong-phase"


def test_an_encrypted_confirmation_has_no_place_in_a_masked_study() -> None:
    study = StudyWorld(World.build()).to_running()
    study.update_all()
    other = _running()
    other.update_all()
    body = replace(other.encrypted_confirmation("alpha"), survivors=study.round.survivors_digest)
    assert study.world.refuse("alpha", body) == "other-protection"


def test_an_attempt_that_not_all_confirm_is_void_and_the_silent_are_left_out_of_the_next() -> None:
    study = _running()
    study.update_all()
    study.confirm_all(without=("delta",))
    study.advance()
    assert (study.round.attempt, study.round.phase) == (1, "update")
    assert study.round.roster == ("alpha", "beta", "gamma")
    study.run_round()
    assert study.record.base_voters == ("alpha", "beta", "gamma")


def test_fewer_than_the_quorum_never_reach_the_aggregators() -> None:
    study = _running()
    study.update_all()
    study.confirm_all(without=("delta", "gamma"))
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("paused", "attempts-used")
    assert study.world.refuse(AGGREGATOR, study.sum()) == "wrong-phase"


def test_refusing_the_survivors_voids_as_in_a_masked_round() -> None:
    study = _running()
    study.update_all()
    study.world.accept("beta", RefuseSurvivors(study.study, 0, 0, "released-over-others"))
    assert (study.record.phase, study.record.pause_code) == ("paused", "survivors-refused")


# Rules 4 and 5: sums.


def test_only_aggregators_publish_sums_once_all_have_confirmed_and_over_these_survivors() -> None:
    study = _running()
    study.update_all()
    assert study.world.refuse(AGGREGATOR, study.sum()) == "wrong-phase"
    study.confirm_all()
    for stranger in ("alpha", KEY_HOLDER, "organiser"):
        assert study.world.refuse(stranger, study.sum()) == "not-an-aggregator"
    other = replace(study.sum(), survivors=sha256(b"others"))
    assert study.world.refuse(AGGREGATOR, other) == "other-survivors"
    assert study.world.refuse(AGGREGATOR, replace(study.sum(), attempt=1)) == "wrong-attempt"
    study.world.accept(AGGREGATOR, study.sum())


def _two_aggregators() -> EncryptedStudyWorld:
    world = World.build()
    admit(world, "adder")
    study = EncryptedStudyWorld(world, encrypted_terms(aggregators=("adder", AGGREGATOR)))
    study.to_running()
    study.update_all()
    return study.confirm_all()


def test_every_aggregator_must_come_to_the_same_sum() -> None:
    study = _two_aggregators()
    study.world.accept("adder", study.sum())
    assert study.round.phase == "sum"
    assert study.world.refuse("adder", study.sum()) == "already-added"
    assert study.world.refuse(KEY_HOLDER, study.decryption()) == "wrong-phase"
    study.world.accept(AGGREGATOR, study.sum())
    assert study.round.phase == "decrypt"
    assert set(ciphertext_sums(study.world.view, study.study, 0, 0)) == {"adder", AGGREGATOR}


def test_sums_that_differ_are_never_opened() -> None:
    study = _two_aggregators()
    study.world.accept("adder", study.sum())
    study.world.accept(AGGREGATOR, study.sum(sha256(b"a sum of one")))
    assert (study.record.phase, study.record.pause_code) == ("paused", "sums-differ")
    assert study.round.phase == "unreleased"
    assert study.world.refuse(KEY_HOLDER, study.decryption()) == "wrong-phase"


def test_bad_ciphertexts_void_the_attempt_and_leave_their_owner_out_of_the_next() -> None:
    study = _confirmed()
    for stranger in ("alpha", KEY_HOLDER):
        assert study.world.refuse(stranger, study.bad("beta")) == "not-an-aggregator"
    study.world.accept(AGGREGATOR, study.bad("beta"))
    assert (study.round.attempt, study.round.phase) == (1, "update")
    assert study.round.roster == ("alpha", "delta", "gamma")
    study.run_round()
    assert study.round.number == 1
    assert study.round.roster == FOUR


@pytest.mark.parametrize("who", [("organiser",), ("beta", "alpha"), ("alpha", "alpha")])
def test_a_report_names_survivors_in_order_each_once(who: tuple[str, ...]) -> None:
    study = _confirmed()
    assert study.world.refuse(AGGREGATOR, study.bad(*who)) == "bad-report"


def test_too_many_bad_ciphertexts_pause_the_study() -> None:
    study = _confirmed()
    study.world.accept(AGGREGATOR, study.bad("alpha", "beta"))
    assert (study.record.phase, study.record.pause_code) == ("paused", "attempts-used")


# Rules 6 and 7: decryption.


def test_only_the_key_holder_opens_and_only_the_agreed_sum() -> None:
    study = _confirmed().add_all()
    for stranger in ("alpha", AGGREGATOR, "organiser"):
        assert study.world.refuse(stranger, study.decryption()) == "not-the-key-holder"
        assert study.world.refuse(stranger, study.refusal()) == "not-the-key-holder"
    assert study.world.refuse(KEY_HOLDER, study.decryption(sha256(b"one hospital's"))) == "other-sum"
    study.world.accept(KEY_HOLDER, study.decryption())


def test_a_refused_sum_pauses_the_study_with_nothing_opened() -> None:
    study = _confirmed().add_all()
    study.world.accept(KEY_HOLDER, study.refusal())
    assert (study.record.phase, study.record.pause_code) == ("paused", "sum-refused")
    assert study.round.phase == "unreleased"
    assert decryption(study.world.view, study.study, 0, 0) is None


def test_a_refused_sum_retires_the_key_so_that_refusals_tell_nothing_more_about_it() -> None:
    study = _confirmed().add_all()
    study.world.accept(KEY_HOLDER, study.refusal())
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, ResumeStudy(study.study))
    assert study.record.phase == "awaiting-key"
    assert study.world.refuse(KEY_HOLDER, study.key()) == "used-key"
    study.world.accept(KEY_HOLDER, study.key("fresh"))
    study.run_round()


def test_a_key_holder_that_does_not_open_fails_the_round_which_is_never_retried() -> None:
    study = _confirmed().add_all()
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("paused", "no-decryption")
    assert study.round.phase == "failed"
    assert study.record.missed == ()
    assert study.world.refuse(KEY_HOLDER, study.decryption()) == "wrong-phase"
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, study.successor(KEY_HOLDER, "user"))
    study.world.accept("user", study.key("fresh"))
    assert study.round.number == 1
    study.run_round()


def test_an_aggregator_that_publishes_nothing_pauses_the_study_with_nothing_opened() -> None:
    study = _confirmed()
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("paused", "no-ciphertext-sum")
    assert study.round.phase == "unreleased"


@pytest.mark.parametrize(("phase", "ends"), [("sum", "unreleased"), ("decrypt", "failed")])
def test_aborting_closes_the_round_as_what_it_has_told(phase: str, ends: str) -> None:
    study = _confirmed()
    if phase == "decrypt":
        study.add_all()
    assert study.round.phase == phase
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, AbortStudy(study.study, "enough"))
    assert study.round.phase == ends


def test_sums_and_decryptions_are_awaited_for_as_long_as_revealing_may_take() -> None:
    study = _running()
    study.update_all()
    study.world.clock.now_ms += 5_000
    study.confirm_all()
    for phase in ("sum", "decrypt"):
        assert (study.round.phase, study.round.deadline_ms) == (phase, study.world.clock.now_ms + PHASE_MS)
        study.world.clock.now_ms = study.round.deadline_ms
        assert study.world.refuse("user", Advance(study.study)) == "too-early"
        if phase == "sum":
            study.add_all()
    study.world.accept(KEY_HOLDER, study.decryption())


def test_all_ciphertexts_may_be_bad() -> None:
    study = _confirmed()
    study.world.accept(AGGREGATOR, study.bad(*FOUR))
    assert (study.record.phase, study.record.pause_code) == ("paused", "attempts-used")


def test_an_encrypted_confirmation_has_no_place_in_a_sealed_study() -> None:
    study = SealedStudyWorld(World.build()).to_running()
    study.update_all()
    other = _running()
    other.update_all()
    body = replace(other.encrypted_confirmation("alpha"), survivors=study.round.survivors_digest)
    assert study.world.refuse("alpha", body) == "other-protection"
    study.confirm_all()
    report = replace(other.bad("alpha"), round=study.round.number)
    assert study.world.refuse(AGGREGATOR, report) == "other-protection"
