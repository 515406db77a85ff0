"""The Poisson-subsampled Gaussian mechanism: what one step of DP-SGD costs.

By numerical integration to double precision instead of a bound. Nothing here samples or clips.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.privacy.curve import Orders

__all__ = ["sampled_gaussian_divergence"]

_WIDTH: Final = 14.0
"""Standard deviations integrated on both sides of where mass can be; e^(-98) is left out."""
_STEPS: Final = 16
"""Trapezoids in a standard deviation, at least."""
_MOST_POINTS: Final = 1 << 21


def sampled_gaussian_divergence(multiplier: float, rate: float, orders: Orders) -> NDArray[np.float64]:
    """log E_z[(1 - q + q e^((2z - 1) / (2σ²)))^α] / (α - 1) with z ~ N(0, σ²), for each α in `orders`.

    Mironov, Talwar, Zhang 2019: Theorem 4 with the dominating pair of Section 3 (the mixture against N(0, σ²);
    the reverse direction is not larger, Theorem 5). The integrand is analytic in a strip of half-width πσ², so the
    trapezoid rule's error falls as e^(-2π · strip / step); the step is chosen to make it e^-40 and less.

    Raises:
        InvalidInput: noise so small beside the largest order that the integral takes over two million points.
    """
    if rate == 1.0:
        return orders / (2 * multiplier**2)
    variance = multiplier**2
    step = min(multiplier / _STEPS, math.pi * variance / 7)
    low, high = -_WIDTH * multiplier, float(orders.max()) + _WIDTH * multiplier
    if (high - low) / step > _MOST_POINTS:
        raise InvalidInput(f"noise multiplier {multiplier:g}: too small for Rényi orders up to {orders.max():g}")
    z = np.arange(low, high + step, step)
    log_density = -(z**2) / (2 * variance) - math.log(multiplier * math.sqrt(2 * math.pi)) + math.log(step)
    log_ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * z - 1) / (2 * variance))
    divergences = np.empty_like(orders)
    for at, order in enumerate(orders):
        divergences[at] = _log_mean(log_density, order * log_ratio) / (order - 1)
    return np.maximum(divergences, 0.0)


def _log_mean(log_density: NDArray[np.float64], log_power: NDArray[np.float64]) -> float:
    """log Σ e^(density + power), without losing a mean that is barely above 1."""
    exponent = log_density + log_power
    peak = float(exponent.max())
    if peak > 30:
        return peak + math.log(float(np.exp(exponent - peak).sum()))
    # Σ density is 1 to rounding, so the excess alone is summed.
    density = np.exp(log_density)
    excess = np.where(log_power < 1, density * np.expm1(np.minimum(log_power, 1.0)), np.exp(exponent) - density)
    return math.log1p(max(0.0, float(excess.sum())))
