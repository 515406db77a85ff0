from __future__ import annotations

import pytest

from medfed.crypto import hkdf_sha256
from medfed.errors import InvalidInput


def test_secret_and_purpose_both_change_the_key() -> None:
    keys = {hkdf_sha256(s, i) for s in (b"a" * 32, b"b" * 32) for i in (b"one", b"two", b"")}
    assert len(keys) == 6
    assert all(len(key) == 32 for key in keys)


@pytest.mark.parametrize("length", [0, -1, 8161])
def test_a_length_out_of_range_is_refused(length: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 8160"):
        hkdf_sha256(b"secret", b"", length)


def test_the_longest_output_is_made() -> None:
    assert len(hkdf_sha256(b"secret", b"", 8160)) == 8160
