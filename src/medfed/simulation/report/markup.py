"""HTML and SVG as values: everything that is not markup already is escaped, so no text of a study can become a tag.

This module must never take a tag or attribute name from data.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

__all__ = ["Markup", "element", "joined"]

_VOID: Final = frozenset({"meta", "br", "col", "img"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, attributes: Mapping[str, object] | None = None, *children: str | None) -> Markup:
    """One element. Children that are not `Markup` are escaped; None is left out, as is an attribute of None."""
    opened = "".join(
        f' {key}="{escape(_text(value))}"' for key, value in (attributes or {}).items() if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{opened}>")
    return Markup(f"<{name}{opened}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Children one after the other, escaped where they are not markup."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(child, quote=False) for child in children if child is not None
        )
    )


def _text(value: object) -> str:
    """Coordinates with one decimal: enough for a screen, and a third of the bytes."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
