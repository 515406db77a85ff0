"""How large a sum of noise shares can get, but for a stated small probability: proven bounds, not guesses.

They keep a sum from wrapping around 2^32. Privacy never rests on them: noise is not cut off here or anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from medfed.errors import InvalidInput

__all__ = ["LOG2_PROBABILITY", "polya_bound", "polya_log_tail", "skellam_bound", "skellam_log_tail"]

LOG2_PROBABILITY: Final = -40.0
_MARGIN: Final = 1e-6
"""Relative; far above what rounding does to the logarithms, so the bounds hold as numbers too."""
_LARGEST: Final = 1 << 62


def skellam_log_tail(variance: float, x: float) -> float:
    """log of a bound on P(X ≥ x), X symmetric Skellam of this variance, x ≥ 0.

    Chernoff with the best θ = asinh(x/v): v (cosh θ - 1) - θ x.
    """
    # sqrt(v² + x²) - v, without cancellation for small x.
    rise = x * x / (math.hypot(variance, x) + variance)
    return rise - x * math.asinh(x / variance)


def polya_log_tail(shape: float, gamma: float, x: float) -> float:
    """log of a bound on P(X ≥ x), X the difference of two NB(shape, e^(-γ)), x ≥ 0.

    Chernoff, E e^(θX) = ((1-q)² / ((1 - q e^θ)(1 - q e^(-θ))))^shape for θ < γ; any θ gives a bound, the best is where
    the derivative of its logarithm is x.
    """

    def slope(theta: float) -> float:
        return shape * (1 / math.expm1(gamma - theta) - 1 / math.expm1(gamma + theta))

    low, high = 0.0, gamma
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if slope(middle) < x else (low, middle)
    one_minus = [-math.expm1(-gamma), -math.expm1(low - gamma), -math.expm1(-low - gamma)]
    return shape * (2 * math.log(one_minus[0]) - math.log(one_minus[1]) - math.log(one_minus[2])) - low * x


def skellam_bound(variance: float, coordinates: int, log2_probability: float = LOG2_PROBABILITY) -> int:
    """The least T that the tail bound gives with P(any of `coordinates` noises is beyond ±T) ≤ 2^log2_probability.

    Args:
        variance: of the total noise on one coordinate, when every hospital's share is in it.

    Raises:
        InvalidInput: arguments out of range.
    """
    _check_positive("variance", variance)
    return _least(lambda x: skellam_log_tail(variance, x), coordinates, log2_probability)


def polya_bound(shape: float, gamma: float, coordinates: int, log2_probability: float = LOG2_PROBABILITY) -> int:
    """As `skellam_bound`, for differences of NB(shape, e^(-γ)): shape is N / (N - t) when all N shares are in."""
    _check_positive("shape", shape)
    _check_positive("gamma", gamma)
    return _least(lambda x: polya_log_tail(shape, gamma, x), coordinates, log2_probability)


def _least(log_tail: Callable[[float], float], coordinates: int, log2_probability: float) -> int:
    if coordinates < 1 or not -1000 <= log2_probability < 0:
        raise InvalidInput("noise bound: expected at least one coordinate and a probability from 2^-1000 to below 1")
    # Both tails of every coordinate.
    target = (log2_probability * math.log(2) - math.log(2 * coordinates)) * (1 + _MARGIN)
    low, high = 0, 1
    while log_tail(float(high)) > target:
        low, high = high, 2 * high
        if high > _LARGEST:
            raise InvalidInput("noise bound: the noise is too large for whole numbers of 64 bits")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if log_tail(float(middle)) <= target else (middle, high)
    # P(X ≥ high) is small enough, so no |X| above high - 1 is expected.
    return high - 1


def _check_positive(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(f"noise bound: expected {what} above 0, found {value}")
