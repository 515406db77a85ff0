"""Rules of `ledger.contracts.labelling`: noisy histograms are counted, and no more are released than was approved."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, STUDY, StudyWorld, World, make_terms

from medfed.encoding import encode
from medfed.errors import Refused
from medfed.ledger.contracts.deadlines import ResumeStudy
from medfed.ledger.contracts.labelling import VotesRound, charge_votes, is_affordable, spent, votes_round
from medfed.ledger.contracts.labelling_terms import ConfidentNoise, GaussianNoise, LabellingTerms, LaplaceNoise
from medfed.ledger.contracts.rewards import study_points
from medfed.ledger.contracts.studies import Rejoin
from medfed.ledger.contracts.terms import Step, Terms
from medfed.ledger.state import Overlay

PLAIN: dict[str, Any] = {
    "noise": LaplaceNoise(200),
    "sizes": (50,),
    "budget": (150,),
    "dropouts": 1,
    "colluding": 1,
    "attended": 1,
    "epsilon": 1_000_000,
    "delta": 10_000_000_000,
}


def _terms(count: int = 2, steps: tuple[Step, ...] | None = None, **changed: Any) -> Terms:
    terms = make_terms(steps=steps if steps is not None else (Step("votes", count),))
    return replace(terms, labelling=LabellingTerms(**(PLAIN | changed)))


def _confident(count: int = 4, **changed: Any) -> Terms:
    noise = ConfidentNoise(screen_variance=900, threshold=60, variance=100)
    return _terms(count, **({"noise": noise, "sizes": (50, 20), "budget": (100, 40)} | changed))


def _running(terms: Terms) -> StudyWorld:
    return StudyWorld(World.build(), terms).to_running()


def _spent(study: StudyWorld) -> tuple[int, ...]:
    return spent(study.world.view, study.record).histograms


def test_terms_without_labelling_have_the_bytes_that_they_always_had() -> None:
    assert b"labelling" not in encode(make_terms())
    assert b"labelling" in encode(_terms())


@pytest.mark.parametrize(
    "terms",
    [
        make_terms(steps=(Step("votes"),)),
        _terms(steps=(Step("statistics"), Step("votes"))),
        _terms(steps=(Step("votes"), Step("votes"))),
        _terms(noise=ConfidentNoise(900, 60, 100)),
        _terms(sizes=(50, 50)),
        _terms(budget=(99,)),
        _terms(dropouts=3),
        _terms(colluding=4),
        _terms(attended=5),
        _confident(count=3),
        _confident(budget=(100, 39)),
    ],
    ids=[
        "votes without terms",
        "other rounds beside votes",
        "two steps",
        "one size for two stages",
        "two sizes for one stage",
        "budget below the plan",
        "nobody holds the noise",
        "all collude",
        "more attended than invited",
        "half a batch",
        "second budget below the plan",
    ],
)
def test_rule_1_terms_that_do_not_hold_together_are_refused(terms: Terms) -> None:
    study = StudyWorld(World.build(), terms)
    assert study.world.refuse("organiser", study.proposal()) == "bad-terms"


@pytest.mark.parametrize(
    "changed",
    [
        {"attended": 4},
        {"dropouts": 2, "colluding": 1},
        {"dropouts": 1, "colluding": 2},
        {"budget": (100,)},
        {"dropouts": 1},
    ],
    ids=["attended", "dropouts", "colluding", "budget", "quorum"],
)
def test_rule_1_terms_at_their_limits_are_taken(changed: dict[str, Any]) -> None:
    study = StudyWorld(World.build(), _terms(**changed))
    study.world.accept("organiser", study.proposal())


def test_rule_1_the_stages_of_a_batch_follow_each_other() -> None:
    study = _running(_confident())
    seen: list[VotesRound] = []
    while study.record.phase == "running":
        found = votes_round(study.world.view, STUDY, study.round.number)
        assert found is not None
        seen.append(found)
        study.run_round()
    assert [(v.batch, v.stage, v.histograms) for v in seen] == [(0, 0, 50), (0, 1, 20), (1, 0, 50), (1, 1, 20)]
    assert _spent(study) == (100, 40)


def test_rule_2_a_quorum_that_allows_more_to_be_missing_than_the_noise_does_is_refused() -> None:
    terms = replace(_terms(dropouts=0), quorum=3)
    study = StudyWorld(World.build(), terms)
    assert study.world.refuse("organiser", study.proposal()) == "bad-terms"
    assert StudyWorld(World.build(), replace(terms, quorum=4)).to_running().record.phase == "running"


def test_rule_3_the_batch_that_would_pass_the_budget_is_not_opened() -> None:
    study = _running(_terms(budget=(100,)))
    study.update_all().confirm_all()
    fail(study)
    resume(study)
    study.run_round()  # the first batch again
    assert _spent(study) == (100,)
    assert (study.record.phase, study.record.pause_code) == ("paused", "budget-spent")
    resume(study)
    assert (study.record.phase, study.record.pause_code) == ("paused", "budget-spent")
    assert _spent(study) == (100,)


def test_rule_4_a_round_is_charged_when_all_survivors_have_confirmed_and_not_before() -> None:
    study = _running(_terms()).update_all()
    assert _spent(study) == (0,)
    for name in FOUR[:3]:
        study.world.accept(name, study.confirmation(name))
        assert _spent(study) == (0,)
    study.world.accept("gamma", study.confirmation("gamma"))
    assert _spent(study) == (50,)
    record = votes_round(study.world.view, STUDY, 0)
    assert record is not None
    assert record.charged
    study.reveal_all()
    assert _spent(study) == (50,)


def test_rule_4_a_void_attempt_costs_nothing() -> None:
    study = _running(_terms()).update_all()
    study.confirm_all(without=("gamma",)).advance()
    assert _spent(study) == (0,)
    study.run_round()
    assert study.record.next_round == 2
    assert _spent(study) == (50,)


def test_rule_4_a_failed_round_stays_charged() -> None:
    study = _running(_terms()).update_all().confirm_all()
    fail(study)
    assert _spent(study) == (50,)
    resume(study)
    assert votes_round(study.world.view, STUDY, 1) == VotesRound(0, 0, 50)
    study.run_round()
    assert _spent(study) == (100,)


def test_a_labelling_study_ends_like_any_other() -> None:
    study = _running(_terms()).to_agreeing().to_completed()
    assert study.record.phase == "completed"
    assert {study_points(study.world.view, STUDY, name) for name in FOUR} <= {0, 5, 10}


def test_a_study_without_labelling_charges_nothing() -> None:
    study = StudyWorld(World.build()).to_running().run_round()
    assert votes_round(study.world.view, STUDY, 0) is None


def test_gaussian_noise_goes_the_same_way() -> None:
    study = _running(_terms(noise=GaussianNoise(1600))).run_round()
    assert _spent(study) == (50,)


def fail(study: StudyWorld) -> None:
    """One does not reveal, and not enough shares come; it is back for the next round."""
    study.reveal_all(without=("gamma",))
    while study.round.phase == "reveal":
        study.advance()
    study.world.accept("gamma", Rejoin(STUDY))


def resume(study: StudyWorld) -> None:
    for name in study.record.roster:
        if study.record.phase == "paused" and name not in study.record.resume_votes:
            if len(study.record.resume_votes) >= study.terms.quorum:
                break
            study.world.accept(name, ResumeStudy(STUDY))


def _charged(study: StudyWorld, times: int, survivors: int = 4) -> Overlay:
    overlay = Overlay(study.world.view.state)
    for _ in range(times):
        charge_votes(overlay, study.record, 0, survivors)
    return overlay


def test_rule_4_what_would_pass_the_budget_is_never_charged() -> None:
    """The contract opens no such round; it would not count it either."""
    study = _running(_terms())
    assert spent(_charged(study, 3), study.record).histograms == (150,)
    with pytest.raises(Refused) as refused:
        _charged(study, 4)
    assert refused.value.code == "budget-spent"


def test_rule_4_a_sum_over_too_few_is_never_charged() -> None:
    study = _running(_terms(dropouts=1))
    assert spent(_charged(study, 1, survivors=3), study.record).histograms == (50,)
    with pytest.raises(Refused) as refused:
        _charged(study, 1, survivors=2)
    assert refused.value.code == "too-little-noise"


def test_only_a_votes_round_of_a_labelling_study_is_charged() -> None:
    study = _running(_terms())
    with pytest.raises(Refused) as refused:
        charge_votes(Overlay(study.world.view.state), study.record, 7, 4)
    assert refused.value.code == "no-votes-round"
    plain = StudyWorld(World.build()).to_running()
    for ask in (lambda: charge_votes(Overlay(plain.world.view.state), plain.record, 0, 4),
                lambda: spent(plain.world.view, plain.record)):  # fmt: skip
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.code == "not-labelling"


def test_rule_3_the_last_batch_that_the_budget_covers_is_affordable_and_no_more() -> None:
    study = _running(_terms())
    assert is_affordable(_charged(study, 2), study.record)
    assert not is_affordable(_charged(study, 3), study.record)
    confident = _running(_confident())
    second = replace(confident.record, done_in_step=1)
    overlay = _charged(confident, 2)
    assert not is_affordable(overlay, confident.record)
    assert is_affordable(overlay, second), "the answers have a budget of their own"
