"""How a site's tables become cases: a TOML file that names columns, codes, units and times, and nothing that runs.

`load_mapping` refuses what it does not know. Cells count as text; names of columns and cells are stripped of blanks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput, brief
from medfed.input_file import parse_toml, read_input
from medfed.records.case import CourseStatus, FeatureKind, Sex

__all__ = [
    "CaseMap",
    "Column",
    "CourseMap",
    "DiagnosisMap",
    "FeatureMap",
    "IndexMap",
    "Mapping",
    "TableMap",
    "TreatmentMap",
    "load_mapping",
    "parse_mapping",
]

MAX_FILE_BYTES: Final = 1 << 20
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Clock = Literal["seconds", "minutes", "hours", "days", "date"]


class TableMap(Record, frozen=True):
    """One file. `key` is the column that says which case a row belongs to."""

    file: Name
    key: Name = ""
    """Empty in the table of cases itself, where `case.id` is."""
    missing: tuple[str, ...] = ("",)
    """Cells that mean that nothing is known."""
    clock: Clock = "date"
    """What times in this table are: a date or time with a zone, or how much of what since the stay began."""


class CaseMap(Record, frozen=True):
    """The table with a row for each case."""

    table: Name
    id: str = ""
    """Column with a case's identifier; empty takes the number of the row."""
    patient: str = ""
    """Column with the patient's identifier; empty makes each case a patient of its own."""
    group: str = ""
    age: str = ""
    ages: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """Cells of `age` that are not numbers, such as `> 89`."""
    sex: str = ""
    sexes: dict[str, Sex] = msgspec.field(default_factory=dict[str, Sex])
    where: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])
    """Columns with the cells that a row must have to be a case."""


class IndexMap(Record, frozen=True):
    """The moment before the diagnosis: a column of the case's own table, the earliest of another, or a constant."""

    seconds: int = 0
    """The constant, where no column is named; in seconds since the stay began or 1970."""
    table: str = ""
    column: str = ""


class Column(Record, frozen=True):
    """What one column of measurements is."""

    code: str = ""
    """The concept's code; empty takes the column's name."""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    """Numbers outside are impossible and explained."""


class FeatureMap(Record, frozen=True):
    """Features from the columns of one table."""

    table: Name
    type: Literal["flags", "codes", "numbers", "coded"]
    """flags: a column is a finding and its cell says whether it is present. codes: a cell is a finding's code.
    numbers: a column is a measurement. coded: a column is a question and its cell the answer's code."""
    columns: dict[str, Column] | tuple[str, ...] = ()
    except_columns: tuple[str, ...] = ()
    """With `columns` empty: every column but these and the key's."""
    system: str = ""
    """The system of the codes; empty makes them the site's own."""
    kind: FeatureKind = "finding"
    present: tuple[str, ...] = ("1",)
    refuted: tuple[str, ...] = ()
    not_assessed: tuple[str, ...] = ()
    time: str = ""
    always_known: bool = False
    """Known at the index time whenever it was written down, such as a reason for admission entered late."""
    separator: str = ""
    skip_levels: Annotated[int, Meta(ge=0, le=20)] = 0
    levels: Annotated[int, Meta(ge=0, le=20)] = 0
    """Of a code made of levels, how many to skip at its start and how many to take; 0 takes all."""
    where: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])
    where_starts: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])
    """Columns with what a row's cell has to start with."""


class DiagnosisMap(Record, frozen=True):
    """Diagnoses or complications from a column of a table, in the order of `time`."""

    table: Name
    column: Name
    system: str = ""
    time: str = ""
    separator: str = ""
    skip_levels: Annotated[int, Meta(ge=0, le=20)] = 0
    levels: Annotated[int, Meta(ge=0, le=20)] = 0
    where: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])
    is_complication: bool = False
    first_only: bool = False
    """Only the earliest."""


class TreatmentMap(Record, frozen=True):
    """Drugs or procedures from a table with a row for each."""

    table: Name
    column: Name
    system: str = ""
    kind: Literal["drug", "procedure"] = "drug"
    route: str = ""
    dose: str = ""
    """A column with a number and, behind a blank, a unit; or only a number where `unit` is given."""
    unit: str = ""
    """A column with the unit."""
    frequency: str = ""
    frequencies: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """Times a day that the cells of `frequency` mean."""
    as_needed: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])
    time: str = ""
    separator: str = ""
    skip_levels: Annotated[int, Meta(ge=0, le=20)] = 0
    levels: Annotated[int, Meta(ge=0, le=20)] = 0
    where: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])


class CourseMap(Record, frozen=True):
    """How it went, from a column of the case's own table."""

    column: Name
    values: dict[str, CourseStatus]


class Mapping(Record, frozen=True):
    """All of a mapping file."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}\Z")]
    tables: dict[str, TableMap]
    case: CaseMap
    index: IndexMap = IndexMap()
    features: tuple[FeatureMap, ...] = ()
    diagnoses: tuple[DiagnosisMap, ...] = ()
    treatments: tuple[TreatmentMap, ...] = ()
    course: CourseMap | None = None
    version: Literal[1] = 1


def load_mapping(path: Path) -> Mapping:
    """The mapping in a TOML file.

    Raises:
        InvalidInput: no such file, or not a mapping; the message names the field.
    """
    try:
        text = read_input(path, MAX_FILE_BYTES, "mapping").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("mapping: cannot be read as UTF-8") from None
    return parse_mapping(text)


def parse_mapping(text: str) -> Mapping:
    """The mapping in TOML text.

    Raises:
        InvalidInput: not a mapping; the message names the field.
    """
    try:
        mapping = msgspec.convert(parse_toml(text, "mapping"), Mapping)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"mapping: {brief(error)}") from None
    blocks = [("case", mapping.case.table), *((b.table, b.table) for b in _blocks(mapping))]
    if mapping.index.table:
        blocks.append(("index", mapping.index.table))
    for block, table in blocks:
        if table not in mapping.tables:
            raise InvalidInput(f"mapping: {block}: table {table!r} is not under [tables]")
        if table != mapping.case.table and not mapping.tables[table].key:
            raise InvalidInput(f"mapping: table {table!r}: its key, the column with the case's identifier, is missing")
    if not mapping.case.id and any(table != mapping.case.table for _, table in blocks):
        raise InvalidInput("mapping: case: an id is needed where there are other tables")
    return mapping


def _blocks(mapping: Mapping) -> list[FeatureMap | DiagnosisMap | TreatmentMap]:
    return [*mapping.features, *mapping.diagnoses, *mapping.treatments]
