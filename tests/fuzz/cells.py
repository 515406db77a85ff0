"""One cell of a sound SQLite file changed: other bytes, another type, or the row gone. Finds what a flipped bit cannot,
because SQLite itself would notice that."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def set_cell(path: Path, data: bytes) -> None:
    """Change the file: `data` is table, column, row and type as one byte each, then the value.

    Types: 0 NULL (the row is deleted where that is not allowed), 1 real, 2 integer, 3 text, 4 the value's bytes,
    5 the old bytes with the value over them, 6 the row is deleted, 7 the table is dropped.
    """
    head, value = data[:4].ljust(4, b"\0"), data[4:]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        table = tables[head[0] % len(tables)]
        if head[3] % 8 == 7:
            db.execute(f'DROP TABLE "{table}"')
            return
        columns = [(row[1], row[5]) for row in db.execute(f'PRAGMA table_info("{table}")')]
        column = columns[head[1] % len(columns)][0]
        rows = db.execute(f'SELECT * FROM "{table}"').fetchall()
        if not rows:
            return
        row = rows[head[2] % len(rows)]
        old = row[head[1] % len(columns)]
        where = " AND ".join(f'"{name}" IS ?' for name, _ in columns)
        try:
            if head[3] % 8 != 6:
                db.execute(
                    f'UPDATE "{table}" SET "{column}" = ? WHERE {where}', (_value(head[3] % 8, old, value), *row)
                )
                return
        except sqlite3.IntegrityError:
            pass
        db.execute(f'DELETE FROM "{table}" WHERE {where}', row)


def _value(kind: int, old: Any, value: bytes) -> Any:
    match kind:
        case 0:
            return None
        case 1:
            return int.from_bytes(value[:2], "big") / 7
        case 2:
            return int.from_bytes(value[:8], "big", signed=True)
        case 3:
            return value.decode("utf-8", "replace")
        case 4:
            return value
        case _:
            held = old if isinstance(old, bytes) else str(old).encode()
            changed = value + held[len(value) :]
            return changed if isinstance(old, bytes) else changed.decode("utf-8", "replace")
