"""Single exact samples by rejection, at any scale: Canonne, Kamath, Steinke 2020, Algorithms 1 to 3.

A second way to the same distributions as `inversion`, sharing nothing with it but the entropy: for one number at a
time, such as noise on a reported accuracy, and as its oracle. Rational arithmetic only; the time a draw takes
depends on its value.
"""

from __future__ import annotations

import math
from fractions import Fraction

from medfed.crypto import Entropy
from medfed.errors import InvalidInput

__all__ = ["draw_bernoulli_exp", "draw_discrete_gaussian", "draw_discrete_laplace", "draw_uniform"]


def draw_uniform(below: int, entropy: Entropy) -> int:
    """A whole number from 0 to `below` - 1, all equally likely.

    Raises:
        InvalidInput: `below` is not above 0.
    """
    if below < 1:
        raise InvalidInput(f"uniform sample: expected a limit of at least 1, found {below}")
    bits = (below - 1).bit_length()
    size = (bits + 7) // 8
    while True:
        value = int.from_bytes(entropy(size), "little") >> (8 * size - bits)
        if value < below:
            return value


def draw_bernoulli_exp(x: Fraction, entropy: Entropy) -> bool:
    """True with probability e^(-x), x ≥ 0 (Algorithm 1).

    Raises:
        InvalidInput: x is negative.
    """
    if x < 0:
        raise InvalidInput(f"Bernoulli(e^-x): expected x of at least 0, found {x}")
    for _ in range(math.floor(x)):
        if not _bernoulli_exp_up_to_1(Fraction(1), entropy):
            return False
    return _bernoulli_exp_up_to_1(x - math.floor(x), entropy)


def draw_discrete_laplace(gamma: Fraction, entropy: Entropy) -> int:
    """k with probability tanh(γ/2) e^(-γ|k|) (Algorithm 2 with scale t/s = 1/γ).

    Raises:
        InvalidInput: gamma is not above 0.
    """
    if gamma <= 0:
        raise InvalidInput(f"discrete Laplace: expected gamma above 0, found {gamma}")
    s, t = gamma.numerator, gamma.denominator
    while True:
        u = draw_uniform(t, entropy)
        if not draw_bernoulli_exp(Fraction(u, t), entropy):
            continue
        v = 0
        while _bernoulli_exp_up_to_1(Fraction(1), entropy):
            v += 1
        size = (u + t * v) // s
        negative = draw_uniform(2, entropy) == 1
        if not (negative and size == 0):
            return -size if negative else size


def draw_discrete_gaussian(variance: Fraction, entropy: Entropy) -> int:
    """k with probability proportional to e^(-k² / (2σ²)) (Algorithm 3).

    Raises:
        InvalidInput: the variance is not above 0.
    """
    if variance <= 0:
        raise InvalidInput(f"discrete Gaussian: expected a variance above 0, found {variance}")
    t = math.isqrt(math.floor(variance)) + 1
    while True:
        y = draw_discrete_laplace(Fraction(1, t), entropy)
        if draw_bernoulli_exp((abs(y) - variance / t) ** 2 / (2 * variance), entropy):
            return y


def _bernoulli_exp_up_to_1(x: Fraction, entropy: Entropy) -> bool:
    """True with probability e^(-x), 0 ≤ x ≤ 1: whether the first failure among Bernoulli(x/k), k = 1, 2, … is odd."""
    k = 1
    while draw_uniform(x.denominator * k, entropy) < x.numerator:
        k += 1
    return k % 2 == 1
