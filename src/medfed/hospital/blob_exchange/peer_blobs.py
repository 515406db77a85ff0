"""A blob store that asks the other hospitals for what is not here, and keeps it.

Any peer that has a blob will do: it is only kept if its bytes have the digest. A download that was cut goes on where it
stopped, at the next peer if need be. Looking whether a blob is here, and listing, ask nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from medfed.blobs import SiteBlobs
from medfed.errors import Tampered, Unavailable
from medfed.hospital.blob_exchange.room import BlobRoom
from medfed.identifiers import Digest, short

__all__ = ["MOST_BYTES", "Peer", "PeerBlobs"]

MOST_BYTES: Final = 4 << 30
_PARTIAL: Final = "partial"


class Peer(Protocol):
    """Somebody who may have a blob."""

    def fetch(self, blob: Digest, sink: BinaryIO, start: int, most: int) -> None:
        """See `PeerConnection.fetch`."""
        ...


class PeerBlobs:
    """A `BlobStore` over a directory and peers. Safe to use from several threads: one asks at a time."""

    def __init__(
        self,
        local: SiteBlobs,
        peers: Callable[[Digest], list[Peer]],
        most: int = MOST_BYTES,
        pauses: tuple[float, ...] = (0.03, 0.06, 0.12),
        room: BlobRoom | None = None,
    ) -> None:
        """`peers` gives whom to ask for a blob, in order; `most` bounds a blob's bytes; `pauses` are in seconds.

        `room` says whether there is room for what is fetched; without it there always is.
        """
        self._room = room
        self._pauses = pauses
        self.local = local
        self._peers = peers
        self._most = most
        self._lock = threading.Lock()

    def put(self, data: bytes | memoryview) -> Digest:
        """Keep a blob here; the others fetch it."""
        return self.local.put(data)

    def put_parts(self, parts: Iterable[bytes]) -> Digest:
        """Keep the blob that `parts` make together here; the others fetch it."""
        return self.local.put_parts(parts)

    def get(self, digest: Digest) -> bytes:
        """The whole blob, fetched if it is not here or damaged.

        Raises:
            Unavailable: nobody who has it can be reached.
        """
        try:
            return self.local.get(digest)
        except (Unavailable, Tampered):
            self._fetch(digest)
            return self.local.get(digest)

    def open_stream(self, digest: Digest) -> BinaryIO:
        """The blob as a stream, fetched first if it is not here.

        A copy that turns out to be damaged is deleted, so that another one is fetched the next time.
        """
        self._need(digest)
        return self.local.open_stream(digest, lambda: self.local.delete(digest))

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here."""
        return self.local.has(digest)

    def size(self, digest: Digest) -> int:
        """The blob's length, fetched first if it is not here."""
        self._need(digest)
        return self.local.size(digest)

    def delete(self, digest: Digest) -> None:
        """Forget the blob here."""
        self.local.delete(digest)

    def digests(self) -> Iterator[Digest]:
        """The blobs that are here."""
        return self.local.digests()

    def _need(self, digest: Digest) -> None:
        if not self.local.has(digest):
            self._fetch(digest)

    def _fetch(self, digest: Digest) -> None:
        """Ask everybody, and once more after each pause: a peer whose replica is a block behind does not know yet."""
        problems: list[str] = []
        with self._lock:
            most = self._most if self._room is None else self._room.find(self._most)
            path = self._partial(digest)
            for pause in (0.0, *self._pauses):
                time.sleep(pause)
                problems = []
                for peer in self._peers(digest):
                    try:
                        self._fetch_from(peer, digest, path, most)
                    except (Unavailable, Tampered) as error:
                        problems.append(str(error))
                    else:
                        return
                if not problems:
                    break
        raise Unavailable(f"blob {short(digest)}: no peer gives it ({'; '.join(problems) or 'there are none'})")

    def _partial(self, digest: Digest) -> Path:
        directory = self.local.path / _PARTIAL
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{directory}: {error.strerror or error}") from None
        return directory / digest.hex()

    def _fetch_from(self, peer: Peer, digest: Digest, path: Path, most: int) -> None:
        try:
            with path.open("ab+") as sink:
                sink.seek(0, 2)
                peer.fetch(digest, sink, sink.tell(), most)
            good = self.local.put_file(path, digest)
            path.unlink()
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}") from None
        if not good:  # begin anew next time
            raise Tampered(f"blob {short(digest)}: what a peer has sent is something else")
