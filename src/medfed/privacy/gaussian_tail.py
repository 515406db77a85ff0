"""The logarithm of a Gaussian's upper tail, far beyond where the tail itself is 0 in floating point."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_gaussian_tail", "log_one_minus_exp"]

_FAR: Final = 25.0


def log_gaussian_tail(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log P(Z > x) for standard normal Z, element-wise; relative error below 1e-12 of the logarithm.

    Up to 25 from erfc; beyond, the asymptotic series (Abramowitz and Stegun 26.2.12), whose next term is then
    below 1e-10 of a number that stands beside x²/2 > 312.
    """
    flat = np.asarray(x, dtype=np.float64).ravel()
    out = np.empty_like(flat)
    far = flat > _FAR
    y = flat[far]
    square = y * y
    series = (-1 + (3 - (15 - 105 / square) / square) / square) / square
    out[far] = -square / 2 - np.log(y * math.sqrt(2 * math.pi)) + np.log1p(series)
    near = flat[~far]
    tail = np.fromiter((math.erfc(abs(value) / math.sqrt(2)) / 2 for value in near), np.float64, near.size)
    with np.errstate(divide="ignore"):
        out[~far] = np.where(near >= 0, np.log(tail), np.log1p(-tail))
    return out.reshape(np.shape(x))


def log_one_minus_exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 - e^x) for x ≤ 0, without cancellation on either side (Mächler 2012); -infinity at 0."""
    with np.errstate(divide="ignore"):
        return np.where(x < -math.log(2), np.log1p(-np.exp(x)), np.log(-np.expm1(np.minimum(x, 0.0))))
