"""One honest hospital in a fault simulation: it dies at any effect, starts again over what is durable, and goes on."""

from __future__ import annotations

import sqlite3

from medfed.crypto import Entropy, SiteKeys
from medfed.errors import Unavailable
from medfed.federation.tables import Table
from medfed.homomorphic import Cipher
from medfed.hospital.agent import Agent
from medfed.hospital.consent import APPROVE_ALL
from medfed.hospital.vault import Vault
from medfed.identifiers import Name
from medfed.ledger.engine import Clock
from medfed.simulation.faults import Crash
from medfed.simulation.faults_blobs import BlobFaults, Noticed, SiteBlobs
from medfed.simulation.faults_ledger import Window
from medfed.simulation.world import make_site

__all__ = ["FaultySite"]


class CopiedVault(Vault):
    """A vault in memory of which a person can make a copy, and go back to it."""

    _copy: sqlite3.Connection | None = None

    @property
    def has_copy(self) -> bool:
        """Whether there is a copy to go back to."""
        return self._copy is not None

    def make_copy(self) -> None:
        """Make a backup."""
        self._copy = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.backup(self._copy)

    def go_back(self) -> None:
        """Put the backup in the vault's place, as after a disk failed."""
        if self._copy is not None:
            self._connection, self._copy = self._copy, None


class FaultySite:
    """A site, its agent, and what is wrong with it at the moment."""

    def __init__(
        self,
        keys: SiteKeys,
        table: Table | None,
        window: Window,
        blobs: BlobFaults,
        clock: Clock,
        entropy: Entropy,
        noticed: Noticed,
        cipher: Cipher,
    ) -> None:
        self._cipher = cipher
        self.keys = keys
        self.window = window
        self.entropy = entropy
        self.fuse: int | None = None
        """Effects until the process dies."""
        self.disk_full = False
        self.skew_ms = 0
        self.away_until = 0
        """The tick at which it is back."""
        self.gone = ""
        """Why it will not be back: "absent", "leave", "withdraw", "removed" or "restored"."""
        self._table = table
        self._base_clock = clock
        self.vault = CopiedVault(None, keys.vault_key, entropy, self.effect)
        self._blobs = SiteBlobs(blobs, keys.name, self.effect, noticed)
        self.agent = self._start()

    @property
    def name(self) -> Name:
        """The participant's name."""
        return self.keys.name

    def clock(self) -> int:
        """What this site believes the time to be."""
        return self._base_clock() + self.skew_ms

    def effect(self, name: str) -> None:
        """Called around everything that becomes durable: the process may die here, or the disk be full.

        Raises:
            Crash: it dies. Unavailable: there is no room.
        """
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.fuse = None
                raise Crash(name)
        if self.disk_full and name.startswith("before"):
            raise Unavailable(f"{name}: no room on the disk")

    def restart(self) -> None:
        """A new process over what is durable."""
        self.fuse = None
        self.agent = self._start()

    def _start(self) -> Agent:
        clock, entropy = self.clock, self.entropy
        site = make_site(self.keys, self.vault, self._blobs, self._table, APPROVE_ALL, clock, entropy, self._cipher)
        return Agent(site, self.window)
