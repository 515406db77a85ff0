"""Rules of `ledger.contracts.reveals`: seeds by their owners or from escrow, released or failed, never voided."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, STUDY, StudyWorld, World, make_terms

from medfed.encoding import encode
from medfed.ledger.contracts.deadlines import ResumeStudy
from medfed.ledger.contracts.reveals import OpenedShare, PairSeed, Seeds, posted_shares, seeds
from medfed.ledger.contracts.rounds import escrow_threshold, round_record
from medfed.ledger.contracts.studies import Rejoin, eligible, missed_rounds
from medfed.ledger.contracts.terms import Step


@pytest.fixture
def world() -> World:
    return World.build()


@pytest.fixture
def study(world: World) -> StudyWorld:
    return StudyWorld(world, make_terms(steps=(Step("training", 4),))).to_running()


def shares_due(
    study: StudyWorld,
    silent: str,
    *,
    dropped: str | None = None,
    contents: bytes | None = None,
    threshold: int | None = None,
) -> None:
    """All but `silent` have revealed and the deadline has passed; `contents` and `threshold` are of its escrow."""
    study.update_all(without=[dropped] if dropped else [])
    study.world.accept(silent, study.confirmation(silent, contents=contents, threshold=threshold))
    study.confirm_all(without=[silent])
    study.reveal_all(without=[silent]).advance()
    assert study.round.shares_due


def test_rule_1_all_reveals_release_the_round(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all()
    for name in FOUR[:3]:
        world.accept(name, study.reveal(name))
        assert study.round.phase == "reveal"
    mine = study.reveal("gamma")
    world.accept("gamma", mine)
    released = round_record(world.view, STUDY, 0)
    assert released is not None
    assert (released.phase, released.revealed) == ("released", FOUR)
    assert seeds(world.view, STUDY, 0, 0, "gamma") == Seeds(mine.self_seed, ())
    assert study.round.number == 1


def test_rule_1_only_survivors_reveal_each_once(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"]).confirm_all()
    world.accept("alpha", study.reveal("alpha"))
    assert world.refuse("alpha", study.reveal("alpha")) == "already-revealed"
    assert world.refuse("gamma", study.reveal("gamma")) == "not-a-survivor"
    assert world.refuse("user", study.reveal("user")) == "not-a-survivor"


def test_rule_1_the_self_seed_matches_its_commitment(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all()
    good = study.reveal("alpha")
    assert world.refuse("alpha", replace(good, self_seed=bytes(32))) == "wrong-seeds"
    assert world.refuse("alpha", replace(good, self_seed=study.self_seed("beta"))) == "wrong-seeds"
    world.accept("alpha", good)


def test_rule_1_the_pair_seeds_are_exactly_those_with_the_dropped(world: World, study: StudyWorld) -> None:
    study.update_all(without=["delta"]).confirm_all()
    good = study.reveal("alpha")
    assert [pair.name for pair in good.pair_seeds] == ["delta"]
    survivor, twice = PairSeed("beta", bytes(32)), PairSeed("delta", bytes(32))
    for pairs in ((), (survivor,), (survivor, *good.pair_seeds), (*good.pair_seeds, twice)):
        assert world.refuse("alpha", replace(good, pair_seeds=pairs)) == "wrong-seeds"
    world.accept("alpha", good)


def test_rule_1_no_pair_seed_is_owed_where_the_edge_was_lost(world: World) -> None:
    study = StudyWorld(world, make_terms(steps=(Step("training", 4),))).to_running(("delta", "alpha"))
    study.update_all(without=["delta"]).confirm_all()
    assert study.reveal("alpha").pair_seeds == ()
    assert [pair.name for pair in study.reveal("beta").pair_seeds] == ["delta"]
    study.reveal_all()
    assert study.round.number == 1


def test_rule_2_shares_are_due_only_past_the_deadline(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all()
    assert world.refuse("beta", study.shares("beta", "alpha")) == "too-early"
    study.reveal_all(without=["alpha"])
    assert world.refuse("beta", study.shares("beta", "alpha")) == "too-early"
    study.advance()
    assert study.round.shares_due
    world.accept("beta", study.shares("beta", "alpha"))


def test_rule_2_a_share_matches_the_digest_that_the_owner_posted(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha")
    good = study.shares("beta", "alpha")
    (mine,) = good.shares
    (others,) = study.shares("delta", "alpha").shares
    for wrong in (OpenedShare("alpha", bytes(33)), others, OpenedShare("alpha", mine.share[:-1] + b"\0")):
        if wrong != mine:
            assert world.refuse("beta", replace(good, shares=(wrong,))) == "wrong-share"
    world.accept("beta", good)
    assert posted_shares(world.view, STUDY, 0, 0, "alpha") == {"beta": mine.share}


def test_rule_2_a_share_is_posted_once_and_by_its_holder(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha")
    good = study.shares("beta", "alpha")
    assert world.refuse("delta", good) == "wrong-share"
    assert world.refuse("user", good) == "not-in-study"
    assert world.refuse("alpha", good) == "wrong-share"
    assert world.refuse("beta", replace(good, shares=good.shares * 2)) == "already-posted"
    world.accept("beta", good)
    assert world.refuse("beta", good) == "already-posted"


def test_rule_2_no_share_is_due_of_one_who_has_revealed_or_was_dropped(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha", dropped="gamma")
    assert world.refuse("delta", study.shares("delta", "beta")) == "share-not-due"
    body = replace(study.shares("delta", "alpha"), shares=(OpenedShare("gamma", bytes(33)),))
    assert world.refuse("delta", body) == "share-not-due"


def test_rule_2_one_wrong_share_among_several_posts_none(world: World, study: StudyWorld) -> None:
    study.update_all().confirm_all().reveal_all(without=["alpha", "beta"]).advance()
    good = study.shares("delta", "alpha", "beta")
    bad = replace(good, shares=(good.shares[0], OpenedShare("beta", bytes(33))))
    assert world.refuse("delta", bad) == "wrong-share"
    assert posted_shares(world.view, STUDY, 0, 0, "alpha") == {}


def test_rule_3_the_threshold_of_shares_opens_the_escrow_and_releases(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha", dropped="gamma")
    expected = study.seeds("alpha")
    assert escrow_threshold(study.record, "alpha") == 3
    for holder in ("beta", "delta", "gamma"):  # gamma was left out and owes its share all the same
        assert study.round.phase == "reveal"
        world.accept(holder, study.shares(holder, "alpha"))
    assert seeds(world.view, STUDY, 0, 0, "alpha") == expected
    released = round_record(world.view, STUDY, 0)
    assert released is not None
    assert (released.phase, study.round.number) == ("released", 1)
    assert missed_rounds(study.record, "alpha") == 0


def test_rule_3_several_owners_are_recovered_by_the_same_shares(world: World, study: StudyWorld) -> None:
    study.update_all(without=["gamma"]).confirm_all().reveal_all(without=["alpha", "beta"]).advance()
    world.accept("delta", study.shares("delta", "alpha", "beta"))
    world.accept("gamma", study.shares("gamma", "beta", "alpha"))
    world.accept("beta", study.shares("beta", "alpha"))
    assert study.round.revealed == ("alpha", "delta")
    world.accept("alpha", study.shares("alpha", "beta"))
    assert study.round.number == 1


def test_rule_3_with_three_hospitals_the_other_two_open_the_escrow() -> None:
    study = StudyWorld(World.build(), make_terms(FOUR[:3], steps=(Step("training", 4),))).to_running()
    shares_due(study, "alpha")
    assert escrow_threshold(study.record, "alpha") == 2
    study.world.accept("beta", study.shares("beta", "alpha"))
    study.world.accept("delta", study.shares("delta", "alpha"))
    assert study.round.number == 1


def test_rule_3_an_escrow_that_fewer_shares_would_have_opened_is_not_wrong(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha", threshold=2)
    for holder in ("beta", "delta", "gamma"):
        world.accept(holder, study.shares(holder, "alpha"))
    assert study.round.number == 1


@pytest.mark.parametrize(
    "contents",
    [b"garbage", encode(Seeds(bytes(32), ())), b""],
    ids=["garbage", "another self seed", "nothing"],
)
def test_rule_3_a_bad_escrow_removes_its_maker_and_fails_the_round(
    world: World, study: StudyWorld, contents: bytes
) -> None:
    shares_due(study, "alpha", contents=contents)
    for holder in ("beta", "delta", "gamma"):
        world.accept(holder, study.shares(holder, "alpha"))
    assert study.record.expelled == ("alpha",)
    assert (study.round.phase, study.record.phase, study.record.pause_code) == ("failed", "paused", "bad-escrow")


@pytest.mark.parametrize("pairs", [(), ("beta",), ("beta", "gamma"), ("gamma", "gamma")])
def test_rule_3_an_escrow_without_exactly_the_dropped_is_bad(
    world: World, study: StudyWorld, pairs: tuple[str, ...]
) -> None:
    study.update_all(without=["gamma"])
    contents = encode(Seeds(study.self_seed("alpha"), tuple(PairSeed(name, bytes(32)) for name in pairs)))
    for name in study.round.survivors:
        world.accept(name, study.confirmation(name, contents=contents if name == "alpha" else None))
    study.reveal_all(without=["alpha"]).advance()
    for holder in ("beta", "delta", "gamma"):
        world.accept(holder, study.shares(holder, "alpha"))
    assert study.record.expelled == ("alpha",)


def test_rule_3_who_was_removed_is_in_no_later_round_and_cannot_rejoin(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha", contents=b"garbage")
    for holder in ("beta", "delta", "gamma"):
        world.accept(holder, study.shares(holder, "alpha"))
    assert eligible(world.view, study.record) == ("beta", "delta", "gamma")
    assert world.refuse("alpha", Rejoin(STUDY)) == "not-in-study"
    for name in ("beta", "delta", "gamma"):
        world.accept(name, ResumeStudy(STUDY))
    assert (study.round.number, study.round.roster) == (1, ("beta", "delta", "gamma"))
    study.run_round()
    assert world.refuse("alpha", Rejoin(STUDY)) == "not-in-study"
    assert study.round.roster == ("beta", "delta", "gamma")


def test_rule_3_who_was_removed_has_no_vote_on_the_studys_pauses(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha", contents=b"garbage")
    for holder in ("beta", "delta", "gamma"):
        world.accept(holder, study.shares(holder, "alpha"))
    assert world.refuse("alpha", ResumeStudy(STUDY)) == "not-in-study"


def test_rule_3_seeds_that_were_recovered_with_the_bad_ones_count_for_their_owner(world: World) -> None:
    """Alpha's escrow is bad and beta's is good; the last share of both comes in one transaction."""
    study = StudyWorld(world, make_terms(steps=(Step("training", 4),))).to_running()
    study.update_all()
    for name in FOUR:
        world.accept(name, study.confirmation(name, contents=b"garbage" if name == "alpha" else None))
    study.reveal_all(without=["alpha", "beta"]).advance()
    world.accept("beta", study.shares("beta", "alpha"))
    world.accept("alpha", study.shares("alpha", "beta"))
    world.accept("delta", study.shares("delta", "alpha", "beta"))
    world.accept("gamma", study.shares("gamma", "beta", "alpha"))
    assert (study.record.expelled, study.record.pause_code) == (("alpha",), "bad-escrow")
    assert missed_rounds(study.record, "beta") == 0


def test_rule_4_a_late_reveal_counts_until_the_round_is_done(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha")
    world.accept("beta", study.shares("beta", "alpha"))
    world.accept("alpha", study.reveal("alpha"))
    assert study.round.number == 1


def test_rule_4_at_the_limit_the_round_has_failed_and_nothing_more_is_taken(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha")
    late = study.reveal("alpha")
    world.accept("beta", study.shares("beta", "alpha"))
    study.advance()
    assert (study.round.phase, study.record.phase, study.record.pause_code) == ("failed", "paused", "seeds-missing")
    assert study.record.expelled == ()
    assert world.refuse("alpha", late) == "wrong-phase"
    assert study.record.step == study.record.done_in_step == 0


def test_rule_4_what_reached_reveal_is_never_retried(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha")
    study.advance()
    for name in FOUR[:3]:
        world.accept(name, ResumeStudy(STUDY))
    assert (study.round.number, study.round.attempt) == (1, 0)
    failed = round_record(world.view, STUDY, 0)
    assert failed is not None
    assert (failed.phase, failed.attempt) == ("failed", 0)


def test_rule_4_whose_seeds_were_missing_must_say_that_it_is_back(world: World, study: StudyWorld) -> None:
    shares_due(study, "alpha")
    study.advance()
    assert eligible(world.view, study.record) == ("beta", "delta", "gamma")
    world.accept("alpha", Rejoin(STUDY))
    assert eligible(world.view, study.record) == FOUR
