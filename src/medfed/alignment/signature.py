"""Case signatures: what makes two cases of different hospitals "the same" for a study, as its question says.

A signature is the set of key concepts that a case has, each cut to a taxonomy level, with its coded result and its
severity in bands, and the age in bands. Nothing else of a case is in it, and it never leaves the site
but hashed, blinded and padded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from msgspec import Meta

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.records.case import Case, Feature, FeatureKind
from medfed.records.coding import Coding, ConceptKey
from medfed.records.taxonomy import Level, cut_key

__all__ = ["SignatureQuestion", "case_signature", "signatures_of"]

_VERSION: Final = 1
_Bands = Annotated[tuple[float, ...], Meta(max_length=40)]


class SignatureQuestion(Record):
    """What the hospitals agree to compare: its digest is on the ledger, and every hospital decides on it."""

    kinds: Annotated[tuple[FeatureKind, ...], Meta(min_length=1, max_length=5)] = ("finding", "history")
    """Only features of these kinds are read. Of a measurement the coded result counts, and never a number."""
    key_concepts: Annotated[tuple[ConceptKey, ...], Meta(max_length=5_000)] = ()
    """Concepts after cutting to which a signature is limited; empty: all."""
    levels: Annotated[tuple[Level, ...], Meta(max_length=20)] = ()
    """Systems that are not named here are read in full."""
    age_bands: _Bands = (1.0, 18.0, 40.0, 65.0, 80.0)
    """Years at which a new band begins; empty: age does not count."""
    severity_bands: Annotated[tuple[int, ...], Meta(max_length=4)] = (3,)
    """Severities (1 to 4) at which a new band begins; empty: severity does not count."""
    main_diagnosis: bool = False
    """Whether the main diagnosis is part of it, for studies that ask for complications or treatments only."""

    def encode(self) -> bytes:
        """Its canonical bytes, as they stand on the ledger."""
        return encode(self)

    @staticmethod
    def decode(data: bytes) -> SignatureQuestion:
        """The question of canonical bytes.

        Raises:
            InvalidInput: malformed, bands that do not grow, or a system with two levels.
        """
        question = decode(data, SignatureQuestion)
        for bands in (question.age_bands, question.severity_bands):
            if list(bands) != sorted(set(bands)):
                raise InvalidInput("signature question: expected bands that grow")
        if len({level.system for level in question.levels}) != len(question.levels):
            raise InvalidInput("signature question: a system has two levels")
        return question


def case_signature(case: Case, question: SignatureQuestion) -> bytes | None:
    """The signature of a case, or None where it has none of the key concepts, or no age where age counts."""
    levels = {level.system: level for level in question.levels}
    wanted = frozenset(question.key_concepts)
    present: set[tuple[str, str, str, int]] = set()
    for feature in case.features:
        if feature.status != "present" or feature.kind not in question.kinds:
            continue
        key = cut_key(feature.key, levels)
        if not wanted or key in wanted:
            present.add((*key, _coded_value(feature, levels), _severity_band(feature, question.severity_bands)))
    if not present or (question.age_bands and case.age is None):
        return None
    age = bisect_right(question.age_bands, case.age) if question.age_bands and case.age is not None else -1
    diagnosis: ConceptKey | None = None
    if question.main_diagnosis:
        if not case.outcome.diagnoses:
            return None
        diagnosis = cut_key(case.outcome.diagnoses[0].key, levels)
    return encode((_VERSION, sorted(present), age, diagnosis))


def signatures_of(cases: Iterable[Case], question: SignatureQuestion) -> dict[bytes, Sequence[str]]:
    """Every signature with the ids of its cases; cases that have none are left out."""
    found: dict[bytes, list[str]] = {}
    for case in cases:
        signature = case_signature(case, question)
        if signature is not None:
            found.setdefault(signature, []).append(case.id)
    return dict(found)


def _coded_value(feature: Feature, levels: dict[str, Level]) -> str:
    """The coded result, or empty: numbers differ from hospital to hospital."""
    return "\0".join(cut_key(feature.value.key, levels)) if isinstance(feature.value, Coding) else ""


def _severity_band(feature: Feature, bands: Sequence[int]) -> int:
    """-1 where severity does not count or is not known."""
    return bisect_right(bands, feature.severity) if bands and feature.severity is not None else -1
