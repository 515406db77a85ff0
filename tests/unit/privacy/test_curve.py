from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.privacy.curve import ORDERS, Guarantee, RenyiCurve, checked_orders, epsilon_at

GRID = checked_orders(ORDERS)
GAUSSIAN = RenyiCurve(GRID, GRID / (2 * 3.0**2), "patient")


def test_the_conversion_is_canonne_kamath_steinke_proposition_12_at_its_best_order() -> None:
    delta = 1e-5
    found = GAUSSIAN.guarantee(delta)
    with mp.workdps(40):
        exact = [
            a / 18 + mp.log(1 - 1 / a) - (mp.log(mp.mpf(delta)) + mp.log(a)) / (a - 1) for a in map(mp.mpf, ORDERS)
        ]
    assert found.epsilon == pytest.approx(float(min(exact)), rel=1e-12)
    assert found == Guarantee(
        epsilon=found.epsilon,
        delta=delta,
        order=ORDERS[exact.index(min(exact))],
        unit="patient",
        conversion="canonne-kamath-steinke",
    )


def test_the_classical_conversion_is_mironov_proposition_3() -> None:
    found = GAUSSIAN.guarantee(1e-5, "mironov")
    assert found.epsilon == pytest.approx(min(a / 18 - math.log(1e-5) / (a - 1) for a in ORDERS), rel=1e-12)
    assert found.epsilon > GAUSSIAN.guarantee(1e-5).epsilon


@pytest.mark.parametrize("sigma", [0.7, 3.0, 20.0])
def test_epsilon_is_never_below_the_exact_one_of_the_gaussian_mechanism(sigma: float) -> None:
    """Balle and Wang 2018, Theorem 8: δ = Φ(1/2σ - εσ) - e^ε Φ(-1/2σ - εσ)."""
    curve = RenyiCurve(GRID, GRID / (2 * sigma**2), "patient")
    epsilon = curve.guarantee(1e-5).epsilon
    with mp.workdps(40):
        exact = mp.ncdf(0.5 / sigma - epsilon * sigma) - mp.exp(epsilon) * mp.ncdf(-0.5 / sigma - epsilon * sigma)
    assert 1e-8 < exact <= 1e-5


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
def test_delta_of_an_epsilon_converts_back_to_it(epsilon: float) -> None:
    assert GAUSSIAN.guarantee(GAUSSIAN.delta(epsilon)).epsilon == pytest.approx(epsilon, rel=1e-9)


def test_nothing_released_costs_nothing() -> None:
    nothing = GAUSSIAN.repeated(0)
    assert nothing.guarantee(0.01).epsilon == 0.0
    assert GAUSSIAN.delta(0.0) <= 1


def test_orders_that_overflow_cost_no_nan() -> None:
    curve = RenyiCurve(checked_orders([2.0, 3.0]), np.array([1.0, np.inf]), "patient")
    assert curve.guarantee(1e-3).order == 2.0
    assert curve.delta(100.0) < 1
    with pytest.raises(InvalidInput, match="no order"):
        RenyiCurve(checked_orders([2.0]), np.array([np.inf]), "patient").guarantee(1e-3)


def test_a_curve_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        GAUSSIAN.values = np.zeros(1)
    with pytest.raises(ValueError, match="read-only"):
        GAUSSIAN.values[0] = 0.0


def test_curves_for_different_units_or_orders_do_not_add() -> None:
    with pytest.raises(InvalidInput, match="unit"):
        GAUSSIAN + RenyiCurve(GRID, GRID, "hospital")
    with pytest.raises(InvalidInput, match="orders"):
        GAUSSIAN + RenyiCurve(GRID[:3], GRID[:3], "patient")


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, float("nan")])
def test_a_delta_that_is_no_probability_is_refused(delta: float) -> None:
    with pytest.raises(InvalidInput, match="delta"):
        GAUSSIAN.guarantee(delta)


@pytest.mark.parametrize("orders", [[], [1.0, 2.0], [3.0, 2.0], [2.0, 2.0], [2.0, float("inf")], [[2.0]]])
def test_orders_that_are_none_are_refused(orders: list[float]) -> None:
    with pytest.raises(InvalidInput, match="orders"):
        checked_orders(orders)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="values"):
        RenyiCurve(GRID, -GRID, "patient")
    with pytest.raises(InvalidInput, match="repetitions"):
        GAUSSIAN.repeated(-1)
    with pytest.raises(InvalidInput, match="conversion"):
        epsilon_at(GRID, GRID, 0.1, "hope")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="epsilon"):
        GAUSSIAN.delta(-1.0)
