"""A site that nobody can call hands its blobs to others, from whom the rest fetch them.

A relaying peer is any participant with an address that may have the blob itself; so nobody learns of a blob that does
not concern it. What was handed over is remembered only while the process lives: after that the peer says what it has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import BinaryIO, Final, Protocol

from medfed.blobs import SiteBlobs
from medfed.errors import MedFedError
from medfed.hospital.blob_exchange.access import BlobIndex
from medfed.identifiers import Digest, Name, short
from medfed.ledger.engine import StateView

__all__ = ["RelayPeer", "Relaying"]

log: Final = logging.getLogger("medfed.hospital")
_COPIES: Final = 2


class RelayPeer(Protocol):
    """Somebody who takes blobs."""

    def push(self, blob: Digest, source: BinaryIO, size: int) -> None:
        """See `PeerConnection.push`."""
        ...


class Relaying:
    """Hands over the blobs that one site has named on the ledger."""

    def __init__(
        self,
        me: Name,
        local: SiteBlobs,
        index: BlobIndex,
        peers: Callable[[Digest], Sequence[tuple[Name, RelayPeer]]],
        copies: int = _COPIES,
    ) -> None:
        """`peers` gives whom to try for a blob, in order; `copies` is how many of them shall have it."""
        self._me = me
        self._local = local
        self._index = index
        self._peers = peers
        self._copies = copies
        self._holders: dict[Digest, set[Name]] = {}
        self._told: set[str] = set()

    def push(self, view: StateView) -> int:
        """Hand over what others may need; returns how many copies were made. What fails is tried at the next call."""
        made = 0
        for digest in self._index.open_blobs_of(view, self._me):
            holders = self._holders.setdefault(digest, set())
            if len(holders) >= self._copies or not self._local.has(digest):
                continue
            for name, peer in self._peers(digest):
                if len(holders) >= self._copies:
                    break
                if name not in holders and self._index.may_read(view, name, digest):
                    made += self._push_to(name, peer, digest, holders)
        return made

    def _push_to(self, name: Name, peer: RelayPeer, digest: Digest, holders: set[Name]) -> int:
        try:
            with self._local.open_stream(digest) as source:
                peer.push(digest, source, self._local.size(digest))
        except MedFedError as error:
            if str(error) not in self._told:
                log.warning("blob %s: %s does not take it: %s", short(digest), name, error)
                self._told = {*list(self._told)[-31:], str(error)}
            return 0
        holders.add(name)
        return 1
