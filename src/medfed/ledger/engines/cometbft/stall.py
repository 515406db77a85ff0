"""A CometBFT that lives and does not move: after an error in its consensus (a full disk) it stops deciding for good,
keeps its connections and answers questions, so nothing but its height tells.

Peers say their heights, and one of them may lie: only what more than a third of them say counts, so that no single one
can have a good node started again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from medfed.errors import InvalidInput, Unavailable

__all__ = ["StallWatch"]

log: Final = logging.getLogger("medfed.ledger")
_PATIENCE_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 2.0


class _Rpc(Protocol):
    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """See `RpcClient.call`."""
        ...


class StallWatch:
    """Follows one CometBFT's height and its peers'."""

    def __init__(
        self, rpc: _Rpc, clock: Callable[[], float] = time.monotonic, patience: float = _PATIENCE_SECONDS
    ) -> None:
        """`clock` and `patience` are in seconds."""
        self._rpc = rpc
        self._clock = clock
        self._patience = patience
        self._height = -1
        self._since = self._looked = clock()

    def is_stalled(self) -> bool:
        """Whether its height has not moved for as long as `patience` while those of peers are higher."""
        now = self._clock()
        if now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        try:
            mine, others = _heights(self._rpc.call("dump_consensus_state"))
        except (Unavailable, InvalidInput):
            return False  # whether it lives is the supervisor's affair
        if mine != self._height or others <= mine + 1:
            self._height, self._since = mine, now
        if now - self._since < self._patience:
            return False
        log.warning("CometBFT has not moved from height %d for %.0f s; others are at %d", mine, self._patience, others)
        self._since = now
        return True


def _heights(state: dict[str, Any]) -> tuple[int, int]:
    """This node's height, and one that more than a third of its peers have reached.

    Raises:
        Unavailable: the answer is not what v0.38 gives.
    """
    try:
        mine = int(state["round_state"]["height"])
        told: list[dict[str, Any]] = state["peers"] or []
        peers = sorted((int(peer["peer_state"]["round_state"]["height"]) for peer in told), reverse=True)
    except (KeyError, TypeError, ValueError):
        raise Unavailable("CometBFT's answer is not what v0.38 gives") from None
    return mine, peers[len(peers) // 3] if peers else 0
