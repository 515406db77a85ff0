"""A labelling study's plan costs what it says, its voters carry its noise, and nothing data-dependent is published."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.labelling import CONFIDENT, LAPLACE, TEN, labelling_plan
from tests.support.study import small_plan

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.federation.labelling_rules import labelling_problems, voters_needed
from medfed.federation.plan import Labelling, MultilabelTarget, Plan, StrategySettings
from medfed.federation.plan_file import format_plan, parse_plan
from medfed.federation.plan_rules import plan_problems, verify_plan
from medfed.ledger.contracts.labelling_terms import GaussianNoise, LaplaceNoise
from medfed.ledger.contracts.terms import Step


def _changed(**changed: Any) -> Plan:
    plan = labelling_plan()
    assert isinstance(plan.labelling, Labelling)
    return replace(plan, labelling=replace(plan.labelling, **changed))


@pytest.mark.parametrize("noise", [LAPLACE, CONFIDENT, GaussianNoise(200)], ids=["laplace", "confident", "gaussian"])
def test_a_good_plan_passes_and_comes_back_from_file_and_bytes(noise: Any) -> None:
    plan = labelling_plan(noise=noise)
    verify_plan(plan)
    assert parse_plan(format_plan(plan), "plan") == plan
    assert decode(encode(plan), Plan) == plan


def test_a_plan_without_labelling_has_the_bytes_that_it_always_had() -> None:
    assert b"labelling" not in encode(small_plan())
    assert list(labelling_problems(small_plan())) == []


def test_a_labelling_study_has_votes_rounds_only() -> None:
    assert labelling_plan().terms(bytes(32)).steps == (Step("votes", 2),)
    assert labelling_plan(noise=CONFIDENT).terms(bytes(32)).steps == (Step("votes", 4),)


def test_the_budget_covers_the_spare_batches_too() -> None:
    plan = labelling_plan(spare=1, epsilon=7.9)
    assert isinstance(plan.labelling, Labelling)
    assert plan.labelling.terms.budget == (60,)
    (problem,) = plan_problems(plan)
    assert problem.path == "labelling.epsilon"
    assert "cost ε" in problem.sentence


@pytest.mark.parametrize(
    ("changed", "path", "said"),
    [
        ({"batch": 15}, "labelling.batch", "whole batches"),
        ({"answers": 40}, "labelling.answers", "expected 0"),
        ({"teachers": (5,) * 9}, "labelling.teachers", "9 numbers for 10"),
        ({"dropouts": 9}, "labelling.dropouts", "none of 10"),
        ({"dropouts": 0}, "participation.quorum", "needs 10"),
        ({"attended": 11}, "labelling.attended", "11 of 10"),
        ({"teachers": (1,) * 10}, "labelling.teachers", "this noise needs"),
        ({"noise": LaplaceNoise(100)}, "labelling.teachers", "this noise needs"),
        ({"epsilon": 1_000_000}, "labelling.epsilon", "cost ε"),
        ({"attended": 2}, "labelling.epsilon", "cost ε"),
        ({"accounting": "data-dependent"}, "labelling.accounting", "never published"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], path: str, said: str) -> None:
    problems = plan_problems(_changed(**changed))
    assert [(problem.path, said in problem.sentence) for problem in problems] == [(path, True)]


@pytest.mark.parametrize(
    ("answers", "threshold", "said"),
    [
        (1, 38, "expected 2 to 40"),
        (3, 38, "do not divide"),
        (42, 38, "expected 2 to 40"),
        (40, 51, "no case would pass"),
    ],
)
def test_confident_aggregation_says_how_many_answers_and_a_threshold_that_can_be_passed(
    answers: int, threshold: int, said: str
) -> None:
    plan = labelling_plan(noise=replace(CONFIDENT, threshold=threshold), epsilon=8.0)
    assert isinstance(plan.labelling, Labelling)
    plan = replace(plan, labelling=replace(plan.labelling, answers=answers))
    assert said in " ".join(problem.sentence for problem in plan_problems(plan))


def test_a_plan_that_would_publish_a_data_dependent_epsilon_cannot_be_read_from_a_file_either() -> None:
    text = format_plan(labelling_plan())
    with pytest.raises(InvalidInput, match="never published"):
        parse_plan(text.replace('"data-independent"', '"data-dependent"'), "plan")
    with pytest.raises(InvalidInput, match="unknown key"):
        parse_plan(text.replace("accounting =", "data_dependent_epsilon ="), "plan")


def test_votes_are_for_one_class() -> None:
    plan = labelling_plan()
    data = replace(plan.data, target=MultilabelTarget(("ill", "worse")))
    assert any(problem.path == "data.target" for problem in plan_problems(replace(plan, data=data)))


def test_there_is_no_training_to_have_a_strategy() -> None:
    plan = labelling_plan()
    training = replace(plan.training, strategy=StrategySettings("fedavgm"))
    assert [problem.path for problem in plan_problems(replace(plan, training=training))] == ["training"]


def test_the_voters_needed_are_the_fewest_that_pass() -> None:
    plan = _changed(noise=LaplaceNoise(500), epsilon=8_000_000)
    assert isinstance(plan.labelling, Labelling)
    needed = voters_needed(plan, plan.labelling)
    enough = replace(plan.labelling, teachers=(-(-needed // 9),) * len(TEN))
    assert plan_problems(replace(plan, labelling=enough)) == []
    scarce = replace(plan.labelling, teachers=((needed - 1) // 9,) * len(TEN))
    assert f"needs {needed}" in plan_problems(replace(plan, labelling=scarce))[0].sentence
