"""Rules of `ledger.contracts.keying`: enrolling, pair secrets, complaints, the study roster."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, PHASE_MS, SEVEN, STUDY, StudyWorld, World, make_terms

from medfed.ledger.contracts.keying import ComplainAboutPair, KeysReady, SealPairSecrets
from medfed.ledger.contracts.rounds import escrow_threshold, holders_of
from medfed.ledger.contracts.studies import SealedSecret, enrolment, has_edge, pair_secrets


@pytest.fixture
def world() -> World:
    return World.build()


@pytest.fixture
def study(world: World) -> StudyWorld:
    return StudyWorld(world)


def test_rule_1_who_approved_enrols_once(world: World, study: StudyWorld) -> None:
    study.to_enrolling()
    world.accept("alpha", study.enrolment("alpha", examples=77))
    found = enrolment(world.view, STUDY, "alpha")
    assert found is not None
    assert found.examples == 77
    assert world.refuse("alpha", study.enrolment("alpha")) == "already-enrolled"
    assert world.refuse("user", study.enrolment("user")) == "not-approved"


def test_rule_1_who_did_not_approve_does_not_enrol(world: World, study: StudyWorld) -> None:
    world.accept("organiser", study.proposal())
    for name in FOUR[:3]:
        world.accept(name, study.approval())
    study.advance()
    assert world.refuse("gamma", study.enrolment("gamma")) == "not-approved"
    for name in FOUR[:3]:
        world.accept(name, study.enrolment(name))
    assert study.record.phase == "sealing"


def test_rule_1_the_least_number_of_examples_is_asked_for(world: World, study: StudyWorld) -> None:
    study.to_enrolling()
    assert world.refuse("alpha", study.enrolment("alpha", examples=49)) == "too-few-examples"
    world.accept("alpha", study.enrolment("alpha", examples=50))


def test_rule_1_a_copied_study_key_does_not_keep_its_owner_out(world: World, study: StudyWorld) -> None:
    study.to_enrolling()
    copied = replace(study.enrolment("beta"), study_key=study.enrolment("alpha").study_key)
    world.accept("beta", copied)
    world.accept("alpha", study.enrolment("alpha"))
    assert study.record.enrolled == ("alpha", "beta")


@pytest.mark.parametrize(("count", "phase"), [(2, "aborted"), (3, "sealing")])
def test_rule_1_the_deadline_closes_enrolment(world: World, study: StudyWorld, count: int, phase: str) -> None:
    study.to_enrolling()
    for name in FOUR[:count]:
        world.accept(name, study.enrolment(name))
    study.advance()
    assert study.record.phase == phase


def test_rule_2_secrets_go_from_the_lower_to_every_higher(world: World, study: StudyWorld) -> None:
    study.to_sealing()
    for name in FOUR:
        world.accept(name, study.pair_secrets(name))
    posted = pair_secrets(world.view, STUDY, "beta")
    assert posted is not None
    assert tuple(entry.receiver for entry in posted.secrets) == ("delta", "gamma")
    highest = pair_secrets(world.view, STUDY, "gamma")
    assert highest is not None
    assert highest.secrets == ()
    assert study.record.phase == "confirming"


@pytest.mark.parametrize(
    "receivers",
    [(), ("delta",), ("gamma", "delta"), ("delta", "delta", "gamma"), ("alpha", "delta", "gamma"), ("beta",)],
)
def test_rule_2_no_receiver_is_left_out_added_or_moved(
    world: World, study: StudyWorld, receivers: tuple[str, ...]
) -> None:
    study.to_sealing()
    body = SealPairSecrets(STUDY, tuple(SealedSecret(name, b"sealed") for name in receivers))
    assert world.refuse("beta", body) == "wrong-receivers"


def test_rule_2_secrets_are_posted_once_and_by_the_enrolled(world: World, study: StudyWorld) -> None:
    study.to_sealing()
    world.accept("beta", study.pair_secrets("beta"))
    assert world.refuse("beta", study.pair_secrets("beta")) == "already-sealed"
    assert world.refuse("user", SealPairSecrets(STUDY, ())) == "not-enrolled"


def test_rule_2_who_posts_none_leaves_the_roster_and_no_edge_is_deleted(world: World, study: StudyWorld) -> None:
    study.to_sealing()
    for name in ("alpha", "delta", "gamma"):
        world.accept(name, study.pair_secrets(name))
    study.advance()
    assert (study.record.phase, study.record.sealed) == ("confirming", ("alpha", "delta", "gamma"))
    assert world.refuse("beta", study.pair_secrets("beta")) == "wrong-phase"
    assert world.refuse("beta", KeysReady(STUDY)) == "not-in-study"
    for name in ("alpha", "delta", "gamma"):
        world.accept(name, KeysReady(STUDY))
    assert (study.record.roster, study.record.lost_edges) == (("alpha", "delta", "gamma"), ())


def test_rule_2_too_few_sealers_abort(world: World, study: StudyWorld) -> None:
    study.to_sealing()
    for name in FOUR[:2]:
        world.accept(name, study.pair_secrets(name))
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("aborted", "too-few-sealed")


def test_rule_3_a_complaint_names_a_secret_that_was_posted_to_the_complainer(world: World, study: StudyWorld) -> None:
    study.to_confirming()
    assert world.refuse("beta", ComplainAboutPair(STUDY, "delta")) == "no-such-secret"  # the higher posts none
    assert world.refuse("beta", ComplainAboutPair(STUDY, "beta")) == "no-such-secret"
    assert world.refuse("beta", ComplainAboutPair(STUDY, "aaron")) == "no-such-secret"
    assert world.refuse("user", ComplainAboutPair(STUDY, "alpha")) == "not-in-study"
    world.accept("beta", ComplainAboutPair(STUDY, "alpha"))
    assert world.refuse("beta", ComplainAboutPair(STUDY, "alpha")) == "already-complained"
    world.accept("beta", KeysReady(STUDY))
    assert world.refuse("beta", ComplainAboutPair(STUDY, "alpha")) == "already-ready"


def test_rule_3_a_complaint_deletes_that_edge_alone(world: World, study: StudyWorld) -> None:
    study.to_running(("beta", "alpha"))
    assert study.record.lost_edges == (("alpha", "beta"),)
    assert study.record.roster == FOUR
    assert not has_edge(study.record, "beta", "alpha")
    assert has_edge(study.record, "gamma", "alpha")
    assert holders_of(study.record, "alpha") == ("delta", "gamma")
    assert holders_of(study.record, "gamma") == ("alpha", "beta", "delta")


def test_rule_3_who_lost_more_than_a_third_of_its_edges_leaves_without_cascade() -> None:
    """Of 6 edges gamma loses 3: out. The three others lose one each and stay, also of the 5 that are left."""
    world = World.build(SEVEN)
    study = StudyWorld(world, make_terms(SEVEN)).to_running(("gamma", "alpha"), ("gamma", "beta"), ("gamma", "delta"))
    assert study.record.roster == tuple(name for name in SEVEN if name != "gamma")
    assert study.record.lost_edges == ()


def test_rule_3_a_third_of_the_edges_may_be_lost() -> None:
    world = World.build(SEVEN)
    study = StudyWorld(world, make_terms(SEVEN)).to_running(("gamma", "alpha"), ("gamma", "beta"))
    assert study.record.roster == SEVEN
    assert escrow_threshold(study.record, "gamma") == 4
    assert escrow_threshold(study.record, "zeta") == study.terms.quorum


def test_rule_3_lost_edges_are_counted_once_without_cascade() -> None:
    """Eta and gamma complain about alpha and beta and about each other: each loses 3 of 6, alpha and beta 2."""
    world = World.build(SEVEN)
    complaints = (
        ("eta", "alpha"),
        ("eta", "beta"),
        ("gamma", "alpha"),
        ("gamma", "beta"),
        ("gamma", "eta"),
    )
    study = StudyWorld(world, make_terms(SEVEN)).to_running(*complaints)
    assert study.record.roster == ("alpha", "beta", "delta", "epsilon", "zeta")


def test_rule_3_among_three_one_complaint_aborts(world: World) -> None:
    study = StudyWorld(world, make_terms(FOUR[:3])).to_running(("beta", "alpha"))
    assert (study.record.phase, study.record.pause_code) == ("aborted", "pair-complaint-among-three")


def test_rule_3_among_three_that_are_left_a_lost_edge_aborts_too(world: World, study: StudyWorld) -> None:
    """Four sealed; the fourth does not confirm its keys. With the edge alpha-beta lost among the three that remain,
    alpha's escrow would have delta as its only holder, and one share would open it: a threshold of one."""
    study.to_confirming()
    world.accept("beta", ComplainAboutPair(STUDY, "alpha"))
    for name in ("alpha", "beta", "delta"):
        world.accept(name, KeysReady(STUDY))
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("aborted", "pair-complaint-among-three")


