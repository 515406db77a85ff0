"""The distributions that noise is drawn from, each by the exact ratio of neighbouring probabilities.

A law says by which factor P changes from k to k + 1, as certain integer bounds; `inversion` makes samples from that.
Parameters are rational. Nothing here computes a probability in floating point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

from medfed.errors import InvalidInput
from medfed.privacy.exponential import exp_minus_bounds

__all__ = ["DiscreteGaussian", "DiscreteLaplace", "Law", "NegativeBinomial", "Poisson", "Ratio"]

MOST_SPREAD: Final = 1 << 16
"""Largest standard deviation, in steps of 1, that a law may have: its table then has about two million entries."""


Ratio = Callable[[int], tuple[int, int]]
"""Called with k, returns integers (low, high) with low ≤ 2^bits · P(k+1)/P(k) ≤ high."""


class Law(Protocol):
    """A distribution on the integers that falls off on both sides of its mode.

    Upward ratios P(k+1)/P(k) are monotone in k, so none beyond k passes the larger of that at k and the limit.
    """

    @property
    def anchor(self) -> int:
        """A value near the most probable one, where a table starts."""
        ...

    @property
    def mirror(self) -> bool:
        """Whether P(-k) = P(k), with anchor 0; if not, negative values have probability 0."""
        ...

    def ratio(self, bits: int) -> tuple[Ratio, int]:
        """The upward ratio in units of 2^-bits, and an upper bound on its limit for large k.

        For k ≥ anchor it is called in increasing order, one by one; for other k only where `mirror` is false.
        """
        ...


@dataclass(frozen=True, slots=True)
class Poisson:
    """P(k) = e^(-λ) λ^k / k!."""

    mean: Fraction

    def __post_init__(self) -> None:
        _check_spread("Poisson mean", self.mean, float(self.mean))

    @property
    def anchor(self) -> int:
        """⌊λ⌋, the mode."""
        return math.floor(self.mean)

    @property
    def mirror(self) -> bool:
        """No."""
        return False

    def ratio(self, bits: int) -> tuple[Ratio, int]:
        """λ / (k + 1), towards 0."""
        scaled, bottom = self.mean.numerator << bits, self.mean.denominator

        def bounds(k: int) -> tuple[int, int]:
            low, rest = divmod(scaled, bottom * (k + 1))
            return low, low + (rest > 0)

        return bounds, 0


@dataclass(frozen=True, slots=True)
class NegativeBinomial:
    """P(k) = Γ(k + r) / (k! Γ(r)) (1 - q)^r q^k with q = e^(-rate); r need not be whole (the Pólya distribution)."""

    r: Fraction
    rate: Fraction

    def __post_init__(self) -> None:
        _check_positive("negative binomial shape", self.r)
        _check_positive("negative binomial rate", self.rate)
        rate = min(float(self.rate), 700.0)
        _check_spread("negative binomial rate", self.rate, float(self.r) * math.exp(-rate) / math.expm1(-rate) ** 2)

    @property
    def anchor(self) -> int:
        """The mode, to rounding: where a table starts does not change it."""
        return 0 if self.r <= 1 else int((float(self.r) - 1) / math.expm1(min(float(self.rate), 700.0)))

    @property
    def mirror(self) -> bool:
        """No."""
        return False

    def ratio(self, bits: int) -> tuple[Ratio, int]:
        """(k + r) / (k + 1) · q, towards q: from below where r < 1, from above where r > 1."""
        q_low, q_high = exp_minus_bounds(self.rate, bits)
        r_top, r_bottom = self.r.numerator, self.r.denominator

        def bounds(k: int) -> tuple[int, int]:
            top, bottom = k * r_bottom + r_top, r_bottom * (k + 1)
            return q_low * top // bottom, -(-q_high * top // bottom)

        return bounds, q_high


@dataclass(frozen=True, slots=True)
class DiscreteLaplace:
    """P(k) = tanh(γ/2) e^(-γ|k|)."""

    gamma: Fraction

    def __post_init__(self) -> None:
        _check_positive("gamma", self.gamma)
        _check_spread("gamma", self.gamma, 2 / float(self.gamma) ** 2)

    @property
    def anchor(self) -> int:
        """0."""
        return 0

    @property
    def mirror(self) -> bool:
        """Yes."""
        return True

    def ratio(self, bits: int) -> tuple[Ratio, int]:
        """e^(-γ), always."""
        low, high = exp_minus_bounds(self.gamma, bits)
        return lambda _: (low, high), high


@dataclass(frozen=True, slots=True)
class DiscreteGaussian:
    """P(k) proportional to e^(-k² / (2σ²)) (Canonne, Kamath, Steinke 2020); its own variance is at most σ²."""

    variance: Fraction

    def __post_init__(self) -> None:
        _check_spread("variance", self.variance, float(self.variance))

    @property
    def anchor(self) -> int:
        """0."""
        return 0

    @property
    def mirror(self) -> bool:
        """Yes."""
        return True

    def ratio(self, bits: int) -> tuple[Ratio, int]:
        """e^(-(2k + 1) / (2σ²)), towards 0: each the one before times e^(-1/σ²)."""
        working = bits + 64
        step_low, step_high = exp_minus_bounds(1 / self.variance, working)
        low, high = exp_minus_bounds(1 / (2 * self.variance), working)
        at = 0

        def bounds(k: int) -> tuple[int, int]:
            nonlocal low, high, at
            while at < k:
                low, high, at = low * step_low >> working, -(-high * step_high >> working), at + 1
            return low >> 64, -(-high >> 64)

        return bounds, 0


def _check_positive(what: str, value: Fraction) -> None:
    if not value > 0:
        raise InvalidInput(f"{what}: expected a rational number above 0, found {value}")


def _check_spread(what: str, parameter: Fraction, variance: float) -> None:
    _check_positive(what, parameter)
    if not variance <= MOST_SPREAD**2:
        raise InvalidInput(f"{what} {float(parameter):g}: too much noise in steps of 1; take a coarser step")
