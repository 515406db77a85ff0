"""Drafts a mapping from a table, for a person to correct: what the columns seem to be, and nothing of what they hold.

The draft names columns and says why it took them for what it did. It holds no cell but the few that mean yes, no or
missing, so it can be shown to a colleague.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput
from medfed.records.table_cells import number_of
from medfed.records.table_files import read_header, read_rows

__all__ = ["draft_mapping"]

_ROWS: Final = 20_000
_MOST_KEPT: Final = 2000
_MISSING: Final = frozenset({"", "-1", "NA", "N/A", "NULL", "null", "nan", "NaN", "?", "unknown", "Unknown"})
_FLAGS: Final = ({"0", "1"}, {"1"}, {"no", "yes"}, {"yes"}, {"false", "true"}, {"true"}, {"n", "y"}, {"y"})
_YES: Final = frozenset({"1", "yes", "true", "y"})
_IDS: Final = ("id", "stay", "encounter", "visit", "case")
_OUTCOMES: Final = ("diagnos", "prognosis", "disease", "outcome", "label", "target", "class")


@dataclass
class _Seen:
    """What a column's cells were like."""

    cells: set[str] = field(default_factory=set[str])
    """Distinct cells, up to a bound; never written out."""
    missing: set[str] = field(default_factory=set[str])
    filled: int = 0
    numbers: int = 0

    def add(self, cell: str) -> None:
        if cell in _MISSING:
            self.missing.add(cell)
            return
        self.filled += 1
        if len(self.cells) <= _MOST_KEPT:
            self.cells.add(cell)
        try:
            number_of(cell)
        except InvalidInput:
            return
        self.numbers += 1

    @property
    def is_flag(self) -> bool:
        return {cell.lower() for cell in self.cells} in _FLAGS

    @property
    def is_number(self) -> bool:
        return self.filled > 0 and self.numbers >= 0.98 * self.filled and len(self.cells) > 2

    @property
    def is_code(self) -> bool:
        return 0 < len(self.cells) <= max(2, min(_MOST_KEPT, self.filled // 4))


def draft_mapping(path: Path) -> str:
    """A mapping file's text for one table of cases, from its header and its first 20,000 rows.

    Raises:
        InvalidInput: no such file, or no header. Unavailable: it cannot be read.
    """
    names = read_header(path)
    seen = {name: _Seen() for name in names}
    rows = 0
    for read in islice(read_rows(path), _ROWS):
        if not read.problem:
            rows += 1
            for name, cell in read.cells.items():
                seen[name].add(cell)
    identifier = _identifier(seen, rows)
    outcome = next((name for word in _OUTCOMES for name in names if word in name.lower() and seen[name].is_code), "")
    age = next((name for name in names if re.fullmatch(r"age|age_?years?|patient_?age", name.lower())), "")
    sex = next((name for name in names if name.lower() in ("sex", "gender")), "")
    left = [name for name in names if name and name not in (identifier, outcome, age, sex)]
    flags = [name for name in left if seen[name].is_flag]
    numbers = [name for name in left if name not in flags and seen[name].is_number]
    coded = [name for name in left if name not in flags and name not in numbers and seen[name].is_code]
    rest = [name for name in left if name not in flags and name not in numbers and name not in coded]
    missing = sorted({"", *(mark for name in names for mark in seen[name].missing)})
    head = [
        f"# Drafted from {rows} rows. Check every line: units, what was known before the diagnosis,",
        "# and what tells the outcome.",
        "version = 1",
        f"name = {_text(_slug(path))}",
        "",
        "[tables.cases]",
        f"file = {_text(path.name)}",
        f"missing = {_list(missing)}",
        "",
        "[case]",
        'table = "cases"',
        f"id = {_text(identifier)}" if identifier else "# no column identifies the rows: a row's number is its id",
        *([f"age = {_text(age)}"] if age else []),
        *([f"sex = {_text(sex)}"] if sex else []),
    ]
    return "\n".join([*head, *_features(flags, numbers, coded, seen), *_outcome(outcome), *_left(rest)]) + "\n"


def _features(flags: list[str], numbers: list[str], coded: list[str], seen: dict[str, _Seen]) -> list[str]:
    lines: list[str] = []
    if flags:
        yes = sorted({cell for name in flags for cell in seen[name].cells if cell.lower() in _YES})
        lines += ["", "[[features]]", 'table = "cases"', 'type = "flags"', f"present = {_list(yes)}"]
        lines.append(f"columns = {_list(flags)}")
    if numbers:
        lines += ["", "[[features]]", 'table = "cases"', 'type = "numbers"', "[features.columns]"]
        lines += [f'{_text(name)} = {{ unit = "" }}  # state the UCUM unit' for name in numbers]
    if coded:
        lines += ["", "[[features]]", 'table = "cases"', 'type = "coded"', f"columns = {_list(coded)}"]
    return lines


def _outcome(outcome: str) -> list[str]:
    if not outcome:
        return ["", "# no column looks like a diagnosis: add [[diagnoses]] with table and column"]
    return ["", "[[diagnoses]]", 'table = "cases"', f"column = {_text(outcome)}"]


def _left(rest: list[str]) -> list[str]:
    return ["", "# left out, free text or empty:", *(f"#   {_text(name)}" for name in rest)] if rest else []


def _identifier(seen: dict[str, _Seen], rows: int) -> str:
    """The first column named like an identifier whose cells are distinct and never missing."""
    distinct = [
        name
        for name, column in seen.items()
        if rows > 1 and column.filled == rows and len(column.cells) >= min(rows, _MOST_KEPT + 1)
    ]
    return next((name for name in distinct if any(word in name.lower() for word in _IDS)), "")


def _slug(path: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40].strip("-") or "table"


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'


def _list(values: list[str]) -> str:
    return "[" + ", ".join(_text(value) for value in values) + "]"
