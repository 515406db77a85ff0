"""The cast of a fault simulation: honest hospitals that crash and restart, and liars. Keys and data are seeded."""

from __future__ import annotations

from collections.abc import Callable

from medfed.crypto import SiteKeys
from medfed.homomorphic import Cipher
from medfed.hospital.consent import APPROVE_ALL
from medfed.hospital.vault import Vault
from medfed.identifiers import Name
from medfed.simulation.byzantine import ByzantineHospital
from medfed.simulation.clock import ManualClock
from medfed.simulation.consortium import seeded_site_entropy
from medfed.simulation.faults import Cast, generator
from medfed.simulation.faults_blobs import BlobFaults, Noticed, SiteBlobs
from medfed.simulation.faults_ledger import History, Window
from medfed.simulation.faults_site import FaultySite
from medfed.simulation.faults_study import STUDY, fault_patients
from medfed.simulation.world import make_site

__all__ = ["honest_site", "liar"]


def honest_site(
    cast: Cast,
    keys: SiteKeys,
    history: History,
    blobs: BlobFaults,
    clock: ManualClock,
    noticed: Noticed,
    cipher: Cipher,
) -> FaultySite:
    """A hospital, or an office holder, that follows the protocol; `noticed` sees every blob that it stores."""
    entropy = seeded_site_entropy(cast.seed, keys.name, "run")
    table = fault_patients(keys.name) if keys.name in cast.names else None
    return FaultySite(keys, table, Window(history), blobs, clock, entropy, noticed, cipher)


def liar(
    cast: Cast, keys: SiteKeys, blobs: BlobFaults, clock: ManualClock, note: Callable[[str], None], cipher: Cipher
) -> ByzantineHospital:
    """A hospital that follows the protocol only as far as the seed lets it."""
    entropy = seeded_site_entropy(cast.seed, keys.name, "run")
    vault = Vault(None, keys.vault_key, entropy)
    own = SiteBlobs(blobs, keys.name, _no_effect, _not_noticed)
    site = make_site(keys, vault, own, fault_patients(keys.name), APPROVE_ALL, clock, entropy, cipher)
    return ByzantineHospital(site, STUDY, blobs, generator(cast.seed, keys.name), entropy, note)


def _no_effect(name: str) -> None:
    """Liars do not crash."""


def _not_noticed(name: Name, data: bytes) -> None:
    """Nobody watches what a liar stores."""
