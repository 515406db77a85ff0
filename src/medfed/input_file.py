"""Files that people name: read whole, within a bound, and never more memory than the file needs.

A pipe or a device has no size to ask for, so the bound is held while reading. This module must never follow what a file
says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput

__all__ = ["read_input"]

_CHUNK: Final = 1 << 20


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


def _words(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit > 1 << 20 else f"{limit >> 10} KiB"
