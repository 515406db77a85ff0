"""A labelling study's numbers: what fits the budget is proposed, what does not is refused with the number needed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from medfed.errors import InvalidInput, Refused
from medfed.ledger.contracts.labelling_terms import ConfidentNoise, GaussianNoise, LaplaceNoise
from medfed.pate.planning import Wishes, cost, plan_labelling, privacy_curve

KNOWN: dict[str, Any] = {
    "voters": 250,
    "classes": 2,
    "agreement": (0.9,),
    "epsilon": 2.81,
    "delta": 1e-5,
    "hospitals": 10,
    "dropouts": 1,
}


def _wishes(**changed: Any) -> Wishes:
    return Wishes(**(KNOWN | changed))


def test_the_noise_of_adult_pays_for_five_hundred_queries() -> None:
    proposal = plan_labelling(_wishes(mechanism="laplace", noise=LaplaceNoise(gamma=200)))
    assert 495 <= proposal.queries <= 505
    assert proposal.guarantee.epsilon <= 2.81


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian", "confident"])
def test_the_noise_for_given_queries_is_the_least_that_the_budget_allows(mechanism: Any) -> None:
    wishes = _wishes(mechanism=mechanism, queries=300)
    proposal = plan_labelling(wishes)
    assert proposal.queries == 300
    assert proposal.guarantee.epsilon <= 2.81
    match proposal.noise:
        case LaplaceNoise(gamma=gamma):
            less = LaplaceNoise(gamma=gamma + 1)
        case GaussianNoise(variance=variance):
            less = GaussianNoise(variance=variance - 1)
        case ConfidentNoise() as noise:
            less = ConfidentNoise(
                screen_variance=noise.screen_variance - 9, threshold=noise.threshold, variance=noise.variance - 1
            )
    assert cost(wishes, less, 300, proposal.answers).epsilon > 2.81


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian", "confident"])
def test_without_queries_the_noise_is_as_large_as_the_voters_can_carry(mechanism: Any) -> None:
    wishes = _wishes(mechanism=mechanism, reliability=0.95)
    proposal = plan_labelling(wishes)
    assert 0.95 <= proposal.expected_correct < 0.96
    assert proposal.guarantee.epsilon <= 2.81
    more = cost(wishes, proposal.noise, proposal.queries + 1, proposal.answers + 1)
    assert more.epsilon > 2.81


def test_too_few_voters_are_refused_with_the_number_that_is_enough() -> None:
    with pytest.raises(Refused) as refused:
        plan_labelling(_wishes(voters=10, queries=200))
    assert refused.value.code == "too-few-voters"
    (needed,) = map(int, re.findall(r"^(\d+) voters", str(refused.value)))
    noise = plan_labelling(_wishes(voters=needed, queries=200)).noise
    assert isinstance(noise, GaussianNoise)
    with pytest.raises(Refused, match=f"{needed} voters"):
        plan_labelling(_wishes(voters=needed - 1, queries=200))


def test_more_queries_than_the_budget_pays_for_are_refused_with_the_number_that_it_pays_for() -> None:
    wishes = _wishes(noise=GaussianNoise(variance=1600), queries=5000)
    with pytest.raises(Refused) as refused:
        plan_labelling(wishes)
    assert refused.value.code == "privacy-budget"
    (most,) = map(int, re.findall(r"pays for (\d+) queries", str(refused.value)))
    assert plan_labelling(_wishes(noise=GaussianNoise(variance=1600), queries=most)).queries == most
    with pytest.raises(Refused, match="pays for"):
        plan_labelling(_wishes(noise=GaussianNoise(variance=1600), queries=most + 1))


def test_a_budget_too_small_for_one_query_is_refused_with_the_budget_for_one() -> None:
    with pytest.raises(Refused, match=r"ε of at least 4\.01"):
        plan_labelling(_wishes(epsilon=1.0, mechanism="laplace", noise=LaplaceNoise(gamma=20_000)))


def test_a_patient_at_several_hospitals_needs_more_noise() -> None:
    once, twice = (plan_labelling(_wishes(attended=k, queries=300, reliability=0.6)).noise for k in (1, 2))
    assert isinstance(once, GaussianNoise)
    assert isinstance(twice, GaussianNoise)
    assert twice.variance == pytest.approx(4 * once.variance, rel=0.02)


def test_confident_aggregation_answers_easy_cases_and_leaves_hard_ones() -> None:
    noise = ConfidentNoise(screen_variance=400, threshold=190, variance=100)
    easy, hard = (
        plan_labelling(_wishes(mechanism="confident", noise=noise, epsilon=9.0, queries=100, agreement=(share,)))
        for share in (0.95, 0.55)
    )
    assert easy.expected_answers > 95
    assert hard.expected_answers < 5
    assert hard.answers < easy.answers
    assert hard.guarantee.epsilon < easy.guarantee.epsilon


def test_the_curve_rises_to_the_whole_cost() -> None:
    proposal = plan_labelling(_wishes(queries=300))
    curve = privacy_curve(proposal, points=20)
    assert [count for count, _ in curve] == sorted(count for count, _ in curve)
    assert [epsilon for _, epsilon in curve] == sorted(epsilon for _, epsilon in curve)
    assert curve[-1] == (300, proposal.guarantee.epsilon)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"voters": 0}, "voters"),
        ({"classes": 1}, "classes"),
        ({"agreement": ()}, "agreement"),
        ({"agreement": (0.5,)}, "agreement"),
        ({"epsilon": float("nan")}, "budget"),
        ({"delta": 0.0}, "budget"),
        ({"dropouts": 9}, "colluding"),
        ({"attended": 11}, "attended"),
        ({"reliability": 1.0}, "reliability"),
        ({"queries": 0}, "queries"),
        ({"noise": LaplaceNoise(gamma=1)}, "expected that of gaussian"),
    ],
)
def test_wishes_out_of_range_are_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        _wishes(**changed)


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_where_no_number_of_voters_gets_there_the_refusal_says_so_and_with_what_share(mechanism: Any) -> None:
    """One case in two splits the voters so evenly that even a hundred million of them decide it by noise."""
    hopeless = _wishes(agreement=(0.95, 0.5 + 1e-9), queries=300, mechanism=mechanism, voters=250)
    with pytest.raises(Refused) as refused:
        plan_labelling(hopeless)
    assert refused.value.code == "too-few-voters"
    assert "no number of voters gets 90% of the answers right" in str(refused.value)
    assert re.search(r"with 250, \d+\.\d% are", str(refused.value))


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace", "confident"])
def test_without_queries_too_what_no_number_of_voters_reaches_is_refused(mechanism: Any) -> None:
    with pytest.raises(Refused, match="no number of voters gets 90%"):
        plan_labelling(_wishes(agreement=(0.5 + 1e-9,), mechanism=mechanism))


def test_the_command_refuses_what_no_number_of_voters_makes_possible() -> None:
    from click.testing import CliRunner

    from medfed.cli.pate import plan

    options = ["--voters", "50", "--classes", "2", "--agreement", "0.500000001", "--hospitals", "10", "--epsilon", "2"]
    done = CliRunner().invoke(plan, options)
    assert isinstance(done.exception, Refused)
    assert "no number of voters" in str(done.exception)
