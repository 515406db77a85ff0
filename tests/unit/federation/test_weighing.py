"""Weights of attributes from counts that a masked study sums: exactly those of all its training cases in one place."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from medfed.crypto import seeded_entropy
from medfed.diagnosis.decisions import Decisions
from medfed.diagnosis.question import Asked, Question
from medfed.diagnosis.weights import learned_weights, shared_weights, sums_of_counts
from medfed.errors import InvalidInput
from medfed.federation.outcome_study import outcome_plan, outcome_table
from medfed.federation.plan import Plan, Weighing
from medfed.federation.plan_check import check_plan
from medfed.federation.plan_file import format_plan, parse_plan
from medfed.federation.plan_rules import plan_problems
from medfed.federation.prepared import prepare
from medfed.federation.splits import TRAIN
from medfed.federation.tables import table_from
from medfed.hospital.consultation import ask
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import Coding, local_coding
from medfed.records.columns import CaseColumns
from medfed.records.draft import draft_vocabulary
from medfed.records.library import Library
from medfed.records.outcome_counts import count_outcomes
from medfed.records.rows import RowReader
from medfed.records.vocabulary import FlagAttribute, SetAttribute
from medfed.simulation.api import simulate

replace = msgspec.structs.replace
COLOURS = [local_coding("t", name) for name in ("red", "green", "blue")]


def cases(seed: int, number: int) -> list[Case]:
    """A telling sign, a measured value and a colour that go with the diagnosis, and noise in three signs and a set."""
    rng = np.random.default_rng(seed)
    made: list[Case] = []
    for n in range(number):
        kind = int(rng.integers(3))
        features = [Feature(local_coding("t", f"noise{k}")) for k in range(3) if rng.random() < 0.3]
        features += [Feature(local_coding("t", f"sign{kind}"))] if rng.random() < 0.9 else []
        if rng.random() < 0.9:
            level = Feature(local_coding("t", "level"), "measurement", value=float(rng.normal(10 * kind, 3)))
            features.append(level)
        features.append(Feature(local_coding("t", "colour"), "measurement", value=COLOURS[int(rng.integers(3))]))
        if rng.random() < 0.5:
            features.append(Feature(local_coding("t", f"past{int(rng.integers(4))}"), "history"))
        diagnoses: tuple[Coding, ...] = (local_coding("t", f"d{kind}"),)
        if rng.random() < 0.05:
            diagnoses = ()
        case = Case(f"{seed}-{n}", f"{seed}-p{n}", 0, None, "", tuple(features), Outcome(diagnoses), f"{seed}-s{n}")
        made.append(case)
    return made


HELD = {"a": cases(1, 60), "b": cases(2, 90), "c": cases(3, 40)}
WORDS = draft_vocabulary([case for held in HELD.values() for case in held], person=False, sets=("history",))


def plan(**changes: object) -> Plan:
    made = outcome_plan(WORDS, list(HELD), title="t", rounds=2, hidden=(8,), weigh=True)
    return replace(made, **changes)


def test_weights_of_a_masked_study_are_exactly_those_of_all_training_cases_in_one_place() -> None:
    of = plan()
    tables = {name: outcome_table(held, WORDS, bytes(32), weigh=True) for name, held in HELD.items()}
    study = simulate(of, tables, seed=3, progress=False)
    reader = RowReader(WORDS)
    keys = [coding.key for coding in WORDS.diagnoses]
    pooled: list[tuple[object, int]] = []
    for name, held in HELD.items():
        is_trained = study.prepared[name].split == TRAIN
        chosen = [case for case, trains in zip(held, is_trained, strict=True) if trains]
        assert 0 < len(chosen) < len(held)
        pooled += [(reader.read(c).row, keys.index(c.outcome.diagnoses[0].key)) for c in chosen if c.outcome.diagnoses]
    columns = CaseColumns.build(WORDS.attributes, [row for row, _ in pooled])  # type: ignore[misc]
    counted = count_outcomes(columns, np.array([outcome for _, outcome in pooled]), len(keys))
    expected = learned_weights(sums_of_counts(WORDS.attributes, counted))
    counts = study.model.standardisation.outcome_counts
    assert counts is not UNSET
    found = shared_weights(WORDS, counts)
    is_set = np.array([isinstance(attribute, SetAttribute) for attribute in WORDS.attributes])
    assert is_set.sum() == 1
    assert (found[~is_set] == expected[~is_set]).all()
    assert found[is_set] == expected[~is_set].mean()
    said = {a.concept.code: w for a, w in zip(WORDS.attributes, found, strict=True) if hasattr(a, "concept")}
    assert min(said["level"], *(said[f"sign{k}"] for k in range(3))) > 5 * max(said[f"noise{k}"] for k in range(3))
    assert said["colour"] < 0.2 * said["level"]
    _ask_with_and_without(study.model)


def _ask_with_and_without(model: object) -> None:
    """The nearest case by learned weights shares the telling sign; by equal weights it shares the noise."""
    telling = Case("1", "p1", 0, None, "", (Feature(local_coding("t", "sign0")),), Outcome((WORDS.diagnoses[0],)), "s1")
    noisy = tuple(Feature(local_coding("t", f"noise{k}")) for k in range(3))
    other = Case("2", "p2", 0, None, "", noisy, Outcome((WORDS.diagnoses[1],)), "s2")
    library = Library(None, seeded_entropy(b"weights"))
    for case in (telling, other):
        library.put(replace(case, id=library.id_of(case.source)), "test")
    question = Question("p3", tuple(Asked(code) for code in ("sign0", "noise0", "noise1", "noise2")))
    firsts: list[str] = []
    for chosen in (model, replace_counts(model)):
        answer = ask(
            library, Decisions(None), question, WORDS, model=chosen, time=0, user="dr", entropy=seeded_entropy(b"x"),  # type: ignore[arg-type]
        )  # fmt: skip
        firsts.append(answer.cases[0].diagnoses[0].code)
    assert firsts == ["d0", "d1"]


def replace_counts(model: object) -> object:
    return dataclasses.replace(model, standardisation=replace(model.standardisation, outcome_counts=UNSET))  # type: ignore[type-var, attr-defined]


def test_a_plan_says_that_it_counts_and_is_refused_where_it_may_not() -> None:
    of = plan()
    assert not plan_problems(of)
    assert parse_plan(format_plan(of), "plan.toml") == of
    assert any("these counts are also in the model" in line for line in check_plan(of).reveals)
    assert not any("also in the model" in line for line in check_plan(plan(weighing=UNSET)).reveals)
    wide = plan(weighing=Weighing((65_536,) * 20, 1024))
    named = plan(data=replace(of.data, features=(replace(of.data.numbers[0], name="value_0"), *of.data.features[1:])))
    for wrong in (wide, named):
        assert [problem.path for problem in plan_problems(wrong)] == ["weighing"]


@pytest.mark.parametrize("value", [2.0, -2.0, 0.5])
def test_a_value_that_is_no_place_is_refused_with_its_cell(value: float) -> None:
    table = outcome_table(HELD["a"], WORDS, bytes(32), weigh=True)
    columns = dict(table.columns)
    flag = next(n for n, attribute in enumerate(WORDS.attributes) if isinstance(attribute, FlagAttribute))
    columns[f"value_{flag}"] = np.array([value, *[0.0] * (len(table) - 1)])
    with pytest.raises(InvalidInput, match=f"value_{flag}.*whole number from 0 to 1"):
        prepare(plan(), table_from(columns, name="t"), bytes(32))
    del columns["outcome"]
    with pytest.raises(InvalidInput, match="outcome"):
        prepare(plan(), table_from(columns, name="t"), bytes(32))


def test_counts_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(InvalidInput, match="counts"):
        shared_weights(WORDS, (0, 1, 2))
