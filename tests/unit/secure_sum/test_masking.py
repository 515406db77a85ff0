from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfed.blobs import DirectoryBlobs
from medfed.crypto import fill_keystream, seeded_entropy
from medfed.errors import InvalidInput, Tampered
from medfed.secure_sum import decode_update, encode_update, mask_update, unmask_sum
from medfed.secure_sum.masking import CHUNK_ELEMENTS

SELF, PLUS, MINUS = (seeded_entropy(name)(32) for name in (b"self", b"plus", b"minus"))
LONG = 2 * CHUNK_ELEMENTS + 13


def _vector(length: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 2**32, length, dtype=np.uint32)


def _stream(seed: bytes, length: int) -> Any:
    out = np.empty(length, dtype=np.uint32)
    fill_keystream(seed, out)
    return out


@pytest.mark.parametrize("length", [1, 5, CHUNK_ELEMENTS - 1, CHUNK_ELEMENTS, CHUNK_ELEMENTS + 1, LONG])
def test_an_update_is_the_vector_plus_the_signed_keystreams(length: int) -> None:
    x = _vector(length)
    expected = x + _stream(SELF, length) + _stream(PLUS, length) - _stream(MINUS, length)
    before = x.copy()
    np.testing.assert_array_equal(mask_update(x, SELF, [(PLUS, 1), (MINUS, -1)]), expected)
    np.testing.assert_array_equal(x, before)
    assert mask_update(x, SELF, [(PLUS, 1), (MINUS, -1)], in_place=True) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_masks_come_off_the_sum(streamed: bool) -> None:
    xs = [_vector(LONG, i) for i in range(2)]
    other = seeded_entropy(b"second self")(32)
    ys = [mask_update(xs[0], SELF, [(PLUS, 1), (MINUS, 1)]), mask_update(xs[1], other, [(PLUS, -1)])]
    updates = (io.BytesIO(encode_update(y)) for y in ys) if streamed else iter(ys)
    total = unmask_sum(updates, [SELF, other], [(MINUS, 1)], LONG)
    np.testing.assert_array_equal(total, xs[0] + xs[1])


class _Dribble:
    """A stream that hands out odd pieces, as a socket may."""

    def __init__(self, data: bytes) -> None:
        self.rest = memoryview(data)

    def read(self, size: int, /) -> bytes:
        take = min(size, 999_983)
        piece, self.rest = bytes(self.rest[:take]), self.rest[take:]
        return piece


def test_a_stream_may_hand_out_odd_pieces() -> None:
    x = _vector(LONG)
    y = mask_update(x, SELF, [(PLUS, 1)])
    total = unmask_sum([_Dribble(bytes(encode_update(y)))], [SELF], [(PLUS, 1)], LONG)
    np.testing.assert_array_equal(total, x)


def test_updates_stream_from_a_blob_store_and_damage_is_noticed(tmp_path: Path) -> None:
    store = DirectoryBlobs(tmp_path)
    x = _vector(LONG)
    digest = store.put(encode_update(mask_update(x, SELF, [(PLUS, 1)])))
    with store.open_stream(digest) as stream:
        np.testing.assert_array_equal(unmask_sum([stream], [SELF], [(PLUS, 1)], LONG), x)
    path = tmp_path / digest.hex()[:2] / digest.hex()[2:]
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    with store.open_stream(digest) as stream, pytest.raises(Tampered):
        unmask_sum([stream], [SELF], [(PLUS, 1)], LONG)


@pytest.mark.parametrize("change", [-4, 4, -1, 1])
def test_a_stream_of_another_length_is_refused(change: int) -> None:
    data = bytes(encode_update(_vector(100)))
    data = data[:change] if change < 0 else data + bytes(change)
    with pytest.raises(InvalidInput, match="update"):
        unmask_sum([io.BytesIO(data)], [SELF], [], 100)


def test_an_array_of_another_length_or_type_is_refused() -> None:
    for wrong in (_vector(99), np.zeros(100, dtype=np.int64), np.zeros((100, 1), dtype=np.uint32)):
        with pytest.raises(InvalidInput):
            unmask_sum([wrong], [SELF], [], 100)


def test_every_update_needs_its_self_seed() -> None:
    with pytest.raises(InvalidInput, match="one for each of 2 updates, found 1"):
        unmask_sum([_vector(4), _vector(4)], [SELF], [], 4)
    with pytest.raises(InvalidInput, match="one for each of 0 updates"):
        unmask_sum([], [], [], 4)


