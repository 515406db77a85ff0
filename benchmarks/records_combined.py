"""The combined answer on the symptom table, hospital by hospital: similar cases, the federated network, both together.

Four hospitals by Dirichlet(.5) over the diagnoses, so that each library knows only some of them; 4 of 5 distinct rows
are split among them and the fifth is asked at every hospital, each symptom hidden with probability one half. Everything
that is asked was kept from the study, so no patient of its own validates or tests. The first study runs whole, masked,
over a ledger; the others run the same rounds with plain sums, whose models are the masked ones bit for bit. That is
checked on the first.

    python -m benchmarks.records_combined --data PATH [--seeds 5] [--folds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from benchmarks.records_quality import dirichlet_hospitals, folds, interval, symptom_cases

from medfed.diagnosis.answer import AnswerSettings, Network, combine
from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.diagnosis.votes import sum_votes
from medfed.federation.baselines import federate_plainly
from medfed.federation.model_file import Model, model_of
from medfed.federation.outcome_study import outcome_plan, outcome_table, predict_outcome
from medfed.federation.prepared import prepare
from medfed.records.case import Case
from medfed.records.columns import CaseColumns
from medfed.records.draft import draft_vocabulary
from medfed.records.rows import RowReader
from medfed.records.vocabulary import Vocabulary
from medfed.simulation.api import simulate

ASKED = 3
"""How often each case is asked, its symptoms hidden anew."""
SETTINGS = AnswerSettings()
Floats = npt.NDArray[np.float64]


def hidden(case: Case, rng: np.random.Generator) -> Case:
    """The case with each symptom hidden with probability one half; one stays."""
    kept = [rng.random() < 0.5 for _ in case.features]
    if not any(kept):
        kept[int(rng.integers(len(kept)))] = True
    features = tuple(feature for feature, stays in zip(case.features, kept, strict=True) if stays)
    return msgspec.structs.replace(case, features=features)


def train(words: Vocabulary, held: Mapping[str, Sequence[Case]], rounds: int, seed: int, masked: bool) -> Model:
    """The study's model, and once a check that masks change nothing of it."""
    plan = outcome_plan(
        words, list(held), title="outcomes of the symptom table", rounds=rounds, seed=seed, fractions=(0.0, 0.0)
    )
    tables = {name: outcome_table(rows, words, bytes(32), fractions=(0.0, 0.0)) for name, rows in held.items()}
    started = time.perf_counter()
    plain = model_of(plan, federate_plainly(plan, {name: prepare(plan, t, bytes(32)) for name, t in tables.items()}))
    between = time.perf_counter()
    if masked:
        whole = simulate(plan, tables, seed=0, progress=False).model
        same = (whole.parameters.flat == plain.parameters.flat).all()
        assert same, "the masked study came to another model than the plain sums"
        print(f"a masked study of {rounds} rounds took {time.perf_counter() - between:.0f} s, the same with plain sums "
              f"{between - started:.0f} s; both models are the same, bit for bit")  # fmt: skip
    return plain


def ask(words: Vocabulary, rows: Sequence[Case], asked: Sequence[Case], v2: Floats, model: Model) -> Floats:
    """Whether each question's first diagnosis is right: `(asked, 3)` for similar cases, network and both."""
    reader = RowReader(words)
    columns = CaseColumns.build(words.attributes, [reader.read(row).row for row in rows])
    index, right = CaseIndex(columns, np.ones(len(words.attributes))), np.zeros((len(asked), 3))
    for number, (case, said) in enumerate(zip(asked, v2, strict=True)):
        hits = index.search(Query(reader.read(case).row, SETTINGS.nearest, SETTINGS.threshold))
        votes = sum_votes(hits.scores, [rows[n].outcome.diagnoses for n in hits.rows])
        both = combine(votes, Network(model.digest, said), words, SETTINGS.network_share)
        network = words.diagnoses[int(said[: len(words.diagnoses)].argmax())]
        firsts = (votes[0][0].key if votes else None, network.key, both[0].diagnosis.key)
        right[number] = [first == case.outcome.diagnoses[0].key for first in firsts]
    return right


def one_fold(
    cases: Sequence[Case], words: Vocabulary, seed: int, fold: int, number: int, rounds: int, *, masked: bool
) -> dict[str, Floats]:
    """By hospital `(asked, 4)`: what `ask` finds, and the number of the case."""
    labels = np.array([words.diagnoses.index(case.outcome.diagnoses[0]) for case in cases])
    rng = np.random.default_rng(seed)
    hospital = dirichlet_hospitals(labels, 4, rng)
    test = list(folds(range(len(cases)), number, rng))[fold]
    held = {f"h{n}": [c for c, h, t in zip(cases, hospital, test, strict=True) if h == n and not t] for n in range(4)}
    model = train(words, held, rounds, seed, masked)
    places, draws = np.repeat(np.flatnonzero(test), ASKED), np.random.default_rng([seed, fold])
    asked = [hidden(cases[n], draws) for n in places]
    v2 = predict_outcome(model, words, asked)
    return {name: np.column_stack([ask(words, rows, asked, v2, model), places]) for name, rows in held.items()}


def report(cases: Sequence[Case], rounds: int, seeds: int, number: int) -> None:
    """Print top-1 of each source at each hospital, after each draw of hospitals and masks."""
    words = draft_vocabulary(cases, person=False)
    found: dict[str, list[Floats]] = {}
    for seed in range(seeds):
        for fold in range(number):
            part = one_fold(cases, words, seed, fold, number, rounds, masked=seed == fold == 0)
            for name, rows in part.items():
                found.setdefault(name, []).append(rows)
        show(found, f"{len(cases)} distinct rows, {seed + 1} draws of hospitals and masks, {number} folds")


def show(found: Mapping[str, Sequence[Floats]], title: str) -> None:
    """Print what was found so far."""
    print(f"{title}; top-1 with 95 % intervals")
    rng = np.random.default_rng(99)
    for name, parts in found.items():
        rows = np.concatenate(parts)
        own, network, both = (interval(rows[:, place], rng, rows[:, 3]) for place in range(3))
        print(f"  {name}: similar cases {own}  network {network}  together {both}", flush=True)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    report(symptom_cases(arguments.data), arguments.rounds, arguments.seeds, arguments.folds)


if __name__ == "__main__":
    main()
