"""What a federated V1 to V2 network knows of treatments and diagnoses: eICU, ten groups of whole hospitals, split by
patient.

Asked are the treatments (level 3 of a treatment's path) that at least 2 % of the stays had; per stay the average
precision of their ranking and the recall of the first five, over stays that had any. Beside the federated network: how
often each treatment is given, and each group's network of its own, with as many steps. The settings were chosen by the
second and third fold, never by the first, once for all folds. Masks change no bit of a
model (`benchmarks.records_combined` checks it), so the rounds are summed plainly here.

Asked are also the 30 diagnoses of `records_quality`, with the admission diagnosis: by the look-up, by similar cases, by
a federated network, and by both together as an answer combines them. Nothing of that was chosen: 20 cases vote, the
network has the same say as an identical case, its rates are round numbers that were tried once.

    python -m benchmarks.records_outcomes --data PATH
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from benchmarks.records_quality import Table, eicu_cases, folds, interval, lookup, of_thirty, ranked, shared_weights

from medfed.diagnosis.answer import AnswerSettings, Network, combine
from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.diagnosis.votes import sum_votes
from medfed.federation.baselines import federate_plainly, train_locally
from medfed.federation.features import encode_features
from medfed.federation.model_file import model_of
from medfed.federation.outcome_study import outcome_plan, outcome_table, predict_outcome
from medfed.federation.plan import Plan
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.study import learner_of, released_parameters
from medfed.models.settings import LocalTraining
from medfed.records.case import Case, Outcome
from medfed.records.draft import draft_vocabulary
from medfed.records.vocabulary import Vocabulary

LEAST = 0.02
SETS = ("history", "allergy", "medication")
Floats = npt.NDArray[np.float64]


def treated(cases: Sequence[Case]) -> list[Case]:
    """The cases with nothing as their outcome but treatments that at least 2 % of them had."""
    counts = Counter(code for case in cases for code in {t.drug.code for t in case.outcome.treatments})
    made: list[Case] = []
    for case in cases:
        procedures = [t for t in case.outcome.treatments if t.kind == "procedure"]
        kept = tuple(t for t in procedures if counts[t.drug.code] >= LEAST * len(cases))
        made.append(msgspec.structs.replace(case, outcome=Outcome((), (), kept)))
    return made


def treatment_plan(words: Vocabulary, groups: Sequence[str], **changes: object) -> Plan:
    """The study; `weight_decay` is for a loss that is a mean over labels."""
    labels = len(words.drugs)
    local = LocalTraining(steps=5, batch_size=64, learning_rate=0.05 * labels, weight_decay=0.15 / labels)
    settings = {"rounds": 60, "hidden": (), "local": local, "hide": 0.0, "least_scale": 0.2, **changes}
    return outcome_plan(words, groups, title="treatments", fractions=(0.0, 0.0), **settings)  # type: ignore[arg-type]


def judge(scores: Floats, had: Floats) -> Floats:
    """Average precision and recall of the first five for each row of `had` `(rows, labels)` that has any."""
    found: list[tuple[float, float]] = []
    for score, truth in zip(scores, had, strict=True):
        if truth.any():
            right = truth[np.argsort(-score, kind="stable")] > 0
            precision = np.cumsum(right) / np.arange(1, len(right) + 1)
            found.append((float(precision[right].mean()), float(right[:5].sum() / right.sum())))
    return np.array(found).reshape(-1, 2)


def run(cases: Sequence[Case], test: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64], plan: Plan,
        words: Vocabulary, *, alone: bool) -> dict[str, Floats]:  # fmt: skip
    """Figures of each source on the tested stays."""
    parts: dict[str, PreparedData] = {}
    for group in np.unique(groups):
        rows = [case for case, g, t in zip(cases, groups, test, strict=True) if g == group and not t]
        parts[f"g{group}"] = prepare(plan, outcome_table(rows, words, bytes(32), fractions=(0.0, 0.0)), bytes(32))
    asked = prepare(
        plan, outcome_table([c for c, t in zip(cases, test, strict=True) if t], words, bytes(32)), bytes(32)
    )
    had = asked.targets.astype(np.float64)
    often = np.mean(np.concatenate([part.targets for part in parts.values()]), axis=0)
    found = {"frequency": judge(np.tile(often, (len(had), 1)), had)}
    state = federate_plainly(plan, parts)
    models: Mapping[str, tuple[object, object]] = {
        "federated": (released_parameters(plan, state), state.standardisation)
    }
    if alone:
        own = {name: train_locally(plan, part, name) for name, part in parts.items()}
        models = {**models, **{name: (model.parameters, model.standardisation) for name, model in own.items()}}
    for name, (parameters, scale) in models.items():
        features = encode_features(asked.features, plan, scale)  # type: ignore[arg-type]
        scores = judge(learner_of(plan).predict(parameters, features), had)  # type: ignore[arg-type]
        key = name if name == "federated" else "one group alone"
        found[key] = np.concatenate([found[key], scores]) if key in found else scores
    return found


def grouped(cases: Sequence[Case], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Ten groups of whole hospitals."""
    names = sorted({case.group for case in cases})
    group_of = dict(zip(names, rng.permutation(len(names)) % 10, strict=True))
    return np.array([group_of[case.group] for case in cases])


