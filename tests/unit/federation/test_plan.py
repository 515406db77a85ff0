"""Plans: what follows from them, and every rule that keeps a wrong one from being proposed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    MulticlassTarget,
    MultilabelTarget,
    NumberFeature,
    PixelsFeature,
    Plan,
    SurvivalTarget,
)
from medfed.federation.plan_file import load_plan
from medfed.federation.plan_rules import least_quorum, plan_problems, update_elements, verify_plan
from medfed.identifiers import sha256
from medfed.ledger.contracts.terms import Step, Terms
from medfed.models.learner import learner_for
from medfed.models.settings import CoxModel, MlpModel, SmallCnnModel

DATA = Path(__file__).parents[3] / "src" / "medfed" / "demo" / "data"
PLAN = load_plan(DATA / "heart.toml")
replace = msgspec.structs.replace
SURVIVAL = SurvivalTarget("t", "e")


def with_data(**changes: Any) -> Plan:
    return replace(PLAN, data=replace(PLAN.data, **changes))


def with_feature(at: int, **changes: Any) -> Plan:
    features = list(PLAN.data.features)
    features[at] = replace(features[at], **changes)
    return with_data(features=tuple(features))


def with_pixels(side: int) -> Plan:
    return with_data(features=(PixelsFeature("scan", side),))


def with_target(target: Any) -> Plan:
    return with_data(target=target)


def with_training(**changes: Any) -> Plan:
    return replace(PLAN, training=replace(PLAN.training, **changes))


def with_local(strategy: str = "fedavg", **changes: Any) -> Plan:
    training = PLAN.training
    return with_training(local=replace(training.local, **changes), strategy=replace(training.strategy, name=strategy))


def with_people(**changes: Any) -> Plan:
    return replace(PLAN, participation=replace(PLAN.participation, **changes))


def with_deadlines(**changes: Any) -> Plan:
    return replace(PLAN, deadlines=replace(PLAN.deadlines, **changes))


class TestWhatFollows:
    def test_the_terms_hold_the_plan_in_integers(self) -> None:
        initial = sha256(b"initial")
        plan = with_people(hospitals=("d", "a", "c", "b"))
        terms = plan.terms(initial)
        assert decode(encode(terms), Terms) == terms
        assert terms.invited == ("a", "b", "c", "d")
        assert terms.steps == (Step("statistics", 1), Step("training", 20), Step("evaluation", 1))
        assert (terms.plan, terms.initial) == (plan.digest, initial)
        assert (terms.quorum, terms.max_attempts) == (3, 3)
        assert (terms.min_examples, terms.max_examples) == (20, 10_000)
        assert (terms.deadlines, terms.rewards) == (plan.deadlines, plan.rewards)

    def test_the_digest_survives_bytes_and_changes_with_every_field(self) -> None:
        assert decode(encode(PLAN), Plan).digest == PLAN.digest
        others = [with_training(seed=1), with_feature(0, unit="a"), with_people(quorum=4), with_local(steps=51)]
        assert len({plan.digest for plan in [PLAN, *others]}) == 5

    @pytest.mark.parametrize(
        ("target", "task", "outputs"),
        [
            (BinaryTarget("x", ("1",), ("0",)), "binary", 1),
            (MulticlassTarget("x", ("a", "b", "c")), "multiclass", 3),
            (MultilabelTarget(("x", "y")), "multilabel", 2),
            (SURVIVAL, "survival", 1),
        ],
    )
    def test_task_and_outputs_follow_from_the_target(self, target: Any, task: str, outputs: int) -> None:
        plan = with_target(target)
        assert (plan.task, plan.outputs, plan.inputs) == (task, outputs, 45)
        assert plan.data.columns[13:] == target.names

    @pytest.mark.parametrize(
        "plan",
        [
            PLAN,
            replace(PLAN, model=MlpModel((16, 8))),
            replace(with_target(MulticlassTarget("x", ("a", "b", "c"))), model=MlpModel((5,))),
            replace(with_target(SURVIVAL), model=CoxModel()),
        ],
    )
    def test_the_size_of_an_update_is_that_of_the_learners_parameters(self, plan: Plan) -> None:
        learner = learner_for(plan.model, plan.task, plan.inputs, plan.outputs)
        assert update_elements(plan) == learner.initial(0).flat.size
        scaffold = replace(
            plan,
            training=replace(
                plan.training, strategy=msgspec.convert({"name": "scaffold"}, type(plan.training.strategy))
            ),
        )
        assert update_elements(scaffold) == 2 * update_elements(plan)


class TestRules:
    @pytest.mark.parametrize(
        "plan",
        [
            PLAN,
            replace(with_target(SURVIVAL), model=CoxModel()),
            with_local("fedprox", proximal=0.1),
            with_local("scaffold"),
            with_local(epochs=2, steps=0),
            with_people(hospitals=("a", "b", "c"), max_attempts=1),
        ],
    )
    def test_good_plans_pass(self, plan: Plan) -> None:
        verify_plan(plan)

    CASES: tuple[tuple[str, Callable[[], Plan], str], ...] = (
        ("participation.hospitals", lambda: with_people(hospitals=("a", "b", "c", "a")), "'a' is named twice"),
        ("participation.hospitals[1]", lambda: with_people(hospitals=("a", "B!", "c", "d")), "regex"),
        ("participation.hospitals", lambda: with_people(hospitals=("a", "b")), "length >= 3"),
        ("participation.quorum", lambda: with_people(hospitals=tuple("abcdef"), quorum=4), "expected 5 to 6"),
        ("participation.quorum", lambda: with_people(quorum=5), "expected 3 to 4"),
        ("participation.max_attempts", lambda: with_people(max_attempts=1), "need 2"),
        ("participation.min_examples", lambda: with_people(min_examples=10_001), "above max_examples"),
        ("data.features[1].name", lambda: with_feature(1, name="age"), "already data.features[0].name"),
        ("data.target", lambda: with_target(BinaryTarget("age", ("1",), ("0",))), "'age' is already"),
        ("data.target", lambda: with_target(MultilabelTarget(("x", "x"))), "'x' is already data.target"),
        ("data.patient", lambda: with_data(patient="num"), "'num' is already data.target"),
        ("data.split", lambda: with_data(split="sex"), "'sex' is already"),
        ("data.features[0].low", lambda: with_feature(0, low=110.0), "low 110 is not below high 110"),
        ("data.features[0].low", lambda: with_feature(0, low=math.nan), "nan is not a finite number"),
        ("data.features[0].high", lambda: with_feature(0, high=math.inf), "inf is not a finite number"),
        ("data.features[0].low", lambda: with_feature(0, low=-1e16), "range within"),
        ("data.features[0].low", lambda: with_feature(0, low=0), "is an integer; write 0.0"),
        ("data.features[3].missing_values", lambda: with_feature(3, missing_values=(0.0, 0.0)), "repeated"),
        ("data.features[3].missing_values[0]", lambda: with_feature(3, missing_values=(math.nan,)), "finite"),
        ("data.features[0].unit", lambda: with_feature(0, unit=""), "characters"),
        ("data.features[0].code", lambda: with_feature(0, code="x" * 201), "at most 200"),
        ("data.features[1].values", lambda: with_feature(1, values=("1", "1.0")), "'1' is there twice"),
        ("data.features[1].values[1]", lambda: with_feature(1, values=("1", "NA")), "reads as missing"),
        ("data.features[1].values[1]", lambda: with_feature(1, values=("1", " 2")), "none blank at either end"),
        ("data.features[1].values", lambda: with_feature(1, values=("1",)), "length >= 2"),
        ("data.features[1].missing_values", lambda: with_feature(1, missing_values=("1.0",)), "also one of its"),
        ("data.features", lambda: with_data(features=()), "length >= 1"),
        ("data.target.negative", lambda: with_target(BinaryTarget("x", ("1", "2"), ("2.0",))), "'2' is also positive"),
        ("data.target.positive[0]", lambda: with_target(BinaryTarget("x", ("?",), ("0",))), "reads as missing"),
        ("data.target.classes", lambda: with_target(MulticlassTarget("x", ("a", "a"))), "'a' is there twice"),
        ("data.validation_fraction", lambda: with_data(validation_fraction=0.0), "judge a round"),
        ("data.test_fraction", lambda: with_data(test_fraction=0.5), "< 0.5"),
        ("model.kind", lambda: replace(PLAN, model=CoxModel()), "expected 'mlp'"),
        ("model.kind", lambda: with_target(SURVIVAL), "expected 'cox'"),
        ("model.kind", lambda: replace(PLAN, model=SmallCnnModel(side=28)), "a feature of kind 'pixels'"),
        ("model", lambda: replace(with_pixels(27), model=SmallCnnModel(side=28)), "1 x 28 x 28 are 784 numbers"),
        ("model.hidden", lambda: replace(PLAN, model=MlpModel((2,) * 17)), "17 layers"),
        ("model", lambda: replace(PLAN, model=MlpModel((4096,) * 6)), "elements in an update"),
        ("training.local", lambda: with_local(epochs=1), "exactly one"),
        ("training.local", lambda: with_local(steps=0), "exactly one"),
        ("training.local.momentum", lambda: with_local(optimizer="adam", momentum=0.9), "expected 0"),
        ("training.local.proximal", lambda: with_local("fedprox"), "above 0"),
        ("training.local.optimizer", lambda: with_local("scaffold", optimizer="adam"), "sgd without momentum"),
        ("training.local.optimizer", lambda: with_local("scaffold", momentum=0.9), "sgd without momentum"),
        ("training.local.learning_rate", lambda: with_local(learning_rate=math.nan), ""),
        ("training.local.learning_rate", lambda: with_local(learning_rate=-1.0), "> 0"),
        ("training.local.optimizer", lambda: with_local(optimizer="sgdd"), "Invalid enum value"),
        ("training.clip", lambda: with_training(clip=math.inf), ""),
        ("training.rounds", lambda: with_training(rounds="many"), "Expected 'int', got 'str'"),
        ("training.rounds", lambda: with_training(rounds=10_001), "<= 10000"),
        ("deadlines.study", lambda: with_deadlines(study=1_000), "shorter than one round"),
        ("deadlines.update", lambda: with_deadlines(update=0), ">= 1"),
        ("plan", lambda: with_feature(1, values=tuple(str(i) * 66 for i in range(100, 356))), "canonical bytes"),
    )  # fmt: skip

    @pytest.mark.parametrize(("path", "make", "expected"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
    def test_each_wrong_plan_is_refused_with_path_and_reason(
        self, path: str, make: Callable[[], Plan], expected: str
    ) -> None:
        problems = plan_problems(make())
        assert path in [problem.path for problem in problems]
        assert any(expected in problem.sentence for problem in problems if problem.path == path)
        with pytest.raises(InvalidInput, match="plan: "):
            verify_plan(make())

    def test_all_problems_are_named_at_once(self) -> None:
        plan = replace(with_people(quorum=50, max_attempts=64), model=CoxModel())
        with pytest.raises(InvalidInput) as caught:
            verify_plan(plan)
        assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
            "participation.quorum",
            "model.kind",
        ]

    def test_values_of_foreign_types_are_problems_not_crashes(self) -> None:
        foreign: list[Any] = [object(), np.float64(1.0), np.float32(1.0), [1], {}, None, b"x", 10**40]
        for wrong in foreign:
            for plan in (with_training(clip=wrong), with_feature(0, low=wrong), with_people(hospitals=wrong)):
                for problem in plan_problems(plan):
                    assert problem.sentence

    def test_feature_records_hold_what_the_width_says(self) -> None:
        assert NumberFeature("a", 0.0, 1.0).width == 2
        assert CategoryFeature("a", ("1", "2", "3")).width == 5

    def test_the_least_quorum_is_a_majority_of_two_thirds_and_at_least_three(self) -> None:
        for invited in range(3, 51):
            assert least_quorum(invited) == max(3, math.floor(2 * invited / 3) + 1)
            assert least_quorum(invited) <= invited
