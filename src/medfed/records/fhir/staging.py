"""Resources of a site as facts in its library's file: so memory stays flat, and an import can be repeated or continued.

A resource is known by its key. The same content again changes nothing; a newer version replaces the older; the same key
with other content and no newer version, in one import, is refused. Whom each belongs to is worked out afterwards, when
all of them are here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

from medfed.encoding import decode
from medfed.errors import InvalidInput, Tampered
from medfed.identifiers import Digest
from medfed.records.fhir.facts import Fact, PatientFact
from medfed.records.library import Library
from medfed.records.report import ImportReport

__all__ = ["Row", "Staged", "Staging"]

_BATCH: Final = 500
_INSERT: Final = "INSERT OR REPLACE INTO resource VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NAME: Final = "CASE r.kind WHEN 'Patient' THEN r.key ELSE r.subject END"
_ROOT: Final = f"(SELECT root FROM person WHERE name = {_NAME})"  # noqa: S608 - made of constants
_MOVED: Final = f"""FROM resource r LEFT JOIN person p ON p.name = {_NAME}
    WHERE r.kind != 'Medication' AND (r.changed = :number OR r.owner IS NOT p.root)"""
_RESOLVE: Final = (
    f"INSERT OR IGNORE INTO touched SELECT r.owner {_MOVED} AND r.owner IS NOT NULL",
    f"INSERT OR IGNORE INTO touched SELECT p.root {_MOVED} AND p.root IS NOT NULL",
    """INSERT OR IGNORE INTO touched SELECT r.owner FROM resource m JOIN resource r
        ON r.needs != '' AND (r.needs = m.key OR r.needs = m.alias)
        WHERE m.kind = 'Medication' AND m.changed = :number AND r.owner IS NOT NULL""",
    f"UPDATE OR FAIL resource AS r SET state = '', owner = {_ROOT} "  # noqa: S608 - made of constants of this module
    f"WHERE r.kind != 'Medication' AND (r.changed = :number OR r.owner IS NOT {_ROOT})",
    """UPDATE OR FAIL resource AS r SET state = CASE
            WHEN r.kind = 'Patient' THEN 'its links to other patients go in circles'
            WHEN EXISTS (SELECT 1 FROM person WHERE name = r.subject)
                THEN 'refers to a patient whose links go in circles'
            ELSE 'refers to a patient that is not here' END
        WHERE r.owner IS NULL AND r.kind != 'Medication'""",
    "DROP TABLE person",
)
"""Whom each resource belongs to, and who is touched by that. `OR FAIL` because SQLite would otherwise keep every page
that a statement changes in memory, to undo that statement alone; here an error undoes the whole import."""


class Staged(NamedTuple):
    """One resource on its way in."""

    key: str
    alias: str
    kind: str
    subject: str
    encounter: str
    needs: str
    version: str
    digest: Digest
    source: int
    path: str
    fact: bytes


class Row(NamedTuple):
    """One resource of a patient, for assembly."""

    key: str
    alias: str
    encounter: str
    fact: Fact
    needs: str


class Staging:
    """The resources of one import, on top of what earlier ones left."""

    def __init__(self, library: Library, report: ImportReport) -> None:
        self._library = library
        self._db = library.connection
        self._report = report
        self._pending: dict[str, Staged] = {}
        last = self._db.execute("SELECT coalesce(max(seen), 0) FROM resource").fetchone()[0]
        if not isinstance(last, int):
            raise Tampered("library: a stored resource is damaged")
        self.number = last + 1
        self._anybody_withdrew = self._db.execute("SELECT 1 FROM withdrawn LIMIT 1").fetchone() is not None
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS touched (owner TEXT PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("DELETE FROM touched")

    def add(self, staged: Staged) -> None:
        """Take in one resource; it is written with the next batch."""
        if staged.key in self._pending:
            self.flush()
        self._pending[staged.key] = staged
        if len(self._pending) >= _BATCH:
            self.flush()

    def delete(self, key: str) -> bool:
        """Remove a resource by key or alias; whether it was here."""
        self.flush()
        found = self._db.execute("SELECT key, owner FROM resource WHERE key = ?1 OR alias = ?1", (key,)).fetchall()
        for held, owner in found:
            if owner is not None:
                self._db.execute("INSERT OR IGNORE INTO touched VALUES (?)", (owner,))
            self._db.execute("DELETE FROM resource WHERE key = ?", (held,))
        return bool(found)

    def refuse_source(self, source: int, paths: str, reason: str) -> None:
        """Leave out everything that this import took from the paths of `source` that start with `paths`."""
        self.flush()
        rows = self._db.execute(
            "SELECT key, path, kind, owner FROM resource WHERE seen = ? AND source = ? AND substr(path, 1, ?) = ?",
            (self.number, source, len(paths), paths),
        ).fetchall()
        for key, path, kind, owner in rows:
            self._report.explain(source, path, kind, reason)
            if owner is not None:
                self._db.execute("INSERT OR IGNORE INTO touched VALUES (?)", (owner,))
            self._db.execute("DELETE FROM resource WHERE key = ?", (key,))

    def flush(self) -> None:
        """Write what is pending."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        marks = ",".join("?" * len(pending))
        query = f"SELECT key, digest, version, seen FROM resource WHERE key IN ({marks})"  # noqa: S608 - only marks
        held = {row[0]: row[1:] for row in self._db.execute(query, tuple(pending))}
        fresh: list[tuple[object, ...]] = []
        for key, staged in pending.items():
            if self._anybody_withdrew and self._is_withdrawn(staged):
                self._explain(staged, "consent is withdrawn")
            elif key not in held or self._replaces(staged, *held[key]):
                fresh.append((*staged[:8], self.number, self.number, staged.source, staged.path, None, "", staged.fact))
        self._db.executemany(_INSERT, fresh)

    def _is_withdrawn(self, staged: Staged) -> bool:
        names = (staged.key, staged.alias) if staged.kind == "Patient" else (staged.subject,)
        return any(name and self._library.is_withdrawn(name) for name in names)

    def _replaces(self, staged: Staged, digest: Digest, version: str, seen: int) -> bool:
        """Whether `staged` takes the place of the resource held under its key."""
        if digest == staged.digest:
            if seen == self.number:
                self._explain(staged, "the same resource was read before")
            else:
                self._db.execute(
                    "UPDATE resource SET seen = ?, source = ?, path = ? WHERE key = ?",
                    (self.number, staged.source, staged.path, staged.key),
                )
            return False
        if type(version) is not str or type(seen) is not int:
            raise Tampered("library: a stored resource is damaged")
        if version and staged.version and version != staged.version:
            newer = _version_key(staged.version) > _version_key(version)
            if newer and seen == self.number:
                row = self._db.execute("SELECT source, path FROM resource WHERE key = ?", (staged.key,)).fetchone()
                self._report.explain(row[0], row[1], staged.kind, "a newer version was read")
            elif not newer:
                self._explain(staged, "a newer version is held")
            if newer:
                self._touch(staged.key)
            return newer
        if seen == self.number:
            self._explain(staged, "an id that was read before with different content")
            return False
        self._touch(staged.key)
        return True

    def _touch(self, key: str) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO touched SELECT owner FROM resource WHERE key = ? AND owner IS NOT NULL", (key,)
        )

    def _explain(self, staged: Staged, reason: str) -> None:
        self._report.explain(staged.source, staged.path, staged.kind, reason)

    def resolve(self) -> None:
        """Work out whom every resource belongs to, and which patients have changed."""
        self.flush()
        self._db.execute("CREATE TEMP TABLE person (name TEXT PRIMARY KEY, root TEXT) WITHOUT ROWID")
        self._db.executemany("INSERT OR IGNORE INTO person VALUES (?, ?)", self._persons())
        for statement in _RESOLVE:
            self._db.execute(statement, {"number": self.number})

    def _persons(self) -> Iterator[tuple[str, str | None]]:
        """Every name of a patient with the name of who it is after merging; None where links go in circles."""
        names: dict[str, str] = {}
        successors: dict[str, str] = {}
        links: list[tuple[str, PatientFact]] = []
        for key, alias, fact in self._db.execute("SELECT key, alias, fact FROM resource WHERE kind = 'Patient'"):
            names[key] = key
            if alias:
                names[alias] = key
            patient = _decode(fact)
            if not isinstance(patient, PatientFact):
                raise Tampered("library: a stored resource is damaged")
            if patient.replaced_by or patient.replaces:
                links.append((key, patient))
        for key, patient in links:
            for other in patient.replaced_by:
                if other in names:
                    successors[key] = names[other]
            for other in patient.replaces:
                if other in names:
                    successors.setdefault(names[other], key)
        for name, key in names.items():
            yield name, _last(key, successors)

    def touched(self) -> list[str]:
        """The patients with something new, changed or gone."""
        return [row[0] for row in self._db.execute("SELECT owner FROM touched ORDER BY owner")]

    def rows(self, owner: str) -> list[Row]:
        """Everything of one patient, in the order of keys."""
        found = self._db.execute(
            "SELECT key, alias, encounter, fact, needs FROM resource WHERE owner = ? ORDER BY key", (owner,)
        )
        return [_row(found_row) for found_row in found]

    def medication(self, name: str) -> Row | None:
        """A Medication by key or alias."""
        found = self._db.execute(
            "SELECT key, alias, encounter, fact, needs FROM resource "
            "WHERE kind = 'Medication' AND (key = ?1 OR (alias = ?1 AND alias != ''))",
            (name,),
        ).fetchone()
        return None if found is None else _row(found)

    def mark(self, states: dict[str, str]) -> None:
        """Write down what became of each resource: `used`, or why not."""
        self._db.executemany(
            "UPDATE OR FAIL resource SET state = ? WHERE key = ?", [(s, key) for key, s in states.items()]
        )

    def settle(self) -> None:
        """Count every resource of this import as used or explained."""
        self._db.execute(
            "UPDATE OR FAIL resource SET state = 'no drug that is used refers to it' "
            "WHERE kind = 'Medication' AND state = ''"
        )
        rows = self._db.execute("SELECT source, path, kind, state FROM resource WHERE seen = ?", (self.number,))
        for source, path, kind, state in rows:
            if state == "used":
                self._report.used += 1
            else:
                self._report.explain(source, path, kind, state or "not reached")


def _row(found: tuple[Any, ...]) -> Row:
    key, alias, encounter, fact, needs = found
    if not all(isinstance(text, str) for text in (key, alias, encounter, needs)):
        raise Tampered("library: a stored resource is damaged")
    return Row(key, alias, encounter, _decode(fact), needs)


def _decode(fact: bytes) -> Fact:
    try:
        return cast(Fact, decode(fact, cast("type[Any]", Fact)))
    except InvalidInput:
        raise Tampered("library: a stored resource is damaged") from None


def _last(key: str, successors: dict[str, str]) -> str | None:
    seen = {key}
    while key in successors:
        key = successors[key]
        if key in seen:
            return None
        seen.add(key)
    return key


def _version_key(version: str) -> tuple[int, str]:
    """Numbers order as numbers; instants, written alike, as text."""
    return (int(version), "") if version.isdecimal() and len(version) < 18 else (-1, version)
