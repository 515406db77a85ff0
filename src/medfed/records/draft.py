"""Drafts a vocabulary from a site's own cases: what they record often enough, with ranges from quantiles.

For one site, for tests and for a first proposal. Between hospitals the vocabulary comes from alignment and the
federated statistics: a draft says what this site records, so it is not shown to others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from msgspec import UNSET

from medfed.records.case import Case, FeatureKind
from medfed.records.coding import Coding, ConceptKey
from medfed.records.taxonomy import Level, Taxonomy, cut_coding, taxonomy_of
from medfed.records.vocabulary import (
    AGE,
    SEX,
    SEXES,
    Attribute,
    CodedAttribute,
    DrugEntry,
    FlagAttribute,
    NumberAttribute,
    SetAttribute,
    Vocabulary,
    check_vocabulary,
)

__all__ = ["draft_vocabulary"]

_QUANTILES = (0.01, 0.99)


class _Counts:
    """What the cases say, counted once a case."""

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = {level.system: level for level in levels}
        self.codings: dict[ConceptKey, Coding] = {}
        self.flags: Counter[tuple[ConceptKey, FeatureKind]] = Counter()
        self.numbers: dict[tuple[ConceptKey, str], list[float]] = defaultdict(list)
        self.answers: dict[ConceptKey, Counter[ConceptKey]] = defaultdict(Counter)
        self.members: dict[FeatureKind, Counter[ConceptKey]] = defaultdict(Counter)
        self.diagnoses: Counter[ConceptKey] = Counter()
        self.complications: Counter[ConceptKey] = Counter()
        self.drugs: Counter[ConceptKey] = Counter()
        self.doses: dict[tuple[ConceptKey, str, str], list[float]] = defaultdict(list)
        self.ages: list[float] = []

    def add(self, case: Case, sets: Collection[FeatureKind]) -> None:
        if case.age is not None:
            self.ages.append(case.age)
        seen: set[tuple[ConceptKey, FeatureKind]] = set()
        for feature in case.features:
            key = self._key(feature.concept)
            if isinstance(feature.value, Coding):
                self.answers[key][self._key(feature.value)] += 1
            elif feature.value is not None:
                if not feature.comparator:
                    self.numbers[(key, feature.unit)].append(feature.value)
            elif (key, feature.kind) not in seen:
                seen.add((key, feature.kind))
                if feature.kind in sets:
                    self.members[feature.kind][key] += 1
                else:
                    self.flags[(key, feature.kind)] += 1
        self.diagnoses.update({self._key(coding) for coding in case.outcome.diagnoses})
        self.complications.update({self._key(coding) for coding in case.outcome.complications})
        self.drugs.update({self._key(treatment.drug) for treatment in case.outcome.treatments})
        for treatment in case.outcome.treatments:
            if treatment.dose is not None and treatment.dose_unit:
                self.doses[(self._key(treatment.drug), treatment.dose_unit, treatment.basis)].append(treatment.dose)

    def _key(self, coding: Coding) -> ConceptKey:
        coding = cut_coding(coding, self.levels)
        self.codings.setdefault(coding.key, coding)
        return coding.key


def draft_vocabulary(
    cases: Iterable[Case],
    least: int = 1,
    sets: Collection[FeatureKind] = (),
    person: bool = True,
    taxonomies: Collection[str] = (),
    levels: Sequence[Level] = (),
) -> Vocabulary:
    """The words that at least `least` cases need.

    Kinds in `sets` become one set attribute each. `person` adds age and sex. Coded attributes compare their values by
    levels where all values are of ICD-10 or ATC, and those of the codes in `taxonomies` as paths. Codes of a system in
    `levels` are read at its level. A concept measured in several units is taken in the most frequent.

    Raises:
        InvalidInput: there are more words than a vocabulary holds, or a system with two levels.
    """
    counts = _Counts(levels)
    for case in cases:
        counts.add(case, sets)
    attributes: list[Attribute] = []
    if person and len(set(counts.ages)) > 1:
        attributes.append(NumberAttribute(AGE, *_range(counts.ages)))
    if person:
        attributes.append(CodedAttribute(SEX, SEXES))
    attributes += _numbers(counts, least)
    attributes += _coded(counts, least, taxonomies)
    for kind in sorted(counts.members):
        members = _frequent(counts, counts.members[kind], least)[:4096]
        if members:
            attributes.append(SetAttribute(kind, kind, members))
    for (key, kind), count in sorted(counts.flags.items()):
        if count >= least:
            attributes.append(FlagAttribute(counts.codings[key], kind))
    drugs = tuple(_drug(counts, coding) for coding in _frequent(counts, counts.drugs, least))
    return check_vocabulary(
        Vocabulary(
            tuple(attributes),
            _frequent(counts, counts.diagnoses, least),
            _frequent(counts, counts.complications, least),
            drugs,
            levels=tuple(levels) or UNSET,
        )
    )


def _frequent(counts: _Counts, found: Counter[ConceptKey], least: int) -> tuple[Coding, ...]:
    return tuple(counts.codings[key] for key, count in sorted(found.items()) if count >= least)


def _numbers(counts: _Counts, least: int) -> list[Attribute]:
    best: dict[ConceptKey, str] = {}
    for (key, unit), values in sorted(counts.numbers.items()):
        if key not in best or len(values) > len(counts.numbers[(key, best[key])]):
            best[key] = unit
    made: list[Attribute] = []
    for key, unit in best.items():
        values = counts.numbers[(key, unit)]
        if len(values) >= least:
            made.append(NumberAttribute(counts.codings[key], *_range(values), unit))
    return made


def _coded(counts: _Counts, least: int, taxonomies: Collection[str]) -> list[Attribute]:
    made: list[Attribute] = []
    for key, answers in sorted(counts.answers.items()):
        values = _frequent(counts, answers, least)
        if values:
            taxonomy: Taxonomy | None = "path" if key[1] in taxonomies else _common_taxonomy(values)
            made.append(CodedAttribute(counts.codings[key], values, taxonomy or ""))
    return made


def _common_taxonomy(values: Sequence[Coding]) -> Taxonomy | None:
    first = taxonomy_of(values[0].system)
    return first if all(taxonomy_of(value.system) == first for value in values) else None


def _drug(counts: _Counts, coding: Coding) -> DrugEntry:
    """A drug with the unit and basis that it is dosed in most often."""
    doses = [(len(v), unit, basis, v) for (key, unit, basis), v in counts.doses.items() if key == coding.key]
    if not doses:
        return DrugEntry(coding)
    _, unit, basis, values = max(doses, key=lambda item: (item[0], item[1]))
    spread = float(np.std(values))
    return DrugEntry(coding, unit, basis, float(np.mean(values)), spread if spread > 0 else 1.0)  # pyright: ignore[reportArgumentType]


def _range(values: list[float]) -> tuple[float, float]:
    low, high = (float(q) for q in np.quantile(values, _QUANTILES))
    return (low, high) if low < high else (low, low + 1.0)
