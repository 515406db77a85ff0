"""Encryption of what is too long to be held: AES-256-GCM in chunks, each bound to its number and to being the last.

After Hoang, Reyhanitabar, Rogaway and Vizár (STREAM, CRYPTO 2015). A key is for one stream only, because nonces count
from 0. A chunk that was exchanged, repeated, left out, or after which the stream was cut does not decrypt. Whoever
decrypts gets chunks before the end is reached: nothing may be acted on until the last has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from medfed.crypto.authenticated import decrypt_numbered, encrypt_numbered
from medfed.errors import InvalidInput

__all__ = ["CHUNK_BYTES", "decrypt_chunks", "encrypt_chunks", "encrypted_length"]

CHUNK_BYTES: Final = 1 << 20
"""Of plaintext; all chunks but the last are full, and the last may be empty."""
_TAG: Final = 16


def encrypted_length(length: int) -> int:
    """How long the ciphertext of `length` bytes is."""
    return length + (length // CHUNK_BYTES + 1) * _TAG


def encrypt_chunks(key: bytes, parts: Iterable[bytes | memoryview], context: bytes) -> Iterator[bytes]:
    """The ciphertext of all `parts` together, chunk by chunk. `key` must never encrypt a second stream.

    Of a part that is longer than a chunk only what fills no chunk is copied.

    Raises:
        InvalidInput: a key of another length.
    """
    held = bytearray()
    number = 0
    for part in parts:
        rest = memoryview(part).cast("B")
        while len(held) + len(rest) >= CHUNK_BYTES:
            missing = CHUNK_BYTES - len(held)
            chunk = bytes(held) + rest[:missing] if held else rest[:missing]
            yield encrypt_numbered(key, chunk, _nonce(number, False), context)
            held.clear()
            rest = rest[missing:]
            number += 1
        held += rest
    yield encrypt_numbered(key, bytes(held), _nonce(number, True), context)


def decrypt_chunks(key: bytes, source: BinaryIO, context: bytes) -> Iterator[bytes]:
    """The plaintext of `source`, chunk by chunk.

    Raises:
        InvalidInput: another key or context, or bytes that were changed, moved or cut; at the first such chunk.
    """
    number = 0
    while True:
        data = _exactly(source, CHUNK_BYTES + _TAG)
        is_last = len(data) < CHUNK_BYTES + _TAG
        yield decrypt_numbered(key, data, _nonce(number, is_last), context)
        if is_last:
            return
        number += 1


def _nonce(number: int, is_last: bool) -> bytes:
    """11 bytes of number, one that says whether it is the last."""
    if number >= 2**48:
        raise InvalidInput("stream: too long for one key")
    return number.to_bytes(11, "big") + bytes([is_last])


def _exactly(source: BinaryIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
