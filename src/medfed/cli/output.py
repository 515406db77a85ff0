"""What commands print and how they end: one clear line on errors, one document with `--json`, exit codes by error type.

Standard output is for results, standard error for progress and errors. No patient data in either.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from medfed.errors import InvalidInput, MedFedError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = ["console", "fail", "figure", "plain", "print_json", "table", "write_private"]


def console() -> Console:
    """The terminal for results."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    import orjson

    click.echo(orjson.dumps(plain(value), option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())


def write_private(path: Path, text: str) -> None:
    """A new file that only its owner may read: what it shows is about patients.

    Raises:
        InvalidInput: it exists already, or cannot be made.
    """
    import os

    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidInput(f"{path}: exists; nothing is written over a file") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error.strerror or 'not a path to a file'}") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def plain(value: Any) -> Any:
    """Records, bytes and tuples as what JSON has: objects without unset fields, hexadecimal, lists; NaN as null."""
    import msgspec

    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, msgspec.Struct):
        kind = {"type": value.__struct_config__.tag} if value.__struct_config__.tag else {}
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return kind | {name: plain(field) for name, field in fields.items() if field is not msgspec.UNSET}
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table for people."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*map(escape, row))
    console().print(made)


def figure(value: Any) -> str:
    """A figure with its interval, as `.854 [.795, .898]`."""
    if hasattr(value, "low"):
        return f"{_short(value.value)} [{_short(value.low)}, {_short(value.high)}]"
    return _short(value) if isinstance(value, float) else str(value)


def fail(error: MedFedError) -> int:
    """Print an error's one line and return the exit code."""
    lines = str(error).splitlines() or [type(error).__name__]
    for line in lines:  # an argument that is no text may be in it
        click.echo(f"medfed: {line}".encode("utf-8", "backslashreplace").decode(), err=True)
    return error.exit_code


def _short(value: float) -> str:
    return "n/a" if value != value else f"{value:.3f}"
