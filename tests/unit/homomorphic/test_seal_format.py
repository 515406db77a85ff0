from __future__ import annotations

import numpy as np
import pytest

from medfed.errors import Unavailable
from medfed.homomorphic.seal_format import read_words, version_of, write_ciphertext, write_plaintext

IDENTITY = (1, 2, 3, 4)


def test_what_is_written_is_read_again() -> None:
    words = np.arange(24, dtype=np.uint64).reshape(2, 3, 4)
    sealed = write_ciphertext(words, IDENTITY, (4, 1), transformed=True)
    assert version_of(sealed) == (4, 1)
    np.testing.assert_array_equal(read_words(sealed, ciphertext=True), words.reshape(-1))
    plain = write_plaintext(words, IDENTITY, (4, 1))
    np.testing.assert_array_equal(read_words(plain, ciphertext=False), words.reshape(-1))


@pytest.mark.parametrize(
    ("at", "value"), [(0, 0), (2, 17), (5, 1), (8, 0)], ids=["magic", "header", "compression", "size"]
)
def test_another_format_of_the_library_is_reported_and_not_guessed(at: int, value: int) -> None:
    data = bytearray(write_plaintext(np.arange(4, dtype=np.uint64), IDENTITY, (4, 1)))
    data[at] = value
    with pytest.raises(Unavailable, match="does not know"):
        read_words(bytes(data), ciphertext=False)


def test_too_few_bytes_are_reported() -> None:
    with pytest.raises(Unavailable, match="does not know"):
        read_words(b"short", ciphertext=False)
