"""Blobs in a directory: `<path>/ab/cdef…`, named by the hexadecimal digest.

A blob is written to a temporary file, synced and renamed, so it is there whole or not at all.
Several processes may share one directory. This module must never change a blob in place.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from medfed.blobs.checked_reader import CheckedReader
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.identifiers import DIGEST_BYTES, Digest, sha256, short

__all__ = ["DirectoryBlobs"]

T = TypeVar("T")
_TEMPORARIES: Final = "new"
_READ_BUFFER: Final = 1 << 16
_COPY_BUFFER: Final = 1 << 18
_YOURS_TO_FIX: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)
_REASONS: Final = {
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "part of the path is not a directory",
    errno.EEXIST: "there is something else of that name",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the system allows",
    errno.EMFILE: "too many files are open",
}


class DirectoryBlobs:
    """A durable `BlobStore`. Files have mode 0600, directories 0700."""

    def __init__(self, path: Path) -> None:
        """Open the store in `path`, creating it if it is absent, and remove what dead writers left behind.

        Raises:
            InvalidInput: the directory cannot be created or used.
            Unavailable: the device fails.
        """
        self.path: Final = path
        self._temporaries: Final = path / _TEMPORARIES
        self._attempt("opened", self._open)

    def put(self, data: bytes | memoryview) -> Digest:
        """Keep `data` durably and return its digest. A damaged copy of the same blob is replaced."""
        digest = sha256(data)
        self._attempt("written", lambda: self._write(digest, data))
        return digest

    def put_parts(self, parts: Iterable[bytes]) -> Digest:
        """Keep the blob that `parts` make together, durably, and return its digest; one part is held at a time."""
        return self._attempt("written", lambda: self._write_parts(parts))

    def put_file(self, path: Path, digest: Digest) -> bool:
        """Keep a copy of a file's bytes if they are the blob of that digest, and say whether they are.

        The file is read twice and never held, so a blob that was not asked for is never stored.
        """
        with path.open("rb") as source:
            if hashlib.file_digest(source, "sha256").digest() != digest:
                return False
            source.seek(0)
            self.put_parts(iter(lambda: source.read(_COPY_BUFFER), b""))
        return True

    def get(self, digest: Digest) -> bytes:
        """The whole blob; `Unavailable` if it is not here, `Tampered` if its bytes have changed."""
        data = self._attempt("read", lambda: self._read(digest))
        if sha256(data) != digest:
            raise Tampered(f"blob {short(digest)}: its bytes have changed in {self.path}")
        return data

    def open_stream(self, digest: Digest, damaged: Callable[[], None] | None = None) -> BinaryIO:
        """The blob as a stream that calls `damaged` and raises `Tampered` at its end if the bytes have changed."""
        path = self._path_of(digest)

        def opened() -> BinaryIO:
            file = path.open("rb", buffering=0)
            size = os.fstat(file.fileno()).st_size
            return io.BufferedReader(CheckedReader(file, digest, size, str(path), damaged), _READ_BUFFER)

        return self._attempt("read", lambda: self._present(digest, opened))

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here. Its bytes are not checked."""
        path = self._path_of(digest)
        return self._attempt("read", path.is_file)

    def size(self, digest: Digest) -> int:
        """The blob's length in bytes; `Unavailable` if it is not here."""
        path = self._path_of(digest)
        return self._attempt("read", lambda: self._present(digest, lambda: path.stat().st_size))

    def delete(self, digest: Digest) -> None:
        """Forget the blob, if it is here."""
        path = self._path_of(digest)
        self._attempt("deleted", lambda: path.unlink(missing_ok=True))

    def digests(self) -> Iterator[Digest]:
        """The digests of all blobs, in ascending order; files of other names are passed over."""
        for folder in self._attempt("read", lambda: sorted(self.path.iterdir())):
            if len(folder.name) == 2 and _is_hexadecimal(folder.name) and folder.is_dir():
                for file in sorted(folder.iterdir()):
                    name = folder.name + file.name
                    if len(name) == 2 * DIGEST_BYTES and _is_hexadecimal(name):
                        yield bytes.fromhex(name)

    def _path_of(self, digest: Digest) -> Path:
        if len(digest) != DIGEST_BYTES:
            raise InvalidInput(f"blob digest: expected {DIGEST_BYTES} bytes, found {len(digest)}")
        name = digest.hex()
        return self.path / name[:2] / name[2:]

    def _open(self) -> None:
        if not self._temporaries.is_dir():
            self._temporaries.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_directory(self.path.parent)
        for temporary in self._temporaries.iterdir():
            _remove_if_stale(temporary)

    def _read(self, digest: Digest) -> bytes:
        return self._present(digest, self._path_of(digest).read_bytes)

    def _present(self, digest: Digest, action: Callable[[], T]) -> T:
        try:
            return action()
        except FileNotFoundError:
            raise Unavailable(f"blob {short(digest)}: not in {self.path}") from None

    def _write(self, digest: Digest, data: bytes | memoryview) -> None:
        path = self._path_of(digest)
        if _holds(path, data):
            # Another process may have renamed it a moment ago and not have synced the directory yet.
            _sync_directory(path.parent)
            return
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(self.path)
        temporary, file = self._create_temporary(digest)
        # The lock goes with the descriptor, so it covers the rename: nobody can take the file for stale.
        with file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        _sync_directory(path.parent)

    def _write_parts(self, parts: Iterable[bytes]) -> Digest:
        temporary, file = self._create_temporary(bytes(DIGEST_BYTES))
        state = hashlib.sha256()
        with file:
            try:
                for part in parts:
                    state.update(part)
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
                path = self._path_of(state.digest())
                if not path.parent.is_dir():
                    path.parent.mkdir(mode=0o700, exist_ok=True)
                    _sync_directory(self.path)
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        _sync_directory(path.parent)
        return state.digest()

    def _create_temporary(self, digest: Digest) -> tuple[Path, BinaryIO]:
        number = 0
        while True:
            temporary = self._temporaries / f"{short(digest)}.{os.getpid()}.{number}"
            number += 1
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            file = os.fdopen(descriptor, "wb")
            # A process that was just starting may have taken the file for stale before it was locked.
            if os.fstat(descriptor).st_nlink:
                return temporary, file
            file.close()

    def _attempt(self, what: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, error.strerror or "the device fails")
            kind = InvalidInput if error.errno in _YOURS_TO_FIX else Unavailable
            raise kind(f"blob store {self.path}: cannot be {what}: {reason}") from error


def _holds(path: Path, data: bytes | memoryview) -> bool:
    try:
        return path.stat().st_size == memoryview(data).nbytes and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _remove_if_stale(temporary: Path) -> None:
    """Remove a temporary file unless a living writer holds its lock."""
    try:
        descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink(missing_ok=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_hexadecimal(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)
