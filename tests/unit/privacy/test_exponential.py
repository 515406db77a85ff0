from __future__ import annotations

from fractions import Fraction

import mpmath as mp
import pytest
from tests.support.noise_laws import rational

from medfed.errors import InvalidInput
from medfed.privacy.exponential import exp_minus_bounds

EXPONENTS = [
    Fraction(0),
    Fraction(1, 10**9),
    Fraction(1, 50),
    Fraction(1, 2),
    Fraction(1),
    Fraction(7, 3),
    Fraction(90),
]


@pytest.mark.parametrize("x", EXPONENTS, ids=str)
@pytest.mark.parametrize("bits", [1, 8, 64, 128, 700])
def test_the_bounds_enclose_the_exponential_within_two_units(x: Fraction, bits: int) -> None:
    low, high = exp_minus_bounds(x, bits)
    with mp.workdps(260):
        value = mp.exp(-rational(x)) * mp.mpf(2) ** bits
        assert low <= value <= high
    assert 0 <= high - low <= 2


@pytest.mark.parametrize(("x", "bits"), [(Fraction(-1, 2), 8), (Fraction(1), 0), (Fraction(1), 1 << 21)])
def test_a_negative_exponent_or_a_silly_precision_is_refused(x: Fraction, bits: int) -> None:
    with pytest.raises(InvalidInput, match="exponential"):
        exp_minus_bounds(x, bits)