def test_rule_3_a_complaint_about_one_who_then_leaves_costs_nobody_anything(world: World, study: StudyWorld) -> None:
    study.to_confirming()
    world.accept("gamma", ComplainAboutPair(STUDY, "alpha"))
    for name in ("alpha", "beta", "delta"):
        world.accept(name, KeysReady(STUDY))
    study.advance()
    assert (study.record.phase, study.record.roster) == ("running", ("alpha", "beta", "delta"))
    assert study.record.lost_edges == ()


def test_rule_4_who_does_not_confirm_its_keys_leaves(world: World, study: StudyWorld) -> None:
    study.to_confirming()
    for name in ("alpha", "beta", "gamma"):
        world.accept(name, KeysReady(STUDY))
    assert study.record.phase == "confirming"
    study.advance()
    assert study.record.roster == ("alpha", "beta", "gamma")
    assert study.round.roster == ("alpha", "beta", "gamma")
    assert world.refuse("delta", KeysReady(STUDY)) == "wrong-phase"


def test_rule_4_too_few_with_keys_abort(world: World, study: StudyWorld) -> None:
    study.to_confirming()
    for name in ("alpha", "beta"):
        world.accept(name, KeysReady(STUDY))
    study.advance()
    assert (study.record.phase, study.record.pause_code) == ("aborted", "too-few-with-keys")


