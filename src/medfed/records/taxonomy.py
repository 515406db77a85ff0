"""What stands above a code: the levels of ICD-10, ICD-10-CM and ATC, and of codes that are paths.

Codes are near when they share levels from the top. A code that its system cannot hold has no level but itself, and is
near nothing else. No terminology ships here: only ranges of categories, and how codes are built.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache
from typing import Annotated, Final, Literal

from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.records.coding import ATC, ICD10, ICD10CM, Coding, ConceptKey
from medfed.records.icd10_blocks import ICD10_BLOCKS, ICD10CM_BLOCKS, STRAYS

__all__ = [
    "Level",
    "Taxonomy",
    "code_levels",
    "cut_code",
    "cut_coding",
    "cut_key",
    "level_of",
    "shared_levels",
    "taxonomy_of",
]

Taxonomy = Literal["path", "icd-10", "icd-10-cm", "atc"]
"""`path`: levels between `|`. `icd-10`, `icd-10-cm`: chapter, block, category, then character by character. `atc`: the
five levels of one, three, four, five and seven characters."""

_BY_SYSTEM: Final[dict[str, Taxonomy]] = {ICD10: "icd-10", ICD10CM: "icd-10-cm", ATC: "atc"}
_ATC: Final = re.compile(r"[A-Z](\d\d([A-Z]([A-Z](\d\d)?)?)?)?\Z")
_ICD: Final = re.compile(r"[A-Z]\d[0-9A-Z][0-9A-Z]{0,4}\Z")
_RANGE: Final = re.compile(r"[A-Z]\d[0-9A-Z](-[A-Z][0-9A-Z]{2})?\Z")
_ATC_ENDS: Final = (1, 3, 4, 5, 7)


class Level(Record):
    """How deep the codes of one system are read."""

    system: Annotated[str, Meta(min_length=1, max_length=200)]
    taxonomy: Taxonomy
    depth: Annotated[int, Meta(ge=1, le=20)]
    """Levels from the top: of ICD-10, 1 is the chapter, 2 the block, 3 the category of three characters."""


def taxonomy_of(system: str) -> Taxonomy | None:
    """The taxonomy that the codes of a public system have; None where the codes alone do not say."""
    return _BY_SYSTEM.get(system)


def level_of(system: str, depth: int) -> Level:
    """The level of `system` as people name it: `icd-10`, `icd-10-cm`, `atc`, or the URI of a list of paths.

    Raises:
        InvalidInput: a name that is none of these.
    """
    for uri, taxonomy in _BY_SYSTEM.items():
        if system in (uri, taxonomy):
            return Level(uri, taxonomy, depth)
    if ":" not in system or len(system) > 200:
        raise InvalidInput(f"level: {system[:100]!r}: expected icd-10, icd-10-cm, atc or a URI")
    return Level(system, "path", depth)


def code_levels(taxonomy: Taxonomy, code: str) -> tuple[str, ...]:
    """The code's levels from the top, each written out: of ICD-10's `J18.9` `J00-J99`, `J09-J18`, `J18`, `J189`."""
    if taxonomy == "path":
        parts = [part.strip() for part in code.split("|")]
        return tuple("|".join(parts[: end + 1]) for end in range(len(parts)))
    plain = code.strip().rstrip("+*†").replace(".", "").upper()
    if taxonomy == "atc":
        return tuple(plain[:end] for end in _ATC_ENDS if end <= len(plain)) if _ATC.match(plain) else (plain,)
    return _icd_levels(taxonomy, plain)


def shared_levels(first: tuple[str, ...], second: tuple[str, ...]) -> float:
    """The part of the levels that two codes share from the top: 1 for the same code, 0 where even the first differs."""
    # Each level is written out with all above it, so that two codes cannot meet again below where they part.
    common = sum(mine == theirs for mine, theirs in zip(first, second, strict=False))
    return common / max(len(first), len(second))


def cut_code(code: str, level: Level) -> str:
    """`code` at the level's depth, or whole where it is not as deep."""
    return code_levels(level.taxonomy, code)[: level.depth][-1]


def cut_coding(coding: Coding, levels: dict[str, Level]) -> Coding:
    """`coding` at the depth of its system's level; its display goes where the code changes, as it named the code."""
    level = levels.get(coding.system)
    cut = coding.code if level is None else cut_code(coding.code, level)
    return coding if cut == coding.code else Coding(coding.system, cut)


def cut_key(key: ConceptKey, levels: dict[str, Level]) -> ConceptKey:
    """The same for a key."""
    level = levels.get(key[0])
    return key if level is None else (key[0], cut_code(key[1], level))


def _icd_levels(taxonomy: Literal["icd-10", "icd-10-cm"], plain: str) -> tuple[str, ...]:
    chapters, blocks = _ranges(taxonomy)
    if _RANGE.match(plain) and plain in chapters.values():
        return (plain,)
    if _RANGE.match(plain) and plain in blocks.values() and "-" in plain:
        return (_find(chapters, plain[:3]) or plain, plain)
    category = plain[:3]
    chapter = _find(chapters, category)
    if not _ICD.match(plain) or chapter is None:
        return (plain,)
    block = STRAYS.get(category) if taxonomy == "icd-10-cm" and category in STRAYS else _find(blocks, category)
    deeper = (plain[:end] for end in range(3, len(plain) + 1))
    return (chapter, block or category, *deeper)


def _find(ranges: dict[str, str], category: str) -> str | None:
    """The range that holds a category; where one lies within another, as D3A in D37-D48, the inner one."""
    starts = list(ranges)
    before = reversed(starts[: bisect_right(starts, category)])
    return next((ranges[start] for start in before if category <= ranges[start][-3:]), None)


@cache
def _ranges(taxonomy: Literal["icd-10", "icd-10-cm"]) -> tuple[dict[str, str], dict[str, str]]:
    """Chapters and blocks by their first category, in its order."""
    chapters: dict[str, str] = {}
    blocks: dict[str, str] = {}
    for word in (ICD10_BLOCKS if taxonomy == "icd-10" else ICD10CM_BLOCKS).split():
        into = chapters if word.endswith(":") else blocks
        into[word[:3]] = word.rstrip(":")
    return dict(sorted(chapters.items())), dict(sorted(blocks.items()))
