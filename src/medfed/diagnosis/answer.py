"""One answer: similar cases and a network's prediction, side by side, with what speaks against them.

The library of one hospital knows only its own diagnoses, and a network only what its vocabulary names; so the answer
ranks diagnoses by both shares together and shows each. It supports a decision and never makes one: nothing is selected,
and a warning says where an answer is weak. An answer describes a patient and stays at the site.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from medfed.diagnosis.question import Question
from medfed.diagnosis.similarity import CaseIndex, Hits, Query
from medfed.diagnosis.treatments import Received, received_treatments
from medfed.diagnosis.votes import sum_votes
from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.identifiers import Digest
from medfed.records.case import Case, CourseStatus
from medfed.records.coding import Coding, ConceptKey
from medfed.records.library import Library, LibraryColumns
from medfed.records.rows import RowReader
from medfed.records.units import UnitConverter
from medfed.records.vocabulary import Vocabulary, name_of

__all__ = ["Answer", "AnswerSettings", "Network", "RankedDiagnosis", "SimilarCase", "combine", "make_answer"]

_CONTRARY_SEARCH: Final = 200

WarningCode = Literal["no-similar-case", "low-coverage", "disagreement", "unknown-words", "no-network"]


class AnswerSettings(Record, frozen=True):
    """What counts as similar, and how the two sources are weighed."""

    nearest: Annotated[int, Meta(ge=1, le=1000)] = 20
    """So many cases vote."""
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.4
    """A case below this similarity is not sufficiently similar."""
    least_coverage: Annotated[float, Meta(ge=0, le=1)] = 0.3
    """A best case of which less could be compared gives a warning."""
    network_share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """At .5 the network, where it is certain, has as many votes as one identical case."""
    shown: Annotated[int, Meta(ge=1, le=100)] = 5


class SimilarCase(Record, frozen=True):
    """A stored case with its reasons."""

    case: str
    score: float
    coverage: float
    """Compared part of the question's weight."""
    contributions: tuple[tuple[str, float], ...]
    """What each attribute adds to the score, most first; they sum up to it."""
    diagnoses: tuple[Coding, ...]
    course: CourseStatus
    assisted: bool


class RankedDiagnosis(Record, frozen=True):
    """A diagnosis with both shares. None: that source does not know it."""

    diagnosis: Coding
    combined: float
    library: float | None
    """Share of the similar cases' votes."""
    network: float | None
    """The network's probability, before the shares are combined."""


class Answer(Record, frozen=True):
    """Everything that was shown, and what it was made from."""

    answer: str
    question: Digest
    time: int
    """UTC seconds."""
    user: str
    settings: AnswerSettings
    vocabulary: Digest
    library_revision: int
    model: Digest | None
    diagnoses: tuple[RankedDiagnosis, ...]
    cases: tuple[SimilarCase, ...]
    contrary: tuple[SimilarCase, ...]
    """The nearest cases that have not the first diagnosis."""
    treatments: tuple[Received, ...]
    warnings: tuple[tuple[WarningCode, str], ...]


class Network(msgspec.Struct, frozen=True):
    """A network's V2 for the question: float64 `(labels,)`, diagnoses first, and the digest of its model."""

    model: Digest
    v2: npt.NDArray[np.float64]


def make_answer(
    identifier: str,
    question: Question,
    asked: Case,
    library: Library,
    vocabulary: Vocabulary,
    *,
    time: int,
    user: str,
    settings: AnswerSettings = AnswerSettings(),  # noqa: B008 - frozen
    weights: npt.NDArray[np.float64] | None = None,
    network: Network | None = None,
    units: UnitConverter | None = None,
) -> Answer:
    """Search the library for `asked`, the question as a case, and combine with the network's prediction.

    Raises:
        InvalidInput: weights or the network do not fit the vocabulary.
    """
    if network is not None and len(network.v2) < len(vocabulary.diagnoses):
        raise InvalidInput("network: expected a prediction in this vocabulary")
    held = library.columns(vocabulary, units)
    words = RowReader(vocabulary, units).read(asked)
    weights = np.ones(len(vocabulary.attributes)) if weights is None else weights
    index = CaseIndex(held.columns, weights)
    hits = index.search(Query(words.row, max(settings.nearest, _CONTRARY_SEARCH)))
    found = _similar(library, held, vocabulary, hits)
    passing = [(one, case) for one, case in found if one.score >= settings.threshold][: settings.nearest]
    votes = _votes([one for one, _ in passing], vocabulary)
    diagnoses = combine(votes, network, vocabulary, settings.network_share)
    first = diagnoses[0].diagnosis.key if diagnoses else None
    told = [one for one, _ in found if one.diagnoses and one.score >= settings.threshold / 2]
    contrary = [one for one in told if not _has(one, first, vocabulary)]
    return Answer(
        identifier, question.digest, time, user, settings, vocabulary.digest, held.revision,
        network.model if network else None, diagnoses[: settings.shown * 2],
        tuple(one for one, _ in passing), tuple(contrary[: settings.shown]) if first else (),
        received_treatments(question, [case for _, case in passing], units),
        _warnings(settings, [one for one, _ in passing], diagnoses, len(words.unknown), network is not None),
    )  # fmt: skip


