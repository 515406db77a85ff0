"""A site that deals with others under faults: it answers blind tests, offers files and keeps what it receives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medfed.crypto import SiteKeys
from medfed.federation.tables import Table
from medfed.homomorphic import WorkerCipher
from medfed.hospital.agent import Agent
from medfed.hospital.site import DiagnoseSource
from medfed.identifiers import Name
from medfed.ledger.engine import Clock
from medfed.simulation.consortium import seeded_site_entropy
from medfed.simulation.faults_blobs import BlobFaults
from medfed.simulation.faults_ledger import Window
from medfed.simulation.faults_site import FaultySite

__all__ = ["DealingSite"]


class DealingSite(FaultySite):
    """One of the three that deal, or the third hospital of their study."""

    def __init__(
        self,
        keys: SiteKeys,
        seed: int,
        table: Table | None,
        window: Window,
        blobs: BlobFaults,
        clock: Clock,
        diagnose: DiagnoseSource,
        received: Path,
        looked_at: Callable[[Name, str], None],
    ) -> None:
        """`looked_at` is told of every effect, just before it; `received` is where data that was asked for goes."""
        self._diagnose, self._received, self._looked_at = diagnose, received, looked_at
        self._is_up = False
        entropy = seeded_site_entropy(seed, keys.name, "run")
        super().__init__(keys, table, window, blobs, clock, entropy, _not_noticed, WorkerCipher())
        self._is_up = True

    def effect(self, name: str) -> None:
        """As `FaultySite.effect`, and it is looked at."""
        if self._is_up:
            self._looked_at(self.name, name)
        super().effect(name)

    def _start(self) -> Agent:
        agent = super()._start()
        agent.site.diagnose, agent.site.received = self._diagnose, self._received
        return agent


def _not_noticed(name: Name, data: bytes) -> None:
    """What is stored is looked at when it is named."""
