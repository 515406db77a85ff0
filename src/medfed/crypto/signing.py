"""Ed25519 signatures (RFC 8032) by libsodium, which refuses malleable signatures and keys of small order.

This module must never print a seed.
"""

from __future__ import annotations

from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from medfed.crypto.randomness import Entropy
from medfed.errors import InvalidInput

__all__ = ["PUBLIC_KEY_BYTES", "SEED_BYTES", "SIGNATURE_BYTES", "SigningKey", "is_valid_signature"]

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class SigningKey:
    """A participant's signing key. `seed` (32 bytes) is the secret, `public` (32 bytes) is for everyone."""

    __slots__ = ("_secret", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise InvalidInput(f"signing seed: expected {SEED_BYTES} bytes, found {len(seed)}")
        self.seed: Final = bytes(seed)
        public, secret = crypto_sign_seed_keypair(self.seed)
        self.public: Final[bytes] = public
        self._secret: Final[bytes] = secret

    @classmethod
    def generate(cls, entropy: Entropy) -> SigningKey:
        """A new key from 32 bytes of `entropy`."""
        return cls(entropy(SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key whose seed (32 bytes) is `seed`.

        Raises:
            InvalidInput: the seed has another length.
        """
        return cls(seed)

    def sign(self, message: bytes) -> bytes:
        """The signature (64 bytes) over `message`; the same message always gets the same one."""
        return crypto_sign(bytes(message), self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()[:12]}…)"


def is_valid_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over `message` was made with the key behind `public`. Never raises on garbage."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(bytes(signature) + bytes(message), bytes(public))
    except CryptoError:
        return False
    return True
