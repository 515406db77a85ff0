"""Streams come back whole or not at all: every way to cut, move, repeat or change a chunk is noticed."""

from __future__ import annotations

import io

import numpy as np
import pytest

from medfed.crypto.streams import CHUNK_BYTES, decrypt_chunks, encrypt_chunks, encrypted_length
from medfed.errors import InvalidInput

KEY = bytes(range(32))
SEALED = CHUNK_BYTES + 16


def _sealed(data: bytes, part: int = 300_000) -> bytes:
    parts = (data[at : at + part] for at in range(0, len(data), part))
    return b"".join(encrypt_chunks(KEY, parts, b"context"))


def _opened(data: bytes, key: bytes = KEY, context: bytes = b"context") -> bytes:
    return b"".join(decrypt_chunks(key, io.BytesIO(data), context))


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2_500_000])
def test_what_goes_in_comes_out_whatever_the_parts(length: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    sealed = _sealed(data)
    assert len(sealed) == encrypted_length(length)
    assert _opened(sealed) == data
    assert _sealed(data, 1 << 22) == sealed


def test_a_stream_that_was_cut_moved_repeated_extended_or_changed_does_not_open() -> None:
    sealed = _sealed(np.random.default_rng(1).bytes(3 * CHUNK_BYTES + 5))
    chunks = [sealed[at : at + SEALED] for at in range(0, len(sealed), SEALED)]
    broken = [
        b"".join(chunks[:-1]),
        b"".join(chunks[:1]),
        sealed[:-1],
        b"",
        b"".join([chunks[1], chunks[0], *chunks[2:]]),
        b"".join([chunks[0], *chunks]),
        b"".join([*chunks[1:]]),
        sealed + b"x",
        sealed + chunks[-1],
        sealed[:5] + bytes([sealed[5] ^ 1]) + sealed[6:],
        sealed[:-3] + bytes([sealed[-3] ^ 1]) + sealed[-2:],
    ]
    for data in broken:
        with pytest.raises(InvalidInput):
            _opened(data)


def test_another_key_or_context_opens_nothing() -> None:
    sealed = _sealed(b"data")
    for key, context in ((bytes(32), b"context"), (KEY, b"other")):
        with pytest.raises(InvalidInput):
            _opened(sealed, key, context)
