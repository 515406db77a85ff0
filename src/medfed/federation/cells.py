"""What one cell of a table says: a number, a text, or nothing.

Hospitals export the same value in many spellings; here each has one reading. This module must never put a cell's
value into an error: it may be a patient's.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

__all__ = ["MISSING_TEXTS", "cell_number", "cell_text", "number_text", "shortest_text"]

MISSING_TEXTS: Final = frozenset({"", "?", "NA", "N/A", "NaN", "nan", "na", "n/a"})
"""Cells that read as missing, once surrounding blanks are gone."""

_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)?\.[0-9]*\Z")
_MISSING_TYPES: Final = frozenset({"NAType", "NaTType"})
"""What pandas and polars call a missing cell; their names, so that neither needs to be imported."""


def cell_number(cell: object) -> float:
    """The number in `cell`, NaN where it is missing.

    Raises:
        ValueError: the cell holds something else than a finite number.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if text in MISSING_TEXTS:
            return math.nan
        if "_" in text:
            raise ValueError("expected a number")
        try:
            value = float(text)
        except ValueError:
            raise ValueError("expected a number") from None
        if not math.isfinite(value):
            raise ValueError("expected a finite number")
        return value
    if _is_missing(cell):
        return math.nan
    if isinstance(cell, (bool, int, float, Decimal)):
        try:
            value = float(cell)
        except OverflowError:
            value = math.inf
        if math.isinf(value):
            raise ValueError("expected a finite number")
        return value
    raise ValueError("expected a number")


def cell_text(cell: object) -> str | None:
    """The text in `cell`, blanks around it gone and decimals shortest ("1.0" is "1"); None where it is missing.

    Raises:
        ValueError: the cell is neither text nor a number.
    """
    if isinstance(cell, str):
        text = cell.strip()
        return None if text in MISSING_TEXTS else shortest_text(text)
    if _is_missing(cell):
        return None
    if isinstance(cell, (bool, int)):
        return str(int(cell))
    if isinstance(cell, (float, Decimal)):
        return number_text(float(cell))
    raise ValueError("expected text or a number")


def shortest_text(text: str) -> str:
    """`text`, a plain decimal without its trailing zeros; leading zeros and exponents may be codes and stay."""
    if "." not in text or not _DECIMAL.match(text) or text in {".", "-."}:
        return text
    short = text.rstrip("0").rstrip(".")
    if short in {"", "-", "-0"}:
        return "0"
    return short.replace(".", "0.", 1) if short.startswith((".", "-.")) else short


def number_text(value: float) -> str:
    """The shortest text of a number: no decimals where there are none."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _is_missing(cell: object) -> bool:
    if cell is None:
        return True
    if isinstance(cell, (float, Decimal)):
        return math.isnan(cell)
    return type(cell).__name__ in _MISSING_TYPES
