"""What a hospital is told of a plan before it approves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from medfed.errors import InvalidInput
from medfed.federation.plan import MulticlassTarget, MultilabelTarget, Plan, SurvivalTarget
from medfed.federation.plan_check import check_plan
from medfed.federation.plan_file import load_plan
from medfed.federation.study import round_manifest
from medfed.models.settings import CoxModel

DATA = Path(__file__).parents[3] / "src" / "medfed" / "demo" / "data"
PLAN = load_plan(DATA / "heart.toml")
replace = msgspec.structs.replace


def with_part(part: str, **changes: Any) -> Plan:
    return replace(PLAN, **{part: replace(getattr(PLAN, part), **changes)})


def test_the_heart_studys_figures_follow_from_its_manifests() -> None:
    check = check_plan(PLAN)
    assert (check.quorum, check.crashes_tolerated, check.parameters) == (3, 1, 46)
    assert (check.inputs, check.outputs, check.task) == (45, 1, "binary")
    assert [(cost.kind, cost.count) for cost in check.rounds] == [
        ("statistics", 1),
        ("training", 20),
        ("evaluation", 1),
    ]
    for cost in check.rounds:
        assert cost.bytes_sent == 4 * round_manifest(PLAN, cost.kind).length
        assert cost.bytes_received == 3 * cost.bytes_sent
    statistics, training, evaluation = check.rounds
    assert check.bytes_sent == statistics.bytes_sent + 20 * training.bytes_sent + evaluation.bytes_sent
    assert check.bytes_received == 3 * check.bytes_sent
    assert check.digest == PLAN.digest
    assert check.warnings == ()


def test_every_deadline_is_put_in_words() -> None:
    words = dict(check_plan(PLAN).deadlines)
    assert words.keys() == set(msgspec.structs.asdict(PLAN.deadlines))
    assert words["confirm"].startswith("10 minutes to confirm")
    assert words["approval"].startswith("7 days to approve")


@pytest.mark.parametrize(
    ("target", "model", "expected"),
    [
        (PLAN.data.target, PLAN.model, "how many rows are ill"),
        (MulticlassTarget("k", ("x", "y", "z")), PLAN.model, "each of 3 classes"),
        (MultilabelTarget(("l", "m")), PLAN.model, "each of 2 labels"),
        (SurvivalTarget("t", "e"), CoxModel(), "how many events were seen"),
    ],
)
def test_what_is_revealed_is_said_for_each_kind_of_target(target: Any, model: Any, expected: str) -> None:
    plan = replace(with_part("data", target=target), model=model)
    reveals = " ".join(check_plan(plan).reveals)
    assert expected in reveals
    assert "6 numbers" in reveals
    assert "7 categories" in reveals
    assert "20 training rounds" in reveals


@pytest.mark.parametrize(
    ("hospitals", "quorum", "conspirators"), [(3, 3, 1), (4, 3, 1), (4, 4, 2), (7, 5, 3), (10, 7, 5)]
)
def test_the_promise_ends_where_the_protocols_does(hospitals: int, quorum: int, conspirators: int) -> None:
    names = tuple(f"h{at}" for at in range(hospitals))
    plan = with_part("participation", hospitals=names, quorum=quorum, max_attempts=8)
    sentence = check_plan(plan).reveals[1]
    assert f"at least {quorum} hospitals" in sentence
    assert f"more than {conspirators} of the others" in sentence


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (with_part("participation", hospitals=("a", "b", "c")), "the quorum is all 3 hospitals"),
        (with_part("data", test_fraction=0.0), "no test patients"),
        (with_part("data", rare_category=2), "categories of 2 patients"),
        (
            with_part("training", strategy=replace(PLAN.training.strategy, name="fedadam")),
            "fedadam with rate 1 takes steps",
        ),
        (
            with_part("training", stopping=replace(PLAN.training.stopping, patience=3, min_rounds=20)),
            "early stopping cannot act",
        ),
        (with_part("deadlines", study=15 * 24 * 3600 * 1000), "the study's deadline passes"),
        (replace(PLAN, model=replace(PLAN.model, hidden=(4096, 4096, 4096))), "more than 100 MiB"),
    ],
)
def test_what_may_surprise_is_warned_of(plan: Plan, expected: str) -> None:
    (warning,) = check_plan(plan).warnings
    assert expected in warning


def test_a_wrong_plan_is_refused_first() -> None:
    with pytest.raises(InvalidInput, match=r"participation\.quorum"):
        check_plan(with_part("participation", quorum=50))
