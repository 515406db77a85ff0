"""A stream that hashes what passes through it and raises at the end if that was not what it should be."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from medfed.errors import Tampered
from medfed.identifiers import Digest, short

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["CheckedReader"]


class _Source(Protocol):
    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """As a raw file's."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class CheckedReader(io.RawIOBase):
    """Reads `file` once, from its beginning to its end.

    The read that would hand out the last byte raises `Tampered` instead if the bytes do not have the digest
    `digest`. It does not seek, because a hash has to see every byte in order.
    """

    def __init__(
        self, file: _Source, digest: Digest, size: int, where: str, damaged: Callable[[], None] | None = None
    ) -> None:
        """`size` is the file's, in bytes; `where` is for people; `damaged` is called before `Tampered` is raised."""
        super().__init__()
        self._file: Final = file
        self._damaged: Final = damaged
        self._digest: Final = digest
        self._hash: Final = hashlib.sha256()
        self._left = size
        self._where = where
        if not self._left:
            try:
                self._check()
            except Tampered:
                file.close()
                raise

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read at most `len(buffer)` bytes into `buffer`; 0 at the end."""
        read = self._file.readinto(buffer) or 0
        view: memoryview[Any] = memoryview(buffer).cast("B")
        self._hash.update(view[:read])
        self._left -= read
        if self._left <= 0 or not read:
            self._check()
        return read

    def readable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()

    def _check(self) -> None:
        if self._hash.digest() != self._digest:
            if self._damaged is not None:
                self._damaged()
            raise Tampered(f"blob {short(self._digest)}: its bytes have changed in {self._where}")
