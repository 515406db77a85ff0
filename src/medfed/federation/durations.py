"""Durations as people write and read them; milliseconds everywhere else. Never reads a clock."""

from __future__ import annotations

import math
import re
from typing import Final

from medfed.errors import InvalidInput

__all__ = ["duration_text", "duration_words", "parse_duration"]

_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_WORDS: Final = {"d": "day", "h": "hour", "m": "minute", "s": "second", "ms": "millisecond"}
_TEXT: Final = re.compile(r"([0-9]{1,12})(ms|[smhd])\Z")
_EXPECTED: Final = 'expected seconds, or a text such as "90s", "10m", "2h" or "7d"'


def parse_duration(value: object) -> int:
    """Milliseconds from a number of seconds or from a text with a unit: ms, s, m, h or d.

    Raises:
        InvalidInput: it is neither, not positive, or not a whole number of milliseconds.
    """
    if isinstance(value, str):
        match = _TEXT.match(value)
        if match is None:
            raise InvalidInput(_EXPECTED)
        milliseconds = float(int(match[1]) * _UNITS[match[2]])
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        # A whole number may be too large for the conversion to float; the largest that counts is far below.
        milliseconds = float(value) * 1000 if -(2**53) <= value <= 2**53 else math.inf
    else:
        raise InvalidInput(_EXPECTED)
    if not 1 <= milliseconds <= 2**53 or abs(milliseconds - round(milliseconds)) > 1e-6:
        raise InvalidInput("expected a positive, whole number of milliseconds")
    return round(milliseconds)


def duration_text(milliseconds: int) -> str:
    """The shortest text that `parse_duration` reads back exactly: "7d", "90s"."""
    unit = _largest_unit(milliseconds)
    return f"{milliseconds // _UNITS[unit]}{unit}"


def duration_words(milliseconds: int) -> str:
    """For people: "7 days", "1 hour"."""
    unit = _largest_unit(milliseconds)
    number = milliseconds // _UNITS[unit]
    return f"{number} {_WORDS[unit]}{'' if number == 1 else 's'}"


def _largest_unit(milliseconds: int) -> str:
    return next(unit for unit, size in _UNITS.items() if milliseconds % size == 0)
