"""How well similar cases find the diagnosis and the treatment, on real tables. Prints figures with 95 % intervals.

Symptom table: 304 distinct rows, 5 folds times mask seeds. Half of each query's symptoms are hidden in two ways: each
with probability one half (at least one stays), and exactly half of them (rounded down), which is easier because no
query is left with next to nothing. With nuisance: 40 symptoms of prevalence .3 added that say nothing. eICU: stays
admitted to the unit with an APACHE diagnosis, split by patient, 30 classes: the 29 most frequent diagnoses and all
others as one. How many neighbours vote is chosen on the training cases of each fold, never on its queries.

    python -m benchmarks.records_quality --data PATH [--seeds 5]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from medfed.crypto import seeded_entropy
from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.diagnosis.votes import count_votes
from medfed.diagnosis.weights import PairSums, learned_weights, pair_sums, sums_of_counts
from medfed.records.case import Case, Feature
from medfed.records.coding import Coding, local_coding
from medfed.records.columns import CaseColumns
from medfed.records.draft import draft_vocabulary
from medfed.records.library import Library
from medfed.records.mapping import load_mapping
from medfed.records.outcome_counts import count_outcomes
from medfed.records.rows import Flag, Row, RowReader
from medfed.records.tables import import_tables
from medfed.records.vocabulary import Vocabulary

MAPPINGS = Path(__file__).parent / "mappings"
VOTERS = (5, 20, 50, 100)
Bools = npt.NDArray[np.bool_]
Mask = Callable[[Row, np.random.Generator], Row]


def symptom_cases(data: Path) -> list[Case]:
    """The distinct cases of the symptom table."""
    library = Library(None, seeded_entropy(b"quality"))
    import_tables(library, data / "symptom_disease" / "Data", load_mapping(MAPPINGS / "symptoms.toml"))
    distinct = {
        (frozenset(f.key for f in case.features), case.outcome.diagnoses[0].key): case
        for case in sorted(library.cases(), key=lambda case: case.source)
    }
    return list(distinct.values())


def with_nuisance(cases: Sequence[Case], number: int, prevalence: float, rng: np.random.Generator) -> list[Case]:
    """Each case with `number` symptoms more that come and go by chance."""
    made: list[Case] = []
    for case in cases:
        drawn = np.flatnonzero(rng.random(number) < prevalence)
        extra = tuple(Feature(local_coding("nuisance", f"n{n}")) for n in drawn)
        made.append(msgspec.structs.replace(case, features=case.features + extra))
    return made


def mask_each(row: Row, rng: np.random.Generator) -> Row:
    """Hide each thing that a row mentions with probability one half; at least one stays."""
    mentioned = [place for place, value in enumerate(row) if isinstance(value, Flag)]
    hidden = {place for place in mentioned if rng.random() < 0.5}
    if len(hidden) == len(mentioned):
        hidden.discard(mentioned[int(rng.integers(len(mentioned)))])
    return tuple(None if place in hidden else value for place, value in enumerate(row))


def mask_half(row: Row, rng: np.random.Generator) -> Row:
    """Hide half of what a row mentions, rounded down."""
    mentioned = [place for place, value in enumerate(row) if isinstance(value, Flag)]
    hidden = set(rng.permutation(mentioned)[: len(mentioned) // 2].tolist())
    return tuple(None if place in hidden else value for place, value in enumerate(row))


def folds(groups: Sequence[object], number: int, rng: np.random.Generator) -> Iterator[Bools]:
    """Which cases are tested, fold after fold; cases of one group (a patient) stay together."""
    names = sorted(set(groups), key=str)
    fold_of = dict(zip(names, rng.permutation(len(names)) % number, strict=True))
    for fold in range(number):
        yield np.array([fold_of[group] == fold for group in groups])


class Table:
    """Cases as rows and columns, with one diagnosis each."""

    def __init__(self, cases: Sequence[Case], vocabulary: Vocabulary, label: Callable[[Case], Coding]) -> None:
        self.cases = cases
        reader = RowReader(vocabulary)
        self.rows = [reader.read(case).row for case in cases]
        self.columns = CaseColumns.build(vocabulary.attributes, self.rows)
        labels = [label(case).key for case in cases]
        self.names = sorted(set(labels))
        self.labels = np.array([self.names.index(name) for name in labels])
        self.number = len(self.names)

    def part(self, chosen: Bools) -> tuple[CaseColumns, npt.NDArray[np.int64]]:
        """Columns and labels of the chosen cases."""
        return self.columns.take(np.flatnonzero(chosen)), self.labels[chosen]


def ranked(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[int]:
    """Diagnoses by vote."""
    return [name for name, _ in count_votes(scores, [(int(label),) for label in labels])]


def choose_voters(table: Table, train: Bools, index: CaseIndex, queries: Sequence[Row]) -> int:
    """How many neighbours find the diagnosis of most training cases, each left out of its own neighbours."""
    labels = table.labels[train]
    right = dict.fromkeys(VOTERS, 0)
    for number, row in enumerate(queries):
        hits = index.search(Query(row, max(VOTERS) + 1))
        others = hits.rows != number
        rows, scores = hits.rows[others], hits.scores[others]
        for voters in VOTERS:
            right[voters] += ranked(scores[:voters], labels[rows[:voters]])[:1] == [labels[number]]
    return max(VOTERS, key=lambda voters: (right[voters], -voters))


def evaluate(
    table: Table,
    train: Bools,
    weights: npt.NDArray[np.float64],
    beta: float,
    queries: dict[int, Row],
    mask: Mask,
) -> np.ndarray:
    """For each query: top-1, top-3, best similarity, number of the case."""
    columns, labels = table.part(train)
    index = CaseIndex(columns, weights, beta)
    rng = np.random.default_rng(0)
    voters = choose_voters(table, train, index, [mask(table.rows[n], rng) for n in np.flatnonzero(train)])
    results: list[tuple[float, float, float, float]] = []
    for number, row in queries.items():
        hits = index.search(Query(row, voters))
        order = ranked(hits.scores, labels[hits.rows])
        best = float(hits.scores[0]) if len(hits.scores) else 0.0
        first, among = order[:1] == [table.labels[number]], table.labels[number] in order[:3]
        results.append((float(first), float(among), best, float(number)))
    return np.array(results).reshape(-1, 4)


def interval(
    values: npt.NDArray[np.float64], rng: np.random.Generator, cases: npt.NDArray[np.float64] | None = None
) -> str:
    """Mean with the 95 % bootstrap interval over the cases; a case asked several times is drawn with all
    its queries."""
    _, numbers = np.unique(np.arange(len(values)) if cases is None else cases, return_inverse=True)
    sums, counts = np.bincount(numbers, values), np.bincount(numbers)
    drawn = rng.integers(0, len(sums), (500, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return f"{values.mean():.3f} [{np.quantile(means, 0.025):.3f}, {np.quantile(means, 0.975):.3f}]"


def pair(results: np.ndarray, rng: np.random.Generator) -> str:
    """Top-1 and top-3 with their intervals."""
    cases = results[:, 3] if results.shape[1] > 3 else None
    return f"top-1 {interval(results[:, 0], rng, cases)}  top-3 {interval(results[:, 1], rng, cases)}"


def dirichlet_hospitals(labels: npt.NDArray[np.int64], number: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A hospital for each case: each diagnosis is spread by a draw from Dirichlet(.5)."""
    shares = rng.dirichlet([0.5] * number, int(labels.max()) + 1)
    return np.array([rng.choice(number, p=shares[label]) for label in labels])


