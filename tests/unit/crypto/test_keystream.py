from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from medfed.crypto import Keystream, fill_keystream
from medfed.errors import InvalidInput

SEED = bytes(range(32))


def _by_blocks(seed: bytes, words: int) -> np.ndarray:
    """The stream from AES of each counter by itself: no counter mode involved."""
    blocks = -(-words // 4)
    aes = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    data = b"".join(aes.update(counter.to_bytes(16, "big")) for counter in range(blocks))
    return np.frombuffer(data, dtype="<u4")[:words].astype(np.uint32)


def test_the_stream_is_aes_of_the_counters() -> None:
    out = np.full(1001, 7, dtype=np.uint32)
    fill_keystream(SEED, out)
    np.testing.assert_array_equal(out, _by_blocks(SEED, 1001))


@given(st.integers(0, 300), st.integers(0, 300), st.binary(min_size=32, max_size=32))
def test_any_part_can_be_made_on_its_own(start: int, length: int, seed: bytes) -> None:
    part = np.empty(length, dtype=np.uint32)
    fill_keystream(seed, part, start)
    np.testing.assert_array_equal(part, _by_blocks(seed, start + length)[start:])


def test_parts_larger_than_the_internal_piece_join_without_a_seam() -> None:
    whole = np.empty(300_003, dtype=np.uint32)
    fill_keystream(SEED, whole)
    tail = np.empty(100_001, dtype=np.uint32)
    fill_keystream(SEED, tail, 200_002)
    np.testing.assert_array_equal(tail, whole[200_002:])
    np.testing.assert_array_equal(whole[-100:], _by_blocks(SEED, 300_003)[-100:])


def test_a_buffer_and_an_array_get_the_same_bytes() -> None:
    array = np.empty(64, dtype=np.uint32)
    buffer = bytearray(256)
    fill_keystream(SEED, array, 3)
    fill_keystream(SEED, buffer, 3)
    fill_keystream(SEED, view := memoryview(bytearray(256)), 3)
    assert array.astype("<u4").tobytes() == bytes(buffer) == bytes(view)


def test_what_cannot_be_written_in_place_is_refused() -> None:
    frozen = np.zeros(4, dtype=np.uint32)
    frozen.flags.writeable = False
    for out in (frozen, np.zeros(8, dtype=np.uint32)[::2], bytearray(5)):
        with pytest.raises(InvalidInput, match="contiguous, writable"):
            fill_keystream(SEED, out)


def test_a_bad_seed_or_start_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seed"):
        fill_keystream(bytes(16), bytearray(4))
    with pytest.raises(InvalidInput, match="start"):
        fill_keystream(SEED, bytearray(4), -1)


@given(st.integers(0, 300), st.lists(st.integers(0, 90), max_size=6), st.binary(min_size=32, max_size=32))
def test_parts_read_one_after_the_other_are_the_stream(start: int, lengths: list[int], seed: bytes) -> None:
    stream, parts = Keystream(seed, start), [np.empty(length, dtype=np.uint32) for length in lengths]
    for part in parts:
        stream.fill(part)
    joined = np.concatenate([np.empty(0, dtype=np.uint32), *parts])
    np.testing.assert_array_equal(joined, _by_blocks(seed, start + joined.size)[start:])
