"""Cox coefficients and likelihoods against published values for public data sets.

Sources:
- Therneau and Grambsch, "Modeling Survival Data" (2000), appendix E.1, test data 1 with Breslow ties, in closed form;
  repeated in the vignette "Software validation" and in tests/book1.R of R's `survival`.
- Freireich et al., Blood 21 (1963), remission of leukemia with log white blood count, as tabulated in Kleinbaum and
  Klein, "Survival Analysis: a self-learning text", chapter 3, whose models 1 and 2 (Breslow ties) give the values here;
  the data are `anderson.csv` in lifelines, too.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from medfed.models.cox import Cox
from medfed.models.dataset import Dataset
from medfed.models.settings import LocalTraining

THERNEAU = Dataset(
    np.array([[1.0], [1], [1], [0], [0], [0]]),
    np.array([[1.0, 1], [1, 0], [6, 1], [6, 1], [8, 0], [9, 1]]),
)

# Weeks in remission ("+": censored) and log white blood count.
TREATED = """35+ 1.45, 34+ 1.47, 32+ 2.20, 32+ 2.53, 25+ 1.78, 23 2.57, 22 2.32, 20+ 2.01, 19+ 2.05, 17+ 2.16, 16 3.60,
13 2.88, 11+ 2.60, 10+ 2.70, 10 2.96, 9+ 2.80, 7 4.43, 6+ 3.20, 6 2.31, 6 4.06, 6 3.28"""
PLACEBO = """23 1.97, 22 2.73, 17 2.95, 15 2.30, 12 1.50, 12 3.06, 11 3.49, 11 2.12, 8 3.52, 8 3.05, 8 2.32, 8 3.26,
5 3.49, 5 3.97, 4 4.36, 4 2.42, 3 4.01, 2 4.91, 2 4.48, 1 2.80, 1 5.00"""


def remission(columns: str) -> Dataset:
    features: list[list[float]] = []
    targets: list[list[float]] = []
    for rx, group in ((0.0, TREATED), (1.0, PLACEBO)):
        for patient in group.split(","):
            weeks, count = patient.split()
            features.append({"rx": [rx], "rx count": [rx, float(count)]}[columns])
            targets.append([float(weeks.rstrip("+")), float("+" not in weeks)])
    return Dataset(np.array(features), np.array(targets))


def trained(data: Dataset) -> tuple[list[float], float]:
    """Coefficients after training to convergence, and the log partial likelihood there."""
    made = Cox(data.features.shape[1])
    settings = LocalTraining(steps=6000, batch_size=0, learning_rate=0.2, momentum=0.9)
    result = made.train(made.initial(0), data, settings, np.random.default_rng(0))
    return result.parameters.flat.tolist(), -result.loss * len(data)


def test_therneau_and_grambsch_data_1_has_their_likelihood_and_score_at_any_coefficient():
    made = Cox(1)
    for beta in (0.0, 0.5, -2.0, 1.475285):
        parameters = made.initial(0).with_flat(np.array([beta]))
        r = math.exp(float(parameters.flat[0]))
        log_likelihood = 2 * float(parameters.flat[0]) - math.log(3 * r + 3) - 2 * math.log(r + 3)
        score = (6 + 3 * r - r * r) / ((r + 1) * (r + 3))
        assert -6 * made.loss(parameters, THERNEAU) == pytest.approx(log_likelihood, rel=1e-13)
        assert -6 * made.gradient(parameters, THERNEAU)[0] == pytest.approx(score, abs=1e-13)


def test_therneau_and_grambsch_data_1_has_their_solution():
    (beta,), log_likelihood = trained(THERNEAU)
    assert beta == pytest.approx(math.log((3 + math.sqrt(33)) / 2), abs=2e-6)
    assert beta == pytest.approx(1.475285, abs=2e-6)
    assert log_likelihood == pytest.approx(-3.824750, abs=1e-6)


def test_remission_by_treatment_has_the_published_coefficient():
    (rx,), log_likelihood = trained(remission("rx"))
    assert round(rx, 3) == 1.509
    assert round(math.exp(rx), 3) == 4.523
    assert round(-2 * log_likelihood, 3) == 172.759


def test_remission_by_treatment_and_white_blood_count_has_the_published_coefficients():
    (rx, count), log_likelihood = trained(remission("rx count"))
    assert (round(rx, 3), round(count, 3)) == (1.294, 1.604)
    assert round(-2 * log_likelihood, 3) == 144.559
