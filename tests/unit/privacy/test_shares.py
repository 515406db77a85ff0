"""Any N - t shares are the promised noise, exactly; more shares are that and some more."""

from __future__ import annotations

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from tests.support import noise_laws
from tests.support.noise_laws import Pmf

from medfed.crypto import seeded_entropy, system_entropy
from medfed.errors import InvalidInput
from medfed.privacy.events import DiscreteLaplaceSum, SkellamSum
from medfed.privacy.laws import NegativeBinomial, Poisson
from medfed.privacy.shares import PolyaShares, Roster, SkellamShares

ROSTER = Roster(hospitals=6, dropouts=1, colluding=2)


def _difference_of(pmf: Pmf, reach: int) -> dict[int, mp.mpf]:
    one = {k: pmf(k) for k in range(reach)}
    return noise_laws.convolve(one, {-k: p for k, p in one.items()})


def _sum_of(share: dict[int, mp.mpf], holders: int) -> dict[int, mp.mpf]:
    total = share
    for _ in range(holders - 1):
        total = noise_laws.convolve(total, share)
    return total


def test_as_many_polya_shares_as_must_hold_sum_to_discrete_laplace_exactly() -> None:
    shares = PolyaShares(Fraction(2), ROSTER)
    assert shares.law == NegativeBinomial(Fraction(1, 3), Fraction(2))
    with mp.workdps(30):
        total = _sum_of(_difference_of(noise_laws.negative_binomial(shares.law.r, shares.law.rate), 22), ROSTER.holders)
        whole = noise_laws.discrete_laplace(2)
        for k in range(-8, 9):
            assert abs(total[k] / whole(k) - 1) < mp.mpf(10) ** -11


def test_as_many_skellam_shares_as_must_hold_sum_to_the_whole_skellam_exactly() -> None:
    shares = SkellamShares(Fraction(3), ROSTER)
    assert shares.law == Poisson(Fraction(1, 2))
    with mp.workdps(30):
        total = _sum_of(_difference_of(noise_laws.poisson(shares.law.mean), 20), ROSTER.holders)
        whole = noise_laws.skellam(3)
        for k in range(-8, 9):
            assert abs(total[k] / whole(k) - 1) < mp.mpf(10) ** -11


def test_drawn_polya_shares_of_the_holders_fit_discrete_laplace() -> None:
    shares = PolyaShares(Fraction(1, 5), Roster(hospitals=10, dropouts=1))
    total = sum(shares.draw(3000, seeded_entropy(b"polya" + bytes([i]))) for i in range(8))
    with mp.workdps(20):
        assert noise_laws.fit_probability(total, noise_laws.discrete_laplace(Fraction(1, 5))) > 1e-4


def test_drawn_skellam_shares_of_the_holders_fit_the_whole_skellam() -> None:
    shares = SkellamShares(Fraction(25), Roster(hospitals=10, dropouts=1))
    total = sum(shares.draw(3000, seeded_entropy(b"skellam" + bytes([i]))) for i in range(8))
    with mp.workdps(20):
        assert noise_laws.fit_probability(total, noise_laws.skellam(25)) > 1e-4


@pytest.mark.parametrize("shares", [SkellamShares(Fraction(25), ROSTER), PolyaShares(Fraction(1, 5), ROSTER)])
def test_one_share_too_few_is_not_the_promised_noise(shares: SkellamShares | PolyaShares) -> None:
    """The negative control: the test of fit sees a missing share."""
    short = sum(shares.draw(20_000, seeded_entropy(b"short" + bytes([i]))) for i in range(ROSTER.holders - 1))
    whole = noise_laws.skellam(25) if isinstance(shares, SkellamShares) else noise_laws.discrete_laplace(Fraction(1, 5))
    with mp.workdps(20):
        assert noise_laws.fit_probability(short, whole) < 1e-6


def test_shares_have_the_shape_asked_for_and_are_fresh_each_time() -> None:
    shares = SkellamShares(Fraction(1600), ROSTER)
    first, second = (shares.draw((50, 10), system_entropy) for _ in range(2))
    assert first.shape == (50, 10)
    assert first.dtype == np.int64
    assert (first != second).any()
    assert shares.draw((0, 10), system_entropy).shape == (0, 10)


def test_the_event_of_shares_charges_the_promised_noise_for_every_hospital_attended() -> None:
    assert SkellamShares(Fraction(1600), ROSTER).event(2) == SkellamSum(variance=1600.0, shifts=(2, 2))
    assert PolyaShares(Fraction(1, 50), ROSTER).event() == DiscreteLaplaceSum(gamma=0.02, shifts=(1, 1))


def test_the_event_for_a_hospital_charges_all_its_voters() -> None:
    skellam = SkellamShares(Fraction(1600), ROSTER).hospital_event(25)
    assert skellam == SkellamSum(variance=1600.0, shifts=(25, 25), unit="hospital")
    laplace = PolyaShares(Fraction(1, 50), ROSTER).hospital_event(25)
    assert laplace == DiscreteLaplaceSum(gamma=0.02, shifts=(25, 25), unit="hospital")


def test_bounds_count_every_share_that_may_be_in_the_sum() -> None:
    for shares in (SkellamShares(Fraction(1600), ROSTER), PolyaShares(Fraction(1, 20), ROSTER)):
        assert shares.share_bound(1000) < shares.total_bound(1000)
        total = sum(shares.draw(100_000, seeded_entropy(bytes([i]))) for i in range(ROSTER.hospitals))
        assert np.abs(total).max() <= shares.total_bound(100_000)


def test_the_fewest_survivors_leave_all_holders_beside_the_colluders() -> None:
    assert ROSTER.survivors == 5
    assert ROSTER.survivors - ROSTER.colluding == ROSTER.holders == 3


@pytest.mark.parametrize(("hospitals", "dropouts", "colluding"), [(3, 2, 1), (3, -1, 1), (3, 0, 0), (0, 0, 1)])
def test_a_roster_that_leaves_nobody_or_trusts_everybody_is_refused(
    hospitals: int, dropouts: int, colluding: int
) -> None:
    with pytest.raises(InvalidInput, match="noise shares"):
        Roster(hospitals, dropouts, colluding)


def test_noise_too_large_for_whole_steps_and_bad_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="coarser step"):
        SkellamShares(Fraction(10**12), ROSTER).draw(1, system_entropy)
    with pytest.raises(InvalidInput, match="shape"):
        SkellamShares(Fraction(1), ROSTER).draw((2, -1), system_entropy)
