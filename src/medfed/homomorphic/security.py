"""How long a modulus may be for 128-bit security: the homomorphic encryption standard's tables, as code.

Source: Albrecht et al., Homomorphic Encryption Security Standard (HomomorphicEncryption.org, November 2018), tables 1
and 2, secrets of -1, 0 and 1. The classical table is the one that the issue asks for; the quantum table is the one that
is held, because everything else that leaves a hospital here is meant to stay closed to a later quantum computer too.
This module must never round a bound up.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from medfed.errors import InvalidInput

__all__ = ["CLASSICAL_128", "QUANTUM_128", "verify_security"]

CLASSICAL_128: Final[Mapping[int, int]] = MappingProxyType(
    {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
)
"""Ring degree → most bits of the whole modulus, 128-bit security against known classical attacks."""
QUANTUM_128: Final[Mapping[int, int]] = MappingProxyType(
    {1024: 25, 2048: 51, 4096: 101, 8192: 202, 16384: 411, 32768: 827}
)
"""The same against known quantum attacks."""


def verify_security(degree: int, modulus_bits: int) -> None:
    """Check that a ring of `degree` and a modulus of `modulus_bits` in all, special primes included, give 128 bits.

    Raises:
        InvalidInput: the degree is in neither table, or the modulus is longer than the quantum table allows.
    """
    allowed = QUANTUM_128.get(degree)
    if allowed is None:
        raise InvalidInput(f"ring degree: expected one of {', '.join(map(str, QUANTUM_128))}, found {degree}")
    if not 1 <= modulus_bits <= allowed:
        raise InvalidInput(
            f"ciphertext modulus: expected at most {allowed} bits for 128-bit security at degree {degree}, "
            f"found {modulus_bits}"
        )
