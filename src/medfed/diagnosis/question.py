"""What a doctor asks about: a patient before the diagnosis, in codes, as a JSON document or typed word by word.

A question describes a patient: it stays at the site, and no message repeats a value of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from medfed.encoding import Record, digest_of
from medfed.errors import InvalidInput
from medfed.identifiers import Digest
from medfed.records.case import Case, Feature, FeatureKind, Outcome, Sex, Status, check_case
from medfed.records.coding import Coding
from medfed.records.vocabulary import CodedAttribute, SetAttribute, Vocabulary

__all__ = ["Asked", "Question", "find_word", "parse_question", "question_case"]

Tristate = Literal["yes", "no", "unknown"]


class Asked(Record, frozen=True):
    """One feature as it is typed: a code, or the name that the vocabulary gives it."""

    concept: Annotated[str, Meta(min_length=1, max_length=300)]
    system: str = ""
    """Empty looks the concept up in the vocabulary, by code and then by name."""
    kind: FeatureKind = "finding"
    status: Status = "present"
    value: float | str | None = None
    """A number, or the code of a coded result."""
    unit: str = ""
    severity: Annotated[int, Meta(ge=1, le=4)] | None = None
    duration: Annotated[float, Meta(ge=0, le=60_000)] | None = None
    """Days."""


class Question(Record, frozen=True):
    """Everything that is known of the patient now."""

    patient: Annotated[str, Meta(min_length=1, max_length=400)]
    features: Annotated[tuple[Asked, ...], Meta(max_length=8192)]
    age: Annotated[float, Meta(ge=0, le=130)] | None = None
    sex: Sex = ""
    pregnant: Tristate = "unknown"
    allergies_asked: bool = False
    """Whether somebody asked: without, an allergy that is not mentioned is unknown, and not absent."""

    @property
    def digest(self) -> Digest:
        """What the audit log names it by."""
        return digest_of("medfed/question", self)


def parse_question(data: bytes) -> Question:
    """The question in a JSON document.

    Raises:
        InvalidInput: it is none; the message names the field and never its value.
    """
    try:
        return msgspec.json.decode(data, type=Question)
    except msgspec.ValidationError as error:
        # Without a place the message is about the document, and may quote a key.
        place = str(error).rpartition("`$")[2].strip("`")[:200] if "`$" in str(error) else ""
        raise InvalidInput(f"question: {place.lstrip('.') or 'document'}: not what is expected there") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("question: not JSON in UTF-8") from None


def question_case(question: Question, vocabulary: Vocabulary, case_id: str, time: int) -> Case:
    """The question as a case without an outcome, at `time` in UTC seconds.

    Raises:
        InvalidInput: a concept has no system and is not in the vocabulary, or a field is out of bounds.
    """
    features = tuple(_feature(asked, vocabulary, number) for number, asked in enumerate(question.features))
    return check_case(
        Case(
            case_id, question.patient, time, question.age, question.sex, features, Outcome(), case_id, assisted=True
        )
    )  # fmt: skip


def find_word(vocabulary: Vocabulary, text: str) -> list[Coding]:
    """The vocabulary's concepts with that code or name; failing that, those whose name has `text` in it."""
    wanted = _plain(text)
    concepts: dict[tuple[str, str], Coding] = {}
    for attribute in vocabulary.attributes:
        members = attribute.members if isinstance(attribute, SetAttribute) else (attribute.concept,)
        concepts |= {coding.key: coding for coding in members}
    named = {key: (_plain(coding.code), _plain(coding.display)) for key, coding in concepts.items()}
    exact = [coding for key, coding in concepts.items() if wanted in named[key]]
    near = [coding for key, coding in concepts.items() if any(wanted in name for name in named[key])]
    return exact or (near if wanted else [])


def _feature(asked: Asked, vocabulary: Vocabulary, number: int) -> Feature:
    if asked.system:
        concept = Coding(asked.system[:200], asked.concept[:200])
    else:
        found = find_word(vocabulary, asked.concept)
        if len(found) != 1:
            many = "several concepts" if found else "no concept"
            raise InvalidInput(f"question: features[{number}]: {many} of the vocabulary; give its system and code")
        concept = found[0]
    value = _answer_code(vocabulary, concept, asked.value) if isinstance(asked.value, str) else asked.value
    return Feature(
        concept,
        asked.kind,
        asked.status,
        value,
        asked.unit,
        severity=asked.severity,
        duration=asked.duration,
    )


def _answer_code(vocabulary: Vocabulary, concept: Coding, code: str) -> Coding:
    """The code of a coded result: the vocabulary's, or else one of the concept's own system."""
    for attribute in vocabulary.attributes:
        if isinstance(attribute, CodedAttribute) and attribute.concept.key == concept.key:
            for value in attribute.values:
                if code in (value.code, value.display):
                    return value
    if not code:
        raise InvalidInput("question: a coded result without a code")
    return Coding(concept.system, code[:200])


def _plain(text: str) -> str:
    return text.strip().lower().replace("_", " ")
