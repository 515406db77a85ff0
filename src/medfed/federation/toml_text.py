"""TOML beyond what the standard library reads: writing it, and on which line a value stands.

Only what a plan needs: bare keys, tables, arrays of tables, numbers, booleans, strings and arrays of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["format_toml", "line_numbers", "line_of"]

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\-]+)\s*\]")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.\-]+)\s*=")


def format_toml(table: Mapping[str, Any]) -> str:
    """A TOML document; entries that are None are left out."""
    return "\n".join(_lines(table, "")).strip() + "\n"


def line_numbers(text: str) -> dict[str, int]:
    """Where each key and section of a well-formed document starts, by paths such as `data.features[3].low`."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    section = ""
    in_string = False
    for number, line in enumerate(text.split("\n"), start=1):
        starts_in_string = in_string
        in_string ^= (line.count('"""') + line.count("'''")) % 2 == 1
        if starts_in_string:
            continue
        if header := _HEADER.match(line):
            section = header[2]
            if header[1] == "[[":
                counts[section] = counts.get(section, -1) + 1
                section = f"{section}[{counts[section]}]"
            found.setdefault(section, number)
        elif key := _KEY.match(line):
            found.setdefault(f"{section}.{key[1]}" if section else key[1], number)
    return found


def line_of(path: str, numbers: Mapping[str, int]) -> int | None:
    """The line of a path, or of the nearest section around it, where one is known."""
    while path:
        if path in numbers:
            return numbers[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None


def _lines(table: Mapping[str, Any], path: str) -> Iterator[str]:
    later: list[tuple[str, Any]] = []
    for key, value in table.items():
        if value is None:
            continue
        if _is_table(value) or _is_array_of_tables(value):
            later.append((key, value))
        else:
            yield f"{key} = {_value(value)}"
    for key, value in later:
        inner = f"{path}.{key}" if path else key
        header = f"[{inner}]" if _is_table(value) else f"[[{inner}]]"
        tables: list[Mapping[str, Any]] = [value] if _is_table(value) else value
        for one in tables:
            yield ""
            yield header
            yield from _lines(one, inner)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_array_of_tables(value: Any) -> bool:
    return _is_array(value) and bool(value) and _is_table(value[0])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if _is_array(value):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the delete character, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
