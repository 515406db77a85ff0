"""Blobs in whatever `fsspec` reaches, such as S3 or another object store: `<url>/ab/cdef…`, as in a directory.

A blob becomes visible when all of it has arrived, as far as the store can see to that; every read checks the digest
anyway. How durable it is, who may read it and how one logs on is the store's affair: credentials come from its own
files and environment, never from the URL. Another process may use the same store.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from medfed.blobs.checked_reader import CheckedReader
from medfed.errors import InvalidInput, MedFedError, Tampered, Unavailable
from medfed.identifiers import DIGEST_BYTES, Digest, sha256, short

__all__ = ["RemoteBlobs", "is_remote"]

T = TypeVar("T")
_URL: Final = re.compile(r"^[a-z][a-z0-9+.-]*://[^@?#\s]*\Z")
_CHUNK: Final = 1 << 20
_NAME: Final = re.compile(rf"([0-9a-f]{{2}})/([0-9a-f]{{{2 * DIGEST_BYTES - 2}}})\Z")


def is_remote(place: str) -> bool:
    """Whether a place for blobs is a URL, and no path."""
    return "://" in place


class RemoteBlobs:
    """A `BlobStore` at a URL. Safe to use from several threads, which write one at a time."""

    def __init__(self, url: str, path: Path) -> None:
        """Open the store; `path` is a directory of this machine for what is not whole yet.

        Raises:
            InvalidInput: no such kind of store is installed, the URL is none, or it holds more than a place.
            Unavailable: the directory cannot be made.
        """
        if not _URL.match(url):
            raise InvalidInput("blobs: expected a URL such as s3://bucket/place, without credentials in it")
        try:
            core: Any = importlib.import_module("fsspec.core")  # optional, and slow to import
        except ImportError:
            raise InvalidInput(f"blobs: {url} needs fsspec: install medfed[remote]") from None
        self.path: Final = path
        self._url = url
        self._lock = threading.Lock()
        try:
            self._files, root = core.url_to_fs(url, use_listings_cache=False)
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (ValueError, ImportError) as error:
            raise InvalidInput(f"blobs: {url} cannot be opened: {error}") from None
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}") from None
        self._root = str(root).rstrip("/")
        kinds: str | tuple[str, ...] = self._files.protocol
        self._is_local = "file" in ((kinds,) if isinstance(kinds, str) else kinds)  # others need no folders

    def put(self, data: bytes | memoryview) -> Digest:
        """Keep `data` and return its digest. A damaged copy of the same blob is replaced."""
        digest = sha256(data)
        self._attempt("written", lambda: self._write(digest, io.BytesIO(data)))
        return digest

    def put_parts(self, parts: Iterable[bytes]) -> Digest:
        """Keep the blob that `parts` make together and return its digest; they are put together on this machine."""
        with tempfile.TemporaryFile(dir=self.path) as whole:
            state = hashlib.sha256()
            for part in parts:
                state.update(part)
                self._attempt("put together", lambda part=part: whole.write(part))
            whole.seek(0)
            self._attempt("written", lambda: self._write(state.digest(), whole))
        return state.digest()

    def put_file(self, path: Path, digest: Digest) -> bool:
        """Keep a copy of a file's bytes if they are the blob of that digest, and say whether they are."""
        with path.open("rb") as source:
            if hashlib.file_digest(source, "sha256").digest() != digest:
                return False
            source.seek(0)
            self._attempt("written", lambda: self._write(digest, source))
        return True

    def get(self, digest: Digest) -> bytes:
        """The whole blob; `Unavailable` if it is not there, `Tampered` if its bytes have changed."""
        place = self._place(digest)
        data: bytes = self._attempt("read", lambda: self._files.cat_file(place), digest)
        if sha256(data) != digest:
            raise Tampered(f"blob {short(digest)}: its bytes have changed in {self._url}")
        return data

    def open_stream(self, digest: Digest, damaged: Callable[[], None] | None = None) -> BinaryIO:
        """The blob as a stream that calls `damaged` and raises `Tampered` at its end if the bytes have changed."""
        place, size = self._place(digest), self.size(digest)
        file = self._attempt("read", lambda: self._files.open(place, "rb", block_size=_CHUNK), digest)
        return io.BufferedReader(CheckedReader(file, digest, size, self._url, damaged), 1 << 16)

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there. Its bytes are not checked."""
        place = self._place(digest)
        return bool(self._attempt("read", lambda: self._files.exists(place)))

    def size(self, digest: Digest) -> int:
        """The blob's length in bytes; `Unavailable` if it is not there."""
        place = self._place(digest)
        return int(self._attempt("read", lambda: self._files.info(place), digest)["size"])

    def delete(self, digest: Digest) -> None:
        """Forget the blob, if it is there."""
        place = self._place(digest)

        def remove() -> None:
            if self._files.exists(place):
                self._files.rm_file(place)

        self._attempt("deleted", remove)

    def digests(self) -> Iterator[Digest]:
        """The digests of all blobs, in ascending order; objects of other names are passed over."""

        def found() -> list[str]:
            return list(self._files.find(self._root)) if self._files.exists(self._root) else []

        names = (_NAME.search(str(name)) for name in self._attempt("listed", found))
        yield from sorted(bytes.fromhex(name[1] + name[2]) for name in names if name is not None)

    def _place(self, digest: Digest) -> str:
        if len(digest) != DIGEST_BYTES:
            raise InvalidInput(f"blob digest: expected {DIGEST_BYTES} bytes, found {len(digest)}")
        name = digest.hex()
        return f"{self._root}/{name[:2]}/{name[2:]}"

    def _write(self, digest: Digest, source: BinaryIO) -> None:
        place = self._place(digest)
        with self._lock, self._files.transaction:  # what is written in one shows when it ends, and not if it fails
            if self._is_local:
                self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            with self._files.open(place, "wb") as sink:
                while data := source.read(_CHUNK):
                    sink.write(data)

    def _attempt(self, what: str, action: Callable[[], T], digest: Digest | None = None) -> T:
        try:
            return action()
        except MedFedError:
            raise
        except FileNotFoundError:
            if digest is not None:
                raise Unavailable(f"blob {short(digest)}: not in {self._url}") from None
            raise Unavailable(f"blob store {self._url}: cannot be {what}: it is not there") from None
        except Exception as error:  # each kind of store has errors of its own
            reason: Any = getattr(error, "strerror", None) or type(error).__name__
            raise Unavailable(f"blob store {self._url}: cannot be {what}: {reason}") from error
