from __future__ import annotations

import pytest

from medfed.crypto import SigningKey, is_valid_signature, seeded_entropy
from medfed.errors import InvalidInput

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate(seeded_entropy(b"signing"))


def test_a_signature_holds_for_its_message_and_key_only(key: SigningKey) -> None:
    other = SigningKey.from_seed(bytes(32))
    signature = key.sign(b"message")
    assert is_valid_signature(key.public, b"message", signature)
    assert not is_valid_signature(key.public, b"messagf", signature)
    assert not is_valid_signature(other.public, b"message", signature)


def test_every_flipped_bit_of_a_signature_is_noticed(key: SigningKey) -> None:
    signature = key.sign(b"message")
    for bit in range(8 * len(signature)):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not is_valid_signature(key.public, b"message", bytes(changed))


def test_a_malleated_signature_is_refused(key: SigningKey) -> None:
    signature = key.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    assert not is_valid_signature(key.public, b"message", signature[:32] + s.to_bytes(32, "little"))


def test_keys_of_small_order_are_refused() -> None:
    identity = (1).to_bytes(32, "little")
    assert not is_valid_signature(identity, b"anything", identity + bytes(32))
    assert not is_valid_signature(bytes(32), b"anything", bytes(64))


@pytest.mark.parametrize(
    ("public", "signature"), [(b"", b""), (bytes(31), bytes(64)), (b"\xff" * 32, b"\xff" * 64), (bytes(32), b"x")]
)
def test_garbage_is_false_and_never_an_error(public: bytes, signature: bytes) -> None:
    assert is_valid_signature(public, b"m", signature) is False


def test_the_seed_restores_the_key_and_is_not_printed(key: SigningKey) -> None:
    assert SigningKey.from_seed(key.seed).public == key.public
    assert key.seed.hex()[:8] not in repr(key)


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidInput, match="32 bytes, found 31"):
        SigningKey.from_seed(bytes(31))
