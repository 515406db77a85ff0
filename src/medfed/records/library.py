"""A site's case library: one SQLite file, readable by its owner only, from which cases never leave by themselves.

A case is stored under an identifier made from its source with a salt of this library, so importing the same source
again finds the same case. A withdrawn consent removes a patient's cases in the same commit that remembers the
withdrawal, and no later import brings them back. This module must never log or raise what a case says.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from medfed.crypto import Entropy, hmac_sha256
from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, Refused, Tampered, Unavailable
from medfed.identifiers import Digest, sha256
from medfed.records.case import Case, check_case
from medfed.records.columns import CaseColumns
from medfed.records.rows import Row, RowReader
from medfed.records.units import UnitConverter
from medfed.records.vocabulary import Vocabulary
from medfed.sqlite_errors import translated

__all__ = ["Library", "LibraryColumns", "Stored"]

APPLICATION_ID: Final = 0x4D464331
_BUSY_SECONDS: Final = 30.0
_SALT_BYTES: Final = 32
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS patient_case (
    id TEXT PRIMARY KEY, patient TEXT NOT NULL, origin TEXT NOT NULL, source TEXT NOT NULL, assisted INTEGER NOT NULL,
    digest BLOB NOT NULL, content BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS case_of_patient ON patient_case (patient);
CREATE TABLE IF NOT EXISTS withdrawn (mark BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resource (
    key TEXT PRIMARY KEY, alias TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, encounter TEXT NOT NULL,
    needs TEXT NOT NULL, version TEXT NOT NULL, digest BLOB NOT NULL, seen INTEGER NOT NULL, changed INTEGER NOT NULL,
    source INTEGER NOT NULL, path TEXT NOT NULL, owner TEXT, state TEXT NOT NULL, fact BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS resource_of_owner ON resource (owner) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS resource_alias ON resource (alias) WHERE alias != '';
"""

Stored = Literal["made", "unchanged"]


class LibraryColumns(NamedTuple):
    """The cases of a library at one revision, for searching; row `n` is the case `ids[n]`."""

    revision: int
    ids: tuple[str, ...]
    columns: CaseColumns


