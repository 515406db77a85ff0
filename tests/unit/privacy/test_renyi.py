from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from medfed.errors import InvalidInput
from medfed.privacy import data_dependent
from medfed.privacy.curve import ORDERS, checked_orders
from medfed.privacy.events import (
    Composed,
    ConfidentGaussianMax,
    DiscreteLaplaceSum,
    GaussianMax,
    GaussianSum,
    LaplaceMax,
    Repeated,
    SkellamSum,
    SkellamVectorSum,
)
from medfed.privacy.lattice import skellam_divergence
from medfed.privacy.renyi import guarantee, renyi_curve, skellam_vector, verify_guarantee

GRID = checked_orders(ORDERS)


def test_gaussian_sums_cost_alpha_times_squared_sensitivity_over_twice_the_variance() -> None:
    np.testing.assert_allclose(renyi_curve(GaussianSum(sigma=5.0, l2=2.0)).values, GRID * 4 / 50, rtol=1e-14)


def test_gnmax_costs_as_much_as_the_gaussian_histogram_behind_it() -> None:
    histogram = renyi_curve(GaussianSum(sigma=40.0, l2=2**0.5))
    np.testing.assert_allclose(renyi_curve(GaussianMax(sigma=40.0)).values, histogram.values, rtol=1e-14)


def test_confident_gnmax_charges_every_threshold_and_the_answers() -> None:
    event = ConfidentGaussianMax(threshold_sigma=150.0, sigma=40.0, queries=100, answered=60)
    np.testing.assert_allclose(renyi_curve(event).values, GRID * (100 / (2 * 150**2) + 60 / 40**2), rtol=1e-13)


def test_lnmax_costs_at_most_its_pure_epsilon() -> None:
    values = renyi_curve(LaplaceMax(gamma=0.05)).values
    np.testing.assert_allclose(values, np.minimum(0.1, GRID * 0.01 / 2), rtol=1e-14)


def test_equal_events_are_charged_however_they_are_written() -> None:
    vote = SkellamSum(variance=1600.0)
    often = renyi_curve(Repeated(event=vote, count=500)).values
    np.testing.assert_allclose(renyi_curve(Composed(events=(vote,) * 500)).values, often, rtol=1e-12)
    nested = Repeated(event=Composed(events=(vote, Repeated(event=vote, count=9))), count=50)
    np.testing.assert_allclose(renyi_curve(nested).values, often, rtol=1e-12)
    assert guarantee([Repeated(event=vote, count=200), Repeated(event=vote, count=300)], 1e-5) == guarantee(
        Repeated(event=vote, count=500), 1e-5
    )


def test_shifts_of_several_counts_add_up() -> None:
    both = renyi_curve(SkellamSum(variance=25.0, shifts=(1, 2))).values
    expected = skellam_divergence(25.0, 1, GRID) + skellam_divergence(25.0, 2, GRID)
    np.testing.assert_allclose(both, expected, rtol=1e-12)


@pytest.mark.parametrize("variance", [1.0, 25.0, 1600.0])
def test_the_bound_for_vectors_is_at_least_the_exact_divergence(variance: float) -> None:
    orders = checked_orders([1.1, 2.0, 2.5, 16.0, 64.0, 256.0])
    for shift in (1, 2, 5, 30):
        bound = skellam_vector(variance, shift, shift, orders)
        assert (skellam_divergence(variance, shift, orders) <= bound).all()
    flat = 10 * skellam_divergence(variance, 1, orders)
    assert (flat <= skellam_vector(variance, 10.0, 10**0.5, orders)).all()


def test_the_bound_for_vectors_nears_the_gaussian_one_as_noise_grows() -> None:
    fine = renyi_curve(SkellamVectorSum(variance=1e8, l1=1e5, l2=1e4)).guarantee(1e-5).epsilon
    gaussian = renyi_curve(GaussianSum(sigma=1e4, l2=1e4)).guarantee(1e-5).epsilon
    assert gaussian <= fine <= gaussian * 1.01


def test_more_noise_fewer_queries_and_fewer_hospitals_cost_less() -> None:
    def cost(variance: float, count: int, hospitals: int) -> float:
        event = SkellamSum(variance=variance, shifts=(hospitals, hospitals))
        return guarantee(Repeated(event=event, count=count), 1e-5).epsilon

    assert cost(1600.0, 100, 1) < cost(1600.0, 101, 1)
    assert cost(1600.0, 100, 1) < cost(1500.0, 100, 1)
    assert cost(1600.0, 100, 1) < cost(1600.0, 100, 2)


@pytest.mark.parametrize(
    "not_an_event",
    [
        data_dependent.gaussian_max_curve([[250, 0]], 40.0),
        data_dependent.gaussian_max_curve([[250, 0]], 40.0).epsilon(1e-5),
        0.5,
        None,
    ],
)
def test_only_events_are_charged_never_what_was_computed_from_votes(not_an_event: object) -> None:
    with pytest.raises(InvalidInput, match="expected an event"):
        renyi_curve(not_an_event)  # type: ignore[arg-type]


def test_votes_cannot_be_composed_with_events() -> None:
    votes = data_dependent.gaussian_max_curve([[250, 0]], 40.0)
    with pytest.raises(InvalidInput, match="expected an event"):
        guarantee([DiscreteLaplaceSum(gamma=0.1), votes], 1e-5)  # type: ignore[list-item]


def test_a_claimed_guarantee_is_checked_against_its_event() -> None:
    event = Repeated(event=SkellamSum(variance=1600.0), count=500)
    honest = guarantee(event, 1e-5)
    verify_guarantee(honest, event)
    verify_guarantee(structs.replace(honest, epsilon=honest.epsilon + 1), event)
    with pytest.raises(InvalidInput, match="but the releases cost"):
        verify_guarantee(structs.replace(honest, epsilon=honest.epsilon / 2), event)
    with pytest.raises(InvalidInput, match="hospital"):
        verify_guarantee(structs.replace(honest, unit="hospital"), event)
