"""What every blob store does: keep immutable bytes and give them back by their SHA-256.

A store never returns bytes that do not match the digest asked for, and never knows what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from medfed.errors import Tampered, Unavailable
from medfed.identifiers import Digest

__all__ = ["BlobStore", "SiteBlobs", "awaiting_good_copy"]


@contextmanager
def awaiting_good_copy(of: str) -> Generator[None]:
    """Inside, a blob that is damaged at this site is one that is not here: nobody is blamed, another copy will do.

    Raises:
        Unavailable: `of` what.
    """
    try:
        yield
    except Tampered as damage:
        raise Unavailable(f"{of}: {damage}; waiting for a good copy") from None


class BlobStore(Protocol):
    """Blobs by digest. Safe to use from several threads."""

    def put(self, data: bytes | memoryview) -> Digest:
        """Keep `data` (durably, if the store is durable) and return its digest. Twice is harmless.

        Raises:
            InvalidInput: the store may not be written to.
            Unavailable: there is no room, or the device fails.
        """
        ...

    def put_parts(self, parts: Iterable[bytes]) -> Digest:
        """Keep the blob that `parts` make together and return its digest. If a part raises, nothing is kept.

        Raises:
            InvalidInput: the store may not be written to.
            Unavailable: there is no room, or the device fails.
        """
        ...

    def get(self, digest: Digest) -> bytes:
        """The whole blob.

        Raises:
            Unavailable: it is not here.
            Tampered: what is here does not match the digest.
        """
        ...

    def open_stream(self, digest: Digest) -> BinaryIO:
        """The blob as a stream, for those too large to hold. Read it to its end before you act on it.

        Raises:
            Unavailable: it is not here.
            Tampered: (by the read that reaches the end) the bytes did not match the digest.
        """
        ...

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here. Its bytes are not checked."""
        ...

    def size(self, digest: Digest) -> int:
        """The blob's length in bytes.

        Raises:
            Unavailable: it is not here.
        """
        ...

    def delete(self, digest: Digest) -> None:
        """Forget the blob, if it is here."""
        ...

    def digests(self) -> Iterator[Digest]:
        """The digests of all blobs, in ascending order."""
        ...


class SiteBlobs(BlobStore, Protocol):
    """A site's own blobs."""

    @property
    def path(self) -> Path:
        """A directory of this machine, where what is not whole yet may lie."""
        ...

    def open_stream(self, digest: Digest, damaged: Callable[[], None] | None = None) -> BinaryIO:
        """As in `BlobStore`; calls `damaged` before it raises `Tampered`."""
        ...

    def put_file(self, path: Path, digest: Digest) -> bool:
        """Keep a copy of a file's bytes if they are the blob of that digest, and say whether they are."""
        ...
