"""One hospital's machine as its agent sees it: keys, vault, blobs, data and policy, clock and randomness passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from medfed.blobs import BlobStore
from medfed.crypto import Entropy, SiteKeys
from medfed.federation.plan import Plan
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.tables import Table
from medfed.hospital.consent import ConsentPolicy
from medfed.hospital.vault import Vault
from medfed.identifiers import Digest, Name
from medfed.ledger.engine import Clock

__all__ = ["DataSource", "Site"]

DataSource = Callable[[Plan], Table]
"""Finds the table for a plan; raises `InvalidInput` if the site has none that fits."""


@dataclass
class Site:
    """Everything that one agent works with. What is cached here can be lost at any time."""

    keys: SiteKeys
    vault: Vault
    blobs: BlobStore
    data: DataSource
    consent: ConsentPolicy
    clock: Clock
    entropy: Entropy
    started_ms: int
    _prepared: dict[Digest, PreparedData] = field(default_factory=dict[Digest, PreparedData])

    @property
    def name(self) -> Name:
        """The participant's name."""
        return self.keys.name

    def prepared(self, plan: Plan) -> PreparedData:
        """The site's data for a plan, read once.

        Raises:
            InvalidInput: the table does not fit; the message says where.
        """
        found = self._prepared.get(plan.digest)
        if found is None:
            found = prepare(plan, self.data(plan), self.keys.split_key)
            self._prepared[plan.digest] = found
        return found
