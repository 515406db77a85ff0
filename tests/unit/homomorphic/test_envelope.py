from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from medfed.crypto import ENCRYPTION_OVERHEAD, seeded_entropy
from medfed.errors import InvalidInput
from medfed.homomorphic import EnvelopeReader, Layout, envelope_size, seal_envelope
from medfed.homomorphic.sums import BATCH

KEY = bytes(range(32))
CONTEXT = b"one attempt"
LAYOUT = Layout(3, 4032 * (2 * BATCH + 3))
FULL = BATCH * LAYOUT.parameters.ciphertext_bytes
TEXT = FULL + ENCRYPTION_OVERHEAD


def _batches() -> Iterator[bytes]:
    left = LAYOUT.size
    while left:
        size = min(FULL, left)
        yield seeded_entropy(left.to_bytes(8, "big"))(size)
        left -= size


def _sealed(context: bytes = CONTEXT, key: bytes = KEY) -> bytes:
    return b"".join(seal_envelope(key, context, LAYOUT, _batches(), seeded_entropy(b"nonces")))


def _opened(
    data: bytes, key: bytes = KEY, context: bytes = CONTEXT, layout: Layout = LAYOUT, step: int = 10_000
) -> bytes:
    reader = EnvelopeReader(io.BytesIO(data), key, context, layout)
    parts: list[bytes] = []
    while part := reader.read(step):
        parts.append(part)
    return b"".join(parts)


def test_what_is_sealed_is_read_again_and_has_the_size_that_everybody_expects() -> None:
    data = _sealed()
    assert len(data) == envelope_size(LAYOUT)
    plain = b"".join(_batches())
    assert _opened(data) == _opened(data, step=1 << 24) == plain
    assert plain[:100] not in data


def test_another_key_context_or_layout_opens_nothing() -> None:
    data = _sealed()
    with pytest.raises(InvalidInput, match="does not decrypt"):
        _opened(data, key=bytes(32))
    with pytest.raises(InvalidInput, match="does not decrypt"):
        _opened(data, context=b"another attempt")
    with pytest.raises(InvalidInput, match="does not decrypt"):
        _opened(data, layout=Layout(3, 4032 * (3 * BATCH + 3)))


@pytest.mark.parametrize(
    "data",
    [
        _sealed()[:-1],
        _sealed() + b"\0",
        _sealed()[TEXT:],
        _sealed()[TEXT : 2 * TEXT] + _sealed()[:TEXT] + _sealed()[2 * TEXT :],
        _sealed()[:TEXT] + _sealed()[:TEXT] + _sealed()[2 * TEXT :],
        _sealed()[:500] + bytes([_sealed()[500] ^ 1]) + _sealed()[501:],
        b"",
    ],
    ids=["short", "long", "first missing", "exchanged", "repeated", "changed", "empty"],
)
def test_an_envelope_that_was_changed_in_any_way_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        _opened(data)
