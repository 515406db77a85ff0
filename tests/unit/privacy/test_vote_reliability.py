"""How reliable noisy votes are, against sampling the very noise that hospitals add."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.privacy import PolyaShares, Roster, SkellamShares
from medfed.privacy.vote_noise import VoteShares as Shares
from medfed.privacy.vote_reliability import noise_law, share_correct, share_passing, split_votes

ROSTER = Roster(4, 1)
SHARES: list[Shares] = [
    PolyaShares(gamma=Fraction(1, 5), roster=ROSTER),
    SkellamShares(variance=Fraction(40), roster=ROSTER),
]
each_noise = pytest.mark.parametrize("shares", SHARES, ids=["laplace", "gaussian"])


def _total(shares: Shares, count: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return sum((shares.draw(count, rng.bytes) for _ in range(ROSTER.hospitals)), np.zeros(count, dtype=np.int64))


@each_noise
def test_the_law_is_that_of_all_shares_together(shares: Shares) -> None:
    drawn = _total(shares, 40_000)
    law = noise_law(shares)
    values = np.arange(-law.reach, law.reach + 1)
    assert float((law.probability * values**2).sum()) == pytest.approx(float(np.square(drawn).mean()), rel=0.05)
    for value in (-12, -3, 0, 1, 8):
        assert law.below_or_at(value) == pytest.approx(float((drawn <= value).mean()), abs=0.01)


@each_noise
def test_the_share_of_right_answers_is_what_sampling_gives(shares: Shares) -> None:
    top, others = split_votes(40, 3, 0.6)
    votes = np.array([top, *others])
    noisy = votes + np.stack([_total(shares, 20_000 * 3).reshape(-1, 3)], axis=0)[0]
    wins = (noisy[:, :1] > noisy[:, 1:]).all(axis=1).mean()
    assert share_correct(noise_law(shares), 40, 3, 0.6) == pytest.approx(float(wins), abs=0.012)
    passes = (noisy.max(axis=1) >= 28).mean()
    assert share_passing(noise_law(shares), 40, 3, 0.6, 28) == pytest.approx(float(passes), abs=0.012)


def test_without_noise_to_speak_of_the_majority_always_wins() -> None:
    law = noise_law(PolyaShares(gamma=Fraction(50), roster=ROSTER))
    assert share_correct(law, 100, 2, 0.55) == pytest.approx(1.0)


def test_all_votes_are_given_to_some_class() -> None:
    top, others = split_votes(101, 4, 0.5)
    assert top + others.sum() == 101
    assert others.max() - others.min() <= 1


def test_an_agreement_at_which_nobody_wins_is_refused() -> None:
    with pytest.raises(InvalidInput, match="agreement"):
        split_votes(10, 2, 0.5)
