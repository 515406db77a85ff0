"""What became of every record of an import: used, or a line that says where it was and why not.

A line names the source by number, the place in it, the kind of record and the reason; never a value, an identifier or a
file's name, because hospitals name files after patients. The invariant is `read == used + explained`. Lines go to a
private temporary file that SQLite removes by itself, so a report of millions takes no memory.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["ImportReport", "Line"]

_BATCH: Final = 1000


@dataclass(frozen=True)
class Line:
    """One record that was not used. `source` counts from 1 in the order of `ImportReport.sources`."""

    source: int
    path: str
    """Such as `entry[3].resource` or `line 17`."""
    kind: str
    """The resource's type or the table's role; `?` where it could not be told."""
    reason: str

    def __str__(self) -> str:
        return f"source {self.source}, {self.path}: {self.kind}: {self.reason}"


def _new_store() -> sqlite3.Connection:
    store = sqlite3.connect("", isolation_level=None)
    store.execute("CREATE TABLE line (source INTEGER, path TEXT, kind TEXT, reason TEXT)")
    return store


@dataclass
class ImportReport:
    """Counts and lines of one import."""

    sources: tuple[Path, ...] = ()
    """Local to the site: names of files may name patients."""
    read: int = 0
    used: int = 0
    cases: int = 0
    """Cases made or made anew."""
    unchanged: int = 0
    """Cases that were looked at again and came out the same, word for word."""
    removed: int = 0
    """Cases that are gone because what they were made from is."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Records not used, by kind and reason."""
    notes: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Parts of used records that could not be used, by kind and reason."""
    _pending: list[tuple[int, str, str, str]] = field(default_factory=list[tuple[int, str, str, str]])
    _store: sqlite3.Connection = field(default_factory=_new_store)

    def explain(self, source: int, path: str, kind: str, reason: str) -> None:
        """Write down why one record was not used."""
        self.reasons[(kind, reason)] += 1
        self._pending.append((source, path, kind, reason))
        if len(self._pending) >= _BATCH:
            self._flush()

    def note(self, kind: str, reason: str, count: int = 1) -> None:
        """Write down that a part of a used record was left out."""
        self.notes[(kind, reason)] += count

    @property
    def explained(self) -> int:
        """Records not used; each has its reason."""
        return self.reasons.total()

    @property
    def is_balanced(self) -> bool:
        """Whether every record read is accounted for."""
        return self.read == self.used + self.explained

    def lines(self) -> Iterator[Line]:
        """The lines by source, in the order in which they were found."""
        self._flush()
        for row in self._store.execute("SELECT source, path, kind, reason FROM line ORDER BY source, rowid"):
            yield Line(*row)

    def summary(self) -> str:
        """Counts for people: a line each kind and reason, most frequent first."""
        head = (
            f"{self.read} records read, {self.used} used, {self.explained} explained; cases: {self.cases} made, "
            f"{self.unchanged} unchanged, {self.removed} removed"
        )
        reasons = [f"  {count} {kind}: {reason}" for (kind, reason), count in self.reasons.most_common()]
        notes = [f"  part of {count} {kind}: {reason}" for (kind, reason), count in self.notes.most_common()]
        return "\n".join([head, *reasons, *notes])

    def _flush(self) -> None:
        self._store.execute("BEGIN")
        self._store.executemany("INSERT INTO line VALUES (?, ?, ?, ?)", self._pending)
        self._store.execute("COMMIT")
        self._pending.clear()
