"""The bounds from votes follow their papers, and there is no accidental way from them to a figure in a report."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import mpmath as mp
import msgspec
import numpy as np
import pytest

from medfed.encoding import encode
from medfed.errors import InvalidInput, Refused
from medfed.privacy import charge_for
from medfed.privacy.data_dependent import (
    DataDependentCurve,
    DataDependentEpsilon,
    gaussian_max_curve,
    gaussian_max_log_q,
    laplace_max_curve,
    laplace_max_log_q,
    threshold_curve,
    threshold_log_answered,
)
from medfed.privacy.events import ConfidentGaussianMax, GaussianMax, LaplaceMax
from medfed.privacy.gaussian_tail import log_gaussian_tail
from medfed.privacy.renyi import renyi_curve

ORDERS = [1.5, 2.0, 4.0, 8.0, 14.0, 32.0]
VOTES = [[214, 4, 7, 6, 8, 4, 2, 0, 4, 1], [130, 120, 0, 0, 0, 0, 0, 0, 0, 0], [250, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
CURVE = gaussian_max_curve(VOTES, 40.0, ORDERS)
EPSILON = CURVE.epsilon(1e-5)


def _theorem_6(log_q: mp.mpf, variance: mp.mpf, order: float) -> mp.mpf:
    """Papernot et al. 2018, Theorem 6 with Proposition 10's orders, in its own variables and enough digits."""
    q, alpha = mp.exp(log_q), mp.mpf(order)
    independent = alpha / variance
    mu2 = mp.sqrt(variance * -log_q)
    mu1 = mu2 + 1
    e1, e2 = mu1 / variance, mu2 / variance
    if mu2 <= 1 or alpha >= mu1:
        return independent
    if q > mp.exp((mu2 - 1) * e2) / (mu1 / (mu1 - 1) * mu2 / (mu2 - 1)) ** mu2 or q * mp.exp(e2) >= 1:
        return independent
    a = (1 - q) / (1 - (q * mp.exp(e2)) ** ((mu2 - 1) / mu2))
    b = mp.exp(e1) / q ** (1 / (mu1 - 1))
    given = mp.log((1 - q) * a ** (alpha - 1) + q * b ** (alpha - 1)) / (alpha - 1)
    return min(given, independent)


@pytest.mark.parametrize("sigma", [5.0, 40.0, 100.0])
@pytest.mark.parametrize("votes", VOTES)
def test_gnmax_given_votes_is_theorem_6(votes: list[int], sigma: float) -> None:
    ours = gaussian_max_curve(votes, sigma, ORDERS).rows_for_research_only()[0]
    with mp.workdps(450):
        top = max(votes)
        rest = sorted(votes)[:-1]
        q = mp.fsum(mp.erfc((top - v) / (2 * mp.mpf(sigma))) / 2 for v in rest)
        log_q = mp.log(min(q, 1 - mp.mpf(1) / len(votes)))
        assert gaussian_max_log_q(votes, sigma)[0] == pytest.approx(float(log_q), rel=1e-12)
        for order, value in zip(ORDERS, ours, strict=True):
            assert value == pytest.approx(float(_theorem_6(log_q, mp.mpf(sigma) ** 2, order)), rel=1e-9)


@pytest.mark.parametrize(
    ("top", "threshold", "sigma"), [(214, 200, 150.0), (20, 50, 2.0), (250, 100, 20.0), (60, 30, 1)]
)
def test_the_threshold_check_given_the_top_count_is_theorem_6_for_one_count(
    top: int, threshold: float, sigma: float
) -> None:
    ours = threshold_curve(top, threshold, sigma, ORDERS).rows_for_research_only()[0]
    with mp.workdps(450):
        answered = mp.erfc((threshold - top) / (mp.sqrt(2) * sigma)) / 2
        assert threshold_log_answered(top, threshold, sigma)[0] == pytest.approx(float(mp.log(answered)), rel=1e-9)
        log_q = mp.log(min(answered, 1 - answered))
        for order, value in zip(ORDERS, ours, strict=True):
            assert value == pytest.approx(float(_theorem_6(log_q, 2 * mp.mpf(sigma) ** 2, order)), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.02, 0.05, 0.1, 1.0])
@pytest.mark.parametrize("votes", VOTES)
def test_lnmax_given_votes_is_the_theorem_of_2017(votes: list[int], gamma: float) -> None:
    ours = laplace_max_curve(votes, gamma, ORDERS).rows_for_research_only()[0]
    with mp.workdps(450):
        g, top = mp.mpf(gamma), max(votes)
        q = mp.fsum((2 + g * (top - v)) / (4 * mp.exp(g * (top - v))) for v in sorted(votes)[:-1])
        q = min(q, 1 - mp.mpf(1) / len(votes))
        assert laplace_max_log_q(votes, gamma)[0] == pytest.approx(float(mp.log(q)), rel=1e-12)
        pure = 2 * g
        for order, value in zip(ORDERS, ours, strict=True):
            moment = order - 1
            exact = min(pure, pure**2 * order / 2)
            if q <= 1 / (mp.exp(pure) + 1):
                stay = (1 - q) * ((1 - q) / (1 - mp.exp(pure) * q)) ** moment
                exact = min(exact, mp.log(stay + q * mp.exp(pure * moment)) / moment)
            assert value == pytest.approx(float(exact), rel=1e-7, abs=1e-15)


