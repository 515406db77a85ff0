"""Noisy votes: what a hospital adds, and what the totals of all mean."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.pate.votes import VOTES, are_plausible, noisy_votes, pass_threshold, vote_manifest, winners
from medfed.privacy import PolyaShares, Roster, SkellamShares
from medfed.privacy.vote_noise import VoteShares
from medfed.secure_sum import decode_sum, encode_vector

ROSTER = Roster(10, 1)
each_noise = pytest.mark.parametrize(
    "shares",
    [PolyaShares(Fraction(1, 50), ROSTER), SkellamShares(Fraction(1600), ROSTER)],
    ids=["laplace", "gaussian"],
)


def _histograms(cases: int, voters: int = 25, classes: int = 3) -> np.ndarray:
    rng = np.random.default_rng(8)
    return rng.multinomial(voters, [1 / classes] * classes, size=cases)


def _totals(shares: VoteShares, cases: int = 200, hospitals: int = 10) -> np.ndarray:
    rng = np.random.default_rng(5)
    parts = [noisy_votes(_histograms(cases), shares, rng.bytes)[VOTES] for _ in range(hospitals)]
    return np.sum(parts, axis=0).reshape(cases, 3)


@each_noise
def test_the_sum_of_all_contributions_comes_out_of_the_secure_sum_s_vector(shares: VoteShares) -> None:
    manifest = vote_manifest(shares, 200, 3, 25)
    rng = np.random.default_rng(5)
    total = np.zeros(manifest.length, dtype=np.uint32)
    for _ in range(10):
        vector, clipped = encode_vector(manifest, noisy_votes(_histograms(200), shares, rng.bytes), (1, 10), 10)
        total += vector
        assert clipped == 0
    assert np.array_equal(decode_sum(manifest, total, (10, 10), 10)[VOTES].reshape(200, 3), _totals(shares))


@each_noise
def test_the_noise_of_one_hospital_missing_is_still_what_was_promised(shares: VoteShares) -> None:
    rng = np.random.default_rng(6)
    zero = np.zeros((20_000, 1), dtype=np.int64)
    # Nine have survived, one of them knows its own share: eight shares are the whole noise.
    drawn = np.sum([noisy_votes(zero, shares, rng.bytes)[VOTES] for _ in range(8)], axis=0)
    promised = 1600.0 if isinstance(shares, SkellamShares) else 1 / (np.cosh(0.02) - 1)
    assert float(np.square(drawn).mean()) == pytest.approx(promised, rel=0.06)


@each_noise
def test_honest_totals_are_plausible_and_added_votes_are_not(shares: VoteShares) -> None:
    totals = _totals(shares)
    assert are_plausible(totals, 250, shares)
    assert not are_plausible(totals, 2500, shares)
    crafted = totals.copy()
    crafted[17, 2] += 20_000
    assert not are_plausible(crafted, 250, shares)
    crafted = totals.copy()
    crafted[17] += [20_000, -20_000, 0]
    assert not are_plausible(crafted, 250, shares)


def test_the_largest_count_is_the_label_and_of_equals_the_lowest() -> None:
    assert list(winners(np.array([[3, 5, 1], [4, 4, 0], [-9, -8, -7]]))) == [1, 0, 2]


def test_cases_at_the_threshold_pass_in_order_and_no_more_than_may() -> None:
    totals = np.array([[10, 0], [9, 1], [3, 10], [0, 50], [11, 2]])
    assert list(pass_threshold(totals, 10, 10)) == [0, 2, 3, 4]
    assert list(pass_threshold(totals, 10, 2)) == [0, 2]
    assert list(pass_threshold(totals, 60, 2)) == []


def test_votes_that_are_no_counts_are_refused() -> None:
    shares = SkellamShares(Fraction(4), ROSTER)
    for bad in (np.array([1, 2]), np.array([[-1, 2]]), np.array([[0.5, 2]])):
        with pytest.raises(InvalidInput, match="counts"):
            noisy_votes(bad, shares, np.random.default_rng(0).bytes)


def test_a_sum_that_could_wrap_is_refused() -> None:
    with pytest.raises(InvalidInput, match="bound"):
        vote_manifest(SkellamShares(Fraction(4), ROSTER), 10, 2, 2**29)
