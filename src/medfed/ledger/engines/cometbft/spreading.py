"""Spreading transactions through CometBFT's pools until they are final: at once, then again at growing intervals.

Every attempt has bytes of its own, because pools remember bytes that they have seen and spread them once only. A pool
that is out of reach is tried again; only when nothing moves for a minute is the caller told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from medfed.errors import Unavailable
from medfed.ledger.engines.cometbft.batches import encode_batches
from medfed.ledger.transaction import SignedTransaction

__all__ = ["PATIENCE_SECONDS", "Spreading"]

log: Final = logging.getLogger("medfed.ledger")
PATIENCE_SECONDS: Final = 60.0
_SOON: Final = 0.1
_FIRST_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 16.0


class Spreading:
    """The attempts of one `submit`. `broadcast` is `RpcClient.broadcast`, `now` a monotonic clock in seconds."""

    def __init__(self, broadcast: Callable[[bytes], str], now: Callable[[], float] = time.monotonic) -> None:
        self._broadcast = broadcast
        self._now = now
        self._attempt = 0
        self._pause = _FIRST_PAUSE
        self._due = now()
        self._end = now() + PATIENCE_SECONDS
        self._problem = "no block holds them"

    def moved(self) -> None:
        """Some of the transactions have become final: give the rest time."""
        self._end = self._now() + PATIENCE_SECONDS
        self._pause = _FIRST_PAUSE
        self._due = max(self._due, self._now() + self._pause)

    def send(self, transactions: Sequence[SignedTransaction]) -> float:
        """Spread the transactions if it is time for it; returns how many seconds to wait for a block now.

        Raises:
            Unavailable: nothing has moved for too long.
        """
        now = self._now()
        if now >= self._end:
            raise Unavailable(
                f"{len(transactions)} transactions are not final after {PATIENCE_SECONDS:.0f} s ({self._problem}); "
                "they may still enter a block, and the same bytes may be sent again"
            )
        if now >= self._due:
            taken = self._send(transactions)
            self._attempt += 1
            self._due = self._now() + (self._pause if taken else _SOON)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE) if taken else self._pause
        return max(0.0, min(self._due, self._end) - self._now())

    def _send(self, transactions: Sequence[SignedTransaction]) -> bool:
        """Whether CometBFT has taken all."""
        taken = True
        for entry in encode_batches(transactions, self._attempt):
            try:
                refusal = self._broadcast(entry)
            except Unavailable as error:
                refusal = str(error)
            if refusal:
                taken = False
                self._problem = refusal
                log.debug("pool: %s", refusal)
        return taken
