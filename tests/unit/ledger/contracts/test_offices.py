"""Rules of `ledger.contracts.offices`, and of `proposals` as far as they are about offices."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ciphertexts import AGGREGATOR, KEY_HOLDER, EncryptedStudyWorld, admit, encrypted_terms
from tests.support.ledger import FOUR, PHASE_MS, StudyWorld, World, make_terms
from tests.support.sealed import SealedStudyWorld, sealed_terms

from medfed.encoding import encode
from medfed.ledger.contracts.deadlines import AbortStudy, Advance
from medfed.ledger.contracts.labelling_terms import LabellingTerms, LaplaceNoise
from medfed.ledger.contracts.membership import Leave
from medfed.ledger.contracts.offices import offices
from medfed.ledger.contracts.studies import WithdrawFromStudy
from medfed.ledger.contracts.terms import Step, Terms


def _study(**others: object) -> EncryptedStudyWorld:
    return EncryptedStudyWorld(World.build(), encrypted_terms(**others))  # type: ignore[arg-type]


def test_terms_without_offices_have_the_bytes_that_they_always_had() -> None:
    assert b"ciphertexts" not in encode(make_terms())
    assert b"ciphertexts" in encode(encrypted_terms())


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (encrypted_terms(aggregators=(KEY_HOLDER,)), "bad-terms"),
        (encrypted_terms(key_holder=AGGREGATOR), "bad-terms"),
        (encrypted_terms(aggregators=(AGGREGATOR, AGGREGATOR)), "bad-terms"),
        (encrypted_terms(aggregators=("user",)), "bad-office"),
        (encrypted_terms(aggregators=("nobody",)), "bad-office"),
        (encrypted_terms(aggregators=("alpha",)), "bad-office"),
        (encrypted_terms(key_holder="alpha"), "bad-office"),
        (encrypted_terms(key_holder="nobody"), "bad-office"),
        (encrypted_terms(steps=(Step("votes"),)), "bad-terms"),
    ],
)
def test_who_may_not_hold_an_office_is_refused_with_the_proposal(terms: object, code: str) -> None:
    study = EncryptedStudyWorld(World.build(), terms)  # type: ignore[arg-type]
    assert study.world.refuse("organiser", study.proposal()) == code


def test_the_key_holder_may_be_anybody_else() -> None:
    for name in ("auditor", "user", "organiser"):
        study = _study(key_holder=name)
        study.world.accept("organiser", study.proposal())


def test_a_masked_study_has_no_offices() -> None:
    study = StudyWorld(World.build()).to_running()
    assert offices(study.world.view, study.record) is None


def test_rounds_begin_once_the_key_holder_has_published_a_key_and_nobody_exchanges_pair_secrets() -> None:
    study = _study()
    study.to_sealing()
    assert study.record.phase == "awaiting-key"
    assert study.record.roster == FOUR
    assert study.world.refuse("alpha", study.pair_secrets("alpha")) == "wrong-phase"
    for stranger in ("alpha", AGGREGATOR, "organiser"):
        assert study.world.refuse(stranger, study.key()) == "not-the-key-holder"
    study.world.accept(KEY_HOLDER, study.key())
    assert study.record.phase == "running"
    assert study.round.phase == "update"
    assert study.offices.key == study.key().key
    assert study.world.refuse(KEY_HOLDER, study.key("another")) == "wrong-phase"


def test_a_key_in_a_masked_study_is_refused() -> None:
    study = StudyWorld(World.build()).to_running()
    assert study.world.refuse("auditor", EncryptedStudyWorld.key(study)) == "wrong-phase"  # type: ignore[arg-type]


def test_a_key_holder_that_publishes_nothing_pauses_the_study_and_a_successor_is_voted_in() -> None:
    study = _study()
    study.to_sealing()
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("paused", "no-encryption-key")
    vote = study.successor(KEY_HOLDER, "user")
    study.world.accept("alpha", vote)
    study.world.accept("beta", vote)
    assert study.record.phase == "paused"
    study.world.accept("gamma", vote)
    assert study.record.phase == "awaiting-key"
    assert study.offices.key_holder == "user"
    assert study.offices.votes == ()
    assert study.world.refuse(KEY_HOLDER, study.key()) == "not-the-key-holder"
    study.world.accept("user", study.key())
    study.run_round()
    assert study.round.number == 1


def test_a_key_is_never_used_twice() -> None:
    study = _study().to_running()
    study.update_all().confirm_all()
    study.advance()
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, study.successor(KEY_HOLDER, "user"))
    assert study.world.refuse("user", study.key()) == "used-key"
    study.world.accept("user", study.key("fresh"))
    assert study.offices.earlier_keys == (study.key().key, study.key("fresh").key)


def test_an_aggregators_successor_goes_on_under_the_same_key() -> None:
    study = _study()
    admit(study.world, "adder")
    study.to_running()
    study.update_all().confirm_all()
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("paused", "no-ciphertext-sum")
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, study.successor(AGGREGATOR, "adder"))
    assert study.record.phase == "running"
    assert study.round.number == 1
    assert study.offices.aggregators == ("adder",)
    assert study.offices.key == study.key().key
    study.run_round()


def test_a_vote_may_be_changed_and_counts_once() -> None:
    study = _study()
    study.to_sealing()
    study.advance()
    for _ in range(3):
        study.world.accept("alpha", study.successor(KEY_HOLDER, "user"))
    study.world.accept("beta", study.successor(KEY_HOLDER, "organiser"))
    study.world.accept("beta", study.successor(KEY_HOLDER, "user"))
    assert study.record.phase == "paused"
    study.world.accept("delta", study.successor(KEY_HOLDER, "user"))
    assert study.record.phase == "awaiting-key"


@pytest.mark.parametrize(
    ("leaves", "name", "code"),
    [
        ("user", "organiser", "no-such-office"),
        (KEY_HOLDER, "alpha", "bad-office"),
        (KEY_HOLDER, "nobody", "bad-office"),
        (KEY_HOLDER, AGGREGATOR, "bad-successor"),
        (KEY_HOLDER, KEY_HOLDER, "bad-successor"),
        (AGGREGATOR, KEY_HOLDER, "bad-successor"),
        (AGGREGATOR, "user", "bad-office"),
    ],
)
def test_who_may_not_hold_the_office_cannot_be_voted_into_it(leaves: str, name: str, code: str) -> None:
    study = _study()
    study.to_sealing()
    study.advance()
    assert study.world.refuse("alpha", study.successor(leaves, name)) == code


def test_only_hospitals_of_the_study_vote_and_only_in_a_pause() -> None:
    study = _study()
    study.to_sealing()
    assert study.world.refuse("alpha", study.successor(KEY_HOLDER, "user")) == "wrong-phase"
    study.world.accept("beta", WithdrawFromStudy(study.study))
    study.advance()
    for stranger in ("organiser", KEY_HOLDER, AGGREGATOR, "beta"):
        assert study.world.refuse(stranger, study.successor(KEY_HOLDER, "user")) == "not-in-study"


def test_offices_of_a_masked_study_cannot_be_voted_on() -> None:
    study = StudyWorld(World.build()).to_running()
    study.update_all(without=("alpha", "beta"))
    assert study.record.phase == "paused"
    assert study.world.refuse("alpha", EncryptedStudyWorld.successor(study, "a", "b")) == "other-protection"  # type: ignore[arg-type]


def test_a_study_that_awaits_its_key_can_be_aborted() -> None:
    study = _study()
    study.to_sealing()
    for name in ("alpha", "beta", "gamma"):
        study.world.accept(name, AbortStudy(study.study, "enough"))
    assert study.record.phase == "aborted"


def test_the_studys_own_deadline_ends_it_while_it_awaits_its_key() -> None:
    study = EncryptedStudyWorld(
        World.build(), replace(encrypted_terms(), deadlines=replace(make_terms().deadlines, study=1))
    )
    study.to_sealing()
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("aborted", "study-deadline")


@pytest.mark.parametrize("sealed", [False, True])
def test_a_key_is_awaited_for_as_long_as_keying_may_take(sealed: bool) -> None:
    study = SealedStudyWorld(World.build()) if sealed else _study()
    study.world.clock.now_ms += 5_000
    study.to_sealing()
    assert study.record.phase == "awaiting-key"
    assert study.record.deadline_ms == study.world.view.tip.time_ms + PHASE_MS
    study.world.clock.now_ms = study.record.deadline_ms
    assert study.world.refuse("user", Advance(study.study)) == "too-early"
    if isinstance(study, SealedStudyWorld):
        study.world.accept(study.aggregator, study.keys())
    else:
        study.world.accept(KEY_HOLDER, study.key())
    assert study.record.phase == "running"


@pytest.mark.parametrize("terms", [encrypted_terms(steps=(Step("votes", 2),)), sealed_terms(steps=(Step("votes", 2),))])
def test_votes_are_masked_whatever_noise_they_have(terms: Terms) -> None:
    noise = LabellingTerms(LaplaceNoise(200), (50,), (150,), 1, 1, 1, 1_000_000, 10_000_000_000)
    masked = replace(make_terms(steps=(Step("votes", 2),)), labelling=noise)
    world = World.build()
    study = StudyWorld(world, replace(terms, labelling=noise))
    assert world.refuse("organiser", study.proposal()) == "bad-terms"
    world.accept("organiser", StudyWorld(world, masked).proposal())


def test_who_has_left_holds_no_office() -> None:
    for name, terms in (("user", encrypted_terms(key_holder="user")), (AGGREGATOR, encrypted_terms())):
        study = EncryptedStudyWorld(World.build(), terms)
        study.world.accept(name, Leave())
        assert study.world.refuse("organiser", study.proposal()) == "bad-office"