class Library:
    """One open library. One process writes at a time; SQLite sees to that."""

    def __init__(self, path: Path | None, entropy: Entropy) -> None:
        """Open `path`, or make it with mode 0600; None keeps everything in memory.

        Raises:
            InvalidInput: not a library. Refused: "library-mode" where others may read the file.
            Unavailable: locked or not writable. Tampered: damaged.
        """
        if path is not None:
            _make_private(path)
        with translated("library", "case library"):
            target = ":memory:" if path is None else str(path)
            self.connection = sqlite3.connect(target, isolation_level=None, timeout=_BUSY_SECONDS)
            self._prepare(entropy)
        self._depth = 0
        self._columns: dict[Digest, LibraryColumns] = {}

    def _prepare(self, entropy: Entropy) -> None:
        found = self.connection.execute("PRAGMA application_id").fetchone()[0]
        tables = self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if found != APPLICATION_ID and (found or tables):
            raise InvalidInput("library: the file is something else")
        # Deleted cases must not linger in the file's free pages.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "temp_store = MEMORY"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self.connection.executescript(_SCHEMA)
        self.connection.execute(
            "INSERT OR IGNORE INTO setting VALUES ('salt', ?), ('revision', 0)", (entropy(_SALT_BYTES),)
        )
        row = self.connection.execute("SELECT value FROM setting WHERE name = 'salt'").fetchone()
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != _SALT_BYTES:
            raise Tampered("library: its salt is not what was written")
        self._salt: bytes = row[0]

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Everything inside becomes durable together, or not at all. Nested ones join the outermost."""
        if self._depth:
            yield
            return
        with translated("library", "case library"):
            self.connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    @property
    def revision(self) -> int:
        """Grows with every change of the cases: what was computed from them at another revision is out of date."""
        rows = self._rows("SELECT value FROM setting WHERE name = 'revision'")
        if not rows or not isinstance(rows[0][0], int):
            raise Tampered("library: its revision is not what was written")
        return rows[0][0]

    def id_of(self, source: str) -> str:
        """The identifier of the case made from `source`, the same at every import and in no other library."""
        return "c" + self._mark("case", source).hex()[:24]

    def put(self, case: Case, origin: str) -> Stored:
        """Store a case in place of an earlier one of the same id. `origin` names the import it belongs to.

        Raises:
            InvalidInput: a field is out of bounds. Refused: "consent-withdrawn".
        """
        if self.is_withdrawn(case.patient):
            raise Refused("consent-withdrawn", "case: its patient has withdrawn consent")
        content = encode(check_case(case))
        digest = sha256(content)
        with self.transaction():
            held = self.connection.execute("SELECT digest FROM patient_case WHERE id = ?", (case.id,)).fetchone()
            if held is not None and held[0] == digest:
                return "unchanged"
            self.connection.execute(
                "INSERT OR REPLACE INTO patient_case VALUES (?, ?, ?, ?, ?, ?, ?)",
                (case.id, case.patient, origin, case.source, int(case.assisted), digest, content),
            )
            self._touch()
        return "made"

    def get(self, case_id: str) -> Case:
        """The case of that id.

        Raises:
            InvalidInput: there is none.
        """
        rows = self._rows("SELECT content FROM patient_case WHERE id = ?", case_id)
        if not rows:
            raise InvalidInput("case: no such id in this library")
        return _decode(rows[0][0])

    def cases(self, *, assisted: bool = True) -> Iterator[Case]:
        """Every case in the order of ids; without those that came back through assisted diagnosis on request."""
        with translated("library", "case library"):
            rows = self.connection.execute(
                "SELECT content FROM patient_case WHERE assisted <= ? ORDER BY id", (int(assisted),)
            )
            for (content,) in rows:
                yield _decode(content)

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM patient_case")[0][0])

    def columns(self, vocabulary: Vocabulary, units: UnitConverter | None = None) -> LibraryColumns:
        """The cases as columns, made once for each vocabulary and revision: after a withdrawal they are made anew."""
        with self.transaction():
            held = self._columns.get(vocabulary.digest)
            if held is None or held.revision != self.revision:
                reader = RowReader(vocabulary, units)
                ids: list[str] = []
                rows: list[Row] = []
                for case in self.cases():
                    ids.append(case.id)
                    rows.append(reader.read(case).row)
                held = LibraryColumns(self.revision, tuple(ids), CaseColumns.build(vocabulary.attributes, rows))
                self._columns = {vocabulary.digest: held}
            return held

    def keep_only(self, patient: str, origin: str, ids: Iterable[str]) -> int:
        """Remove the cases of `patient` from `origin` that are not among `ids`; how many went."""
        kept = set(ids)
        query = "SELECT id FROM patient_case WHERE patient = ? AND origin = ? AND assisted = 0"
        held = self._rows(query, patient, origin)
        gone = [row for row in held if row[0] not in kept]
        if gone:
            with self.transaction():
                self.connection.executemany("DELETE FROM patient_case WHERE id = ?", gone)
                self._touch()
        return len(gone)

    def withdraw(self, patient: str) -> int:
        """Remove all of a patient at once and for good; how many cases went. Doing it again changes nothing."""
        with self.transaction():
            resources = self.connection.execute(
                "SELECT key, alias FROM resource WHERE owner = ? AND kind = 'Patient'", (patient,)
            ).fetchall()
            names = {patient, *(name for row in resources for name in row if name)}
            self.connection.executemany(
                "INSERT OR IGNORE INTO withdrawn VALUES (?)", [(self._mark("withdrawn", name),) for name in names]
            )
            self.connection.execute("DELETE FROM resource WHERE owner = ?", (patient,))
            self.connection.executemany("DELETE FROM resource WHERE subject = ?", [(name,) for name in names])
            gone = self.connection.execute("DELETE FROM patient_case WHERE patient = ?", (patient,)).rowcount
            self._touch()
        if not self._depth:
            # The write-ahead log still holds what was just erased.
            self._rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(gone)

    def is_withdrawn(self, patient: str) -> bool:
        """Whether this patient, under this name, has withdrawn consent."""
        mark = self._mark("withdrawn", patient)
        return bool(self._rows("SELECT 1 FROM withdrawn WHERE mark = ?", mark))

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with translated("library", "case library"):
            return self.connection.execute(query, values).fetchall()

    def _mark(self, use: str, text: str) -> bytes:
        return hmac_sha256(self._salt, encode((use, text)))

    def _touch(self) -> None:
        self.connection.execute("UPDATE setting SET value = value + 1 WHERE name = 'revision'")


def _make_private(path: Path) -> None:
    """Create the file with mode 0600 before SQLite does, or see that nobody else may read it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            mode = os.fstat(descriptor).st_mode & 0o777
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unavailable(f"library: cannot be opened: {error.strerror}") from None
    if mode & 0o077:
        raise Refused("library-mode", f"library: mode {mode:03o} lets others in; expected 600")


def _decode(content: bytes) -> Case:
    try:
        return decode(content, Case)
    except InvalidInput:
        raise Tampered("library: a stored case is damaged") from None
