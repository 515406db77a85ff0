"""The words that cases are compared and vectorised in: attributes of V1 and entries of V2, fixed by digest.

A vocabulary holds concepts, ranges and units; no counts and nothing of a patient. Two sites with the same digest read
every case alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from medfed.encoding import Record, decode, digest_of, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest
from medfed.records.case import FeatureKind
from medfed.records.coding import CASE, Coding, ConceptKey
from medfed.records.taxonomy import Level, Taxonomy, cut_coding, cut_key

__all__ = [
    "AGE",
    "MAX_VOCABULARY_BYTES",
    "SEX",
    "SEXES",
    "Attribute",
    "CodedAttribute",
    "DrugEntry",
    "FlagAttribute",
    "NumberAttribute",
    "SetAttribute",
    "Vocabulary",
    "check_vocabulary",
    "name_of",
]

AGE: Final = Coding(CASE, "age", "age")
SEX: Final = Coding(CASE, "sex", "sex")
SEXES: Final = (Coding(CASE, "female"), Coding(CASE, "male"), Coding(CASE, "other"))
MAX_VOCABULARY_BYTES: Final = 1 << 26
"""Of a vocabulary's file."""
_MOST_VALUES: Final = 65_000
_LARGEST: Final = 1e30

Kind = FeatureKind | Literal[""]


class FlagAttribute(Record, frozen=True, tag_field="type", tag="flag"):
    """A finding that a case mentions as present, refuted or not assessed, or does not mention."""

    concept: Coding
    kind: Kind = ""
    """Only features of this kind; empty is any."""
    details: bool = False
    """Severity, duration and the condition of occurrence take part."""


class NumberAttribute(Record, frozen=True, tag_field="type", tag="number"):
    """A measured number. `low` and `high` span its range: the plan's, or the 1 and 99 % quantiles."""

    concept: Coding
    low: float
    high: float
    unit: str = ""


class CodedAttribute(Record, frozen=True, tag_field="type", tag="coded"):
    """A result that is one of several codes."""

    concept: Coding
    values: Annotated[tuple[Coding, ...], Meta(min_length=1, max_length=_MOST_VALUES)]
    taxonomy: Literal[""] | Taxonomy = ""
    """How unequal codes are near each other: not at all, or by the levels that they share from the top."""


