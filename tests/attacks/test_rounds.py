"""What an attacker may try in keying and rounds; see `secure-sum.md` and `ledger.md`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, SEVEN, STUDY, StudyWorld, World, make_terms

from medfed.errors import InvalidInput
from medfed.identifiers import sha256
from medfed.ledger.contracts.deadlines import AbortStudy, Advance, ResumeStudy
from medfed.ledger.contracts.keying import ComplainAboutPair, KeysReady
from medfed.ledger.contracts.reveals import OpenedShare, PairSeed, seeds
from medfed.ledger.contracts.rounds import round_record
from medfed.ledger.contracts.studies import Rejoin, eligible
from medfed.ledger.contracts.terms import Step
from medfed.ledger.contracts.updates import submission, survivors_digest

TRAINING = (Step("training", 6),)


@pytest.fixture
def world() -> World:
    return World.build()


@pytest.fixture
def study(world: World) -> StudyWorld:
    return StudyWorld(world, make_terms(steps=TRAINING)).to_running()


def seven() -> StudyWorld:
    return StudyWorld(World.build(SEVEN), make_terms(SEVEN, steps=TRAINING)).to_running()


# Replay and mixing up


def test_an_update_for_an_earlier_or_later_round_or_attempt_is_refused(world: World, study: StudyWorld) -> None:
    old = study.update("alpha")
    study.run_round()
    assert world.refuse("alpha", old) == "wrong-round"
    assert world.refuse("alpha", replace(study.update("alpha"), round=7)) == "wrong-round"
    study.update_all().confirm_all(without=["gamma"])
    old = study.update("alpha")
    study.advance()
    assert study.round.attempt == 1
    assert world.refuse("alpha", old) == "wrong-attempt"
    assert world.refuse("alpha", replace(old, attempt=2)) == "wrong-attempt"


def test_a_confirmation_of_a_void_attempt_is_refused_in_the_next(world: World, study: StudyWorld) -> None:
    study.update_all()
    old = study.confirmation("alpha")
    study.confirm_all(without=["gamma"]).advance()
    study.update_all()
    assert world.refuse("alpha", old) == "wrong-attempt"
    assert world.refuse("alpha", replace(old, attempt=1)) == "other-survivors"


def test_an_update_for_another_study_is_refused(world: World, study: StudyWorld) -> None:
    other = StudyWorld(world, make_terms(FOUR[:3], steps=TRAINING), study=b"another study 16")
    other.to_running()
    assert world.refuse("gamma", other.update("gamma")) == "not-on-roster"
    assert world.refuse("alpha", replace(study.update("alpha"), study=b"no study of this")) == "no-such-study"


def test_an_update_by_one_who_is_not_on_the_roster_is_refused(world: World, study: StudyWorld) -> None:
    for stranger in ("user", "organiser", "server"):
        assert world.refuse(stranger, study.update(stranger)) == "not-on-roster"


def test_an_update_on_another_base_is_not_summed_and_hurts_nobody_else(world: World, study: StudyWorld) -> None:
    world.accept("gamma", study.update("gamma", base=sha256(b"poisoned base")))
    for name in FOUR[:3]:
        world.accept(name, study.update(name))
    assert study.round.survivors == FOUR[:3]
    study.confirm_all().reveal_all()
    assert study.round.roster == FOUR
    assert dict(study.record.missed) == {"gamma": 1}


def test_two_updates_in_a_round_are_refused(world: World, study: StudyWorld) -> None:
    first = study.update("alpha")
    world.accept("alpha", first)
    assert world.refuse("alpha", study.update("alpha", blob=b"another vector")) == "already-submitted"
    found = submission(world.view, STUDY, 0, 0, "alpha")
    assert found is not None
    assert found.blob == first.blob


def test_a_late_update_after_the_survivors_are_fixed_is_not_summed(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"])
    digest = study.round.survivors_digest
    world.accept("gamma", study.update("gamma"))
    assert (study.round.survivors, study.round.survivors_digest) == (FOUR[:3], digest)
    study.confirm_all()
    assert world.refuse("gamma", study.reveal("gamma")) == "not-a-survivor"
    study.reveal_all()
    assert seeds(world.view, STUDY, 0, 0, "gamma") is None


# Survivors


def test_two_survivor_sets_cannot_both_be_confirmed(world: World, study: StudyWorld) -> None:
    study.update_all()
    world.accept("alpha", study.confirmation("alpha"))
    blobs = tuple((name, study.update(name).blob) for name in FOUR[:3])
    smaller = survivors_digest(STUDY, 0, 0, blobs)
    assert world.refuse("beta", replace(study.confirmation("beta"), survivors=smaller)) == "other-survivors"
    assert world.refuse("alpha", replace(study.confirmation("alpha"), survivors=smaller)) == "already-confirmed"


def test_the_survivors_digest_binds_every_blob(world: World, study: StudyWorld) -> None:
    """An operator who swaps one blob after the fact has another digest, which nobody has signed."""
    study.update_all()
    blobs = [(name, study.update(name).blob) for name in FOUR]
    assert study.round.survivors_digest == survivors_digest(STUDY, 0, 0, tuple(blobs))
    swapped = tuple((name, sha256(b"other") if name == "beta" else blob) for name, blob in blobs)
    assert study.round.survivors_digest != survivors_digest(STUDY, 0, 0, swapped)


def test_revealing_before_all_have_confirmed_is_refused(world: World, study: StudyWorld) -> None:
    study.update_all()
    assert world.refuse("alpha", study.reveal("alpha")) == "wrong-phase"
    study.confirm_all(without=["gamma"])
    assert world.refuse("alpha", study.reveal("alpha")) == "wrong-phase"
    assert seeds(world.view, STUDY, 0, 0, "alpha") is None


def test_revealing_in_a_void_attempt_is_refused(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all(without=["gamma"])
    mine = study.reveal("alpha")
    study.advance()
    assert world.refuse("alpha", mine) == "wrong-attempt"
    assert world.refuse("alpha", replace(mine, attempt=1)) == "wrong-phase"


def test_revealing_a_pair_seed_with_a_survivor_is_refused(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"]).confirm_all()
    good = study.reveal("alpha")
    for extra in ("beta", "delta"):
        pairs = tuple(sorted((*good.pair_seeds, PairSeed(extra, bytes(32))), key=lambda pair: pair.name))
        assert world.refuse("alpha", replace(good, pair_seeds=pairs)) == "wrong-seeds"


def test_a_wrong_self_seed_is_refused(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all()
    assert world.refuse("alpha", replace(study.reveal("alpha"), self_seed=sha256(b"wrong"))) == "wrong-seeds"


def test_revealing_anothers_seed_is_refused(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all()
    assert world.refuse("beta", study.reveal("alpha")) == "wrong-seeds"


def test_a_share_of_one_who_has_still_time_is_refused(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all()
    for holder in ("beta", "delta", "gamma"):
        assert world.refuse(holder, study.shares(holder, "alpha")) == "too-early"


def test_shares_do_not_open_the_escrow_of_a_void_attempt(world: World, study: StudyWorld) -> None:
    """Escrows are posted with each confirmation; those of an attempt that was voided must stay closed."""
    study.update_all().confirm_all(without=["gamma"])
    shares = {holder: study.shares(holder, "alpha") for holder in ("beta", "delta", "gamma")}
    study.advance()
    for holder, body in shares.items():
        assert world.refuse(holder, body) == "wrong-attempt"
        assert world.refuse(holder, replace(body, attempt=1)) == "wrong-phase"
    study.update_all().confirm_all().reveal_all(without=["beta"]).advance()
    for holder, body in shares.items():
        assert world.refuse(holder, replace(body, attempt=1)) in ("share-not-due", "not-in-study")


def test_fewer_shares_than_the_threshold_open_nothing() -> None:
    study = seven()
    study.update_all().confirm_all().reveal_all(without=["alpha"]).advance()
    for holder in SEVEN[1:5]:
        study.world.accept(holder, study.shares(holder, "alpha"))
    assert seeds(study.world.view, STUDY, 0, 0, "alpha") is None
    study.world.accept(SEVEN[5], study.shares(SEVEN[5], "alpha"))
    assert seeds(study.world.view, STUDY, 0, 0, "alpha") is not None


def test_a_false_share_cannot_spoil_an_honest_escrow(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all().reveal_all(without=["alpha"]).advance()
    good = study.shares("beta", "alpha")
    false = bytearray(good.shares[0].share)
    false[-1] ^= 1
    assert world.refuse("beta", replace(good, shares=(OpenedShare("alpha", bytes(false)),))) == "wrong-share"
    for holder in ("beta", "delta", "gamma"):
        world.accept(holder, study.shares(holder, "alpha"))
    assert (study.record.expelled, study.round.number) == ((), 1)


def test_a_garbage_escrow_followed_by_silence_expels_its_maker_and_nobody_else(world: World, study: StudyWorld) -> None:
    study.update_all()
    for name in FOUR:
        world.accept(name, study.confirmation(name, contents=b"garbage" if name == "alpha" else None))
    study.reveal_all(without=["alpha"]).advance()
    for holder in ("beta", "delta", "gamma"):
        world.accept(holder, study.shares(holder, "alpha"))
    assert study.record.expelled == ("alpha",)
    assert eligible(world.view, study.record) == ("beta", "delta", "gamma")
    for body in (Rejoin(STUDY), ResumeStudy(STUDY), AbortStudy(STUDY, "revenge")):
        assert world.refuse("alpha", body) == "not-in-study"


def test_shares_that_their_holders_cannot_open_followed_by_silence_fail_the_round_and_its_maker_is_out(
    world: World, study: StudyWorld
) -> None:
    """Nothing can be proven, so nobody is expelled; but it must say `Rejoin`, and one round is all that it has cost."""
    study.update_all()
    good = study.confirmation("alpha")
    useless = tuple(replace(share, digest=bytes(32)) for share in good.shares)
    world.accept("alpha", replace(good, shares=useless))
    study.confirm_all(without=["alpha"]).reveal_all(without=["alpha"]).advance()
    body = replace(study.shares("beta"), shares=(OpenedShare("alpha", bytes(33)),))
    assert world.refuse("beta", body) == "wrong-share"
    study.advance()
    assert (study.round.phase, study.record.pause_code) == ("failed", "seeds-missing")
    assert eligible(world.view, study.record) == ("beta", "delta", "gamma")


def test_withholding_ones_reveal_costs_nobody_the_sum(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all().reveal_all(without=["gamma"]).advance()
    for holder in FOUR[:3]:
        world.accept(holder, study.shares(holder, "gamma"))
    released = round_record(world.view, STUDY, 0)
    assert released is not None
    assert (released.phase, released.survivors) == ("released", FOUR)


def test_withholding_ones_confirmation_reveals_nothing_and_costs_one_attempt(study: StudyWorld) -> None:
    study.update_all().confirm_all(without=["gamma"]).advance()
    assert (study.round.attempt, study.round.roster) == (1, FOUR[:3])
    assert all(seeds(study.world.view, STUDY, 0, 0, name) is None for name in FOUR)


# Reports


def test_a_false_missing_report_leaves_out_the_reporter_not_the_reported() -> None:
    study = seven()
    study.update_all()
    study.world.accept("alpha", study.missing("beta", "delta", "epsilon"))
    study.confirm_all(without=["alpha"]).advance()
    assert study.round.roster == SEVEN[1:]


def test_a_blob_served_to_nobody_leaves_out_its_owner() -> None:
    study = seven()
    study.update_all()
    for name in SEVEN[1:]:
        study.world.accept(name, study.missing("alpha"))
    study.advance()
    assert study.round.roster == SEVEN[1:]


def test_reporters_do_not_stop_those_who_have_the_blob_from_confirming(world: World, study: StudyWorld) -> None:
    study.update_all()
    world.accept("alpha", study.missing("beta"))
    study.confirm_all()
    assert study.round.phase == "reveal"


# Keying


def test_a_late_key_message_is_refused(world: World) -> None:
    study = StudyWorld(world).to_sealing()
    late = study.pair_secrets("gamma")
    for name in FOUR[:3]:
        world.accept(name, study.pair_secrets(name))
    study.advance()
    assert world.refuse("gamma", late) == "wrong-phase"
    assert world.refuse("gamma", KeysReady(STUDY)) == "not-in-study"


def test_a_false_pair_complaint_costs_the_complainer_as_much_as_its_victim() -> None:
    """One complainer against as many as it can: it is out itself, and none of them."""
    study = StudyWorld(World.build(SEVEN), make_terms(SEVEN, steps=TRAINING))
    study.to_running(*(("zeta", victim) for victim in SEVEN[:-1]))
    assert study.record.roster == SEVEN[:-1]
    assert study.record.lost_edges == ()


def test_one_complainer_never_expels_an_honest_hospital_from_four() -> None:
    for about in FOUR[:-1]:
        study = StudyWorld(World.build(), make_terms(steps=TRAINING)).to_running(("gamma", about))
        assert study.record.roster == FOUR


def test_a_complaint_about_a_secret_of_others_is_refused(world: World) -> None:
    StudyWorld(world).to_confirming()
    assert world.refuse("alpha", ComplainAboutPair(STUDY, "beta")) == "no-such-secret"
    assert world.refuse("organiser", ComplainAboutPair(STUDY, "alpha")) == "not-in-study"


def test_who_enrols_first_with_a_key_seen_on_the_way_does_not_keep_its_owner_out(world: World) -> None:
    study = StudyWorld(world).to_enrolling()
    copied = replace(study.enrolment("beta"), study_key=study.enrolment("alpha").study_key)
    world.accept("beta", copied)
    world.accept("alpha", study.enrolment("alpha"))
    assert study.record.enrolled == ("alpha", "beta")


@pytest.mark.parametrize("quorum", [0, 1, 2])
def test_a_threshold_of_zero_one_or_two_cannot_be_planned(world: World, quorum: int) -> None:
    study = StudyWorld(world, replace(make_terms(FOUR[:3]), quorum=quorum))
    with pytest.raises(InvalidInput, match="quorum"):
        world.sign("organiser", study.proposal())


# Time and votes


def test_nobody_ends_a_phase_before_its_deadline(world: World, study: StudyWorld) -> None:
    assert world.refuse("alpha", Advance(STUDY)) == "too-early"
    study.update_all()
    assert world.refuse("alpha", Advance(STUDY)) == "too-early"
    study.confirm_all()
    assert world.refuse("alpha", Advance(STUDY)) == "too-early"


def test_a_second_advance_does_not_jump_over_the_next_phase(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"])
    assert study.round.phase == "confirm"
    assert world.refuse("user", Advance(STUDY)) == "too-early"


def test_a_minority_neither_ends_nor_resumes_a_study(world: World, study: StudyWorld) -> None:
    for name in FOUR[:2]:
        world.accept(name, AbortStudy(STUDY, "x"))
    assert study.record.phase == "running"
    study.advance()
    for name in FOUR[:2]:
        world.accept(name, ResumeStudy(STUDY), AbortStudy(STUDY, "x"))
    assert study.record.phase == "paused"


def test_strangers_do_not_vote_on_a_studys_fate(world: World, study: StudyWorld) -> None:
    for stranger in ("organiser", "user", "server", "auditor"):
        assert world.refuse(stranger, AbortStudy(STUDY, "x")) == "not-in-study"
    study.advance()
    for stranger in ("organiser", "user", "server", "auditor"):
        assert world.refuse(stranger, ResumeStudy(STUDY)) == "not-in-study"


def test_a_wrong_outcome_named_by_a_minority_is_not_the_base(world: World, study: StudyWorld) -> None:
    study.run_round()
    outcome = study.outcome
    world.accept("alpha", study.update("alpha", base=sha256(b"a poisoned model")))
    for name in FOUR[1:]:
        world.accept(name, study.update(name))
    assert study.record.base == outcome


def test_an_escrow_of_one_hospital_cannot_be_posted_by_another(world: World, study: StudyWorld) -> None:
    """Its context and its holders name its maker."""
    study.update_all()
    assert world.refuse("beta", study.confirmation("alpha")) == "wrong-holders"
    mine = study.confirmation("beta")
    stolen = study.confirmation("alpha")
    holders = [share.holder for share in mine.shares]
    shares = tuple(replace(share, holder=name) for share, name in zip(stolen.shares, holders, strict=True))
    world.accept("beta", replace(mine, escrow=stolen.escrow, shares=shares))
    study.confirm_all(without=["beta"]).reveal_all(without=["beta"]).advance()
    forged = replace(study.shares("alpha"), shares=(OpenedShare("beta", bytes(33)),))
    assert world.refuse("alpha", forged) == "wrong-share"