def shared_weights(table: Table, train: Bools, hospitals: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Weights from the six sums that each hospital adds over its own training cases."""
    total: PairSums | None = None
    for hospital in np.unique(hospitals):
        columns, labels = table.part(train & (hospitals == hospital))
        mine = pair_sums(columns, labels, table.number)
        total = mine if total is None else total + mine
    assert total is not None
    return learned_weights(total)


def symptoms(
    cases: Sequence[Case],
    seeds: int,
    betas: Sequence[float],
    learn: bool,
    own_only: bool = False,
    mask: Mask = mask_each,
) -> dict[str, np.ndarray]:
    """Results by name of the reading."""
    vocabulary = draft_vocabulary(cases, person=False)
    table = Table(cases, vocabulary, lambda case: case.outcome.diagnoses[0])
    out: dict[str, list[np.ndarray]] = {}
    ones = np.ones(len(vocabulary.attributes))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        hospitals = dirichlet_hospitals(table.labels, 4, rng)
        for test in folds(range(len(cases)), 5, rng):
            queries = {int(n): mask(table.rows[n], rng) for n in np.flatnonzero(test)}
            for beta in betas:
                out.setdefault(f"beta {beta}", []).append(evaluate(table, ~test, ones, beta, queries, mask))
            if learn:
                six = shared_weights(table, ~test, hospitals)
                out.setdefault("learned", []).append(evaluate(table, ~test, six, 0.25, queries, mask))
                columns, labels = table.part(~test)
                counted = count_outcomes(columns, labels, table.number)
                every = learned_weights(sums_of_counts(columns.attributes, counted))
                out.setdefault("from counts", []).append(evaluate(table, ~test, every, 0.25, queries, mask))
            if own_only:
                for hospital in range(4):
                    mine = ~test & (hospitals == hospital)
                    out.setdefault("own library", []).append(evaluate(table, mine, ones, 0.25, queries, mask))
    return {name: np.concatenate(parts) for name, parts in out.items()}


def report_symptoms(data: Path, seeds: int) -> None:
    """Print the figures of the symptom table."""
    cases = symptom_cases(data)
    rng = np.random.default_rng(99)
    print(f"symptom table: {len(cases)} distinct cases, {len({c.outcome.diagnoses[0].key for c in cases})} diagnoses")
    for title, mask in (("each symptom hidden with probability 1/2", mask_each), ("exactly half hidden", mask_half)):
        print(f"  {title}")
        found = symptoms(cases, seeds, (0.25, 0.0, 1.0), learn=True, own_only=mask is mask_each, mask=mask)
        for name, results in found.items():
            sure = results[:, 2] >= 0.7
            right = interval(results[sure, 0], rng, results[sure, 3]) if sure.any() else "-"
            print(f"    {name:12} {pair(results, rng)}  best >= .7 in {sure.mean():.3f}, right there {right}")
    noisy = with_nuisance(cases, 40, 0.3, np.random.default_rng(7))
    print("  with 40 nuisance symptoms, each symptom hidden with probability 1/2")
    for name, results in symptoms(noisy, seeds, (0.25,), learn=True).items():
        print(f"    {name:12} {pair(results, rng)}")


def eicu_cases(data: Path) -> list[Case]:
    """Stays admitted to the unit, with an APACHE diagnosis and a primary diagnosis."""
    library = Library(None, seeded_entropy(b"quality"))
    import_tables(library, data / "eicu_demo", load_mapping(MAPPINGS / "eicu.toml"))
    chosen: list[Case] = []
    for case in library.cases():
        said = {f.concept.code: f.value.code for f in case.features if isinstance(f.value, Coding)}
        if said.get("unitstaytype") == "admit" and "apacheadmissiondx" in said and case.outcome.diagnoses:
            chosen.append(case)
    return chosen


def of_thirty(cases: Sequence[Case]) -> list[Case]:
    """The cases with their main diagnosis, or `other` where it is not one of the 29 most frequent."""
    counts = Counter(case.outcome.diagnoses[0].code for case in cases)
    kept = set(sorted(counts, key=lambda code: (-counts[code], code))[:29])
    other = local_coding("eicu", "other")
    replace = msgspec.structs.replace
    return [
        case
        if case.outcome.diagnoses[0].code in kept
        else replace(case, outcome=replace(case.outcome, diagnoses=(other,)))
        for case in cases
    ]


def without(cases: Sequence[Case], codes: Collection[str]) -> list[Case]:
    """The cases without the features of some concepts."""
    return [
        msgspec.structs.replace(case, features=tuple(f for f in case.features if f.concept.code not in codes))
        for case in cases
    ]


def whole(row: Row, _: np.random.Generator) -> Row:
    """Hide nothing."""
    return row


def lookup(table: Table, train: Bools, test: Bools) -> np.ndarray:
    """The plain look-up: diagnoses by how often they went with the same admission diagnosis."""
    place = next(
        n
        for n, a in enumerate(table.columns.attributes)
        if getattr(a, "concept", None) and a.concept.code == "apacheadmissiondx"  # type: ignore[union-attr]
    )
    counts = np.zeros((100_000, table.number))
    for number in np.flatnonzero(train):
        counts[int(table.rows[number][place]), table.labels[number]] += 1  # type: ignore[arg-type]
    prior = np.bincount(table.labels[train], minlength=table.number) / train.sum()
    results: list[tuple[float, float]] = []
    for number in np.flatnonzero(test):
        value = table.rows[number][place]
        order = np.argsort(-((counts[int(value)] if value is not None else 0) + prior * 0.5), kind="stable")  # type: ignore[arg-type]
        results.append((float(order[0] == table.labels[number]), float(table.labels[number] in order[:3])))
    return np.array(results)


def eicu(cases: Sequence[Case], with_lookup: bool) -> dict[str, np.ndarray]:
    """Top-1 and top-3 by name, five folds of whole patients."""
    vocabulary = draft_vocabulary(cases, least=1, sets=("history", "allergy", "medication"))
    table = Table(cases, vocabulary, lambda case: case.outcome.diagnoses[0])
    rng = np.random.default_rng(0)
    names = sorted({case.group for case in cases})
    group_of = dict(zip(names, rng.permutation(len(names)) % 10, strict=True))
    hospitals = np.array([group_of[case.group] for case in cases])
    out: dict[str, list[np.ndarray]] = {}
    for test in folds([case.patient for case in cases], 5, rng):
        queries = {int(n): table.rows[n] for n in np.flatnonzero(test)}
        learned = shared_weights(table, ~test, hospitals)
        for name, weights in (("uniform", np.ones(len(learned))), ("learned", learned)):
            out.setdefault(name, []).append(evaluate(table, ~test, weights, 0.25, queries, whole))
        if with_lookup:
            out.setdefault("look-up", []).append(lookup(table, ~test, test))
    return {name: np.concatenate(parts) for name, parts in out.items()}


def recall(votes: Sequence[tuple[str, float]], had: Collection[str]) -> float:
    """The part of `had` among the first five."""
    return len({code for code, _ in votes[:5]} & set(had)) / len(had)


def treatment_voters(
    index: CaseIndex, rows: Sequence[Row], had: Sequence[Sequence[str]], choices: Sequence[int] = (20, 50, 100, 200)
) -> int:
    """How many neighbours give the best recall on every other training case, each left out of its own neighbours."""
    sums = dict.fromkeys(choices, 0.0)
    for number in range(0, len(rows), 2):
        if had[number]:
            hits = index.search(Query(rows[number], max(choices) + 1))
            others = hits.rows != number
            named, scores = [had[n] for n in hits.rows[others]], hits.scores[others]
            for voters in choices:
                sums[voters] += recall(count_votes(scores[:voters], named[:voters]), had[number])
    return max(choices, key=lambda voters: sums[voters])


def treatments(cases: Sequence[Case], least: float) -> dict[str, np.ndarray]:
    """Recall at 5 of the treatments that a stay really had (level 3 of the treatment's path).

    Only treatments that at least the part `least` of all stays had are asked for, as a plan would list them.
    """
    vocabulary = draft_vocabulary(cases, sets=("history", "allergy", "medication"))
    table = Table(cases, vocabulary, lambda case: case.outcome.diagnoses[0])
    had = [tuple({t.drug.code for t in case.outcome.treatments if t.kind == "procedure"}) for case in cases]
    counts = Counter(code for one in had for code in one)
    had = [tuple(code for code in one if counts[code] >= least * len(cases)) for one in had]
    out: dict[str, list[float]] = {"similar": [], "frequent": []}
    everywhere = np.zeros(len(cases), np.int64)
    for test in folds([case.patient for case in cases], 5, np.random.default_rng(0)):
        columns, _ = table.part(~test)
        weights = shared_weights(table, ~test, everywhere)
        index, known = CaseIndex(columns, weights), np.flatnonzero(~test)
        usual = Counter(code for number in known for code in had[number]).most_common(5)
        voters = treatment_voters(index, [table.rows[n] for n in known], [had[n] for n in known])
        for number in np.flatnonzero(test):
            if had[number]:
                hits = index.search(Query(table.rows[number], voters))
                votes = count_votes(hits.scores, [had[known[n]] for n in hits.rows])
                out["similar"].append(recall(votes, had[number]))
                out["frequent"].append(recall(usual, had[number]))
    return {name: np.array(values) for name, values in out.items()}


def report_eicu(data: Path) -> None:
    """Print the figures of eICU."""
    rng = np.random.default_rng(99)
    every = eicu_cases(data)
    cases = of_thirty(every)
    print(f"eICU: {len(every)} stays, 30 classes")
    for title, chosen, plain in (
        ("with the admission diagnosis", cases, True),
        ("without it", without(cases, ("apacheadmissiondx", "admissionsystem")), False),
    ):
        print(f"  {title}")
        found = eicu(chosen, plain)
        for name, results in found.items():
            print(f"    {name:10} {pair(results, rng)}")
        if plain:
            ahead = found["learned"][:, :2] - found["look-up"]
            print(f"    learned less look-up: top-1 {interval(ahead[:, 0], rng)}  top-3 {interval(ahead[:, 1], rng)}")
    for least in (0.0, 0.02):
        print(f"  treatments that at least {least:.0%} of the stays had, recall at 5")
        for name, results in treatments(every, least).items():
            print(f"    {name:10} {interval(results, rng)}")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    report_symptoms(options.data, options.seeds)
    report_eicu(options.data)


if __name__ == "__main__":
    main()
