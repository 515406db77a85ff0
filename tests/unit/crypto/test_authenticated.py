from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medfed.crypto import ENCRYPTION_OVERHEAD, decrypt, encrypt, seeded_entropy
from medfed.errors import InvalidInput

KEY = bytes(range(32))


def test_what_is_encrypted_decrypts_and_is_aes_256_gcm() -> None:
    data = encrypt(KEY, memoryview(b"plain"), b"context", seeded_entropy(b"n"))
    assert len(data) == 5 + ENCRYPTION_OVERHEAD
    assert decrypt(KEY, data, b"context") == b"plain"
    assert decrypt(KEY, memoryview(data), b"context") == b"plain"
    assert AESGCM(KEY).decrypt(data[:12], data[12:], b"context") == b"plain"


def test_each_text_has_its_own_nonce() -> None:
    entropy = seeded_entropy(b"n")
    assert encrypt(KEY, b"plain", b"", entropy)[:12] != encrypt(KEY, b"plain", b"", entropy)[:12]


def test_another_key_context_or_byte_does_not_decrypt() -> None:
    data = encrypt(KEY, b"plain", b"context", seeded_entropy(b"n"))
    with pytest.raises(InvalidInput):
        decrypt(bytes(32), data, b"context")
    with pytest.raises(InvalidInput):
        decrypt(KEY, data, b"contexu")
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x80
        with pytest.raises(InvalidInput):
            decrypt(KEY, bytes(changed), b"context")
        with pytest.raises(InvalidInput):
            decrypt(KEY, data[:at], b"context")


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidInput, match="32 bytes, found 16"):
        encrypt(bytes(16), b"", b"", seeded_entropy(b"n"))
    with pytest.raises(InvalidInput, match="32 bytes, found 16"):
        decrypt(bytes(16), bytes(40), b"")
