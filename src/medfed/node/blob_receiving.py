"""Taking blobs from a site that nobody can call, so that others can fetch them here.

Only what the ledger names, and what concerns both the sender and this site, is taken (`blob_server` checks that), and
only bytes that have the digest are kept. What was cut off goes on where it stopped, for the same sender.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from medfed.blobs import SiteBlobs
from medfed.errors import Refused, Unavailable
from medfed.hospital.blob_exchange.peer_blobs import MOST_BYTES
from medfed.hospital.blob_exchange.room import BlobRoom
from medfed.identifiers import Digest, Name

__all__ = ["BlobReceiver", "parse_range"]

_RANGE: Final = re.compile(r"^bytes (?P<start>[0-9]{1,15})-(?P<end>[0-9]{1,15})/(?P<size>[0-9]{1,15})\Z")
_CHUNK: Final = 256 * 1024


def parse_range(content_range: str, content_length: str) -> tuple[int, int]:
    """Where the body begins in the blob, and the blob's size, both in bytes.

    Raises:
        Refused: `wrong-range`: the two headers do not say the same.
    """
    found = _RANGE.match(content_range)
    if found is None or not content_length.isdigit() or len(content_length) > 15:
        raise Refused("wrong-range", "expected content-range: bytes start-end/size, and content-length")
    start, end, size = int(found["start"]), int(found["end"]), int(found["size"])
    if int(content_length) != size - start or end != max(size - 1, 0) or start > size:
        raise Refused("wrong-range", "the body must go to the blob's end")
    return start, size


class BlobReceiver:
    """Keeps what comes. Safe to use from several threads."""

    def __init__(self, blobs: SiteBlobs, room: BlobRoom, most: int = MOST_BYTES) -> None:
        self._blobs = blobs
        self._room = room
        self._most = most
        self._busy: set[Path] = set()
        self._lock = threading.Lock()

    def have(self, sender: Name, digest: Digest) -> int:
        """How many bytes of a blob have come from a sender so far."""
        path = self._partial(sender, digest)
        return path.stat().st_size if path.is_file() else 0

    def receive(self, sender: Name, digest: Digest, start: int, size: int, read: Callable[[int], bytes]) -> None:
        """Keep a blob of `size` bytes, whose bytes from `start` on `read` gives.

        Raises:
            Refused: `too-large`, `busy`, `not-the-blob`, or `wrong-range`: it does not go on where it had stopped.
            Unavailable: there is no room, or the sender has stopped in the middle.
        """
        if size > self._most:
            raise Refused("too-large", f"at most {self._most} bytes are taken")
        self._room.find(self._most, size)
        path = self._partial(sender, digest)
        with self._lock:
            if path in self._busy:
                raise Refused("busy", "the same blob is being sent already")
            self._busy.add(path)
        try:
            self._append(path, start, size, read)
            self._keep(path, digest)
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}") from None
        finally:
            with self._lock:
                self._busy.discard(path)

    def _append(self, path: Path, start: int, size: int, read: Callable[[int], bytes]) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if start == 0:
            path.unlink(missing_ok=True)
        if start != (path.stat().st_size if path.exists() else 0):
            raise Refused("wrong-range", "the blob does not go on where the last try has stopped")
        left = size - start
        with path.open("ab") as sink:
            while left > 0 and (data := read(min(_CHUNK, left))):
                sink.write(data)
                left -= len(data)
        if left:
            raise Unavailable("the sender has stopped in the middle of a blob")

    def _keep(self, path: Path, digest: Digest) -> None:
        try:
            if not self._blobs.put_file(path, digest):
                raise Refused("not-the-blob", "these bytes are something else")
        finally:
            path.unlink(missing_ok=True)

    def _partial(self, sender: Name, digest: Digest) -> Path:
        return self._blobs.path / "partial" / f"{digest.hex()}.{sender}"
