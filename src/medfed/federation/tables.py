"""One hospital's table, from a CSV file or from what Python programs hold tables in, as named columns.

Everything is bounded: bytes, rows, columns and fields. Errors name the source, the line and the column. This module
must never put a cell's value into an error or a log, and never imports pandas or polars: it knows them by their shape.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.cells import cell_number, cell_text
from medfed.input_file import read_input

__all__ = [
    "MAX_COLUMNS",
    "MAX_FILE_BYTES",
    "MAX_ROWS",
    "Table",
    "TableSource",
    "read_csv",
    "table_from",
    "table_of_bytes",
]

MAX_FILE_BYTES: Final = 1 << 30
MAX_ROWS: Final = 10_000_000
MAX_COLUMNS: Final = 20_000
MAX_NAME: Final = 100
MAX_FIELD: Final = 131_072

TableSource = Any
"""A path to a CSV file, a mapping of columns, a list of row mappings, a structured array, or a data frame."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of one length. Cells are as they came; the plan says what they mean."""

    source: str
    """What errors call this table: a file's name, or what kind of object it was."""
    columns: Mapping[str, NDArray[Any]]
    """Each (rows,), float64 or object."""
    lines: NDArray[np.int64]
    """(rows,): where each row starts: the line of the file, or the row counted from 1."""
    counts_lines: bool
    """True where `lines` are lines of a file."""

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> NDArray[Any]:
        """The cells of one column.

        Raises:
            InvalidInput: there is no such column.
        """
        found = self.columns.get(name)
        if found is None:
            raise InvalidInput(f"{self.source}: column {name!r} is missing{_nearest(name, self.columns)}")
        return found

    def place(self, row: int, column: str) -> str:
        """Where a cell is, in words: source, line and column, never its value."""
        word = "line" if self.counts_lines else "row"
        return f"{self.source}, {word} {int(self.lines[row])}, column {column!r}"

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One column as float64 (rows,), NaN where a cell is missing.

        Raises:
            InvalidInput: there is no such column, or a cell is not a finite number.
        """
        cells = self.column(name)
        if cells.dtype == np.float64:
            self._refuse_infinite(name, cells)
            return np.array(cells, dtype=np.float64)
        return np.array(self._parse(name, cells, cell_number), dtype=np.float64)

    def texts(self, name: str) -> list[str | None]:
        """One column as texts, None where a cell is missing; see `cells.cell_text`.

        Raises:
            InvalidInput: there is no such column, or a cell is neither text nor a number.
        """
        return self._parse(name, self.column(name), cell_text)

    def _refuse_infinite(self, name: str, cells: NDArray[np.float64]) -> None:
        infinite = np.isinf(cells)
        if infinite.any():
            raise InvalidInput(f"{self.place(int(infinite.argmax()), name)}: expected a finite number")

    def _parse(self, name: str, column: NDArray[Any], parse: Callable[[object], T]) -> list[T]:
        """Each distinct cell is parsed once, in order of first appearance, so the first bad row is the one named."""
        cells: list[Any] = column.tolist()
        parsed: dict[Any, T] = {}
        try:
            distinct: Iterable[Any] = dict.fromkeys(cells)
        except TypeError:
            row = next(i for i, cell in enumerate(cells) if not _is_hashable(cell))
            raise InvalidInput(f"{self.place(row, name)}: expected text or a number") from None
        for cell in distinct:
            try:
                parsed[cell] = parse(cell)
            except ValueError as error:
                raise InvalidInput(f"{self.place(cells.index(cell), name)}: {error}") from None
        return list(map(parsed.__getitem__, cells))


def table_from(source: TableSource, *, columns: Sequence[str] | None = None, name: str | None = None) -> Table:
    """A table from a CSV file's path, `{column: cells}`, `[{column: cell}]`, a NumPy structured array, or a pandas or
    polars data frame.

    Args:
        columns: the names of a CSV file's columns when the file has no header line.
        name: what errors call the table; a file's name otherwise.

    Raises:
        InvalidInput: it is none of these, or malformed, ragged, empty or too large.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, (str, Path)):
        return read_csv(Path(source), columns=columns, name=name)
    if columns is not None:
        raise InvalidInput("columns= is for CSV files without a header line")
    if isinstance(source, np.ndarray):
        return _from_array(cast("NDArray[Any]", source), name or "array")
    if isinstance(source, Mapping):
        return _from_columns(cast("Mapping[Any, Any]", source), name or "table")
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):
        return _from_frame(source, name or "data frame")
    if isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray)):
        return _from_rows(cast("Sequence[Any]", source), name or "rows")
    raise InvalidInput(
        f"a table of type {type(source).__name__}: expected a path to a CSV file, a mapping of columns, a list of "
        "mappings, a structured array or a data frame"
    )


def read_csv(
    path: Path, *, columns: Sequence[str] | None = None, delimiter: str = ",", name: str | None = None
) -> Table:
    """A table from a CSV file in UTF-8 (a byte-order mark is fine), whose first line names the columns unless
    `columns` does.

    Raises:
        InvalidInput: the file is absent, too large, not UTF-8, malformed, ragged or has no rows.
    """
    label = name or path.name
    text = _decode(read_input(path, MAX_FILE_BYTES, label), label)
    return _parse_csv(text, label, columns, delimiter)


def table_of_bytes(data: bytes, label: str) -> Table:
    """A table from the bytes of a CSV file in UTF-8 whose first line names the columns.

    Raises:
        InvalidInput: as `read_csv`.
    """
    return _parse_csv(_decode(data, label), label, None, ",")