def test_rule_4_keys_are_confirmed_once(world: World, study: StudyWorld) -> None:
    study.to_confirming()
    world.accept("alpha", KeysReady(STUDY))
    assert world.refuse("alpha", KeysReady(STUDY)) == "already-ready"


@pytest.mark.parametrize("size", range(3, 8))
def test_no_escrow_can_be_opened_by_one_share_whatever_is_complained_about(size: int) -> None:
    """The most complaints that keep everybody in, then as many absentees as the quorum allows."""
    names = SEVEN[:size]
    allowed = (size - 1) // 3
    for missing in range(size):
        for victim in range(size - 1):
            world = World.build(SEVEN)
            study = StudyWorld(world, make_terms(names)).to_confirming()
            for complainer in names[victim + 1 :][:allowed]:
                world.accept(complainer, ComplainAboutPair(STUDY, names[victim]))
            absent = set(names[size - missing :])
            for name in names:
                if name not in absent:
                    world.accept(name, KeysReady(STUDY))
            if missing:
                study.advance()
            record = study.record
            assert all(escrow_threshold(record, owner) >= 2 for owner in record.roster if record.phase == "running")


def test_both_phases_of_keying_last_as_long_as_the_plan_says() -> None:
    study = StudyWorld(World.build()).to_sealing()
    assert study.record.deadline_ms == study.world.clock.now_ms + PHASE_MS
    study.world.clock.now_ms += 1_000
    for name in study.names:
        study.world.accept(name, study.pair_secrets(name))
    assert study.record.phase == "confirming"
    assert study.record.deadline_ms == study.world.clock.now_ms + PHASE_MS


@pytest.mark.parametrize("leaves", ["alpha", "beta"])
def test_an_edge_is_forgotten_with_either_of_its_ends(leaves: str) -> None:
    study = StudyWorld(World.build(SEVEN), make_terms(SEVEN)).to_confirming()
    study.world.accept("beta", ComplainAboutPair(STUDY, "alpha"))
    for name in SEVEN:
        if name != leaves:
            study.world.accept(name, KeysReady(STUDY))
    study.advance()
    assert leaves not in study.record.roster
    assert study.record.lost_edges == ()
