"""Published costs of published mechanisms, and the figures that MedFed's design pages state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medfed.privacy import DiscreteLaplaceSum, Repeated, SampledGaussian, SkellamSum, guarantee, renyi_curve
from medfed.privacy.data_dependent import (
    gaussian_max_curve,
    gaussian_max_log_q,
    laplace_max_curve,
    laplace_max_log_q,
    threshold_curve,
    threshold_log_answered,
)

VECTORS = Path(__file__).parents[2] / ".." / "shared" / "vectors"

# A few values of tensorflow/privacy research/pate_2018/core.py at 03035d5d, orders 2, 8 and 32.
GOLDEN_ORDERS = [2.0, 8.0, 32.0]
GOLDEN_GNMAX = ([214, 4, 7, 6, 8, 4, 2, 0, 4, 1], 40.0, -6.971876871189835)
GOLDEN_GNMAX_RDP = [0.0002647173203353373, 0.00033647161830896867, 0.0018927765753665676]
GOLDEN_LNMAX = ([222, 28], 0.05, -8.626705519316179)
GOLDEN_LNMAX_RDP = [3.7704307074641e-05, 4.480664771136765e-05, 0.00014112378498749154]


def _reference() -> dict[str, Any]:
    path = VECTORS / "pate_rdp.json"
    if not path.exists():
        pytest.skip("shared/vectors/pate_rdp.json absent")
    return json.loads(path.read_text())


def test_one_changed_vote_under_skellam_noise_costs_the_stated_figure() -> None:
    """clinical.md, model protection: σ 5, α 8."""
    assert renyi_curve(SkellamSum(variance=25.0), [8.0]).values[0] == pytest.approx(0.31381, abs=5e-6)


def test_one_changed_vote_under_discrete_laplace_noise_costs_the_stated_figure() -> None:
    """clinical.md, model protection: γ 0.5, α 8."""
    assert renyi_curve(DiscreteLaplaceSum(gamma=0.5), [8.0]).values[0] == pytest.approx(0.86471, abs=5e-6)


def test_500_queries_under_discrete_laplace_noise_of_gamma_002_cost_281() -> None:
    event = Repeated(event=DiscreteLaplaceSum(gamma=0.02), count=500)
    assert guarantee(event, 1e-5).epsilon == pytest.approx(2.81, abs=5e-3)


def test_dp_sgd_of_abadi_et_al_2016_costs_126() -> None:
    """Section 3.2: q = 0.01, σ = 4, 10,000 steps, δ = 1e-5, moments up to 32, hence whole orders 2 to 33."""
    event = Repeated(event=SampledGaussian(multiplier=4.0, rate=0.01), count=10_000)
    found = guarantee(event, 1e-5, [float(order) for order in range(2, 34)], "mironov")
    assert found.epsilon == pytest.approx(1.26, abs=5e-3)


@pytest.mark.parametrize(("multiplier", "batch", "steps", "epsilon"), [(1.3, 250, 3600, 1.18), (1.1, 256, 14062, 3.01)])
def test_dp_sgd_on_mnist_costs_what_the_tensorflow_privacy_tutorial_prints(
    multiplier: float, batch: int, steps: int, epsilon: float
) -> None:
    """60,000 examples, δ = 1e-5, by the classical conversion."""
    event = Repeated(event=SampledGaussian(multiplier=multiplier, rate=batch / 60_000), count=steps)
    assert guarantee(event, 1e-5, conversion="mironov").epsilon == pytest.approx(epsilon, abs=5e-3)


def test_golden_values_of_gnmax_given_votes() -> None:
    votes, sigma, log_q = GOLDEN_GNMAX
    assert gaussian_max_log_q(votes, sigma)[0] == pytest.approx(log_q, rel=1e-9)
    rows = gaussian_max_curve(votes, sigma, GOLDEN_ORDERS).rows_for_research_only()
    np.testing.assert_allclose(rows[0], GOLDEN_GNMAX_RDP, rtol=1e-9)


def test_golden_values_of_lnmax_given_votes() -> None:
    votes, gamma, log_q = GOLDEN_LNMAX
    assert laplace_max_log_q(votes, gamma)[0] == pytest.approx(log_q, rel=1e-9)
    rows = laplace_max_curve(votes, gamma, GOLDEN_ORDERS).rows_for_research_only()
    np.testing.assert_allclose(rows[0], GOLDEN_LNMAX_RDP, rtol=1e-9)


def test_gnmax_given_votes_is_the_reference_implementation() -> None:
    reference = _reference()
    assert reference["gnmax"]
    for case in reference["gnmax"]:
        assert gaussian_max_log_q(case["votes"], case["sigma"])[0] == pytest.approx(case["logq"], rel=1e-6)
        rows = gaussian_max_curve(case["votes"], case["sigma"], reference["orders"]).rows_for_research_only()
        np.testing.assert_allclose(rows[0], case["rdp"], rtol=1e-6)


def test_the_threshold_check_given_votes_is_the_reference_implementation() -> None:
    reference = _reference()
    assert reference["threshold"]
    for case in reference["threshold"]:
        arguments = case["maxvote"], case["T"], case["sigma1"]
        assert threshold_log_answered(*arguments)[0] == pytest.approx(case["log_pr_answered"], rel=1e-6)
        rows = threshold_curve(*arguments, reference["orders"]).rows_for_research_only()
        np.testing.assert_allclose(rows[0], case["rdp"], rtol=1e-6)


def test_lnmax_given_votes_is_the_reference_implementation() -> None:
    reference = _reference()
    assert reference["lnmax"]
    for case in reference["lnmax"]:
        assert laplace_max_log_q(case["votes"], case["gamma"])[0] == pytest.approx(case["logq"], rel=1e-6)
        rows = laplace_max_curve(case["votes"], case["gamma"], reference["orders"]).rows_for_research_only()
        np.testing.assert_allclose(rows[0], case["rdp"], rtol=1e-6)


def _published_votes(name: str) -> NDArray[np.int64]:
    """Histograms (queries, 10) from the 250 teachers' labels that the authors published, one row a teacher."""
    path = VECTORS / "pate_2017" / f"{name}_250_teachers_labels.npy"
    if not path.exists():
        pytest.skip(f"shared/vectors/pate_2017/{path.name} absent: npapernot/multiple-teachers-for-privacy has it")
    labels = np.load(path)
    return np.stack([(labels == label).sum(axis=0) for label in range(10)], axis=1)


MOMENTS = [float(order) for order in range(2, 10)]
"""The paper's moments 1 to 8."""


def test_the_mnist_student_of_papernot_et_al_2017_costs_204() -> None:
    votes = _published_votes("mnist")
    chosen = VECTORS / "pate_2017" / "mnist_250_teachers_100_indices_used_by_student.npy"
    if not chosen.exists():
        pytest.skip(f"shared/vectors/pate_2017/{chosen.name} absent: npapernot/multiple-teachers-for-privacy has it")
    curve = laplace_max_curve(votes[np.load(chosen)], 0.1, MOMENTS)
    assert curve.epsilon(1e-5, "mironov").value_for_research_only() == pytest.approx(2.04, abs=5e-3)


@pytest.mark.parametrize(("queries", "epsilon"), [(500, 5.04), (1000, 8.19)])
def test_the_svhn_students_of_papernot_et_al_2017_cost_what_they_say(queries: int, epsilon: float) -> None:
    curve = laplace_max_curve(_published_votes("svhn")[:queries], 0.1, MOMENTS)
    assert curve.epsilon(1e-6, "mironov").value_for_research_only() == pytest.approx(epsilon, abs=5e-3)
