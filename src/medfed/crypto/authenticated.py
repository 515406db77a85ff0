"""Encryption under a key that both sides have: AES-256-GCM with a random nonce in front.

`context` is authenticated but not stored: decrypting with another one fails. One key must never encrypt
more than 2^32 texts, or random nonces may meet (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medfed.crypto.randomness import Entropy
from medfed.errors import InvalidInput

__all__ = [
    "ENCRYPTION_OVERHEAD",
    "KEY_BYTES",
    "Cipher",
    "decrypt",
    "decrypt_numbered",
    "encrypt",
    "encrypt_numbered",
]

KEY_BYTES: Final = 32
_NONCE: Final = 12
_TAG: Final = 16
ENCRYPTION_OVERHEAD: Final = _NONCE + _TAG
"""How much longer a ciphertext is than its plaintext."""


class Cipher:
    """A key that encrypts much: its schedule is made once, which is most of the work where texts are short."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        """`key` has 32 bytes.

        Raises:
            InvalidInput: the key has another length.
        """
        self._aead: Final = _aead(key)

    def encrypt(self, plaintext: bytes | memoryview, context: bytes, entropy: Entropy) -> bytearray:
        """Nonce (12 bytes), ciphertext and tag (16 bytes), in the only buffer that is made."""
        nonce = entropy(_NONCE)
        sealed = bytearray(len(plaintext) + ENCRYPTION_OVERHEAD)
        sealed[:_NONCE] = nonce
        self._aead.encrypt_into(nonce, plaintext, context, memoryview(sealed)[_NONCE:])
        return sealed

    def decrypt(self, data: bytes | memoryview, context: bytes) -> bytes:
        """The plaintext of what `encrypt` made with the same key and context.

        Raises:
            InvalidInput: another key, another context, or changed or shortened bytes.
        """
        if len(data) < ENCRYPTION_OVERHEAD:
            raise InvalidInput(f"ciphertext: expected at least {ENCRYPTION_OVERHEAD} bytes, found {len(data)}")
        try:
            return self._aead.decrypt(bytes(data[:_NONCE]), memoryview(data)[_NONCE:], context)
        except InvalidTag:
            raise InvalidInput("ciphertext does not decrypt under this key and context") from None


def encrypt(key: bytes, plaintext: bytes | memoryview, context: bytes, entropy: Entropy) -> bytes:
    """What `Cipher.encrypt` gives under `key` (32 bytes).

    Raises:
        InvalidInput: the key has another length.
    """
    return bytes(Cipher(key).encrypt(plaintext, context, entropy))


def decrypt(key: bytes, data: bytes | memoryview, context: bytes) -> bytes:
    """What `Cipher.decrypt` gives under `key` (32 bytes).

    Raises:
        InvalidInput: another key, another context, or changed or shortened bytes.
    """
    return Cipher(key).decrypt(data, context)


def encrypt_numbered(key: bytes, plaintext: bytes | memoryview, nonce: bytes, context: bytes) -> bytes:
    """`plaintext` encrypted under a nonce (12 bytes) that the caller never uses again with this key.

    The nonce is not in what is returned: whoever decrypts knows where it belongs. The plaintext is not copied.

    Raises:
        InvalidInput: a key or nonce of another length.
    """
    if len(nonce) != _NONCE:
        raise InvalidInput(f"nonce: expected {_NONCE} bytes, found {len(nonce)}")
    return _aead(key).encrypt(nonce, plaintext, context)


def decrypt_numbered(key: bytes, data: bytes | memoryview, nonce: bytes, context: bytes) -> bytes:
    """What `encrypt_numbered` was given.

    Raises:
        InvalidInput: another key, nonce or context, or changed or shortened bytes.
    """
    if len(nonce) != _NONCE or len(data) < _TAG:
        raise InvalidInput("ciphertext or nonce: too short")
    try:
        return _aead(key).decrypt(nonce, data, context)
    except InvalidTag:
        raise InvalidInput("ciphertext does not decrypt under this key, number and context") from None


def _aead(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise InvalidInput(f"encryption key: expected {KEY_BYTES} bytes, found {len(key)}")
    return AESGCM(key)
