"""Files that people name: read whole, within a bound, and never more memory than the file needs.

A pipe or a device has no size to ask for, so the bound is held while reading. This module must never follow what a file
says.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from medfed.errors import InvalidInput, brief

__all__ = ["parse_toml", "read_input"]

_CHUNK: Final = 1 << 20
_LONGEST_KEY: Final = 32
_PART: Final = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY: Final = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{_LONGEST_KEY}}}")


def read_input(path: Path, limit: int, label: str) -> bytes:
    """The bytes of `path`; `label` is what errors call it.

    Raises:
        InvalidInput: it is absent, no file, not readable, or longer than `limit` bytes.
    """
    parts: list[bytes] = []
    size = 0
    try:
        with path.open("rb") as file:
            # One read for a file of a known size, so that it is not held twice; a pipe or a device says 0.
            expected = min(os.fstat(file.fileno()).st_size, limit) + 1
            while data := file.read(max(expected - size, _CHUNK)):
                size += len(data)
                if size > limit:
                    raise InvalidInput(f"{label}: larger than {_words(limit)}")
                parts.append(data)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path to a file"
        raise InvalidInput(f"{label}: cannot be read: {reason}") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def parse_toml(text: str, label: str) -> dict[str, Any]:
    """What a TOML document says; `label` is what errors call it. The caller bounds its length.

    Raises:
        InvalidInput: it is not TOML, nests too deeply, or has a key of more than 32 parts: the parser's time grows with
            the square of these.
    """
    if _LONG_KEY.search(text):
        raise InvalidInput(f"{label}: not TOML that is read here: something is joined by more than {_LONGEST_KEY} dots")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InvalidInput(f"{label}: not TOML: nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"{label}: not TOML: {brief(error)}") from None


def _words(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit > 1 << 20 else f"{limit >> 10} KiB"
