from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.privacy.curve import checked_orders
from medfed.privacy.sampled import sampled_gaussian_divergence


def _binomial(multiplier: float, rate: float, order: int) -> float:
    """Whole orders in closed form: Mironov, Talwar, Zhang 2019, section 3.3."""
    q, s = mp.mpf(rate), mp.mpf(multiplier)
    total = mp.fsum(
        mp.binomial(order, k) * (1 - q) ** (order - k) * q**k * mp.exp((k * k - k) / (2 * s * s))
        for k in range(order + 1)
    )
    return float(mp.log(total) / (order - 1))


def _integral(multiplier: float, rate: float, order: float) -> float:
    """Any order, by adaptive quadrature of the definition."""
    q, s, a = mp.mpf(rate), mp.mpf(multiplier), mp.mpf(order)

    def integrand(z: mp.mpf) -> mp.mpf:
        return mp.npdf(z, 0, s) * (1 - q + q * mp.exp((2 * z - 1) / (2 * s * s))) ** a

    total = mp.quad(integrand, [-14 * s, 0, 1, a / 2, a, a + 14 * s])
    return float(mp.log(total) / (a - 1))


@pytest.mark.parametrize("multiplier", [0.5, 1.1, 4.0])
@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.5, 0.999])
def test_whole_orders_are_the_binomial_sum(multiplier: float, rate: float) -> None:
    orders = [2, 3, 8, 32, 256]
    ours = sampled_gaussian_divergence(multiplier, rate, checked_orders(orders))
    with mp.workdps(60):
        for order, value in zip(orders, ours, strict=True):
            assert value == pytest.approx(_binomial(multiplier, rate, order), rel=1e-8)


@pytest.mark.parametrize(("multiplier", "rate"), [(0.6, 0.02), (1.1, 0.01), (3.0, 0.3)])
def test_orders_between_are_the_integral(multiplier: float, rate: float) -> None:
    orders = [1.25, 1.5, 2.5, 7.75]
    ours = sampled_gaussian_divergence(multiplier, rate, checked_orders(orders))
    with mp.workdps(40):
        for order, value in zip(orders, ours, strict=True):
            assert value == pytest.approx(_integral(multiplier, rate, order), rel=1e-8)


def test_taking_everybody_is_the_plain_gaussian() -> None:
    orders = checked_orders([1.5, 8.0, 64.0])
    np.testing.assert_allclose(sampled_gaussian_divergence(2.0, 1.0, orders), orders / 8, rtol=1e-14)
    np.testing.assert_allclose(sampled_gaussian_divergence(2.0, 1 - 1e-12, orders), orders / 8, rtol=1e-6)


def test_noise_too_small_to_integrate_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too small"):
        sampled_gaussian_divergence(1e-3, 0.1, checked_orders([1024.0]))
