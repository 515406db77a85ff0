"""High-precision oracles for the noise laws of medfed.privacy, written from their definitions with mpmath."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mpmath as mp

Pmf = Callable[[int], "mp.mpf"]


def rational(value: object) -> mp.mpf:
    """A Fraction, integer or float as mpf."""
    numerator, denominator = value.as_integer_ratio()  # type: ignore[attr-defined]
    return mp.mpf(numerator) / denominator


def poisson(mean: object) -> Pmf:
    m = rational(mean)
    return lambda k: mp.exp(k * mp.log(m) - m - mp.loggamma(k + 1)) if k >= 0 else mp.mpf(0)


def negative_binomial(r: object, rate: object) -> Pmf:
    shape, q = rational(r), mp.exp(-rational(rate))
    return lambda k: mp.rf(shape, k) / mp.factorial(k) * (1 - q) ** shape * q**k if k >= 0 else mp.mpf(0)


def discrete_laplace(gamma: object) -> Pmf:
    g = rational(gamma)
    return lambda k: mp.tanh(g / 2) * mp.exp(-g * abs(k))


def discrete_gaussian(variance: object) -> Pmf:
    v = rational(variance)
    total = mp.nsum(lambda k: mp.exp(-(k**2) / (2 * v)), [-mp.inf, mp.inf])
    return lambda k: mp.exp(-(mp.mpf(k) ** 2) / (2 * v)) / total


def skellam(variance: object) -> Pmf:
    v = rational(variance)
    return lambda k: mp.exp(-v) * mp.besseli(abs(k), v)


def renyi_divergence(pmf: Pmf, shift: int, order: float, reach: int) -> mp.mpf:
    """D_α(X + shift ‖ X), the definition, over -reach to reach."""
    a = mp.mpf(order)
    total = mp.fsum(pmf(k - shift) ** a * pmf(k) ** (1 - a) for k in range(-reach, reach + 1))
    return mp.log(total) / (a - 1)


def convolve(first: Mapping[int, mp.mpf], second: Mapping[int, mp.mpf]) -> dict[int, mp.mpf]:
    """The distribution of the sum of two independent whole numbers."""
    total: dict[int, mp.mpf] = {}
    for a, p in first.items():
        for b, q in second.items():
            total[a + b] = total.get(a + b, mp.mpf(0)) + p * q
    return total


def fit_probability(samples: object, pmf: Pmf, least: float = 8.0) -> float:
    """Pearson's chi-square: how likely samples of `pmf` are to fit no better than these. Rare values are pooled."""
    values = list(samples)  # type: ignore[call-overload]
    size = len(values)
    seen: dict[int, int] = {}
    for value in values:
        seen[int(value)] = seen.get(int(value), 0) + 1
    statistic, cells, rest_expected, rest_seen = mp.mpf(0), 0, mp.mpf(size), size
    for k in range(min(seen) - 1, max(seen) + 2):
        expected = size * pmf(k)
        if expected >= least:
            statistic += (seen.get(k, 0) - expected) ** 2 / expected
            rest_expected -= expected
            rest_seen -= seen.get(k, 0)
            cells += 1
    if rest_expected >= 1:
        statistic += (rest_seen - rest_expected) ** 2 / rest_expected
        cells += 1
    return float(mp.gammainc(mp.mpf(cells - 1) / 2, statistic / 2, mp.inf, regularized=True))
