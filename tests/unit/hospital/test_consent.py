from __future__ import annotations

from msgspec.structs import replace
from tests.support.study import small_plan

from medfed.federation.plan import Protection, Purpose
from medfed.hospital.consent import APPROVE_ALL, ConsentPolicy, ConsentRule, Decision, decide

PLAN = small_plan()


def test_without_a_fitting_rule_a_person_is_asked() -> None:
    assert decide(ConsentPolicy(), "organiser", PLAN) == Decision("ask")
    policy = ConsentPolicy(rules=(ConsentRule("approve", proposers=("somebody",)),))
    assert decide(policy, "organiser", PLAN) == Decision("ask")


def test_the_first_fitting_rule_decides() -> None:
    policy = ConsentPolicy(
        rules=(
            ConsentRule("decline", learning_objects=("test-disease",), code="not-this-disease"),
            ConsentRule("approve"),
        )
    )
    assert decide(policy, "organiser", PLAN) == Decision("decline", "not-this-disease")
    other = replace(PLAN, purpose=Purpose("A test", "another", "none", "testing"))
    assert decide(policy, "organiser", other) == Decision("approve")


def test_every_condition_of_a_rule_must_hold() -> None:
    fits = ConsentRule(
        "approve",
        proposers=("organiser",),
        learning_objects=("test-disease",),
        protections=("masked",),
        least_hospitals=4,
        most_rounds=2,
    )
    assert decide(ConsentPolicy(rules=(fits,)), "organiser", PLAN).answer == "approve"
    for change in (
        {"proposers": ("other",)},
        {"learning_objects": ("other",)},
        {"protections": ("sealed",)},
        {"least_hospitals": 5},
        {"most_rounds": 1},
    ):
        rule = replace(fits, **change)
        assert decide(ConsentPolicy(rules=(rule,)), "organiser", PLAN).answer == "ask", change


def test_approve_all_approves() -> None:
    assert decide(APPROVE_ALL, "anybody", PLAN).answer == "approve"


def test_a_rule_approves_another_protection_than_masked_only_where_it_names_it() -> None:
    plan = replace(PLAN, protection=Protection("homomorphic", "keeper", ("adder",)))
    assert decide(ConsentPolicy((ConsentRule("approve"),)), "organiser", plan).answer == "ask"
    named = ConsentRule("approve", protections=("homomorphic",))
    assert decide(ConsentPolicy((named,)), "organiser", plan).answer == "approve"
    assert decide(ConsentPolicy((ConsentRule("decline"), named)), "organiser", plan).answer == "decline"
