from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfed.crypto import PUBLIC_BYTES, SEAL_OVERHEAD, SealingKey, seal, seeded_entropy
from medfed.errors import InvalidInput

KEY = SealingKey.generate(seeded_entropy(b"sealing"))


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_what_is_sealed_opens_with_the_key_and_info(plaintext: bytes, info: bytes) -> None:
    sealed = seal(KEY.public, plaintext, info)
    assert len(sealed) == len(plaintext) + SEAL_OVERHEAD
    assert KEY.open(sealed, info) == plaintext


def test_sealing_twice_gives_different_bytes() -> None:
    assert seal(KEY.public, b"x", b"i") != seal(KEY.public, b"x", b"i")


def test_another_info_does_not_open() -> None:
    with pytest.raises(InvalidInput):
        KEY.open(seal(KEY.public, b"secret", b"for a"), b"for b")


def test_another_key_does_not_open() -> None:
    with pytest.raises(InvalidInput):
        SealingKey.generate(seeded_entropy(b"other")).open(seal(KEY.public, b"secret", b"i"), b"i")


@pytest.mark.parametrize("half", ["ml-kem", "x25519"])
def test_a_key_that_shares_only_one_half_does_not_open(half: str) -> None:
    other = SealingKey.generate(seeded_entropy(b"other")).to_bytes()
    mine = KEY.to_bytes()
    mixed = mine[:64] + other[64:] if half == "ml-kem" else other[:64] + mine[64:]
    with pytest.raises(InvalidInput):
        SealingKey.from_bytes(mixed).open(seal(KEY.public, b"secret", b"i"), b"i")


@pytest.mark.parametrize("at", [0, 500, 1087, 1088, 1119, 1120, 1125, -1])
def test_a_flipped_bit_anywhere_does_not_open(at: int) -> None:
    sealed = bytearray(seal(KEY.public, b"secret", b"i"))
    sealed[at] ^= 1
    with pytest.raises(InvalidInput):
        KEY.open(bytes(sealed), b"i")


@pytest.mark.parametrize("length", [0, 1, SEAL_OVERHEAD - 1, SEAL_OVERHEAD + 5])
def test_a_shortened_text_does_not_open(length: int) -> None:
    with pytest.raises(InvalidInput):
        KEY.open(seal(KEY.public, b"secret", b"i")[:length], b"i")


def test_seeded_entropy_gives_the_same_key_and_its_bytes_restore_it() -> None:
    again = SealingKey.generate(seeded_entropy(b"sealing"))
    assert again.public == KEY.public
    assert len(KEY.public) == PUBLIC_BYTES
    restored = SealingKey.from_bytes(KEY.to_bytes())
    assert restored.open(seal(KEY.public, b"x", b"i"), b"i") == b"x"


@pytest.mark.parametrize(
    "public",
    [b"", bytes(PUBLIC_BYTES - 1), bytes(PUBLIC_BYTES), b"\xff" * PUBLIC_BYTES, KEY.public + b"\0"],
    ids=["empty", "short", "zero", "ones", "long"],
)
def test_a_malformed_public_key_is_invalid_input(public: bytes) -> None:
    with pytest.raises(InvalidInput, match="public key"):
        seal(public, b"x", b"")


def test_seeds_of_another_length_are_refused_and_never_printed() -> None:
    with pytest.raises(InvalidInput, match="96 bytes"):
        SealingKey.from_bytes(bytes(95))
    assert KEY.to_bytes().hex()[:8] not in repr(KEY)
