"""Certain bounds on e^(-x) for a rational x, in fixed point. Integers only: no floating-point number enters."""

from __future__ import annotations

from fractions import Fraction

from medfed.errors import InvalidInput

__all__ = ["exp_minus_bounds"]


def exp_minus_bounds(x: Fraction, bits: int) -> tuple[int, int]:
    """Integers (low, high) with low ≤ 2^bits · e^(-x) ≤ high and high - low ≤ 2.

    e^(-x) = (e^(-x / 2^m))^(2^m) with x / 2^m ≤ 1/2; the inner one from its alternating series, of which two
    consecutive partial sums enclose the value; every rounding goes outwards.

    Raises:
        InvalidInput: x is negative, or bits is not from 1 to 2^20.
    """
    if x < 0 or not 1 <= bits <= 1 << 20:
        raise InvalidInput("exponential: expected an exponent of at least 0 and 1 to 2^20 bits")
    halvings = max(0, (2 * x.numerator // x.denominator).bit_length())
    # Each squaring at most doubles the relative error and adds a unit; the series adds a few.
    working = bits + halvings + bits.bit_length() + 16
    low, high = _series(x / 2**halvings, working)
    for _ in range(halvings):
        low = (low * low) >> working
        high = -((-high * high) >> working)
    drop = working - bits
    return low >> drop, -(-high >> drop)


def _series(y: Fraction, bits: int) -> tuple[int, int]:
    """Bounds on 2^bits · e^(-y) for 0 ≤ y ≤ 1/2."""
    term_low = term_high = low = high = 1 << bits
    k = 0
    while term_high > 1:
        k += 1
        term_low = term_low * y.numerator // (y.denominator * k)
        term_high = -(-term_high * y.numerator // (y.denominator * k))
        if k % 2:
            low, high = low - term_high, high - term_low
        else:
            low, high = low + term_low, high + term_high
    # What is left is at most the last term in size, which is at most 1, with either sign.
    return max(0, low - 1), high + 1
