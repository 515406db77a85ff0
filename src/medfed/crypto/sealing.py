"""Sealing to somebody's public key: HPKE (RFC 9180) with ML-KEM-768 + X25519, HKDF-SHA256, AES-256-GCM.

The hybrid keeps what is recorded today closed to a later quantum computer; it holds while either half does.
`info` names what is sealed and for whom; opening with another one fails. This module must never print a seed.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from medfed.crypto.randomness import Entropy
from medfed.errors import InvalidInput

__all__ = ["PUBLIC_BYTES", "SEALING_SEED_BYTES", "SEAL_OVERHEAD", "SealingKey", "seal"]

_MLKEM_SEED: Final = 64
_MLKEM_PUBLIC: Final = 1184
_X25519: Final = 32

SEALING_SEED_BYTES: Final = _MLKEM_SEED + _X25519
"""The ML-KEM seed, then the X25519 private key."""
PUBLIC_BYTES: Final = _MLKEM_PUBLIC + _X25519
"""The raw ML-KEM-768 key, then the raw X25519 key."""
SEAL_OVERHEAD: Final = 1088 + 32 + 16
"""How much longer a sealed text is than its plaintext: both encapsulations and the tag."""


def _suite() -> Suite:
    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealingKey:
    """A private key that others seal to. `public` (1216 bytes) is for everyone."""

    __slots__ = ("_private", "_seeds", "public")

    def __init__(self, seeds: bytes) -> None:
        if len(seeds) != SEALING_SEED_BYTES:
            raise InvalidInput(f"sealing key: expected {SEALING_SEED_BYTES} bytes, found {len(seeds)}")
        self._seeds: Final = bytes(seeds)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(self._seeds[:_MLKEM_SEED])
        x25519 = X25519PrivateKey.from_private_bytes(self._seeds[_MLKEM_SEED:])
        self._private: Final = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public: Final = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, entropy: Entropy) -> SealingKey:
        """A new key from 96 bytes of `entropy`; the same bytes give the same key."""
        return cls(entropy(SEALING_SEED_BYTES))

    @classmethod
    def from_bytes(cls, seeds: bytes) -> SealingKey:
        """The key that `to_bytes` wrote.

        Raises:
            InvalidInput: not 96 bytes.
        """
        return cls(seeds)

    def to_bytes(self) -> bytes:
        """The secret seeds, 96 bytes."""
        return self._seeds

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext of what `seal` made for this key with the same `info`.

        Raises:
            InvalidInput: it was sealed to another key or with another `info`, or it was changed or cut short.
        """
        if len(sealed) < SEAL_OVERHEAD:
            raise InvalidInput(f"sealed text: expected at least {SEAL_OVERHEAD} bytes, found {len(sealed)}")
        try:
            return _suite().decrypt(sealed, self._private, info)
        except (InvalidTag, ValueError):
            raise InvalidInput("sealed text does not open with this key and purpose") from None

    def __repr__(self) -> str:
        return f"SealingKey(public={self.public.hex()[:12]}…)"


def seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal `plaintext` to `public` (1216 bytes) for the purpose `info`. Never twice the same bytes.

    Raises:
        InvalidInput: `public` is not a public key.
    """
    if len(public) != PUBLIC_BYTES:
        raise InvalidInput(f"sealing public key: expected {PUBLIC_BYTES} bytes, found {len(public)}")
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]),
        )
        return _suite().encrypt(plaintext, key, info)
    except ValueError:
        raise InvalidInput("sealing public key: the bytes are not a valid key") from None
