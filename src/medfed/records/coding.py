"""What a code is and the systems that codes come from. Only URIs ship here, never a licensed terminology.

Two codings are the same concept when system and code are equal; the display is for people and decides nothing.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from medfed.encoding import Record

__all__ = [
    "ATC",
    "CASE",
    "HPO",
    "ICD9CM",
    "ICD10",
    "ICD10CM",
    "LOINC",
    "PREFERRED_SYSTEMS",
    "RXNORM",
    "SNOMED",
    "UCUM",
    "Coding",
    "ConceptKey",
    "local_coding",
]

SNOMED: Final = "http://snomed.info/sct"
LOINC: Final = "http://loinc.org"
ICD10: Final = "http://hl7.org/fhir/sid/icd-10"
ICD10CM: Final = "http://hl7.org/fhir/sid/icd-10-cm"
ICD9CM: Final = "http://hl7.org/fhir/sid/icd-9-cm"
HPO: Final = "http://human-phenotype-ontology.org"
RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC: Final = "http://www.whocc.no/atc"
UCUM: Final = "http://unitsofmeasure.org"
CASE: Final = "urn:medfed:case"
"""The system of what a case itself says: `age` and `sex`."""

PREFERRED_SYSTEMS: Final = (SNOMED, LOINC, ICD10CM, ICD10, HPO, RXNORM, ATC, ICD9CM)
"""Which of several codings of one thing is taken, first to last; after these the one that is written first."""

ConceptKey = tuple[str, str]
"""System and code."""


class Coding(Record, frozen=True):
    """One concept: a code of a system. `display` is for people and never compared."""

    system: Annotated[str, Meta(min_length=1, max_length=200)]
    code: Annotated[str, Meta(min_length=1, max_length=200)]
    display: Annotated[str, Meta(max_length=300)] = ""

    @property
    def key(self) -> ConceptKey:
        """What makes two codings the same."""
        return (self.system, self.code)

    @property
    def words(self) -> str:
        """What people read: the display, or the code where there is none."""
        return self.display or self.code


def local_coding(source: str, code: str, display: str = "") -> Coding:
    """A concept of a site's own list `source`, for tables that use no public terminology."""
    return Coding(f"urn:medfed:local:{source}"[:200], code[:200], display[:300])
