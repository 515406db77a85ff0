"""Imports tables with a mapping: rows are staged in the library's file by case, then each row of cases becomes a case.

Memory stays flat whatever the tables' sizes. Every row of every mapped table is used or has a line in the report.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from medfed.errors import InvalidInput, MedFedError
from medfed.records.case import Case, Course, Feature, Outcome, Sex, Treatment
from medfed.records.coding import Coding
from medfed.records.library import Library
from medfed.records.mapping import Column, DiagnosisMap, FeatureMap, Mapping
from medfed.records.report import ImportReport
from medfed.records.table_cells import Cells, coding_of, features_of, fits, number_of, seconds_of, starts, treatment_of
from medfed.records.table_files import read_header, read_rows

__all__ = ["import_tables"]

_BATCH: Final = 2000
_USED: Final = "used"
_LATE: Final = "known only after the index time"
_SEXES: Final[dict[str, Sex]] = {
    "female": "female", "f": "female", "male": "male", "m": "male", "other": "other",
}  # fmt: skip


def import_tables(library: Library, folder: Path, mapping: Mapping) -> ImportReport:
    """Read the mapping's tables in `folder` into the library.

    Raises:
        InvalidInput: a table or a column that the mapping names is not there. Unavailable: a file cannot be read.
        What is wrong inside the tables is in the report.
    """
    names = [name for name in mapping.tables if name != mapping.case.table]
    report = ImportReport(sources=tuple(folder / mapping.tables[name].file for name in (*names, mapping.case.table)))
    with library.transaction():
        run = _Import(library, report, mapping, folder)
        for number, name in enumerate(names, 1):
            run.stage(number, name)
        run.make_cases(len(names) + 1)
        run.settle()
    return report


@dataclass(frozen=True)
class _Staged:
    """A row of one of the tables beside the cases'."""

    rowid: int
    table: str
    cells: Cells


@dataclass
class _Draft:
    """A case on its way, and what became of the rows that it was made from."""

    features: list[Feature] = field(default_factory=list[Feature])
    diagnoses: list[tuple[int, Coding, bool]] = field(default_factory=list[tuple[int, Coding, bool]])
    treatments: list[Treatment] = field(default_factory=list[Treatment])
    states: dict[int, str] = field(default_factory=dict[int, str])

    def use(self, row: _Staged) -> None:
        self.states[row.rowid] = _USED

    def explain(self, row: _Staged, reason: str) -> None:
        self.states.setdefault(row.rowid, reason)


