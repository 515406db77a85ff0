from __future__ import annotations

import math
from typing import Any

import pytest

from medfed.errors import InvalidInput
from medfed.homomorphic import PARAMETERS, Parameters

GOOD = {"degree": 4096, "modulus": PARAMETERS.modulus, "special": PARAMETERS.special}


def test_the_chosen_parameters_are_128_bit_secure_by_the_quantum_table() -> None:
    assert (PARAMETERS.modulus * PARAMETERS.special).bit_length() == 101
    assert PARAMETERS.degree == 4096


def test_one_is_what_the_modulus_leaves_modulo_the_plaintexts_modulus_so_that_sums_are_exact() -> None:
    assert PARAMETERS.modulus == PARAMETERS.delta * 2**32 + 1


def test_an_element_takes_twelve_bytes() -> None:
    assert PARAMETERS.ciphertext_bytes == 12 * PARAMETERS.degree


def test_a_sum_over_50_hospitals_is_wrong_with_a_probability_that_is_no_concern() -> None:
    assert PARAMETERS.sure_hospitals == 15
    assert PARAMETERS.failure_bits(15) == math.inf
    # Hoeffding by hand: 2 exp(-2 m² / (50 · 4097)), m = q / 2t - 50 · (1/2 and next to nothing)
    by_hand = 2 * (PARAMETERS.modulus / 2**33 - 25) ** 2 / (50 * 4097) / math.log(2) - 1
    assert PARAMETERS.failure_bits(50) == pytest.approx(by_hand, rel=1e-6)
    assert PARAMETERS.failure_bits(50) > 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"degree": 2048}, "at most 51 bits"),
        ({"degree": 3000}, "ring degree"),
        ({"modulus": PARAMETERS.modulus + 2}, "expected 1 modulo 4294967296"),
        ({"modulus": 65505 * 2**32 + 1}, "expected a prime"),
        ({"special": PARAMETERS.special + 8192 * 3}, "expected"),
        ({"special": PARAMETERS.special + 2}, "special prime"),
        ({"special": PARAMETERS.modulus}, "special prime"),
        ({"special": 18014398509309953}, "at most 101 bits"),
    ],
)
def test_insecure_or_inexact_parameters_cannot_be_made(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Parameters(**{**GOOD, **change})
