from __future__ import annotations

import hashlib

import pytest

from medfed.crypto import commit, equal, is_commitment_to
from medfed.errors import InvalidInput

SALT = bytes(range(32))


def test_a_commitment_is_sha256_of_salt_and_data() -> None:
    assert commit(SALT, memoryview(b"data")) == hashlib.sha256(SALT + b"data").digest()


def test_it_opens_with_the_same_salt_and_data_only() -> None:
    commitment = commit(SALT, b"data")
    assert is_commitment_to(commitment, SALT, b"data")
    assert not is_commitment_to(commitment, SALT, b"datb")
    assert not is_commitment_to(commitment, bytes(32), b"data")
    assert not is_commitment_to(b"", SALT, b"data")


def test_the_border_between_salt_and_data_cannot_move() -> None:
    commitment = commit(SALT, b"xdata")
    assert not is_commitment_to(commitment, SALT + b"x", b"data")
    with pytest.raises(InvalidInput, match="32 bytes, found 33"):
        commit(SALT + b"x", b"data")


def test_equal_compares_contents() -> None:
    assert equal(b"abc", b"abc")
    assert not equal(b"abc", b"abd")
    assert not equal(b"abc", b"ab")
