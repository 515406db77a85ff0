"""Divergences of integer noise against their definition, summed with mpmath."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from tests.support import noise_laws

from medfed.errors import InvalidInput
from medfed.privacy.lattice import _summed, discrete_laplace_divergence, log_skellam, skellam_divergence

ORDERS = np.array([1.05, 1.5, 2.0, 8.0, 33.0])


@pytest.mark.parametrize(("variance", "reach"), [(0.25, 90), (25.0, 240), (400.0, 420)])
@pytest.mark.parametrize("shift", [1, 2, 7])
def test_skellam_divergence_is_the_sum_over_the_integers(variance: float, reach: int, shift: int) -> None:
    ours = skellam_divergence(variance, shift, ORDERS)
    with mp.workdps(120):
        cache: dict[int, mp.mpf] = {}
        pmf = noise_laws.skellam(variance)
        for k in range(-reach - 40, reach + 41):
            cache[k] = pmf(k)
        for order, value in zip(ORDERS, ours, strict=True):
            exact = noise_laws.renyi_divergence(cache.__getitem__, shift, float(order), reach)
            assert value == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("shift", [1, 2, 9])
def test_discrete_laplace_divergence_is_the_sum_over_the_integers(gamma: float, shift: int) -> None:
    ours = discrete_laplace_divergence(gamma, shift, ORDERS)
    with mp.workdps(40):
        pmf = noise_laws.discrete_laplace(gamma)
        reach = int(75 / gamma) + 2 * shift
        for order, value in zip(ORDERS, ours, strict=True):
            exact = noise_laws.renyi_divergence(pmf, shift, float(order), reach)
            assert value == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("variance", [3.0, 1600.0])
def test_skellam_probabilities_are_those_of_bessel_functions(variance: float) -> None:
    reach = 3 * round(variance**0.5) + 20
    ours = log_skellam(variance, reach)
    with mp.workdps(30):
        pmf = noise_laws.skellam(variance)
        for k in range(-reach, reach + 1, 7):
            assert ours[k + reach] == pytest.approx(float(mp.log(pmf(k))), rel=1e-11)


def test_moving_all_votes_between_two_classes_is_the_worst_a_patient_can_do() -> None:
    """D(a) + D(b) ≤ D(a + b): shifts of one unit spread over more counts cost less than the same in one count."""
    divergences = {
        "skellam": lambda s: skellam_divergence(25.0, s, ORDERS),
        "discrete laplace": lambda s: discrete_laplace_divergence(0.3, s, ORDERS),
    }
    for divergence in divergences.values():
        cost = [np.zeros_like(ORDERS), *(divergence(s) for s in range(1, 9))]
        for a in range(1, 8):
            for b in range(1, 9 - a):
                assert (cost[a] + cost[b] <= cost[a + b] * (1 + 1e-12)).all()


def test_skellam_noise_beyond_summation_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too many terms"):
        skellam_divergence(1e13, 1, ORDERS)


def test_a_sum_cut_off_where_it_still_matters_is_not_believed() -> None:
    """The range is doubled until both ends are negligible; too short a one gives no number at all."""
    assert _summed(log_skellam(25.0, 31), 1, ORDERS) is None
    enough = _summed(log_skellam(25.0, 241), 1, ORDERS)
    assert enough is not None
    np.testing.assert_allclose(enough, skellam_divergence(25.0, 1, ORDERS), rtol=1e-12)
