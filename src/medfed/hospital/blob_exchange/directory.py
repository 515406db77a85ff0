"""Whom to ask for blobs: the ledger's active participants with an address, each connection kept while it is the same.

Several threads of an agent may fetch, one at a time (`PeerBlobs`); what the ledger says is read anew for each blob.
"""

from __future__ import annotations

from collections.abc import Callable

from medfed.crypto import SiteKeys
from medfed.hospital.blob_exchange.peer_blobs import Peer
from medfed.hospital.blob_exchange.peer_connection import PeerConnection
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.membership import participants
from medfed.ledger.engine import StateView

__all__ = ["PeerDirectory"]


class PeerDirectory:
    """The peers of one site."""

    def __init__(self, view: Callable[[], StateView], keys: SiteKeys, timeout: float = 10.0) -> None:
        self._view = view
        self._keys = keys
        self._timeout = timeout
        self._known: dict[Name, tuple[str, bytes, PeerConnection]] = {}

    def peers(self, blob: Digest) -> list[Peer]:
        """Whom to ask, beginning with another one for every blob, so that the load spreads."""
        return [connection for _, connection in self.named_peers(blob)]

    def named_peers(self, blob: Digest) -> list[tuple[Name, PeerConnection]]:
        """The same with their names."""
        view = self._view()
        found: list[tuple[Name, PeerConnection]] = []
        for one in participants(view):
            if one.name != self._keys.name and one.status == "active" and ":" in one.address:
                found.append((one.name, self._connection(view.chain, one.name, one.address, one.signing_key)))
        turn = blob[0] % len(found) if found else 0
        return found[turn:] + found[:turn]

    def close(self) -> None:
        """Close every connection."""
        for _, _, connection in self._known.values():
            connection.close()
        self._known.clear()

    def _connection(self, chain: Digest, name: Name, address: str, key: bytes) -> PeerConnection:
        known = self._known.get(name)
        if known is not None:
            if known[:2] == (address, key):
                return known[2]
            known[2].close()
        made = PeerConnection(address, name, key, chain, self._keys.name, self._keys.signing_key, timeout=self._timeout)
        self._known[name] = (address, key, made)
        return made