def test_a_copied_self_seed_does_not_stop_the_sum() -> None:
    """Whoever reveals last can copy a seed that was revealed; the others' sum must still come out."""
    xs = [_vector(10, i) for i in range(2)]
    ys = [mask_update(x, SELF, [(PLUS, sign)]) for x, sign in zip(xs, (1, -1), strict=True)]
    np.testing.assert_array_equal(unmask_sum(ys, [SELF, SELF], [], 10), xs[0] + xs[1])


def test_misuse_when_masking_is_refused() -> None:
    x = _vector(8)
    for vector, seeds in (
        (x, []),
        (x, [(SELF, 1)]),
        (x, [(PLUS, 1), (PLUS, -1)]),
        (x, [(PLUS, 0)]),
        (x, [(b"short", 1)]),
        (x[::2], [(PLUS, 1)]),
        (x.astype(np.int64), [(PLUS, 1)]),
        (x[:0], [(PLUS, 1)]),
    ):
        with pytest.raises(InvalidInput):
            mask_update(vector, SELF, seeds)


def test_a_masked_vector_looks_like_noise_and_unlike_the_vector() -> None:
    """Chi-square over bytes of the masked zero vector, and no correlation with a vector that is far from random."""
    length = 1 << 18
    noise = mask_update(np.zeros(length, dtype=np.uint32), SELF, [(PLUS, 1), (MINUS, -1)])
    counts = np.bincount(noise.view(np.uint8), minlength=256)
    expected = 4 * length / 256
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi2 - 255) < 6 * np.sqrt(2 * 255)
    ramp = np.arange(length, dtype=np.uint32)
    masked = mask_update(ramp, SELF, [(PLUS, 1), (MINUS, -1)])
    assert abs(np.corrcoef(ramp, masked)[0, 1]) < 6 / np.sqrt(length)


def test_the_blob_is_little_endian_and_decodes_back() -> None:
    x = np.array([1, 0x01020304], dtype=np.uint32)
    assert bytes(encode_update(x)) == b"\1\0\0\0\4\3\2\1"
    np.testing.assert_array_equal(decode_update(encode_update(x)), x)
    for data in (b"", b"12345"):
        with pytest.raises(InvalidInput, match="whole 4-byte"):
            decode_update(data)


def test_masking_and_unmasking_hold_no_more_than_one_vector_besides_their_input() -> None:
    length = 8 * CHUNK_ELEMENTS
    x = _vector(length)
    tracemalloc.start()
    try:
        y = mask_update(x, SELF, [(PLUS, 1), (MINUS, -1)])
        assert tracemalloc.get_traced_memory()[1] < 1.25 * x.nbytes
        blob = io.BytesIO(encode_update(y))
        del y
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        unmask_sum([blob], [SELF], [(PLUS, 1), (MINUS, -1)], length)
        assert tracemalloc.get_traced_memory()[1] - before < 1.5 * x.nbytes
    finally:
        tracemalloc.stop()


def test_the_shortest_vector_is_one_element_and_none_is_no_vector() -> None:
    seed, pair = bytes(range(32)), (bytes(32), 1)
    masked = mask_update(np.array([7], dtype=np.uint32), seed, [pair])
    assert unmask_sum([masked], [seed], [pair], 1).tolist() == [7]
    with pytest.raises(InvalidInput, match="vector length: expected 1 or more, found 0"):
        unmask_sum([masked], [seed], [pair], 0)


def test_a_stream_that_ends_early_or_late_is_named_with_what_is_missing() -> None:
    with pytest.raises(InvalidInput, match="update 1: expected 12 bytes, 4 of them are missing"):
        unmask_sum([io.BytesIO(bytes(8))], [bytes(32)], [], 3)
    with pytest.raises(InvalidInput, match="update 1: expected 12 bytes, found more"):
        unmask_sum([io.BytesIO(bytes(13))], [bytes(32)], [], 3)


def test_only_a_vector_of_words_becomes_an_update() -> None:
    for wrong in (np.zeros(3), np.zeros(3, dtype=np.int32), _vector(8)[::2], _vector(8)[:0], _vector(8).reshape(2, 4)):
        with pytest.raises(InvalidInput, match="vector: expected contiguous uint32"):
            encode_update(wrong)
