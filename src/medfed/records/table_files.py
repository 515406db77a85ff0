"""Reads CSV, and Parquet where pyarrow is installed, row by row: a row is a dictionary of stripped texts.

A table never fits a bound by luck: lines and rows that are too long, of the wrong width or not UTF-8 are said by
number.
"""

from __future__ import annotations

import csv
import importlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from medfed.errors import InvalidInput, Unavailable

__all__ = ["Read", "read_header", "read_rows"]

_LONGEST_LINE: Final = 1 << 20
_MOST_COLUMNS: Final = 20_000
_BATCH: Final = 4096


class Read(NamedTuple):
    """A row of a table, or why there is none. `number` is the file's line, or a Parquet row counted from 1."""

    number: int
    cells: dict[str, str]
    problem: str = ""


def read_header(path: Path) -> list[str]:
    """The names of the columns, stripped; a repeated name gets its number.

    Raises:
        InvalidInput: no such file, or no header. Unavailable: it cannot be read.
    """
    if path.suffix == ".parquet":
        return _distinct([name.strip() for name in _parquet(path).schema_arrow.names])
    with _opened(path) as file:
        return _names(csv.reader(_lines(file)))


def read_rows(path: Path) -> Iterator[Read]:
    """The rows in order.

    Raises:
        InvalidInput: no such file, or no header that can be used. Unavailable: it cannot be read.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    with _opened(path) as file:
        reader = csv.reader(_lines(file), strict=True)
        names = _names(reader)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except (csv.Error, InvalidInput):
                yield Read(
                    reader.line_num, {}, "cannot be read, nor can what follows: too long, or a quote is not closed"
                )
                return
            if not row:
                continue
            if len(row) != len(names):
                yield Read(reader.line_num, {}, f"has {len(row)} columns instead of {len(names)}")
            elif any("\udc80" <= c <= "\udcff" for cell in row if not cell.isascii() for c in cell):
                yield Read(reader.line_num, {}, "not UTF-8")
            else:
                yield Read(reader.line_num, {name: cell.strip() for name, cell in zip(names, row, strict=True)})


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except FileNotFoundError:
        raise InvalidInput("table: no such file") from None
    except OSError as error:
        raise Unavailable(f"table: cannot be read: {error.strerror}") from None


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise InvalidInput(f"table: a line longer than {_LONGEST_LINE} characters")
        yield line


def _names(reader: Iterator[list[str]]) -> list[str]:
    try:
        names = [name.strip() for name in next(reader)]
    except (StopIteration, csv.Error):
        raise InvalidInput("table: has no header") from None
    if any("\udc80" <= letter <= "\udcff" for name in names if not name.isascii() for letter in name):
        raise InvalidInput("table: its header is not UTF-8")
    if len(names) > _MOST_COLUMNS:
        raise InvalidInput(f"table: more than {_MOST_COLUMNS} columns")
    return _distinct(names)


def _distinct(names: list[str]) -> list[str]:
    """A name that comes again is told apart by its number: `x`, `x (2)`."""
    seen: Counter[str] = Counter()
    told: list[str] = []
    for name in names:
        seen[name] += 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told


def _parquet(path: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet").ParquetFile(path)
    except ImportError:
        raise Unavailable("table: reading Parquet needs pyarrow, which is not installed") from None
    except FileNotFoundError:
        raise InvalidInput("table: no such file") from None
    except Exception:  # noqa: BLE001 - pyarrow's errors have no common ancestor
        raise InvalidInput("table: not a Parquet file") from None


def _parquet_rows(path: Path) -> Iterator[Read]:
    number = 0
    for batch in _parquet(path).iter_batches(_BATCH):
        for row in batch.to_pylist():
            number += 1
            yield Read(number, {name.strip(): _text(cell) for name, cell in row.items()})


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "1" if cell else "0"
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
