"""Shamir's secret sharing (CACM 22(11), 1979) of 32 bytes: any `threshold` shares give them, fewer nothing.

The field is the integers modulo the smallest prime above 2^256, so that every 32-byte string is an element.
Shares carry no check: a wrong share gives a wrong secret, so what the secret opens must be authenticated.
The arithmetic is not constant-time; it must run only where the secret may be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from medfed.crypto.randomness import Entropy
from medfed.errors import InvalidInput

__all__ = ["SECRET_BYTES", "SHARE_BYTES", "combine_shares", "split_secret"]

SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 33
_PRIME: Final = 2**256 + 297
_MAX_INDEX: Final = 2**16


def split_secret(secret: bytes, threshold: int, indices: Sequence[int], entropy: Entropy) -> dict[int, bytes]:
    """One share (33 bytes) for each of `indices`, distinct numbers from 1 to 65,536.

    Raises:
        InvalidInput: a secret of another length, bad indices, or a threshold not from 1 to their number.
    """
    if len(secret) != SECRET_BYTES:
        raise InvalidInput(f"secret to share: expected {SECRET_BYTES} bytes, found {len(secret)}")
    if len(set(indices)) != len(indices):
        raise InvalidInput("share indices: expected distinct numbers")
    for index in indices:
        _check_index(index)
    if not 1 <= threshold <= len(indices):
        raise InvalidInput(f"sharing threshold: expected 1 to {len(indices)}, found {threshold}")
    polynomial = [int.from_bytes(secret, "big"), *(_random_element(entropy) for _ in range(threshold - 1))]
    return {index: _evaluate(polynomial, index).to_bytes(SHARE_BYTES, "big") for index in indices}


def combine_shares(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret (32 bytes) from the `threshold` shares with the lowest indices.

    Raises:
        InvalidInput: too few shares, a malformed one, or shares that visibly were not made together.
    """
    if threshold < 1 or len(shares) < threshold:
        raise InvalidInput(f"shares: expected at least {max(threshold, 1)}, found {len(shares)}")
    points = [(index, _decode_share(index, shares[index])) for index in sorted(shares)][:threshold]
    secret = 0
    for index, value in points:
        numerator = denominator = 1
        for other, _ in points:
            if other != index:
                numerator = numerator * other % _PRIME
                denominator = denominator * (other - index) % _PRIME
        secret = (secret + value * numerator * pow(denominator, -1, _PRIME)) % _PRIME
    if secret >= 2**256:
        raise InvalidInput("shares: they do not belong together")
    return secret.to_bytes(SECRET_BYTES, "big")


def _random_element(entropy: Entropy) -> int:
    # 64 bytes modulo the prime: less than 2^-255 from uniform.
    return int.from_bytes(entropy(64), "big") % _PRIME


def _evaluate(polynomial: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % _PRIME
    return value


def _decode_share(index: int, share: bytes) -> int:
    _check_index(index)
    if len(share) != SHARE_BYTES:
        raise InvalidInput(f"share {index}: expected {SHARE_BYTES} bytes, found {len(share)}")
    value = int.from_bytes(share, "big")
    if value >= _PRIME:
        raise InvalidInput(f"share {index}: the number is out of range")
    return value


def _check_index(index: int) -> None:
    if not 1 <= index <= _MAX_INDEX:
        raise InvalidInput(f"share index: expected 1 to {_MAX_INDEX}, found {index}")
