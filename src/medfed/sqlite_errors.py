"""What an SQLite error means, said once for every file that MedFed keeps.

It must never quote what the file holds: SQLite does where a text is not UTF-8, and the text may be about a patient.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput, Tampered, Unavailable

__all__ = ["translated"]

_DAMAGED: Final = ("malformed", "no such table", "no such column")
_NOT_TEXT: Final = "Could not decode"


@contextmanager
def translated(place: Path | str, thing: str) -> Generator[None]:
    """Turn SQLite's errors inside into ours; `thing` is what the file is for, "vault".

    Raises:
        InvalidInput: it is no SQLite file. Tampered: damaged. Unavailable: locked, unreadable, or the disk is full.
    """
    try:
        yield
    except UnicodeDecodeError:
        raise _damaged(place, thing, "text that is not UTF-8") from None
    except sqlite3.OperationalError as error:
        text = str(error)
        if _NOT_TEXT in text:
            raise _damaged(place, thing, "text that is not UTF-8") from None
        if any(word in text for word in _DAMAGED):
            raise _damaged(place, thing, text) from None
        raise Unavailable(f"{place}: {text}") from None
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise InvalidInput(f"{place}: not a {thing} (not an SQLite database)") from None
        raise _damaged(place, thing, str(error)) from None


def _damaged(place: Path | str, thing: str, how: str) -> Tampered:
    return Tampered(f"{place}: the {thing} is damaged ({how})")
