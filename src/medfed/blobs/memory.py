"""Blobs in memory: for simulations and tests. Nothing survives the process."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from medfed.errors import InvalidInput, Unavailable
from medfed.identifiers import DIGEST_BYTES, Digest, sha256, short

__all__ = ["MemoryBlobs"]


class MemoryBlobs:
    """A `BlobStore` that is a dictionary."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    def put(self, data: bytes | memoryview) -> Digest:
        """Keep `data` and return its digest."""
        kept = bytes(data)
        digest = sha256(kept)
        self._blobs[digest] = kept
        return digest

    def put_parts(self, parts: Iterable[bytes]) -> Digest:
        """Keep the blob that `parts` make together and return its digest."""
        return self.put(b"".join(parts))

    def get(self, digest: Digest) -> bytes:
        """The whole blob; `Unavailable` if it is not here."""
        if len(digest) != DIGEST_BYTES:
            raise InvalidInput(f"blob digest: expected {DIGEST_BYTES} bytes, found {len(digest)}")
        try:
            return self._blobs[digest]
        except KeyError:
            raise Unavailable(f"blob {short(digest)}: not in this store") from None

    def open_stream(self, digest: Digest) -> BinaryIO:
        """The blob as a stream; `Unavailable` if it is not here."""
        return io.BytesIO(self.get(digest))

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here."""
        return digest in self._blobs

    def size(self, digest: Digest) -> int:
        """The blob's length in bytes; `Unavailable` if it is not here."""
        return len(self.get(digest))

    def delete(self, digest: Digest) -> None:
        """Forget the blob, if it is here."""
        self._blobs.pop(digest, None)

    def digests(self) -> Iterator[Digest]:
        """The digests of all blobs, in ascending order."""
        return iter(sorted(self._blobs))