class SetAttribute(Record, frozen=True, tag_field="type", tag="set"):
    """All features of a kind, such as the history, compared as one set."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    kind: FeatureKind
    members: Annotated[tuple[Coding, ...], Meta(min_length=1, max_length=4096)]


Attribute = FlagAttribute | NumberAttribute | CodedAttribute | SetAttribute


class DrugEntry(Record, frozen=True):
    """A drug of V2 and how its dose is scaled: `(dose - center) / scale` in `unit`, on `basis`. No unit, no dose."""

    concept: Coding
    unit: str = ""
    basis: Literal["absolute", "per-kg", "per-m2"] = "absolute"
    center: float = 0.0
    scale: float = 1.0


class Vocabulary(Record, frozen=True):
    """Attributes in the order of their columns, and what V2 predicts."""

    attributes: Annotated[tuple[Attribute, ...], Meta(max_length=20_000)]
    diagnoses: Annotated[tuple[Coding, ...], Meta(max_length=20_000)] = ()
    complications: Annotated[tuple[Coding, ...], Meta(max_length=20_000)] = ()
    drugs: Annotated[tuple[DrugEntry, ...], Meta(max_length=20_000)] = ()
    conditions: Annotated[tuple[Coding, ...], Meta(max_length=200)] = ()
    """Conditions of occurrence that flags with details may name."""
    duration_bands: Annotated[tuple[float, ...], Meta(max_length=60)] = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0, 365.0)
    """Days; a duration is the number of bands that it reaches."""
    version: int = 1
    levels: Annotated[tuple[Level, ...], Meta(max_length=20)] | UnsetType = UNSET
    """Systems whose codes are read at a level: a case that tells one below it is read as telling the one at it."""

    @property
    def digest(self) -> Digest:
        """What a plan names this vocabulary by."""
        return digest_of("medfed/vocabulary", self)

    def cut_key(self, key: ConceptKey) -> ConceptKey:
        """The concept that the vocabulary reads this one as."""
        return cut_key(key, self.levels_by_system)

    def cut_coding(self, coding: Coding) -> Coding:
        """The same with its words."""
        return cut_coding(coding, self.levels_by_system)

    @property
    def levels_by_system(self) -> dict[str, Level]:
        """The level of each system that has one; made anew, so whoever cuts much asks once."""
        return {level.system: level for level in self.levels} if isinstance(self.levels, tuple) else {}

    def encode(self) -> bytes:
        """Its canonical bytes, as a blob holds them."""
        return encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Vocabulary:
        """The vocabulary of canonical bytes.

        Raises:
            InvalidInput: malformed, or not a vocabulary that can be used.
        """
        return check_vocabulary(decode(data, cls))


def name_of(attribute: Attribute) -> str:
    """What people call it."""
    if isinstance(attribute, SetAttribute):
        return attribute.name
    return attribute.concept.words


def check_vocabulary(vocabulary: Vocabulary) -> Vocabulary:
    """Return `vocabulary` if its words are distinct and its ranges are ranges.

    Raises:
        InvalidInput: they are not; the message names the entry.
    """
    _check_distinct("attributes", (_identity(attribute) for attribute in vocabulary.attributes))
    _check_distinct("diagnoses", (coding.key for coding in vocabulary.diagnoses))
    _check_distinct("complications", (coding.key for coding in vocabulary.complications))
    _check_distinct("drugs", (entry.concept.key for entry in vocabulary.drugs))
    _check_distinct("conditions", (coding.key for coding in vocabulary.conditions))
    _check_levels(vocabulary)
    for attribute in vocabulary.attributes:
        if isinstance(attribute, NumberAttribute) and not (
            attribute.low < attribute.high
            and max(abs(attribute.low), abs(attribute.high)) <= _LARGEST
            and attribute.high - attribute.low >= 1 / _LARGEST
        ):
            raise InvalidInput(f"vocabulary: {name_of(attribute)}: expected low < high, both finite")
        if isinstance(attribute, CodedAttribute):
            _check_distinct(name_of(attribute), (value.key for value in attribute.values))
        if isinstance(attribute, SetAttribute):
            _check_distinct(name_of(attribute), (member.key for member in attribute.members))
    for entry in vocabulary.drugs:
        if not (entry.scale > 0 and math.isfinite(entry.scale) and math.isfinite(entry.center)):
            raise InvalidInput(f"vocabulary: drug {entry.concept.code}: expected a scale above 0")
    bands = vocabulary.duration_bands
    if any(not a < b for a, b in pairwise(bands)) or not all(band > 0 for band in bands):
        raise InvalidInput("vocabulary: duration bands: expected growing numbers of days")
    return vocabulary


def _check_levels(vocabulary: Vocabulary) -> None:
    """Words below their system's level would never be found."""
    if not isinstance(vocabulary.levels, tuple):
        return
    _check_distinct("levels", ((level.system,) for level in vocabulary.levels))
    words = [*vocabulary.diagnoses, *vocabulary.complications, *(entry.concept for entry in vocabulary.drugs)]
    for attribute in vocabulary.attributes:
        words += attribute.members if isinstance(attribute, SetAttribute) else (attribute.concept,)
        words += attribute.values if isinstance(attribute, CodedAttribute) else ()
    for word in words:
        if vocabulary.cut_key(word.key) != word.key:
            raise InvalidInput(f"vocabulary: {word.code}: lies below the level at which codes of its system are read")


def _identity(attribute: Attribute) -> tuple[str, ...]:
    if isinstance(attribute, SetAttribute):
        return ("set", attribute.name)
    kind = attribute.kind if isinstance(attribute, FlagAttribute) else ""
    return (type(attribute).__name__, kind, *attribute.concept.key)


def _check_distinct(what: str, keys: Iterator[tuple[str, ...]]) -> None:
    seen: set[tuple[str, ...]] = set()
    for key in keys:
        if key in seen:
            raise InvalidInput(f"vocabulary: {what}: {key[-1]!r} is there twice")
        seen.add(key)