def combine(
    votes: Sequence[tuple[Coding, float]], network: Network | None, vocabulary: Vocabulary, network_share: float
) -> tuple[RankedDiagnosis, ...]:
    """Diagnoses by `(1 - share) * votes + share * network`, as a part of the sum over all diagnoses.

    `votes` are the similar cases' sums of sim^8 (`sum_votes`), not shares of them: a library that has a nearly
    identical case outvotes a network that is not sure, and one that has only distant cases, as it does not know the
    disease, hardly speaks against it. Where one source says nothing, the other has the whole say. Ties go by code.
    """
    library = {coding.key: (coding, vote) for coding, vote in votes}
    said: dict[ConceptKey, float] = {}
    if network is not None:
        said = {c.key: float(p) for c, p in zip(vocabulary.diagnoses, network.v2.tolist(), strict=False)}
    cast = sum(vote for _, vote in votes)
    share = network_share if library and sum(said.values()) > 0 else float(sum(said.values()) > 0)
    total = (1 - share) * cast + share * sum(said.values())
    codings = {coding.key: coding for coding in vocabulary.diagnoses if coding.key in said}
    codings |= {key: coding for key, (coding, _) in library.items()}
    ranked = [
        RankedDiagnosis(
            coding,
            ((1 - share) * (library[key][1] if key in library else 0.0) + share * said.get(key, 0.0)) / (total or 1.0),
            library[key][1] / cast if key in library else (0.0 if library else None),
            said.get(key),
        )
        for key, coding in codings.items()
    ]
    return tuple(sorted(ranked, key=lambda one: (-one.combined, one.diagnosis.key)))


def _similar(
    library: Library, held: LibraryColumns, vocabulary: Vocabulary, hits: Hits
) -> list[tuple[SimilarCase, Case]]:
    names = [name_of(attribute) for attribute in vocabulary.attributes]
    made: list[tuple[SimilarCase, Case]] = []
    for number in range(len(hits.rows)):
        score, coverage, parts = float(hits.scores[number]), float(hits.coverage[number]), hits.contributions[number]
        case = library.get(held.ids[int(hits.rows[number])])
        shares = sorted(((names[p], float(parts[p])) for p in np.flatnonzero(parts)), key=lambda item: -item[1])
        one = SimilarCase(
            case.id, score, coverage, tuple(shares), case.outcome.diagnoses, case.outcome.course.status, case.assisted
        )
        made.append((one, case))
    return made


def _votes(passing: Sequence[SimilarCase], vocabulary: Vocabulary) -> list[tuple[Coding, float]]:
    """What the cases vote for, in the vocabulary's words: codes below one of its levels count as the one at it."""
    codings: dict[ConceptKey, Coding] = {}
    named: list[list[ConceptKey]] = []
    for one in passing:
        told = [vocabulary.cut_coding(coding) for coding in one.diagnoses]
        for coding in told:
            codings.setdefault(coding.key, coding)
        named.append(list(dict.fromkeys(coding.key for coding in told)))
    votes = sum_votes(np.array([one.score for one in passing]), named)
    return [(codings[key], vote) for key, vote in votes]


def _has(one: SimilarCase, key: ConceptKey | None, vocabulary: Vocabulary) -> bool:
    return any(vocabulary.cut_key(coding.key) == key for coding in one.diagnoses)


def _warnings(
    settings: AnswerSettings, passing: list[SimilarCase], diagnoses: tuple[RankedDiagnosis, ...], unknown: int,
    has_network: bool,
) -> tuple[tuple[WarningCode, str], ...]:  # fmt: skip
    found: list[tuple[WarningCode, str]] = []
    if not passing:
        found.append(("no-similar-case", f"No sufficiently similar case: none reaches {settings.threshold:.0%}."))
    elif passing[0].coverage < settings.least_coverage:
        part = f"{passing[0].coverage:.0%}"
        found.append(("low-coverage", f"Of what was asked, only {part} could be compared with the nearest case."))
    if unknown:
        found.append(("unknown-words", f"{unknown} of the things asked are not in the vocabulary and took no part."))
    if not has_network:
        found.append(("no-network", "No network took part: the answer is this hospital's similar cases alone."))
    elif passing:
        library = max(diagnoses, key=lambda one: one.library or 0.0)
        network = max(diagnoses, key=lambda one: one.network or 0.0)
        if library.diagnosis.key != network.diagnosis.key:
            found.append(("disagreement", "The similar cases and the network name different first diagnoses."))
    return tuple(found)
