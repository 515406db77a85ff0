"""The directory of `medfed demo imaging`: three hospitals, a clinic that does not train, an aggregator, an auditor.

The pictures ship with the package (BCCD, see `data/blood-cells/SOURCE.txt`); each site imports its own by a process of
its own. The keys protect nothing: the passphrase is public.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from medfed.crypto import SiteKeys
from medfed.demo.place import DemoDirectory, demo_keys
from medfed.errors import Unavailable
from medfed.federation.picture_table import load_picture_table
from medfed.federation.plan import BoxesTarget, Plan
from medfed.federation.plan_file import parse_plan
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.tables import Table
from medfed.hospital.site_directory import wall_clock
from medfed.identifiers import Name
from medfed.imaging.coco import read_coco
from medfed.imaging.image_set import ImageSet, load_image_set
from medfed.ledger.contracts.membership import Role
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.simulation.consortium import ORGANISER, make_consortium

__all__ = [
    "AGGREGATOR",
    "AUDITOR",
    "CLINIC",
    "HOSPITALS",
    "ImagingPlace",
    "cells_plan",
    "import_pictures",
    "open_imaging_place",
]

HOSPITALS: Final[tuple[Name, ...]] = ("east", "north", "west")
CLINIC: Final[Name] = "clinic"
AGGREGATOR: Final[Name] = "aggregator"
AUDITOR: Final[Name] = "auditor"
_LABELS: Final = ("Platelets", "RBC", "WBC")
_PICTURES: Final = "pictures"
_UNDIAGNOSED: Final = "undiagnosed"
_HOSPITAL_FILE: Final = f"""\
[data]
images = "{_PICTURES}"

[[consent.rule]]
decision = "approve"
proposers = ["{AGGREGATOR}"]
protections = ["sealed"]
"""


@dataclass(frozen=True)
class ImagingPlace(DemoDirectory):
    """An opened directory of the imaging demo."""

    plan: Plan

    def images(self, name: Name) -> ImageSet:
        """A site's image set."""
        return load_image_set(self.site(name) / _PICTURES)

    @property
    def undiagnosed(self) -> list[Path]:
        """The pictures that the clinic asks about, in order."""
        return sorted((self.site(CLINIC) / _UNDIAGNOSED).glob("*.jpg"))

    def annotated(self, at: int) -> list[str]:
        """What the annotators saw in an undiagnosed picture, of the plan's classes. The clinic does not know it."""
        target = self.plan.data.target
        classes = target.classes if isinstance(target, BoxesTarget) else ()
        with as_file(files("medfed.demo").joinpath("data", "blood-cells", _UNDIAGNOSED, "annotations.json")) as path:
            described = {Path(one.file).name: one for one in read_coco(path)}
        boxes = described[self.undiagnosed[at].name].boxes
        return sorted({box.label for box in boxes} & set(classes))

    def tables(self) -> dict[Name, Table]:
        """Every hospital's pictures as a table."""
        return {name: load_picture_table(self.site(name) / _PICTURES) for name in HOSPITALS}

    def prepared(self, tables: dict[Name, Table]) -> dict[Name, PreparedData]:
        """Every hospital's pictures as the study saw them. Only a demo has this."""
        keys = self.consortium.keys
        return {name: prepare(self.plan, table, keys[name].split_key) for name, table in tables.items()}


def cells_plan(rounds: int | None = None) -> Plan:
    """The plan that ships with the pictures, with other than its own number of training rounds if one is given."""
    plan = parse_plan(files("medfed.demo").joinpath("data", "cells.toml").read_text(encoding="utf-8"), "cells.toml")
    return plan if rounds is None else replace(plan, training=replace(plan.training, rounds=rounds))


def open_imaging_place(root: Path, plan: Plan) -> ImagingPlace:
    """Make keys and ledger in a new directory."""
    names = (*HOSPITALS, CLINIC, AGGREGATOR, AUDITOR, ORGANISER)
    keys: dict[Name, SiteKeys] = {name: demo_keys(root / "sites" / name, name) for name in names}
    offices: list[tuple[SiteKeys, Role]] = [(keys[AGGREGATOR], "aggregator"), (keys[AUDITOR], "auditor")]
    consortium = make_consortium(
        "imaging", [keys[name] for name in (*HOSPITALS, CLINIC)], keys[ORGANISER], created_ms=0, others=offices
    )
    engine = EmbeddedEngine.create(root / "ledger.db", consortium.genesis, wall_clock, *consortium.sealers())
    return ImagingPlace(root, consortium, engine, plan)


def import_pictures(place: ImagingPlace) -> None:
    """Import every site's pictures, by processes of their own, and write the hospitals' `site.toml`.

    Raises:
        Unavailable: an import failed.
    """
    with as_file(files("medfed.demo").joinpath("data", "blood-cells")) as source:
        running: dict[Name, subprocess.Popen[bytes]] = {}
        for name in (*HOSPITALS, CLINIC):
            command = [sys.executable, "-m", "medfed", "imaging", "import", str(source / name)]
            command += [str(place.site(name) / _PICTURES), "--coco", str(source / name / "annotations.json")]
            command += [word for label in _LABELS for word in ("--label", label)]
            running[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if failed := [name for name, process in running.items() if process.wait()]:
            raise Unavailable(f"the import failed at {', '.join(failed)}")
        target = place.site(CLINIC) / _UNDIAGNOSED
        target.mkdir()
        for picture in sorted((source / _UNDIAGNOSED).glob("*.jpg")):
            (target / picture.name).write_bytes(picture.read_bytes())
    for name in HOSPITALS:
        (place.site(name) / "site.toml").write_text(_HOSPITAL_FILE, encoding="utf-8")
