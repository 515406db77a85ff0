"""The noise in a plan is whole numbers, and costs the same whatever anybody votes."""

from __future__ import annotations

from fractions import Fraction

import pytest

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.ledger.contracts.labelling_terms import (
    ConfidentNoise,
    GaussianNoise,
    LabellingTerms,
    LaplaceNoise,
    VoteNoise,
)
from medfed.privacy import PolyaShares, Roster, SkellamShares, SkellamSum, guarantee, renyi_curve
from medfed.privacy.vote_noise import labelling_guarantee, mechanism_of, vote_event, vote_shares

ROSTER = Roster(10, 1)


def test_laplace_noise_of_two_hundred_ten_thousandths_is_gamma_point_zero_two() -> None:
    assert vote_shares(LaplaceNoise(gamma=200), ROSTER) == PolyaShares(gamma=Fraction(2, 100), roster=ROSTER)


def test_what_adult_is_labelled_with_costs_the_published_epsilon() -> None:
    event = vote_event(LaplaceNoise(gamma=200), ROSTER, (500,), 1)
    assert guarantee(event, 1e-5).epsilon == pytest.approx(2.81, abs=0.005)


def test_a_confident_batch_pays_for_every_screen_and_every_answer() -> None:
    noise = ConfidentNoise(screen_variance=900, threshold=60, variance=100)
    both = renyi_curve(vote_event(noise, ROSTER, (7, 3), 1)).values
    screen, answer = (renyi_curve(SkellamSum(variance=v)).values for v in (900.0, 100.0))
    assert both == pytest.approx(7 * screen + 3 * answer)


def test_a_confident_batch_without_answers_still_pays_for_its_screens() -> None:
    noise = ConfidentNoise(screen_variance=900, threshold=60, variance=100)
    assert renyi_curve(vote_event(noise, ROSTER, (7, 0), 1)).values == pytest.approx(
        7 * renyi_curve(SkellamSum(variance=900.0)).values
    )


def test_a_patient_at_two_hospitals_moves_two_votes() -> None:
    shares = SkellamShares(variance=Fraction(100), roster=ROSTER)
    noise = GaussianNoise(variance=100)
    assert renyi_curve(vote_event(noise, ROSTER, (1,), 2)).values == pytest.approx(renyi_curve(shares.event(2)).values)
    assert (
        guarantee(vote_event(noise, ROSTER, (1,), 2), 1e-5).epsilon
        > guarantee(vote_event(noise, ROSTER, (1,), 1), 1e-5).epsilon
    )


@pytest.mark.parametrize(
    "noise",
    [LaplaceNoise(gamma=5), GaussianNoise(variance=5), ConfidentNoise(screen_variance=9, threshold=3, variance=1)],
    ids=mechanism_of,
)
def test_noise_comes_back_from_its_bytes(noise: VoteNoise) -> None:
    assert decode(encode(noise), VoteNoise) == noise  # pyright: ignore[reportArgumentType]


def test_a_labelling_study_costs_its_whole_budget_spare_histograms_included() -> None:
    terms = LabellingTerms(LaplaceNoise(200), (100,), (600,), 1, 1, 1, 3_000_000, 10_000_000_000)
    assert labelling_guarantee(terms, 10).epsilon == guarantee(vote_event(terms.noise, ROSTER, (600,), 1), 1e-5).epsilon


def test_a_stage_that_the_mechanism_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="stage"):
        vote_shares(GaussianNoise(1), ROSTER, 1)


@pytest.mark.parametrize("histograms", [(), (0,), (1, 1)])
def test_histograms_are_counted_stage_by_stage(histograms: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="histograms"):
        vote_event(GaussianNoise(1), ROSTER, histograms, 1)
