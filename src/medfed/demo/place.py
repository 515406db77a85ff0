"""The demo's directory: four sites and an organiser on disk, one ledger, shared blobs. Survives a kill anywhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medfed.blobs import DirectoryBlobs
from medfed.crypto import KeystoreCost, SiteKeys, load_keystore, system_entropy
from medfed.demo.heart import FILES, PROTECTIONS, heart_plan, site_keys
from medfed.encoding import digest_of
from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.federation.plan import Mode, Plan
from medfed.hospital.site_directory import SiteBusy, create_site, key_path, lock_site, shared_blobs, wall_clock
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.membership import Role
from medfed.ledger.contracts.studies import study_record
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.transaction import SignedTransaction, Transaction
from medfed.simulation.consortium import ORGANISER, Consortium, make_consortium, office_holders, office_roles
from medfed.simulation.world import propose_study

__all__ = ["PASSPHRASE", "DemoDirectory", "Place", "demo_keys", "open_place", "prepare_directory", "protection_of"]

PASSPHRASE: Final = "medfed-demo"  # noqa: S105
"""The demo's keys protect nothing; a real site's passphrase is asked for and never written down."""
_MARK: Final = ".medfed-demo"
_GRACE_SECONDS: Final = 15.0
_CHEAP: Final = KeystoreCost(passes=1, memory=8 << 20)


@dataclass(frozen=True)
class DemoDirectory:
    """Where the parts of any demo are: one ledger, shared blobs, a directory for each site."""

    root: Path
    consortium: Consortium
    engine: EmbeddedEngine

    @property
    def ledger(self) -> Path:
        """The ledger file."""
        return self.root / "ledger.db"

    @property
    def blobs(self) -> DirectoryBlobs:
        """What all agents of this machine share."""
        return DirectoryBlobs(shared_blobs(self.ledger))

    def site(self, name: Name) -> Path:
        """A participant's site directory."""
        return self.root / "sites" / name

    def transactions(self) -> Iterator[Transaction]:
        """Everything on the ledger, in order, the refused included."""
        for block in self.engine.blocks():
            for wire in block.transactions:
                yield SignedTransaction.from_bytes(wire).transaction


@dataclass(frozen=True)
class Place(DemoDirectory):
    """An opened demo directory with its study."""

    plan: Plan
    study: StudyId


def prepare_directory(root: Path, *, resume: bool) -> None:
    """Make the directory, empty unless an earlier demo is resumed.

    Raises:
        Refused: it holds something that is not a demo's. InvalidInput: nothing to resume. Unavailable: not writable, or
            agents of an earlier demo do not end.
    """
    mark = root / _MARK
    if resume:
        if not mark.is_file():
            raise InvalidInput(f"{root}: no demo to resume here")
        return
    if root.exists() and not mark.is_file() and (not root.is_dir() or any(root.iterdir())):
        raise Refused("not-a-demo", f"{root}: exists and is not a demo's; name another directory with --output")
    if mark.is_file():
        _wait_for_agents(root)
    try:
        if mark.is_file():
            shutil.rmtree(root)
        root.mkdir(parents=True, exist_ok=True)
        mark.write_text("A MedFed demo lives here; the next one replaces it.\n", encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{root}: {error.strerror or error}") from None


def _wait_for_agents(root: Path) -> None:
    """Agents whose demo was killed end within seconds; what they still write must not get into the next one."""
    end = time.monotonic() + _GRACE_SECONDS
    for site in sorted(path.parent.parent for path in root.glob("sites/*/keys/site.key")):
        while True:
            try:
                with lock_site(site):
                    break
            except SiteBusy as busy:
                if time.monotonic() > end:
                    raise Unavailable(f"an earlier demo has not ended: {busy}") from None
                time.sleep(0.1)


def protection_of(root: Path) -> Mode:
    """How the demo that was begun in a directory protects its updates: whose sites are there."""
    everybody = {name for protection in PROTECTIONS.values() for name in office_holders(protection)}
    there = tuple(sorted(name for name in everybody if (root / "sites" / name).is_dir()))
    for mode, protection in PROTECTIONS.items():
        if office_holders(protection) == there:
            return mode
    return "masked"


def open_place(root: Path, plan: Plan | None = None) -> Place:
    """Open the directory and make whatever of it is missing: keys, ledger, proposal."""
    plan = plan or heart_plan()
    keys = {name: demo_keys(root / "sites" / name, name) for name in (*FILES, ORGANISER)}
    organiser = keys.pop(ORGANISER)
    others: list[tuple[SiteKeys, Role]] = [
        (demo_keys(root / "sites" / name, name), role) for name, role in office_roles(plan.protection).items()
    ]
    consortium = make_consortium("heart", keys.values(), organiser, created_ms=0, others=others)
    ledger = root / "ledger.db"
    sealers = consortium.sealers()
    try:
        engine = EmbeddedEngine.open(ledger, wall_clock, *sealers)
    except InvalidInput:  # absent, or killed while it was being made: nothing can have been on it yet
        for leftover in root.glob("ledger.db*"):
            if leftover.is_file():
                leftover.unlink()
        engine = EmbeddedEngine.create(ledger, consortium.genesis, wall_clock, *sealers)
    study = digest_of("medfed/demo-study", plan.digest)[:16]
    if study_record(engine.view(), study) is None:
        propose_study(engine, organiser, plan, study)
    return Place(root, consortium, engine, plan, study)


def demo_keys(site: Path, name: Name) -> SiteKeys:
    """The keys of a demo's site, made if it has none yet."""
    if key_path(site).is_file():
        return load_keystore(key_path(site), PASSPHRASE)
    return create_site(site, name, PASSPHRASE, cost=_CHEAP, keys=site_keys(name, system_entropy))
