"""The directory of `medfed demo records`: four sites with real records imported, one ledger, and who is held back.

The records are the eICU demo set's CSV files, 186 hospitals of which each site gets every fourth. They are read from a
folder of the reader's own and are no part of this package. The keys protect nothing: the passphrase is public.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from medfed.crypto import SiteKeys, system_entropy
from medfed.demo.place import PASSPHRASE, DemoDirectory, demo_keys
from medfed.errors import InvalidInput, Unavailable
from medfed.hospital.site_directory import wall_clock
from medfed.hospital.site_library import LIBRARY_FILE
from medfed.identifiers import Name
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.records.case import Case
from medfed.records.draft import draft_vocabulary
from medfed.records.library import Library
from medfed.records.mapping import parse_mapping
from medfed.records.tables import import_tables
from medfed.records.vocabulary import Vocabulary
from medfed.simulation.consortium import ORGANISER, make_consortium

__all__ = ["SITES", "RecordsPlace", "held_back_cases", "make_sites", "open_records_place", "split_tables"]

SITES: Final[tuple[Name, ...]] = ("east", "north", "south", "west")
HELD_BACK: Final = "held-back"
"""A folder beside the sites with the tables of the patient who is asked about."""
_PATIENTS: Final = "patient.csv"
_STAY: Final = "patientunitstayid"
_MOST_FIELD: Final = 1 << 20
_LEAST_CASES: Final = 12
"""A word needs so many cases to get into the study's vocabulary."""
_MOST_DRUGS: Final = 40
_ASKED: Final = 3
SITE_FILE: Final = """\
[alignment]
signatures = "approve"
patients = "approve"
legal_basis = "a demonstration on public data"
identifiers = "people.csv"

[library]
vocabulary = "study.voc"

[[consent.rule]]
decision = "approve"
"""


@dataclass(frozen=True)
class RecordsPlace(DemoDirectory):
    """An opened directory of the records demo."""

    @property
    def organiser(self) -> SiteKeys:
        """Who opens alignments and proposes studies."""
        return self.consortium.keys[ORGANISER]


def open_records_place(root: Path) -> RecordsPlace:
    """Make keys and ledger in a new directory."""
    keys = {name: demo_keys(root / "sites" / name, name) for name in (*SITES, ORGANISER)}
    organiser = keys.pop(ORGANISER)
    consortium = make_consortium("records", keys.values(), organiser, created_ms=0)
    engine = EmbeddedEngine.create(root / "ledger.db", consortium.genesis, wall_clock, *consortium.sealers())
    return RecordsPlace(root, consortium, engine)


def split_tables(data: Path, place: RecordsPlace) -> dict[Name, int]:
    """Give every site the tables of its hospitals, and hold one patient back; returns how many stays each has.

    Raises:
        InvalidInput: `data` is not a folder with the eICU tables.
    """
    csv.field_size_limit(_MOST_FIELD)
    path = data / _PATIENTS
    if not path.is_file():
        raise InvalidInput(f"{data}: expected the CSV files of the eICU demo set; {_PATIENTS} is missing")
    with path.open(encoding="utf-8", newline="") as file:
        patients = list(csv.DictReader(file))
    wanted = {_STAY, "hospitalid", "uniquepid", "apacheadmissiondx", "unitdischargestatus"}
    if not patients or wanted - patients[0].keys():
        raise InvalidInput(f"{path}: expected the columns {', '.join(sorted(wanted))}")
    owner = {row[_STAY]: SITES[int(row["hospitalid"]) % len(SITES)] for row in patients}
    owner |= {row[_STAY]: HELD_BACK for row in _held_back(patients)}
    targets = {name: place.site(name) / "tables" for name in SITES} | {HELD_BACK: place.root / HELD_BACK}
    for target in targets.values():
        target.mkdir(parents=True)
    for table in sorted(data.glob("*.csv")):
        _split_table(table, owner, targets)
    counts = Counter(owner.values())
    return {name: counts[name] for name in SITES}