def _decode(data: bytes, label: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{label}, line {line}: not UTF-8; export the file as UTF-8") from None
    zero = data.find(b"\0")
    if zero >= 0:
        line = data.count(b"\n", 0, zero) + 1
        raise InvalidInput(f"{label}, line {line}: a zero byte; expected text in UTF-8")
    return text


def _parse_csv(text: str, label: str, columns: Sequence[str] | None, delimiter: str) -> Table:
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InvalidInput("delimiter: expected one character that is not a quote or a line end")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = list(columns) if columns is not None else None
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for row in reader:
            if row:
                if names is None:
                    names = _checked_names([cell.strip() for cell in row], label)
                elif len(row) != len(names):
                    raise InvalidInput(f"{label}, line {start}: {len(row)} fields; expected {len(names)}")
                elif len(rows) == MAX_ROWS:
                    raise InvalidInput(f"{label}: more than {MAX_ROWS} rows")
                else:
                    rows.append(row)
                    lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInput(f"{label}, line {start}: malformed CSV: {_csv_reason(error)}") from None
    if names is None:
        raise InvalidInput(f"{label}: empty; expected a header line and rows")
    if columns is not None:
        _checked_names(names, label)
    if not rows:
        raise InvalidInput(f"{label}: no rows; expected at least one below the header")
    cells = zip(*rows, strict=True)
    arrays = {column: _objects(list(values)) for column, values in zip(names, cells, strict=True)}
    return Table(label, arrays, np.array(lines, dtype=np.int64), counts_lines=True)


def _csv_reason(error: csv.Error) -> str:
    """The reader's message without what might be data in it."""
    if "field limit" in str(error):
        return f"a field of more than {MAX_FIELD} characters; is a quote left open?"
    if "unexpected end" in str(error):
        return "the file ends inside a quoted field"
    return "a quote or a line end where none may be"


def _from_array(array: NDArray[Any], label: str) -> Table:
    if array.dtype.names is None or array.ndim != 1:
        raise InvalidInput(f"{label}: expected a one-dimensional structured array with named fields")
    return _from_columns({column: array[column] for column in array.dtype.names}, label)


def _from_frame(frame: Any, label: str) -> Table:
    names: list[Any] = list(frame.columns)
    _checked_names(names, label)
    return _from_columns({column: frame[column].to_numpy() for column in names}, label)


def _from_rows(rows: Sequence[Any], label: str) -> Table:
    if not rows:
        raise InvalidInput(f"{label}: no rows; expected at least one")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InvalidInput(f"{label}, row {number}: expected a mapping of column names to cells")
        if cast("Mapping[Any, Any]", row).keys() != rows[0].keys():
            raise InvalidInput(f"{label}, row {number}: its columns differ from those of row 1")
    return _from_columns({column: [row[column] for row in rows] for column in rows[0]}, label)


def _from_columns(columns: Mapping[Any, Any], label: str) -> Table:
    names = _checked_names(list(columns), label)
    arrays = {name: _column_array(columns[name], name, label) for name in names}
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) != 1:
        first = len(arrays[names[0]])
        odd = next(name for name in names if len(arrays[name]) != first)
        raise InvalidInput(f"{label}: column {odd!r} has {len(arrays[odd])} rows; {names[0]!r} has {first}")
    (rows,) = lengths
    if not 0 < rows <= MAX_ROWS:
        raise InvalidInput(f"{label}: {rows} rows; expected 1 to {MAX_ROWS}")
    return Table(label, arrays, np.arange(1, rows + 1, dtype=np.int64), counts_lines=False)


def _column_array(cells: Any, name: str, label: str) -> NDArray[Any]:
    if isinstance(cells, (str, bytes)) or not hasattr(cells, "__len__"):
        raise InvalidInput(f"{label}: column {name!r} is a {type(cells).__name__}; expected a sequence of cells")
    if not isinstance(cells, np.ndarray) and hasattr(cells, "to_numpy"):
        cells = cells.to_numpy()
    if not isinstance(cells, np.ndarray):
        return _objects([_plain(cell) for cell in cast("Sequence[Any]", cells)])
    array = cast("NDArray[Any]", cells)
    if array.ndim != 1:
        raise InvalidInput(f"{label}: column {name!r} has {array.ndim} dimensions; expected 1")
    if array.dtype.kind in "fb" or (array.dtype.kind in "iu" and _is_exact_in_float64(array)):
        return array.astype(np.float64)
    if array.dtype.kind not in "OUTiu":
        raise InvalidInput(f"{label}: column {name!r} holds {array.dtype}; expected numbers or text")
    return _objects([_plain(cell) for cell in array.tolist()])


def _is_exact_in_float64(integers: NDArray[Any]) -> bool:
    """Long identifiers are not: two patients must not become one by rounding."""
    return len(integers) == 0 or bool(integers.max() <= 2**53 and integers.min() >= -(2**53))


def _plain(cell: Any) -> Any:
    return cast("np.generic[Any]", cell).item() if isinstance(cell, np.generic) else cell


def _objects(cells: list[Any]) -> NDArray[Any]:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def _checked_names(names: list[Any], label: str) -> list[str]:
    if not 0 < len(names) <= MAX_COLUMNS:
        raise InvalidInput(f"{label}: {len(names)} columns; expected 1 to {MAX_COLUMNS}")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not isinstance(name, str) or not name or len(name) > MAX_NAME:
            raise InvalidInput(f"{label}: column {number} needs a name of 1 to {MAX_NAME} characters")
        # By position: in a file without a header line these names are a patient's values.
        if name in seen:
            raise InvalidInput(f"{label}: columns {seen[name]} and {number} have the same name")
        seen[name] = number
    return cast("list[str]", names)


def _is_hashable(cell: object) -> bool:
    try:
        hash(cell)
    except TypeError:
        return False
    return True


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
