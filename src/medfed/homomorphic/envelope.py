"""A vector's ciphertexts on their way to the aggregators: one AES-256-GCM text for each batch, under a key of its own.

The key is drawn for one attempt and is sealed to the aggregators, to nobody else. Each text is bound to the envelope's
context, to its place and to how many there are, so that none can be left out, repeated, moved or brought in from
elsewhere. This module must never hand on a byte of a text that does not authenticate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from medfed.crypto import ENCRYPTION_OVERHEAD, Entropy, decrypt, encrypt
from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.homomorphic.layout import Layout
from medfed.homomorphic.sums import BATCH, CiphertextReader

__all__ = ["EnvelopeReader", "envelope_size", "seal_envelope"]


def envelope_size(layout: Layout) -> int:
    """Bytes of the envelope around one vector's ciphertexts."""
    return layout.size + _texts(layout) * ENCRYPTION_OVERHEAD


def seal_envelope(
    key: bytes, context: bytes, layout: Layout, batches: Iterator[bytes], entropy: Entropy
) -> Iterator[bytes]:
    """The envelope around the batches that `encrypt_vector` makes, a text at a time.

    Args:
        key: 32 bytes, for this envelope only.
        context: what the envelope is bound to; not stored in it.
        layout: how the vector is spread.
        batches: packed ciphertexts, `BATCH` at a time.
        entropy: for the nonces.
    """
    texts = _texts(layout)
    for place, batch in enumerate(batches):
        yield encrypt(key, batch, _context(context, place, texts), entropy)


class EnvelopeReader:
    """The packed ciphertexts in an envelope, as a stream that holds one text."""

    def __init__(self, source: CiphertextReader, key: bytes, context: bytes, layout: Layout) -> None:
        self._source: Final = source
        self._key: Final = key
        self._envelope: Final = context
        self._layout: Final = layout
        self._place = 0
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end.

        Raises:
            InvalidInput: a text is missing, was changed or belongs elsewhere, or bytes follow the last.
        """
        if not self._left:
            self._left = self._next()
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)

    def _next(self) -> memoryview:
        texts = _texts(self._layout)
        if self._place == texts:
            if self._source.read(1):
                raise InvalidInput("envelope: there are more bytes than its length allows")
            return memoryview(b"")
        count = min(BATCH, self._layout.ciphertexts - self._place * BATCH)
        text = self._exactly(count * self._layout.parameters.ciphertext_bytes + ENCRYPTION_OVERHEAD)
        opened = decrypt(self._key, text, _context(self._envelope, self._place, texts))
        self._place += 1
        return memoryview(opened)

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size and (data := self._source.read(size)):
            parts.append(data)
            size -= len(data)
        if size:
            raise InvalidInput(f"envelope: {size} bytes are missing from text {self._place}")
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _texts(layout: Layout) -> int:
    return -(-layout.ciphertexts // BATCH)


def _context(envelope: bytes, place: int, texts: int) -> bytes:
    return encode(("medfed/envelope", envelope, place, texts))
