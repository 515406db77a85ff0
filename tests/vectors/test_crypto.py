"""Published vectors: each test names its source."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.crypto import SigningKey, fill_keystream, hkdf_sha256, hmac_sha256, is_valid_signature


def _hex(text: str) -> bytes:
    return bytes.fromhex("".join(text.split()))


# RFC 8032, section 7.1: (seed, public key, message, signature)
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_ed25519_matches_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    key = SigningKey.from_seed(_hex(seed))
    assert key.public == _hex(public)
    assert key.sign(_hex(message)) == _hex(signature)
    assert is_valid_signature(key.public, _hex(message), _hex(signature))


def test_keystream_matches_nist_sp_800_38a_f_5_5() -> None:
    key = _hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plaintext = _hex(
        """6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
           30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710"""
    )
    ciphertext = _hex(
        """601ec313775789a5b7a7f504bbf3d228 f443e3ca4d62b59aca84e990cacaf5c5
           2b0930daa23de94ce87017ba2d84988d dfc9c58db67aada613c2dd08457941a6"""
    )
    # The standard's initial counter block is a position in our stream, which counts from zero.
    block = int.from_bytes(_hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), "big")
    stream = np.empty(16, dtype=np.uint32)
    fill_keystream(key, stream, 4 * block)
    assert stream.astype("<u4").tobytes() == bytes(p ^ c for p, c in zip(plaintext, ciphertext, strict=True))


def test_hkdf_matches_rfc_5869_case_1() -> None:
    okm = hkdf_sha256(b"\x0b" * 22, _hex("f0f1f2f3f4f5f6f7f8f9"), 42, salt=_hex("000102030405060708090a0b0c"))
    assert okm == _hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")


def test_hkdf_matches_rfc_5869_case_2() -> None:
    okm = hkdf_sha256(bytes(range(0x50)), bytes(range(0xB0, 0x100)), 82, salt=bytes(range(0x60, 0xB0)))
    assert okm == _hex(
        """b11e398dc80327a1c8e7f78c596a4934 4f012eda2d4efad8a050cc4c19afa97c
           59045a99cac7827271cb41c65e590e09 da3275600c2f09b8367793a9aca3db71
           cc30c58179ec3e87c14c01d5c1f3434f 1d87"""
    )


def test_hkdf_matches_rfc_5869_case_3_without_salt_or_info() -> None:
    assert hkdf_sha256(b"\x0b" * 22, b"", 42) == _hex(
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_hmac_matches_rfc_4231_case_2() -> None:
    assert hmac_sha256(b"Jefe", b"what do ya want for nothing?") == _hex(
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