def diagnosed(cases: Sequence[Case], words: Vocabulary, test: npt.NDArray[np.bool_],
              groups: npt.NDArray[np.int64], table: Table) -> dict[str, Floats]:  # fmt: skip
    """Of each source `(tested, 2)`: whether the diagnosis is first, and among the first three."""
    labels = len(words.diagnoses)
    local = LocalTraining(steps=5, batch_size=64, learning_rate=0.1 * labels, weight_decay=0.05 / labels)
    names = [f"g{n}" for n in np.unique(groups)]
    plan = outcome_plan(
        words,
        names,
        title="diagnoses",
        rounds=60,
        hidden=(),
        local=local,
        hide=0.0,
        least_scale=0.2,
        fractions=(0.0, 0.0),
    )
    held = {
        name: [c for c, g, t in zip(cases, groups, test, strict=True) if f"g{g}" == name and not t] for name in names
    }
    tables = {name: outcome_table(rows, words, bytes(32), fractions=(0.0, 0.0)) for name, rows in held.items()}
    model = model_of(plan, federate_plainly(plan, {name: prepare(plan, t, bytes(32)) for name, t in tables.items()}))
    asked = np.flatnonzero(test)
    v2 = predict_outcome(model, words, [cases[n] for n in asked])
    columns, had = table.part(~test)
    index, train, nearest = (
        CaseIndex(columns, shared_weights(table, ~test, groups)),
        np.flatnonzero(~test),
        AnswerSettings(),
    )
    found: dict[str, list[list[bool]]] = {"similar cases": [], "federated": [], "together": []}
    for number, said in zip(asked, v2, strict=True):
        hits = index.search(Query(table.rows[number], nearest.nearest, nearest.threshold))
        votes = sum_votes(hits.scores, [cases[train[n]].outcome.diagnoses for n in hits.rows])
        both = combine(votes, Network(model.digest, said), words, nearest.network_share)
        right = cases[number].outcome.diagnoses[0].key
        orders = {
            "similar cases": [table.names[n] for n in ranked(hits.scores, had[hits.rows])],
            "federated": [words.diagnoses[n].key for n in np.argsort(-said[:labels], kind="stable")],
            "together": [one.diagnosis.key for one in both],
        }
        for name, order in orders.items():
            found[name].append([order[:1] == [right], right in order[:3]])
    return {"look-up": lookup(table, ~test, test), **{k: np.array(v, np.float64) for k, v in found.items()}}


def report_diagnoses(cases: Sequence[Case]) -> None:
    """Print the figures of diagnoses."""
    only = [msgspec.structs.replace(case, outcome=Outcome(case.outcome.diagnoses[:1])) for case in of_thirty(cases)]
    words, table = (
        draft_vocabulary(only, least=4, sets=SETS),
        Table(only, draft_vocabulary(only, sets=SETS), lambda case: case.outcome.diagnoses[0]),
    )
    rng = np.random.default_rng(0)
    groups = grouped(only, rng)
    every: dict[str, list[Floats]] = {}
    for test in folds([case.patient for case in only], 5, rng):
        for name, figures in diagnosed(only, words, test, groups, table).items():
            every.setdefault(name, []).append(figures)
    print(f"{len(words.diagnoses)} diagnoses, with the admission diagnosis")
    rows = {name: np.concatenate(parts) for name, parts in every.items()}
    rows["together less look-up"] = rows["together"] - rows["look-up"]
    for name, figures in rows.items():
        first, three = (interval(figures[:, place], rng) for place in range(2))
        print(f"  {name:22} top-1 {first}  top-3 {three}", flush=True)


def report_treatments(every_case: Sequence[Case]) -> None:
    """Print the figures of treatments."""
    cases = treated(every_case)
    words = draft_vocabulary(cases, least=10, sets=SETS)
    rng = np.random.default_rng(0)
    groups = grouped(cases, rng)
    plan = treatment_plan(words, [f"g{n}" for n in range(10)])
    print(f"{len(cases)} stays, {len(plan.data.features)} columns of V1, {len(words.drugs)} treatments")
    every: dict[str, list[Floats]] = {}
    for test in folds([case.patient for case in cases], 5, rng):
        for name, figures in run(cases, test, groups, plan, words, alone=True).items():
            every.setdefault(name, []).append(figures)
    for name, parts in every.items():
        rows = np.concatenate(parts)
        precision, recall = (interval(rows[:, place], rng) for place in range(2))
        print(f"  {name:16} mean average precision {precision}  recall at 5 {recall}", flush=True)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    cases = eicu_cases(parser.parse_args().data)
    report_treatments(cases)
    report_diagnoses(cases)


if __name__ == "__main__":
    main()
