"""Calling lost peers again. CometBFT does so every few seconds for two minutes, then at intervals that grow to hours,
and gives up after a day: a network that was cut for longer would stay in parts after it has healed.

So the node asks its CometBFT itself, over the private socket, to call every peer of `node.toml` that has been missing
for two looks. Names are looked up anew with each call, so that a peer may have moved meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from medfed.errors import InvalidInput, Unavailable

__all__ = ["LOOK_SECONDS", "PeerCalls"]

log: Final = logging.getLogger("medfed.ledger")
LOOK_SECONDS: Final = 10.0
"""Between two looks at who is there."""


class _Rpc(Protocol):
    def net_info(self) -> dict[str, Any]:
        """See `RpcClient.net_info`."""
        ...

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """See `RpcClient.call`."""
        ...


class PeerCalls:
    """Follows which of one node's peers are connected, and has the others called."""

    def __init__(
        self,
        rpc: _Rpc,
        peers: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        every: float = LOOK_SECONDS,
    ) -> None:
        """`peers` are `id@host:port`; `clock` and `every` are in seconds."""
        self._rpc = rpc
        self._peers = {peer.partition("@")[0]: peer for peer in peers}
        self._clock = clock
        self._every = every
        self._looked = clock()
        self._missing: frozenset[str] = frozenset()

    def look(self) -> tuple[str, ...]:
        """Call whom one has missed twice in a row; returns whom. To be asked often: most times it does nothing."""
        now = self._clock()
        if not self._peers or now - self._looked < self._every:
            return ()
        self._looked = now
        try:
            missing = self._peers.keys() - _connected(self._rpc.net_info())
            wanted = tuple(self._peers[one] for one in sorted(missing & self._missing))
            self._missing = frozenset(missing)
            if wanted:
                self._rpc.call("dial_peers", peers=list(wanted), persistent=False, unconditional=False, private=False)
        except (Unavailable, InvalidInput) as error:
            log.debug("lost peers cannot be called now: %s", error)  # it does not run, or a name cannot be looked up
            return ()
        return wanted


def _connected(answer: dict[str, Any]) -> frozenset[str]:
    """The ids of the peers that are there.

    Raises:
        Unavailable: the answer is not what v0.38 gives.
    """
    try:
        told: list[dict[str, Any]] = answer["peers"] or []
        return frozenset(str(peer["node_info"]["id"]).lower() for peer in told)
    except (KeyError, TypeError):
        raise Unavailable("CometBFT's answer is not what v0.38 gives") from None
