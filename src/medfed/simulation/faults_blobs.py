"""Blob stores that fail: one store for the consortium, and each site's own, faulty view of it.

A blob may reach some sites late or never, be damaged at a site, or find a disk full. It is never invented: what a site
gets is what somebody put, or an error of the kind that a real store gives.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final, Protocol

from medfed.blobs import MemoryBlobs
from medfed.errors import Tampered, Unavailable
from medfed.identifiers import Digest, Name, short

__all__ = ["BlobFaults", "SiteBlobs", "spoil_newest"]

Effect = Callable[[str], None]
_SPOILT: Final = ("late", "late", "damaged", "lost")


class Noticed(Protocol):
    """Who is told of every blob that a site is about to store."""

    def __call__(self, name: Name, data: bytes) -> None:
        """`name` puts `data`; called before any copy of it exists."""
        ...


class BlobFaults:
    """The consortium's blobs, and who cannot have which."""

    def __init__(self, names: tuple[Name, ...]) -> None:
        self.under = MemoryBlobs()
        self.names = names
        self.hidden: dict[Digest, set[Name]] = {}
        """Who cannot get a blob now."""
        self.damaged: set[tuple[Digest, Name]] = set()
        self.held: dict[Digest, set[Name]] = {}
        """Who has put or read a blob, and can hand it on."""
        self.gone: set[Digest] = set()
        """Blobs of which no copy is left but the owner's word."""

    def hide(self, digest: Digest, from_names: set[Name]) -> None:
        """Keep a blob from some for now."""
        self.hidden.setdefault(digest, set()).update(from_names)

    def relay(self, allowed: Callable[[Name], bool]) -> None:
        """Every holder that is there hands its blobs to whoever lacks them, and what is damaged is fetched again."""
        for digest in [digest for digest, lacking in self.hidden.items() if lacking]:
            if digest in self.gone:
                continue
            if any(allowed(holder) for holder in self.held.get(digest, ())):
                self.hidden[digest].clear()
        self.damaged.clear()


class SiteBlobs:
    """What one site can put and get."""

    def __init__(self, faults: BlobFaults, name: Name, effect: Effect, noticed: Noticed) -> None:
        self._faults = faults
        self._name = name
        self._effect = effect
        self._noticed = noticed

    def put(self, data: bytes | memoryview) -> Digest:
        """Keep `data`, unless the process dies or the disk is full."""
        kept = bytes(data)
        self._effect("before blob")
        self._noticed(self._name, kept)
        digest = self._faults.under.put(kept)
        self._faults.held.setdefault(digest, set()).add(self._name)
        self._faults.hidden.get(digest, set()).discard(self._name)
        self._faults.damaged.discard((digest, self._name))
        self._effect("after blob")
        return digest

    def put_parts(self, parts: Iterable[bytes]) -> Digest:
        """Keep the blob that `parts` make together, as `put` does."""
        return self.put(b"".join(parts))

    def get(self, digest: Digest) -> bytes:
        """The blob, if this site can have it."""
        self._check(digest)
        found = self._faults.under.get(digest)
        self._faults.held.setdefault(digest, set()).add(self._name)
        return found

    def open_stream(self, digest: Digest) -> BinaryIO:
        """The blob as a stream; what is damaged shows when it is read."""
        return io.BytesIO(self.get(digest))

    def has(self, digest: Digest) -> bool:
        """Whether this site can have the blob now."""
        return self._name not in self._faults.hidden.get(digest, ()) and self._faults.under.has(digest)

    def size(self, digest: Digest) -> int:
        """The blob's length in bytes."""
        if not self.has(digest):
            raise Unavailable(f"blob {short(digest)}: not in this store")
        return self._faults.under.size(digest)

    def delete(self, digest: Digest) -> None:
        """Forget this site's copy."""
        self._effect("before blob-delete")
        self._faults.hide(digest, {self._name})
        self._effect("after blob-delete")

    def digests(self) -> Iterator[Digest]:
        """The digests of what this site can have."""
        return iter([digest for digest in self._faults.under.digests() if self.has(digest)])

    def _check(self, digest: Digest) -> None:
        if not self.has(digest):
            raise Unavailable(f"blob {short(digest)}: not in this store")
        if (digest, self._name) in self._faults.damaged:
            raise Tampered(f"blob {short(digest)}: the bytes do not match the digest")


def spoil_newest(faults: BlobFaults, names: Sequence[Name], rng: random.Random, kinds: Sequence[str] = _SPOILT) -> str:
    """Let something happen to the newest blob that is not gone: late or damaged for one, or lost for all but its owner.

    Returns what happened, in words.
    """
    digest = [digest for digest in faults.held if digest not in faults.gone][-1]
    name = rng.choice(names)
    kind = rng.choice(kinds)
    if kind == "damaged":
        faults.damaged.add((digest, name))
    elif kind == "lost" and len(faults.held[digest]) == 1:
        owner = next(iter(faults.held[digest]))
        faults.gone.add(digest)
        faults.hide(digest, set(names) - {owner})
    else:
        kind = "late"
        faults.hide(digest, {name} - faults.held[digest])
    return f"blob {digest.hex()[:8]} is {kind} for {name if kind != 'lost' else 'all'}"
