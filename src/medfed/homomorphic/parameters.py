"""The parameters of the ciphertext sums, and why a sum of up to 50 hospitals always decrypts to the right numbers.

BFV (Fan and Vercauteren 2012) in the ring Z_q[X] / (X^N + 1). A plaintext is N numbers modulo t = 2^32, one a
coefficient: only sums are needed, so nothing is packed into slots, and t need not be a prime. That gives two things:

*The total is the masked mode's, bit for bit.* Both are sums modulo 2^32 of the same vectors.

*The key holder learns the total and nothing else, exactly, without added noise.* With q = 1 mod t and Δ = (q - 1) / t,
a hospital's ciphertext is an encryption of zero plus Δ · x, x read as signed. The sum of n ciphertexts is thus a sum of
n encryptions of zero, in which no x has a part, plus Δ times the total of the signed numbers. Who knows the total can
make something of the same distribution, so the sum tells no more, even to a key holder that made its key dishonestly.
(With slots modulo a prime the rounding of q · x / t would be different for every hospital and would stay in the noise.)

Noise: encryptions are made modulo q · p and divided by p, which leaves u0 + u1 · s with u0, u1 in [-1/2, 1/2] for every
coefficient and s the secret of -1, 0, 1: at most (N + 1) / 2 for each hospital and coefficient, with certainty.
Decryption is right while the noise of the sum stays below q / 2t. That is certain for up to `sure_hospitals`; for more,
`failure_bits` bounds the probability by Hoeffding (1963), taking the rounding of encryptions as independent.
"""

from __future__ import annotations

import math
from typing import Annotated, Final

from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.homomorphic.security import verify_security

__all__ = ["PARAMETERS", "PLAIN_BITS", "Parameters"]

PLAIN_BITS: Final = 32
"""t is 2^32: a coefficient is one element of the secure sum's vector."""
_FRESH_ERROR: Final = 21
"""Largest coefficient of an error polynomial: SEAL draws it as a difference of two sums of 21 bits."""
_WITNESSES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


class Parameters(Record, frozen=True):
    """One choice of ring and moduli. Checked on creation: nothing insecure or inexact can be made."""

    degree: Annotated[int, Meta(ge=1024, le=32768)]
    """N, the number of coefficients of a ciphertext's two polynomials."""
    modulus: Annotated[int, Meta(ge=2, lt=2**60)]
    """q, a prime that is 1 modulo 2^32 and modulo 2N."""
    special: Annotated[int, Meta(ge=2, lt=2**60)]
    """p, the prime by which a fresh ciphertext is divided; no ciphertext that is sent has it."""

    def __post_init__(self) -> None:
        verify_security(self.degree, (self.modulus * self.special).bit_length())
        for name, value, unit in (("q", self.modulus, self.plain), ("q", self.modulus, 2 * self.degree)):
            if value % unit != 1:
                raise InvalidInput(f"modulus {name}: expected 1 modulo {unit}, found {value % unit}")
        if self.special % (2 * self.degree) != 1 or self.special == self.modulus:
            raise InvalidInput(f"special prime: expected 1 modulo {2 * self.degree} and another than q")
        for prime in (self.modulus, self.special):
            if not _is_prime(prime):
                raise InvalidInput(f"modulus {prime}: expected a prime")

    @property
    def plain(self) -> int:
        """t, the plaintext modulus."""
        return 1 << PLAIN_BITS

    @property
    def delta(self) -> int:
        """Δ: what a plaintext unit is worth in a ciphertext."""
        return (self.modulus - 1) // self.plain

    @property
    def coefficient_bytes(self) -> int:
        """Bytes of one ciphertext coefficient on the wire."""
        return (self.modulus.bit_length() + 7) // 8

    @property
    def ciphertext_bytes(self) -> int:
        """Bytes of one ciphertext on the wire: two polynomials."""
        return 2 * self.degree * self.coefficient_bytes

    @property
    def noise_limit(self) -> float:
        """Magnitude that a sum's noise must stay below for the decryption to be right: q / 2t."""
        return self.modulus / (2 * self.plain)

    @property
    def noise_of_one(self) -> float:
        """Largest noise that one honest hospital can add: the rounding, what is left of the errors of a fresh
        encryption, and 1/2 because Δ is not quite q / t."""
        return (self.degree + 1) / 2 + self._other_noise

    @property
    def _other_noise(self) -> float:
        return _FRESH_ERROR * (2 * self.degree + 1) / self.special + 0.5

    @property
    def sure_hospitals(self) -> int:
        """How many ciphertexts can be added with no possibility of a wrong decryption."""
        return int(self.noise_limit // self.noise_of_one)

    def failure_bits(self, hospitals: int) -> float:
        """b such that a sum of so many decrypts wrongly in any one coefficient with probability at most 2^-b."""
        if hospitals <= self.sure_hospitals:
            return math.inf
        margin = self.noise_limit - hospitals * self._other_noise
        exponent = 2 * margin * margin / (hospitals * (self.degree + 1))
        return exponent / math.log(2) - 1


def _is_prime(value: int) -> bool:
    """Miller and Rabin; with these twelve witnesses certain below 3.3 · 10^24 (Sorenson and Webster 2015)."""
    if value < 2 or any(value % small == 0 for small in _WITNESSES):
        return value in _WITNESSES
    odd, twos = value - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(value, odd, twos, witness) for witness in _WITNESSES)


def _passes(value: int, odd: int, twos: int, witness: int) -> bool:
    power = pow(witness, odd, value)
    if power in (1, value - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % value
        if power == value - 1:
            return True
    return False


PARAMETERS: Final = Parameters(degree=4096, modulus=65506 * 2**32 + 1, special=9007199254429697)
"""What is used: 48 + 53 = 101 bits at degree 4096, 12 bytes an element on the wire; see decision 0016."""
