"""The combined answer on the symptom table, hospital by hospital: similar cases, the federated network, both together.

Four hospitals by Dirichlet(.5) over the diagnoses, so that each library knows only some of them; 4 of 5 distinct rows
are split among them and the fifth is asked at every hospital, each symptom hidden with probability one half. The
network is trained in a real masked study on each hospital's rows and three masked copies of each.

    python -m benchmarks.records_combined --data PATH [--rounds 30]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from benchmarks.records_quality import dirichlet_hospitals, folds, symptom_cases

from medfed.diagnosis.answer import Network, combine
from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.diagnosis.votes import sum_votes
from medfed.federation.outcome_study import outcome_plan, outcome_table, predict_outcome
from medfed.records.case import Case
from medfed.records.columns import CaseColumns
from medfed.records.draft import draft_vocabulary
from medfed.records.rows import RowReader
from medfed.simulation.api import simulate


def hidden(case: Case, rng: np.random.Generator) -> Case:
    """The case with each symptom hidden with probability one half; one stays."""
    kept = tuple(feature for feature in case.features if rng.random() < 0.5)
    return msgspec.structs.replace(case, features=kept or case.features[:1])


def report(cases: Sequence[Case], rounds: int) -> None:
    """Print top-1 of each source at each hospital."""
    words = draft_vocabulary(cases, person=False)
    rng = np.random.default_rng(0)
    labels = [words.diagnoses.index(case.outcome.diagnoses[0]) for case in cases]
    hospital = dirichlet_hospitals(np.array(labels), 4, rng)
    test = next(folds(range(len(cases)), 5, rng))
    held = {f"h{n}": [c for c, h, t in zip(cases, hospital, test, strict=True) if h == n and not t] for n in range(4)}
    plan = outcome_plan(words, list(held), title="outcomes of the symptom table", rounds=rounds)
    tables = {
        name: outcome_table([*rows, *(hidden(row, rng) for row in rows for _ in range(3))], words, bytes(32))
        for name, rows in held.items()
    }
    started = time.perf_counter()
    model = simulate(plan, tables, seed=0, progress=False).model
    print(f"{len(cases)} distinct rows, {test.sum()} asked; a masked study of {rounds} rounds took "
          f"{time.perf_counter() - started:.0f} s")  # fmt: skip
    asked = [hidden(case, rng) for case, is_test in zip(cases, test, strict=True) if is_test for _ in range(3)]
    predicted = predict_outcome(model, words, asked)
    reader = RowReader(words)
    for name, rows in held.items():
        index = CaseIndex(
            CaseColumns.build(words.attributes, [reader.read(row).row for row in rows]), np.ones(len(words.attributes))
        )
        right = np.zeros(3)
        for case, v2 in zip(asked, predicted, strict=True):
            hits = index.search(Query(reader.read(case).row, 20, 0.4))
            votes = sum_votes(hits.scores, [rows[n].outcome.diagnoses for n in hits.rows])
            both = combine(votes, Network(model.digest, v2), words, 0.5)
            firsts = (votes[0][0] if votes else None, words.diagnoses[int(v2[: len(words.diagnoses)].argmax())])
            truth = case.outcome.diagnoses[0].key
            right += [one is not None and one.key == truth for one in (*firsts, both[0].diagnosis)]
        own, network, together = right / len(asked)
        print(f"  {name}: {len(rows)} cases; similar cases {own:.3f}, network {network:.3f}, together {together:.3f}")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    report(symptom_cases(arguments.data), arguments.rounds)


if __name__ == "__main__":
    main()
