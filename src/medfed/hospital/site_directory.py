"""A site on disk: keys, vault, blobs and `site.toml` in one directory, and a lock that lets one agent work on it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from medfed.blobs import BlobStore, DirectoryBlobs, SiteBlobs
from medfed.blobs.remote import RemoteBlobs, is_remote
from medfed.crypto import (
    Entropy,
    KeystoreCost,
    PublicKeys,
    SiteKeys,
    load_keystore,
    load_public,
    save_keystore,
    system_entropy,
)
from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.federation.outcome_study import vocabulary_of
from medfed.federation.plan import Aligned, Plan, Words
from medfed.federation.tables import Table
from medfed.hospital.site import Site
from medfed.hospital.site_file import DEFAULT_SITE_FILE, load_site_file, table_for
from medfed.hospital.site_library import candidate_table, library_entries, library_table
from medfed.hospital.vault import Vault
from medfed.ledger.contracts.alignment import AlignmentKind
from medfed.ledger.engine import Clock

__all__ = [
    "VAULT_FILE",
    "SiteBusy",
    "change_passphrase",
    "create_site",
    "key_path",
    "lock_site",
    "next_key_path",
    "open_own_blobs",
    "open_site",
    "own_blobs",
    "read_public",
    "shared_blobs",
    "wall_clock",
]

VAULT_FILE: Final = "vault.db"
_LOCK: Final = "agent.lock"
_LOCK_PAUSE: Final = 0.05


class SiteBusy(Unavailable):
    """Another process holds the site's lock and signs for its participant."""


def wall_clock() -> int:
    """Milliseconds since 1970, UTC, of this machine."""
    return time.time_ns() // 1_000_000


def key_path(directory: Path) -> Path:
    """Where a site's keystore is."""
    return directory / "keys" / "site.key"


def next_key_path(directory: Path) -> Path:
    """Where the keys lie that a site has asked for and the ledger may not know yet."""
    return key_path(directory).with_name("next.key")


def shared_blobs(ledger: Path) -> Path:
    """The blob directory that all agents on one embedded ledger share."""
    return ledger.with_name(ledger.name + ".blobs")


def create_site(
    directory: Path,
    name: str,
    passphrase: str,
    *,
    entropy: Entropy = system_entropy,
    cost: KeystoreCost | None = None,
    keys: SiteKeys | None = None,
) -> SiteKeys:
    """Make a site directory with new keys (or the given ones) and a `site.toml` to fill in.

    Raises:
        InvalidInput: not a name, or an empty passphrase. Refused: the site exists. Unavailable: not writable.
    """
    keys = keys or SiteKeys.generate(name, entropy)
    with _translated(directory):
        directory.mkdir(parents=True, exist_ok=True)
        save_keystore(key_path(directory), keys, passphrase, cost, entropy)
        site_file = directory / "site.toml"
        if not site_file.exists():
            site_file.write_text(DEFAULT_SITE_FILE, encoding="utf-8")
    return keys


def read_public(directory: Path) -> PublicKeys:
    """A site's public keys; needs no passphrase."""
    _check_site(directory)
    return load_public(key_path(directory))


def change_passphrase(directory: Path, old: str, new: str, cost: KeystoreCost | None = None) -> None:
    """Encrypt the same keys under another passphrase; the old file is replaced only when the new one is on the disk.

    Raises:
        InvalidInput: no site here, or a wrong passphrase. Unavailable: not writable; the old file is as it was.
        Refused: `keys-change`: new keys are waiting for the ledger under the old passphrase.
    """
    _check_site(directory)
    if next_key_path(directory).exists():
        raise Refused("keys-change", f"{directory}: its keys are being changed; change the passphrase afterwards")
    path = key_path(directory)
    keys = load_keystore(path, old)
    fresh = path.with_name(path.name + ".new")
    with _translated(fresh):
        fresh.unlink(missing_ok=True)
        save_keystore(fresh, keys, new, cost)
        fresh.replace(path)


def open_site(
    directory: Path,
    passphrase: str,
    *,
    ledger: Path | None = None,
    blobs: BlobStore | None = None,
    clock: Clock = wall_clock,
    entropy: Entropy = system_entropy,
) -> Site:
    """Open a site with its vault. Blobs are those given, or as `site.toml` says, or shared beside `ledger`.

    Raises:
        InvalidInput: no site here, a wrong passphrase, a wrong `site.toml`. Refused, Tampered, Unavailable: as the
            keystore and the vault say.
    """
    _check_site(directory)
    site_file = load_site_file(directory / "site.toml")
    keys = load_keystore(key_path(directory), passphrase)
    if blobs is None:
        shared = ledger is not None and not site_file.blobs
        blobs = DirectoryBlobs(shared_blobs(ledger)) if shared and ledger is not None else open_own_blobs(directory)
    vault = Vault(directory / VAULT_FILE, keys.vault_key, entropy)

    def data(plan: Plan) -> Table:
        if isinstance(plan.words, Words):
            return candidate_table(directory, plan.words, site_file.library.vocabulary, entropy)
        if vocabulary_of(plan) is None:
            if isinstance(plan.aligned, Aligned):
                raise InvalidInput("plan: it names alignments and no vocabulary; only case libraries are aligned")
            return table_for(directory, site_file, plan)
        words = site_file.library.vocabulary
        return library_table(directory, plan, words, keys.split_key, vault, keys.name, entropy)

    def entries(kind: AlignmentKind, question: bytes) -> Mapping[bytes, Sequence[str]]:
        return library_entries(directory, site_file.identifiers, entropy, kind, question)

    return Site(
        keys, vault, blobs, data, site_file.consent, clock, entropy,
        started_ms=clock(), cap=site_file.privacy.cap, entries=entries,
        received=directory / "received",
    )  # fmt: skip


def own_blobs(directory: Path) -> Path:
    """Where a site that shares no directory with others keeps its blobs: as `site.toml` says, or in `blobs`.

    Of a site whose blobs are in a store elsewhere, where those lie that are not whole yet.
    """
    place = load_site_file(directory / "site.toml").blobs
    return directory / ("blobs" if is_remote(place) else place or "blobs")


def open_own_blobs(directory: Path) -> SiteBlobs:
    """The blobs of a site that shares no directory with others.

    Raises:
        InvalidInput, Unavailable: as the store says.
    """
    place = load_site_file(directory / "site.toml").blobs
    return RemoteBlobs(place, own_blobs(directory)) if is_remote(place) else DirectoryBlobs(own_blobs(directory))


@contextmanager
def lock_site(directory: Path, patience: float = 0.0) -> Generator[None]:
    """Hold the site's lock: only one process at a time signs for a participant.

    Args:
        directory: the site.
        patience: seconds to wait for it: a person's command lets go of it after a moment.

    Raises:
        SiteBusy: another process holds it; the message has its number.
    """
    _check_site(directory)
    path = directory / _LOCK
    with _translated(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end = time.monotonic() + patience
        while not _flocked(handle):
            if time.monotonic() >= end:
                owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
                raise SiteBusy(f"{directory}: another agent is running on this site (process {owner})")
            time.sleep(_LOCK_PAUSE)
        with _translated(path):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def _flocked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _translated(path: Path) -> Generator[None]:
    """Say what the operating system's refusal means for a site."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None


def _check_site(directory: Path) -> None:
    if not key_path(directory).is_file():
        raise InvalidInput(f"{directory}: no site here (keys/site.key is missing); make one with `medfed keys create`")
