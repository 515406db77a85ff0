"""Agreeing on a vocabulary as a study: a noisy vote of the hospitals on each concept that a candidate vocabulary names.

A hospital votes for a concept that it has recorded of enough patients, else against it; the votes are summed with noise
of which every hospital adds its share, as in a labelling study, and a concept stays where more are for it than against.
So what only one hospital records stays hidden, and all get the same vocabulary. A vote is worked out at the hospital
and leaves it only in the masked, noisy sum; nothing here may return one hospital's votes to anybody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.plan import (
    BinaryTarget,
    DataFormat,
    Labelling,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    Student,
    Training,
    Words,
)
from medfed.federation.prepared import PreparedData
from medfed.federation.tables import Table, table_from
from medfed.identifiers import sha256
from medfed.ledger.contracts.labelling_terms import GAMMA_STEP, LaplaceNoise
from medfed.models.settings import LocalTraining, MlpModel
from medfed.privacy import DELTA_STEP, EPSILON_STEP, Guarantee, Roster, guarantee
from medfed.privacy.vote_noise import vote_event
from medfed.records.case import Case
from medfed.records.coding import CASE, ConceptKey
from medfed.records.vocabulary import Attribute, SetAttribute, Vocabulary, check_vocabulary

__all__ = [
    "agreed_vocabulary",
    "concept_list",
    "concepts_of",
    "word_guarantee",
    "word_plan",
    "word_table",
    "word_votes",
]

_LOCAL: Final = LocalTraining(steps=1)
_COLUMN: Final = "concept"


def concepts_of(candidates: Vocabulary) -> tuple[ConceptKey, ...]:
    """What is voted on, in order: every concept that the vocabulary names but age and sex, which cases have anyway."""
    named: dict[ConceptKey, None] = {}
    for attribute in candidates.attributes:
        codings = attribute.members if isinstance(attribute, SetAttribute) else (attribute.concept,)
        named |= dict.fromkeys(coding.key for coding in codings if coding.system != CASE)
    outcomes = (*candidates.diagnoses, *candidates.complications, *(entry.concept for entry in candidates.drugs))
    return tuple(named | dict.fromkeys(coding.key for coding in outcomes))


def concept_list(candidates: Vocabulary) -> bytes:
    """The questions as the study's public cases: a CSV file with the concepts' places."""
    return "\n".join([_COLUMN, *map(str, range(len(concepts_of(candidates)))), ""]).encode()


def word_plan(
    candidates: Vocabulary,
    hospitals: Sequence[str],
    *,
    title: str,
    gamma: float = 1.0,
    least_patients: int = 5,
    most_concepts: int = 3,
    dropouts: int = 0,
    attended: int = 1,
    delta: float = 1e-6,
) -> Plan:
    """A plan in which these hospitals agree on words. `gamma` is that of the discrete Laplace noise on each count.

    A patient counts for at most `most_concepts`; the plan's ε is what the votes on so many cost.

    Raises:
        InvalidInput: nothing to vote on.
    """
    count, names = len(concepts_of(candidates)), tuple(sorted(hospitals))
    if not count:
        raise InvalidInput("vocabulary: it names no concept to vote on")
    labelling = Labelling(
        noise=LaplaceNoise(gamma=round(gamma * GAMMA_STEP)),
        cases=sha256(concept_list(candidates)).hex(),
        queries=count,
        batch=count,
        teachers=(1,) * len(names),
        epsilon=1,
        delta=round(delta * DELTA_STEP),
        student=Student(_LOCAL),
        dropouts=dropouts,
        attended=attended,
    )
    words = Words(candidates.digest.hex(), least_patients, most_concepts)
    cost = word_guarantee(labelling, words, len(names)).epsilon
    return Plan(
        Purpose(title, "concepts of a candidate vocabulary", "case library", "agreeing on a vocabulary"),
        DataFormat(
            (NumberFeature(_COLUMN, 0.0, float(count)),),
            BinaryTarget("recorded", ("1",), ("0",)),
            "patient",
            validation_fraction=0.0,
            test_fraction=0.0,
        ),
        MlpModel(),
        Training(1, _LOCAL),
        Participation(names, max(3, len(names) - dropouts), min_examples=1),
        labelling=msgspec.structs.replace(labelling, epsilon=int(cost * EPSILON_STEP) + 1),
        words=words,
    )


def word_guarantee(labelling: Labelling, words: Words, hospitals: int) -> Guarantee:
    """What the rounds that a plan allows cost a patient, who may turn its hospital's vote on `most_concepts` in each.

    Raises:
        InvalidInput: nobody is left to hold the noise, or it is too small for any bound.
    """
    roster = Roster(hospitals, labelling.dropouts, labelling.colluding)
    turned = min(words.most_concepts, labelling.queries) * (1 + labelling.spare)
    return guarantee(vote_event(labelling.noise, roster, (turned,), labelling.attended), labelling.delta / DELTA_STEP)


def word_table(cases: Iterable[Case], candidates: Vocabulary) -> Table:
    """A hospital's table of such a study: a row for each patient and each candidate concept recorded as present, of an
    outcome, or measured. It stays at the hospital.

    Raises:
        InvalidInput: no case has any of the concepts.
    """
    places = {concept: place for place, concept in enumerate(concepts_of(candidates))}
    rows: dict[tuple[str, int], None] = {}
    for case in cases:
        told = [feature.key for feature in case.features if feature.status == "present"]
        told += [coding.key for coding in (*case.outcome.diagnoses, *case.outcome.complications)]
        told += [treatment.drug.key for treatment in case.outcome.treatments]
        found = (places.get(candidates.cut_key(key)) for key in told)
        rows |= dict.fromkeys((case.patient, place) for place in found if place is not None)
    if not rows:
        raise InvalidInput("cases: none has any of the candidate concepts")
    return table_from(
        {
            _COLUMN: np.array([place for _, place in rows], np.float64),
            "recorded": np.array(["1"] * len(rows), dtype=object),
            "patient": np.array([patient for patient, _ in rows], dtype=object),
        },
        name="case library",
    )


def word_votes(rows: PreparedData, concepts: int, words: Words) -> NDArray[np.int64]:
    """One hospital's votes, int64 `(concepts, 2)`: against and for each, one vote in all.

    It is for a concept that it has recorded of `least_patients`, each counted for at most `most_concepts`: which ones
    is a hash of the patient's pseudonym, so that nobody else's coming or going changes it.

    Raises:
        InvalidInput: a row is of no concept.
    """
    places = rows.features.numbers[:, 0]
    recorded = rows.targets.reshape(-1) > 0
    if not np.isin(places, np.arange(concepts)).all():
        raise InvalidInput(f"feature {_COLUMN!r}: expected whole numbers below {concepts}")
    pairs = np.unique(np.column_stack([places[recorded].astype(np.uint64), rows.pseudonyms[recorded]]), axis=0)
    order = np.lexsort((_mixed(pairs), pairs[:, 1]))
    _, sizes = np.unique(pairs[:, 1], return_counts=True)
    place_in_patient = np.concatenate([np.arange(size, dtype=np.int64) for size in (0, *sizes.tolist())])
    counted = pairs[order[place_in_patient < words.most_concepts], 0].astype(np.int64)
    votes_for = (np.bincount(counted, minlength=concepts) >= words.least_patients).astype(np.int64)
    return np.column_stack([1 - votes_for, votes_for])


def _mixed(pairs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each concept and pseudonym that looks drawn by chance: the finaliser of SplitMix64."""
    mixed = pairs[:, 1] + (pairs[:, 0] + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def agreed_vocabulary(candidates: Vocabulary, labels: Sequence[int]) -> Vocabulary:
    """The candidates for which more hospitals were than against; what nobody could say (label -1) is left out.

    Raises:
        InvalidInput: labels of other candidates.
    """
    concepts = concepts_of(candidates)
    if len(labels) != len(concepts):
        raise InvalidInput(f"labels: expected one for each of {len(concepts)} concepts, found {len(labels)}")
    kept = {concept for concept, label in zip(concepts, labels, strict=True) if label == 1}
    attributes: list[Attribute] = []
    for attribute in candidates.attributes:
        if isinstance(attribute, SetAttribute):
            members = tuple(coding for coding in attribute.members if coding.key in kept)
            attributes += [msgspec.structs.replace(attribute, members=members)] if members else []
        elif attribute.concept.system == CASE or attribute.concept.key in kept:
            attributes.append(attribute)
    return check_vocabulary(
        msgspec.structs.replace(
            candidates,
            attributes=tuple(attributes),
            diagnoses=tuple(coding for coding in candidates.diagnoses if coding.key in kept),
            complications=tuple(coding for coding in candidates.complications if coding.key in kept),
            drugs=tuple(entry for entry in candidates.drugs if entry.concept.key in kept),
        )
    )
