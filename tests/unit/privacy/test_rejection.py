from __future__ import annotations

from fractions import Fraction

import mpmath as mp
import pytest
from tests.support import noise_laws

from medfed.crypto import seeded_entropy
from medfed.errors import InvalidInput
from medfed.privacy.inversion import Sampler
from medfed.privacy.laws import DiscreteGaussian
from medfed.privacy.rejection import (
    draw_bernoulli_exp,
    draw_discrete_gaussian,
    draw_discrete_laplace,
    draw_uniform,
)


@pytest.mark.parametrize("below", [1, 2, 5, 256, 257])
def test_a_uniform_sample_takes_every_value_equally_often_over_all_bytes(below: int) -> None:
    size = 1 if below <= 256 else 2
    counts = dict.fromkeys(range(below), 0)
    for word in range(256**size):
        # One pass over every possible first word; a rejected one asks again, which ends the count for it.
        words = iter([word.to_bytes(size, "little")])
        try:
            counts[draw_uniform(below, lambda n, words=words: next(words)[:n])] += 1
        except StopIteration:
            continue
    assert len(set(counts.values())) == 1


@pytest.mark.parametrize("x", [Fraction(0), Fraction(1, 3), Fraction(1), Fraction(5, 2)], ids=str)
def test_bernoulli_of_an_exponential_has_its_probability(x: Fraction) -> None:
    entropy = seeded_entropy(b"bernoulli")
    size = 4000
    hits = sum(draw_bernoulli_exp(x, entropy) for _ in range(size))
    p = float(mp.exp(-noise_laws.rational(x)))
    assert abs(hits - size * p) <= 4 * (size * p * (1 - p)) ** 0.5


@pytest.mark.parametrize("gamma", [Fraction(1, 7), Fraction(2, 3), Fraction(3)], ids=str)
def test_discrete_laplace_by_rejection_fits_its_law(gamma: Fraction) -> None:
    entropy = seeded_entropy(b"laplace")
    samples = [draw_discrete_laplace(gamma, entropy) for _ in range(2000)]
    with mp.workdps(20):
        assert noise_laws.fit_probability(samples, noise_laws.discrete_laplace(gamma)) > 1e-4


@pytest.mark.parametrize("variance", [Fraction(1, 4), Fraction(10), Fraction(81, 4)], ids=str)
def test_discrete_gaussian_by_rejection_and_by_inversion_fit_the_same_law(variance: Fraction) -> None:
    entropy = seeded_entropy(b"gaussian")
    with mp.workdps(20):
        pmf = noise_laws.discrete_gaussian(variance)
        one_way = [draw_discrete_gaussian(variance, entropy) for _ in range(2000)]
        other_way = Sampler(DiscreteGaussian(variance)).draw(2000, entropy)
        assert noise_laws.fit_probability(one_way, pmf) > 1e-4
        assert noise_laws.fit_probability(other_way, pmf) > 1e-4


def test_rejection_works_at_scales_that_a_table_refuses() -> None:
    values = [draw_discrete_gaussian(Fraction(10**24), seeded_entropy(bytes([i]))) for i in range(20)]
    assert 10**11 < max(abs(value) for value in values) < 10**13


def test_parameters_out_of_range_are_refused() -> None:
    entropy = seeded_entropy(b"")
    with pytest.raises(InvalidInput, match="uniform"):
        draw_uniform(0, entropy)
    with pytest.raises(InvalidInput, match="Bernoulli"):
        draw_bernoulli_exp(Fraction(-1), entropy)
    with pytest.raises(InvalidInput, match="Laplace"):
        draw_discrete_laplace(Fraction(0), entropy)
    with pytest.raises(InvalidInput, match="Gaussian"):
        draw_discrete_gaussian(Fraction(0), entropy)
