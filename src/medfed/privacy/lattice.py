"""Rényi divergence between integer noise and the same noise shifted, by summation over the integers.

No bound from a paper stands between the noise that is drawn and the cost that is charged. Nothing here samples.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.privacy.curve import Orders

__all__ = ["discrete_laplace_divergence", "log_skellam", "skellam_divergence"]

_NEGLIGIBLE: Final = 45.0
"""Terms smaller than the largest by e^-45 at both ends: what is left out is below 1e-17 of the sum."""
_MOST_TERMS: Final = 1 << 22


def discrete_laplace_divergence(gamma: float, shift: int, orders: Orders) -> NDArray[np.float64]:
    """D_α(X + shift ‖ X) for P(X = k) = tanh(γ/2) e^(-γ|k|), for each α in `orders`.

    The sum Σ_k P(k - s)^α P(k)^(1-α) falls into three geometric series (k ≤ 0, 0 < k < s, k ≥ s), each summed in
    closed form; the reverse divergence is the same by symmetry.
    """
    s, a = float(shift), orders
    log_outer = -math.log(-math.expm1(-gamma))
    terms = [-gamma * a * s + log_outer, gamma * (a - 1) * s + log_outer]
    if shift > 1:
        # Σ_{k=1}^{s-1} e^(-γ(αs + (1-2α)k)): from the largest term, k = s - 1, downwards.
        step = gamma * (2 * a - 1)
        largest = -gamma * (a * s + (1 - 2 * a) * (s - 1))
        terms.append(largest + np.log(-np.expm1(-step * (s - 1))) - np.log(-np.expm1(-step)))
    total = np.logaddexp.reduce(np.stack(terms), axis=0) + math.log(math.tanh(gamma / 2))
    return np.maximum(total / (a - 1), 0.0)


def skellam_divergence(variance: float, shift: int, orders: Orders) -> NDArray[np.float64]:
    """D_α(X + shift ‖ X) for X symmetric Skellam of the given variance, for each α in `orders`.

    Summed over -K ≤ k ≤ K + shift with K doubled until both ends are negligible for every order.

    Raises:
        InvalidInput: more than four million terms would be needed (a variance beyond what integer noise is for).
    """
    reach = math.ceil(40 + 14 * math.sqrt(variance) + 2 * shift * float(orders.max()))
    while reach <= _MOST_TERMS:
        log_p = log_skellam(variance, reach + shift)
        found = _summed(log_p, shift, orders)
        if found is not None:
            return found
        reach *= 2
    raise InvalidInput(f"Skellam noise: a variance of {variance:g} with order {orders.max():g} takes too many terms")


def _summed(log_p: NDArray[np.float64], shift: int, orders: Orders) -> NDArray[np.float64] | None:
    """The divergences, or nothing where an end of the range still matters. `log_p` runs over -K to K."""
    here, shifted = log_p[shift:], log_p[:-shift]
    loss = shifted - here
    divergences = np.empty_like(orders)
    for at, order in enumerate(orders):
        terms = shifted + (order - 1) * loss
        peak = float(terms.max())
        if max(float(terms[0]), float(terms[-1])) > peak - _NEGLIGIBLE:
            return None
        divergences[at] = (peak + math.log(float(np.exp(terms - peak).sum()))) / (order - 1)
    return np.maximum(divergences, 0.0)


def log_skellam(variance: float, reach: int) -> NDArray[np.float64]:
    """log P(X = k) for k from -reach to reach: e^(-v) I_|k|(v).

    From the ratios I_(k+1)/I_k by downward recurrence (Gautschi 1967), which is stable; normalised by the sum.
    """
    # So far beyond that the start's error has died away (each step shrinks it at least by the ratio squared) and that
    # what is missing from the sum is negligible.
    start = reach + 40 + math.ceil(14 * math.sqrt(variance))
    ratio = 0.0
    ratios = np.empty(start, dtype=np.float64)
    for k in range(start, 0, -1):
        ratio = 1.0 / (2.0 * k / variance + ratio)
        ratios[k - 1] = ratio
    half = np.concatenate(([0.0], np.cumsum(np.log(ratios))))
    half -= math.log(1.0 + 2.0 * float(np.exp(half[1:]).sum()))
    half = half[: reach + 1]
    return np.concatenate((half[:0:-1], half))