class _Import:
    def __init__(self, library: Library, report: ImportReport, mapping: Mapping, folder: Path) -> None:
        self._library, self._report, self._mapping, self._folder = library, report, mapping, folder
        self._db: sqlite3.Connection = library.connection
        self._columns: dict[int, dict[str, Column]] = {}
        self._headers: dict[str, list[str]] = {}
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS mapped (id INTEGER PRIMARY KEY, key TEXT NOT NULL, place TEXT NOT NULL, "
            "source INTEGER NOT NULL, line INTEGER NOT NULL, state TEXT NOT NULL, cells BLOB NOT NULL)"
        )
        self._db.execute("DELETE FROM mapped")
        self._check_columns()

    def stage(self, source: int, name: str) -> None:
        """Put the needed cells of every row of a table beside its case's key."""
        table = self._mapping.tables[name]
        needed = self._needed(name)
        batch: list[tuple[object, ...]] = []
        for read in read_rows(self._folder / table.file):
            self._report.read += 1
            key = read.cells.get(table.key, "")
            if read.problem or not key:
                self._report.explain(source, f"line {read.number}", name, read.problem or "its key is missing")
                continue
            cells = orjson.dumps({column: read.cells[column] for column in needed})
            batch.append((key, name, source, read.number, "", cells))
            if len(batch) >= _BATCH:
                self._insert(batch)
        self._insert(batch)

    def make_cases(self, source: int) -> None:
        """A case for each row of the table of cases."""
        self._db.execute("CREATE INDEX IF NOT EXISTS mapped_key ON mapped (key)")
        case = self._mapping.case
        seen: set[str] = set()
        for read in read_rows(self._folder / self._mapping.tables[case.table].file):
            self._report.read += 1
            key = read.cells.get(case.id, "") if case.id else str(read.number)
            problem = read.problem or ("" if key else "its id is missing")
            if not problem and not fits(read.cells, case.where):
                problem = "not a case by the mapping"
            if not problem and key in seen:
                problem = "an id that was read before"
            if not problem:
                seen.add(key)
                problem = self._make(key, read.cells)
            if problem:
                self._report.explain(source, f"line {read.number}", case.table, problem)
            else:
                self._report.used += 1

    def settle(self) -> None:
        """Count the staged rows, and leave nothing of them behind."""
        rows = self._db.execute("SELECT source, line, place, state FROM mapped ORDER BY id")
        for source, line, table, state in rows:
            if state == _USED:
                self._report.used += 1
            else:
                self._report.explain(source, f"line {line}", table, state or "no case of its key was made")
        self._db.execute("DELETE FROM mapped")

    def _make(self, key: str, cells: Cells) -> str:
        """Make one case; the reason where it cannot be."""
        rows: dict[str, list[_Staged]] = defaultdict(list)
        for rowid, table, text in self._db.execute(
            "SELECT id, place, cells FROM mapped WHERE key = ? ORDER BY id", (key,)
        ):
            rows[table].append(_Staged(rowid, table, orjson.loads(text)))
        rows[self._mapping.case.table] = [_Staged(0, self._mapping.case.table, cells)]
        draft = _Draft()
        try:
            index = self._index(rows)
            age, sex = self._person(cells)
            self._collect(rows, draft, index)
            built = self._case(key, cells, draft, index, age, sex)
            stored = self._library.put(built, self._mapping.name)
        except MedFedError as error:
            return str(error)
        draft.states.pop(0, None)
        self._db.executemany("UPDATE mapped SET state = ? WHERE id = ?", [(s, row) for row, s in draft.states.items()])
        if stored == "made":
            self._report.cases += 1
        else:
            self._report.unchanged += 1
        return ""

    def _case(self, key: str, cells: Cells, draft: _Draft, index: int, age: float | None, sex: Sex) -> Case:
        case, course = self._mapping.case, self._mapping.course
        ordered = sorted(draft.diagnoses, key=lambda item: item[0])
        source = f"{self._mapping.name}/{key}"
        status = course.values.get(cells.get(course.column, ""), "unknown") if course else "unknown"
        patient = cells.get(case.patient, "") if case.patient else source
        if not patient:
            raise InvalidInput("its patient is missing")
        return Case(
            self._library.id_of(source),
            patient,
            index,
            age,
            sex,
            tuple(draft.features),
            Outcome(
                tuple({c.key: c for _, c, is_complication in ordered if not is_complication}.values()),
                tuple({c.key: c for _, c, is_complication in ordered if is_complication}.values()),
                tuple(draft.treatments),
                Course(status),
            ),
            source,
            cells.get(case.group, "")[:80] if case.group else "",
        )

    def _index(self, rows: dict[str, list[_Staged]]) -> int:
        index = self._mapping.index
        if not index.column:
            return index.seconds
        name = index.table or self._mapping.case.table
        table = self._mapping.tables[name]
        found = [t for row in rows.get(name, ()) if (t := seconds_of(row.cells, index.column, table)) is not None]
        if not found:
            raise InvalidInput("has no index time")
        return min(found)

    def _person(self, cells: Cells) -> tuple[float | None, Sex]:
        case = self._mapping.case
        missing = self._mapping.tables[case.table].missing
        text = cells.get(case.age, "") if case.age else ""
        age = None if text in missing else case.ages.get(text)
        if age is None and text not in missing:
            age = number_of(text)
            if not 0 <= age <= 130:
                raise InvalidInput("age: expected 0 to 130")
        named = cells.get(case.sex, "") if case.sex else ""
        return age, case.sexes.get(named, _SEXES.get(named.lower(), ""))

    def _collect(self, rows: dict[str, list[_Staged]], draft: _Draft, index: int) -> None:
        for number, block in enumerate(self._mapping.features):
            for row in rows.get(block.table, ()):
                self._add_features(number, block, row, draft, index)
        for block in self._mapping.diagnoses:
            self._add_diagnoses(block, rows.get(block.table, []), draft)
        for block in self._mapping.treatments:
            for row in rows.get(block.table, ()):
                if fits(row.cells, block.where):
                    made = treatment_of(self._mapping.name, row.cells, block, self._mapping.tables[block.table])
                    if isinstance(made, str):
                        draft.explain(row, made)
                    else:
                        draft.treatments.append(made)
                        draft.use(row)
        for listed in rows.values():
            for row in listed:
                draft.explain(row, "left out by the mapping, or all its cells are missing")

    def _add_features(self, number: int, block: FeatureMap, row: _Staged, draft: _Draft, index: int) -> None:
        if not (fits(row.cells, block.where) and starts(row.cells, block.where_starts)):
            return
        table = self._mapping.tables[block.table]
        for found in features_of(self._mapping.name, row.cells, block, table, self._columns[number]):
            if isinstance(found, str):
                draft.explain(row, found)
                if not row.rowid:
                    self._report.note(block.table, found)
            elif found.time is not None and found.time > index and not block.always_known:
                draft.explain(row, _LATE)
            else:
                draft.features.append(found)
                draft.use(row)

    def _add_diagnoses(self, block: DiagnosisMap, rows: list[_Staged], draft: _Draft) -> None:
        table = self._mapping.tables[block.table]
        found: list[tuple[int, Coding, _Staged]] = []
        for row in rows:
            text = row.cells.get(block.column, "")
            if not fits(row.cells, block.where) or text in table.missing:
                continue
            coding = coding_of(self._mapping.name, text, block)
            if coding is None:
                draft.explain(row, "no code is left at the levels taken")
                continue
            try:
                found.append((seconds_of(row.cells, block.time, table) or 0, coding, row))
            except InvalidInput as error:
                draft.explain(row, str(error))
        found.sort(key=lambda item: item[0])
        for moment, coding, row in found[:1] if block.first_only else found:
            draft.diagnoses.append((moment, coding, block.is_complication))
            draft.use(row)
        for _, _, row in found[1:] if block.first_only else ():
            draft.explain(row, "a later diagnosis, of which the mapping takes the first")

    def _insert(self, batch: list[tuple[object, ...]]) -> None:
        self._db.executemany(
            "INSERT INTO mapped (key, place, source, line, state, cells) VALUES (?, ?, ?, ?, ?, ?)", batch
        )
        batch.clear()

    def _header(self, name: str) -> list[str]:
        if name not in self._headers:
            self._headers[name] = read_header(self._folder / self._mapping.tables[name].file)
        return self._headers[name]

    def _needed(self, name: str) -> list[str]:
        """Columns of a table that some block reads, each of which is there."""
        wanted: set[str] = {self._mapping.tables[name].key} | self._named(name)
        for number, block in enumerate(self._mapping.features):
            if block.table == name:
                wanted |= set(self._columns[number])
        return sorted(wanted - {""})

    def _named(self, name: str) -> set[str]:
        mapping = self._mapping
        named: set[str] = set()
        if name == mapping.case.table:
            case = mapping.case
            named |= {case.id, case.patient, case.group, case.age, case.sex, *case.where}
            named |= {mapping.course.column} if mapping.course else set()
        if name == (mapping.index.table or mapping.case.table):
            named.add(mapping.index.column)
        for block in (*mapping.features, *mapping.diagnoses, *mapping.treatments):
            if block.table == name:
                named |= {block.time, *block.where}
        for block in mapping.features:
            named |= set(block.where_starts) if block.table == name else set()
        for block in mapping.diagnoses:
            named |= {block.column} if block.table == name else set()
        for block in mapping.treatments:
            if block.table == name:
                named |= {block.column, block.route, block.dose, block.unit, block.frequency, *block.as_needed}
        return named - {""}

    def _check_columns(self) -> None:
        """Every column that is named exists; blocks that name none get all that are left."""
        for number, block in enumerate(self._mapping.features):
            columns = block.columns if isinstance(block.columns, dict) else {name: Column() for name in block.columns}
            if not columns:
                taken = {*block.except_columns, self._mapping.tables[block.table].key, self._mapping.case.id}
                columns = {name: Column() for name in self._header(block.table) if name not in taken and name}
            self._columns[number] = columns
        for name in self._mapping.tables:
            absent = [column for column in self._needed(name) if column not in self._header(name)]
            if absent:
                raise InvalidInput(f"mapping: table {name!r} has no column {absent[0]!r}")