@pytest.mark.parametrize("x", [-40.0, -3.0, 0.0, 1.0, 24.999, 25.001, 40.0, 1e4])
def test_the_logarithm_of_a_gaussian_tail_is_right_where_the_tail_underflows(x: float) -> None:
    with mp.workdps(40):
        exact = mp.log(mp.erfc(x / mp.sqrt(2)) / 2)
    assert float(log_gaussian_tail(np.array([x]))[0]) == pytest.approx(float(exact), rel=1e-12)


def test_a_bound_given_votes_is_never_above_the_one_that_holds_for_any_votes() -> None:
    votes = np.random.default_rng(5).multinomial(250, [0.6] + [0.4 / 9] * 9, size=300)
    slack = 1 + 1e-12
    independent = renyi_curve(GaussianMax(sigma=40.0), ORDERS).values
    assert (gaussian_max_curve(votes, 40.0, ORDERS).rows_for_research_only() <= independent * slack).all()
    independent = renyi_curve(LaplaceMax(gamma=0.05), ORDERS).values
    assert (laplace_max_curve(votes, 0.05, ORDERS).rows_for_research_only() <= independent * slack).all()
    event = ConfidentGaussianMax(threshold_sigma=150.0, sigma=40.0, queries=1, answered=0)
    rows = threshold_curve(votes.max(axis=1), 150, 150.0, ORDERS).rows_for_research_only()
    assert (rows <= renyi_curve(event, ORDERS).values * slack).all()


def test_queries_together_give_the_same_rows_as_one_by_one() -> None:
    together = CURVE.rows_for_research_only()
    for row, votes in zip(together, VOTES, strict=True):
        np.testing.assert_array_equal(row, gaussian_max_curve(votes, 40.0, ORDERS).rows_for_research_only()[0])


@pytest.mark.parametrize("secret", [CURVE, EPSILON], ids=["curve", "epsilon"])
def test_a_data_dependent_figure_neither_prints_nor_encodes_nor_changes(
    secret: DataDependentCurve | DataDependentEpsilon,
) -> None:
    for text in (str(secret), repr(secret), f"{secret}", "%s" % secret):  # noqa: UP031
        assert not any(character.isdigit() for character in text)
        assert "not reportable" in text
    with pytest.raises(TypeError):
        format(secret, ".2f")
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises((TypeError, msgspec.EncodeError, NotImplementedError)):
        encode(secret)
    with pytest.raises(Refused, match="no encoding"):
        pickle.dumps(secret)
    with pytest.raises(AttributeError):
        secret._held = 0.0


@pytest.mark.parametrize(
    "use",
    [
        lambda x: float(x),
        lambda x: x + 0.0,
        lambda x: 0.0 + x,
        lambda x: x < 3.0,
        lambda x: round(x, 2),
        lambda x: np.asarray([x], dtype=np.float64),
        lambda x: sum([x, x]),
    ],
)
def test_a_data_dependent_epsilon_is_no_number(use: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        use(EPSILON)


def test_a_data_dependent_epsilon_cannot_be_charged_to_a_patient() -> None:
    with pytest.raises(InvalidInput, match="DataDependentEpsilon"):
        charge_for(EPSILON, bytes(16), "votes")  # type: ignore[arg-type]


def test_a_data_dependent_curve_is_not_exported_beside_the_reportable_ones() -> None:
    import medfed.privacy as package

    assert not [name for name in package.__all__ if "depend" in name.lower() or name.endswith("_curve_given_votes")]
    assert not hasattr(CURVE, "guarantee")
    assert not hasattr(CURVE, "values")


@pytest.mark.parametrize(
    "votes", [[[1]], [[1, -1]], [[1.5, 2]], [[float("nan"), 1]], [[[1, 2]]], []], ids=lambda votes: str(votes)
)
def test_votes_that_are_none_are_refused(votes: object) -> None:
    with pytest.raises(InvalidInput, match="votes"):
        gaussian_max_curve(votes, 40.0)  # type: ignore[arg-type]


def test_noise_and_counts_out_of_range_are_refused() -> None:
    for call in (
        lambda: gaussian_max_curve(VOTES, 0.0),
        lambda: laplace_max_curve(VOTES, -1.0),
        lambda: threshold_curve(10, 5, 0.0),
        lambda: threshold_curve(-1, 5, 1.0),
        lambda: threshold_curve([[1, 2]], 5, 1.0),
        lambda: CURVE.epsilon(0.0),
    ):
        with pytest.raises(InvalidInput):
            call()
