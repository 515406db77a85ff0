"""Where a simulated job's time goes, by part: wraps what the parts call while it measures, and puts everything back.

Parts never overlap: what one spends inside another counts for the inner one only. Everything cryptographic counts as
encryption, but for the ledger's own signatures and hashes, which are the ledger's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from medfed.blobs import DirectoryBlobs, MemoryBlobs
from medfed.blobs.checked_reader import CheckedReader
from medfed.demo.stopwatch import CALLS as DEMO_CALLS
from medfed.demo.stopwatch import Calls, Stopwatch
from medfed.hospital import vault
from medfed.hospital.duties import joining
from medfed.ledger.engines.memory import MemoryEngine

CALLS: Final[Calls] = (
    *DEMO_CALLS,
    (MemoryEngine, "submit", "ledger"),
    (MemoryEngine, "view", "ledger"),
    (MemoryEngine, "block_id", "ledger"),
    (DirectoryBlobs, "put", "blobs"),
    (DirectoryBlobs, "open_stream", "blobs"),
    (CheckedReader, "read", "blobs"),
    (MemoryBlobs, "put", "blobs"),
    (joining, "cases_root", "training"),
)
PARTS: Final = ("training", "encryption", "ledger", "blobs", "vault commits")


class Parts(Stopwatch):
    """Seconds by part of one clock."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(CALLS, clock)
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def measuring(self) -> Generator[None]:
        """Measure everything that runs inside, commits of the vault too."""
        transaction = vault.Vault.transaction
        vault.Vault.transaction = self._timed_commits(transaction)
        try:
            with super().measuring():
                yield
        finally:
            vault.Vault.transaction = transaction

    def _timed_commits(self, transaction: Callable[..., Any]) -> Callable[..., Any]:
        """Only beginning and committing: what happens in between counts for itself."""

        @contextmanager
        def run(of: vault.Vault, name: str) -> Generator[None]:
            inside = transaction(of, name)
            with self.part("vault commits"):
                inside.__enter__()
            try:
                yield
            except BaseException:
                if not inside.__exit__(*sys.exc_info()):
                    raise
            else:
                with self.part("vault commits"):
                    inside.__exit__(None, None, None)

        return run
