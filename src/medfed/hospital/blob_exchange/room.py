"""How many bytes of blobs a site keeps, and what goes when there is no room: only what nobody can need any more.

This module must never delete a blob that somebody may still have to fetch: `BlobIndex.spent` says which those are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from medfed.blobs import SiteBlobs
from medfed.errors import Unavailable
from medfed.identifiers import Digest, short

__all__ = ["BlobRoom"]

log: Final = logging.getLogger("medfed.hospital")


class BlobRoom:
    """The room for blobs in one directory."""

    def __init__(self, local: SiteBlobs, limit: int, spent: Callable[[], Iterable[Digest]]) -> None:
        """`limit` is in bytes, 0 for none; `spent` gives blobs that may go, the oldest first."""
        self._local = local
        self._limit = limit
        self._spent = spent

    def find(self, most: int, wanted: int = 1) -> int:
        """How many bytes a blob that comes may have, at most `most`; makes room for `wanted` if need be.

        Raises:
            Unavailable: the limit is reached, and nothing here may go.
        """
        if not self._limit:
            return most
        used = sum(self._local.size(digest) for digest in self._local.digests())
        if used + wanted > self._limit:
            used -= self._clear(used + wanted - self._limit)
        if used + wanted > self._limit:
            raise Unavailable(
                f"{self._local.path}: the limit of {self._limit >> 20} MiB for blobs is reached and all of them may "
                "still be needed; allow more with `blobs_limit_mib` in node.toml"
            )
        return min(most, self._limit - used)

    def _clear(self, lacking: int) -> int:
        """Delete spent blobs until `lacking` bytes are free; returns how many are."""
        freed = 0
        for digest in self._spent():
            if freed >= lacking:
                break
            if self._local.has(digest):
                size = self._local.size(digest)
                self._local.delete(digest)
                freed += size
                log.info("blob %s: deleted to make room, nobody needs it any more", short(digest))
        return freed
