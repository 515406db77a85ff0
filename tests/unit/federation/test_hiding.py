"""Copies of cases with findings hidden: what stays, what goes, and that a study's hospitals draw them as written."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from medfed.federation.baselines import federate_plainly
from medfed.federation.features import RawFeatures, Standardisation, encode_features
from medfed.federation.hiding import hidden_copies, hidden_questions
from medfed.federation.outcome_study import outcome_plan, outcome_table
from medfed.federation.plan import CategoryFeature, Hiding, Plan
from medfed.federation.plan_file import format_plan, parse_plan
from medfed.federation.plan_rules import plan_problems
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.statistics import standardisation_of
from medfed.models.dataset import Dataset
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import local_coding
from medfed.records.draft import draft_vocabulary

replace = msgspec.structs.replace
NAMES = [f"sign{n}" for n in range(12)]


def cases(seed: int, number: int = 40) -> list[Case]:
    rng = np.random.default_rng(seed)
    made: list[Case] = []
    for n in range(number):
        told = rng.permutation(NAMES)[: int(rng.integers(1, 7))]
        features = tuple(Feature(local_coding("t", str(name))) for name in told)
        outcome = Outcome((local_coding("t", f"d{min(told)[4:]}"),))
        made.append(Case(f"{seed}-{n}", f"{seed}-p{n}", 0, None, "", features, outcome, f"{seed}-s{n}"))
    return made


WORDS = draft_vocabulary(cases(0, 400), person=False)


def plan(**changes: float) -> Plan:
    return outcome_plan(WORDS, ["a", "b", "c"], title="t", rounds=3, **changes)  # type: ignore[arg-type]


def encoded(of: Plan, number: int = 200) -> tuple[Dataset, Standardisation, np.ndarray]:
    """Rows as a model sees them, how they were standardised, and an encoded row that tells nothing."""
    prepared = prepare(of, outcome_table(cases(1, number), WORDS, bytes(32), fractions=(0.0, 0.0)), bytes(32))
    scale = standardisation_of(of, prepared.features)
    nothing = encode_features(RawFeatures(np.zeros((1, len(of.data.numbers))), np.empty((1, 0), np.int16)), of, scale)
    return prepared.datasets(scale)["train"], scale, nothing[0]


def test_a_finding_is_hidden_whole_and_one_always_stays() -> None:
    of = plan(hide=0.5, copies=7)
    data, scale, nothing = encoded(of)
    hiding = of.hiding
    assert isinstance(hiding, Hiding)
    copies = hidden_copies(of, scale, data, np.random.default_rng(5))
    assert len(copies) == 7 * len(data)
    whole = np.concatenate([data.features] * 7)
    assert (copies.targets == np.concatenate([data.targets] * 7)).all()
    ends = np.cumsum(2 * np.array(hiding.widths))
    told = stayed = 0
    for start, end in zip(ends - 2 * np.array(hiding.widths), ends, strict=True):
        before, after, empty = whole[:, start:end], copies.features[:, start:end], nothing[start:end]
        kept, gone = (after == before).all(axis=1), (after == empty).all(axis=1)
        assert (kept | gone).all()
        said = (before != empty).any(axis=1)
        told, stayed = told + int(said.sum()), stayed + int((said & kept).sum())
    assert (copies.features != nothing).any(axis=1).all()
    # each of about 3.5 findings stays with chance 1/2, and one more where all would go
    assert 0.5 < stayed / told < 0.65


def test_copies_are_drawn_anew_and_the_same_generator_draws_the_same() -> None:
    of = plan()
    data, scale, _ = encoded(of)
    first, again = (hidden_copies(of, scale, data, np.random.default_rng(5)) for _ in range(2))
    other = hidden_copies(of, scale, data, np.random.default_rng(6))
    assert (first.features == again.features).all()
    assert (first.features != other.features).any()
    assert (first.features[: len(data)] != first.features[len(data) : 2 * len(data)]).any()
    asked, asked_again = hidden_questions(of, scale, data), hidden_questions(of, scale, data)
    assert (asked.features == asked_again.features).all()
    assert (asked.features != data.features).any()


def test_a_plan_that_hides_nothing_trains_on_the_cases_as_they_are() -> None:
    of = plan(hide=0.0)
    assert of.hiding is UNSET
    data, scale, _ = encoded(of)
    assert hidden_copies(of, scale, data, np.random.default_rng(5)) is data
    assert hidden_questions(of, scale, data) is data


def test_a_plan_says_what_it_hides_and_is_refused_where_that_has_no_meaning() -> None:
    of = plan(hide=0.25, copies=3)
    assert not plan_problems(of)
    assert parse_plan(format_plan(of), "plan.toml") == of
    hiding = of.hiding
    assert isinstance(hiding, Hiding)
    short = replace(of, hiding=replace(hiding, widths=hiding.widths[1:]))
    assert [problem.path for problem in plan_problems(short)] == ["hiding.widths"]
    category = CategoryFeature("colour", ("red", "blue"))
    mixed = replace(of, data=replace(of.data, features=(category, *of.data.features[1:])))
    above = replace(of, data=replace(of.data, features=(replace(of.data.numbers[0], low=1.0), *of.data.features[1:])))
    for wrong in (mixed, above):
        assert [problem.path for problem in plan_problems(wrong)] == ["hiding"]


@pytest.mark.parametrize("hide", [0.0, 0.5])
def test_patients_that_judge_a_model_are_asked_as_it_was_taught(hide: float) -> None:
    of = plan(hide=hide)
    prepared: PreparedData = prepare(of, outcome_table(cases(2, 90), WORDS, bytes(32)), bytes(32))
    scale = standardisation_of(of, prepared.features)
    parts = prepared.datasets(scale)
    whole = replace(of, hiding=UNSET)
    plain = prepare(whole, outcome_table(cases(2, 90), WORDS, bytes(32)), bytes(32)).datasets(scale)
    assert (parts["train"].features == plain["train"].features).all()
    for name in ("validation", "test"):
        assert len(parts[name]) == len(plain[name]) > 0
        assert (parts[name].features == plain[name].features).all() == (hide == 0.0)


def test_what_is_hidden_changes_from_round_to_round_and_not_with_the_run() -> None:
    of = plan()
    held = {name: prepare(of, outcome_table(cases(n, 60), WORDS, bytes(32)), bytes(32)) for n, name in enumerate("abc")}
    first, again = federate_plainly(of, held), federate_plainly(of, held)
    assert first.digest == again.digest
    whole = replace(of, hiding=UNSET)
    plain = {n: prepare(whole, outcome_table(cases(m, 60), WORDS, bytes(32)), bytes(32)) for m, n in enumerate("abc")}
    assert (federate_plainly(whole, plain).parameters.flat != first.parameters.flat).any()
