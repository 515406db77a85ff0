"""People who are at several hospitals: which identifiers are compared, how they are normalised, and who keeps a person.

Off unless every hospital states a legal basis. An identifier never leaves the site but hashed, blinded and padded, and
nothing here may log or raise one. Identifiers that are easily guessed can be tested by a member, a guess an entry.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Name

__all__ = ["IdentifierField", "PatientQuestion", "keeps", "normalise_identifier", "patients_of"]

IdentifierField = Literal["identifier", "family", "given", "birth_date", "sex"]
_VERSION: Final = 1


class PatientQuestion(Record):
    """Which fields together make a person; all must be known of a patient, who is left out otherwise."""

    fields: Annotated[tuple[IdentifierField, ...], Meta(min_length=1, max_length=5)] = ("identifier",)
    system: Annotated[str, Meta(max_length=200)] = ""
    """Who issues the identifier, such as the URI of a national number."""

    def encode(self) -> bytes:
        """Its canonical bytes, as they stand on the ledger."""
        return encode(self)

    @staticmethod
    def decode(data: bytes) -> PatientQuestion:
        """The question of canonical bytes.

        Raises:
            InvalidInput: malformed, or a field that is named twice.
        """
        question = decode(data, PatientQuestion)
        if len(set(question.fields)) != len(question.fields):
            raise InvalidInput("patient question: a field is named twice")
        return question


def normalise_identifier(field: IdentifierField, text: str) -> str | None:
    """One field as it is compared, or None where nothing usable is in it.

    Numbers lose everything but letters and digits; names lose case, accents, spaces and hyphens; a birth date is
    YYYY-MM-DD and nothing less; sex is its first letter.
    """
    plain = unicodedata.normalize("NFKD", text)
    if field == "birth_date":
        try:
            return datetime.date.fromisoformat(text.strip()[:10]).isoformat()
        except ValueError:
            return None
    if field == "identifier":
        return "".join(c for c in plain.upper() if c.isalnum()) or None
    letters = "".join(c for c in plain.casefold() if c.isalpha())
    return (letters[:1] if field == "sex" else letters) or None


def patients_of(rows: Mapping[str, Mapping[str, str]], question: PatientQuestion) -> dict[bytes, Sequence[str]]:
    """Every person with the local patients that are this person.

    Args:
        rows: the identifying fields of each local patient. Who lacks one is left out.
    """
    found: dict[bytes, list[str]] = {}
    for patient, fields in rows.items():
        values = [normalise_identifier(field, fields.get(field, "")) for field in question.fields]
        if all(value is not None for value in values):
            found.setdefault(encode((_VERSION, question.system, values)), []).append(patient)
    return dict(found)


def keeps(me: Name, holders: Sequence[Name]) -> bool:
    """Whether a person counts at `me`: the bytewise first of the hospitals that have the person keeps it."""
    return not holders or me == min(holders)
