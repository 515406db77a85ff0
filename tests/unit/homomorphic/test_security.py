from __future__ import annotations

import pytest

from medfed.errors import InvalidInput
from medfed.homomorphic import CLASSICAL_128, QUANTUM_128, verify_security


def test_the_tables_are_those_of_the_homomorphic_encryption_standard() -> None:
    assert dict(CLASSICAL_128) == {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
    assert dict(QUANTUM_128) == {1024: 25, 2048: 51, 4096: 101, 8192: 202, 16384: 411, 32768: 827}


def test_the_classical_table_is_the_one_that_the_library_enforces() -> None:
    sealapi = pytest.importorskip("tenseal.sealapi")
    for degree, bits in CLASSICAL_128.items():
        assert sealapi.CoeffModulus.MaxBitCount(degree, sealapi.SEC_LEVEL_TYPE.TC128) == bits


@pytest.mark.parametrize("degree", sorted(QUANTUM_128))
def test_the_longest_allowed_modulus_passes_and_one_bit_more_does_not(degree: int) -> None:
    verify_security(degree, QUANTUM_128[degree])
    with pytest.raises(InvalidInput, match=f"at most {QUANTUM_128[degree]} bits"):
        verify_security(degree, QUANTUM_128[degree] + 1)


@pytest.mark.parametrize("degree", [0, 1000, 512, 65536])
def test_a_degree_that_is_in_no_table_is_refused(degree: int) -> None:
    with pytest.raises(InvalidInput, match="ring degree"):
        verify_security(degree, 20)
