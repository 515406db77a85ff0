"""Retrieval on the symptom table, reduced from benchmarks/records_quality.py: one mask seed instead of five."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.records_quality import symptom_cases, symptoms, with_nuisance

from medfed.records.case import Case

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    if not (DATA / "symptom_disease").exists():
        pytest.skip("symptom_disease absent")
    return symptom_cases(DATA)


def test_the_table_has_304_distinct_cases_of_41_diseases(cases: list[Case]) -> None:
    assert len(cases) == 304
    assert len({case.outcome.diagnoses[0].key for case in cases}) == 41


@pytest.mark.slow
def test_with_half_of_the_symptoms_hidden_the_default_reading_finds_the_disease(cases: list[Case]) -> None:
    found = symptoms(cases, 1, (0.25, 0.0), learn=False)
    top_1, top_3 = found["beta 0.25"][:, :2].mean(axis=0)
    # 304 queries: the standard error of a share of .9 is .017, so the bars of five seeds are taken with two of them.
    assert top_1 >= 0.89 - 0.034
    assert top_3 >= 0.94 - 0.027
    assert top_1 > found["beta 0.0"][:, 0].mean() + 0.05


@pytest.mark.slow
def test_learned_weights_see_through_nuisance_symptoms(cases: list[Case]) -> None:
    noisy = with_nuisance(cases, 40, 0.3, np.random.default_rng(7))
    found = symptoms(noisy, 1, (0.25,), learn=True)
    uniform, learned = found["beta 0.25"][:, 0].mean(), found["learned"][:, 0].mean()
    assert learned >= 0.87 - 0.038
    assert learned > uniform + 0.15