def make_sites(place: RecordsPlace) -> Vocabulary:
    """Import every site's tables, by processes of their own, and agree on the vocabulary that the first site drafts.

    Raises:
        Unavailable: an import failed.
    """
    mapping = place.root / "eicu.toml"
    mapping.write_text(files("medfed.demo").joinpath("data", "eicu.toml").read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "medfed", "records", "import", "--mapping", str(mapping)]
    running = {
        name: subprocess.Popen(
            [*command, str(place.site(name)), str(place.site(name) / "tables")],
            env={**os.environ, "MEDFED_PASSPHRASE": PASSPHRASE},
            stdout=subprocess.DEVNULL,
        )
        for name in SITES
    }
    if failed := [name for name, process in running.items() if process.wait()]:
        raise Unavailable(f"the import failed at {', '.join(failed)}")
    for name in SITES:
        site = place.site(name)
        (site / "site.toml").write_text(SITE_FILE, encoding="utf-8")
        with closing(Library(site / LIBRARY_FILE, system_entropy)) as library:
            people = sorted({case.patient for case in library.cases()})
        lines = ["patient,identifier", *(f"{person},{person}" for person in people)]
        (site / "people.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = _vocabulary(place)
    for name in SITES:
        (place.site(name) / "study.voc").write_bytes(words.encode())
    return words


def held_back_cases(place: RecordsPlace, words: Vocabulary) -> list[Case]:
    """The cases of the patients who were held back, as the hospital will know them in the end, three at most.

    Raises:
        Unavailable: none of them has a diagnosis that the vocabulary knows.
    """
    mapping = parse_mapping((place.root / "eicu.toml").read_text(encoding="utf-8"))
    known = {coding.key for coding in words.diagnoses}
    with closing(Library(None, system_entropy)) as library:
        import_tables(library, place.root / HELD_BACK, mapping)
        found = [case for case in library.cases() if known & {one.key for one in case.outcome.diagnoses[:1]}]
    if not found:
        raise Unavailable("nobody who was held back has a diagnosis that the vocabulary knows")
    return sorted(found, key=lambda case: case.source)[:_ASKED]


def _held_back(patients: list[dict[str, str]]) -> list[dict[str, str]]:
    """A few people of the first site with a common reason for admission, who were there once and left alive."""
    stays = Counter(row["uniquepid"] for row in patients)
    mine = [row for row in patients if int(row["hospitalid"]) % len(SITES) == 0 and row["apacheadmissiondx"]]
    (common, _), *_ = Counter(row["apacheadmissiondx"] for row in mine).most_common(1)
    fitting = [
        row
        for row in mine
        if row["apacheadmissiondx"] == common and stays[row["uniquepid"]] == 1 and row["unitdischargestatus"] == "Alive"
    ]
    return fitting[:6]


def _split_table(table: Path, owner: Mapping[str, str], targets: Mapping[str, Path]) -> None:
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        head = next(rows, list[str]())
        if _STAY not in head:
            return
        at = head.index(_STAY)
        parts: dict[str, list[list[str]]] = {name: [head] for name in targets}
        for row in rows:
            if (name := owner.get(row[at])) is not None:
                parts[name].append(row)
    for name, part in parts.items():
        with (targets[name] / table.name).open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows(part)


def _vocabulary(place: RecordsPlace) -> Vocabulary:
    with closing(Library(place.site(SITES[0]) / LIBRARY_FILE, system_entropy)) as library:
        cases = list(library.cases())
    drafted = draft_vocabulary(cases, _LEAST_CASES)
    used = Counter(one.drug.key for case in cases for one in case.outcome.treatments)
    drugs = sorted(drafted.drugs, key=lambda entry: -used[entry.concept.key])[:_MOST_DRUGS]
    return msgspec.structs.replace(drafted, drugs=tuple(drugs))
