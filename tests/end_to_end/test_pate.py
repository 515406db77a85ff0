"""Labelling studies on real data, ten hospitals over the ledger: the student is worth it and costs what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks.pate import accuracy, auc, dataset, learned_by_heart, run, without_privacy
from benchmarks.pate_cohorts import (
    HOSPITALS,
    Cohort,
    adult_cohort,
    diabetes_cohort,
    has_adult,
    has_diabetes,
    has_pneumonia,
    pneumonia_cohort,
    radiograph_cohort,
)
from msgspec.structs import replace as changed

from medfed.federation.model_file import StudentCard
from medfed.federation.plan_rules import verify_plan
from medfed.federation.study import learner_of
from medfed.ledger.contracts.labelling import spent
from medfed.ledger.contracts.labelling_terms import GaussianNoise
from medfed.simulation.api import SimulatedStudy

needs_adult = pytest.mark.skipif(not has_adult(), reason="Adult is not in ../shared/data")
needs_diabetes = pytest.mark.skipif(not has_diabetes(), reason="Diabetes-130 is not in ../shared/data")


def _student_figure(cohort: Cohort, study: SimulatedStudy, figure: Any) -> float:
    test = dataset(cohort, cohort.test)
    return figure(learner_of(cohort.plan).predict(study.model.parameters, test.features), test.targets)


def _check_ledger(cohort: Cohort, study: SimulatedStudy, queries: int) -> None:
    assert study.study.phase == "completed"
    assert set(study.study.roster) == set(HOSPITALS)
    assert spent(study.ledger.view, study.study).histograms == (queries,)
    card = study.model.card.student
    assert isinstance(card, StudentCard)
    assert (card.teachers, card.labels) == (250, queries)


@needs_adult
@pytest.mark.slow
def test_adult_s_student_reaches_83_percent_at_epsilon_2_81() -> None:
    cohort = adult_cohort()
    verify_plan(cohort.plan)
    study = run(cohort)
    _check_ledger(cohort, study, 500)
    card: Any = study.model.card.student
    assert (card.epsilon, card.delta) == (2.81, 1e-5)
    assert _student_figure(cohort, study, accuracy) >= 0.83


@needs_diabetes
@pytest.mark.slow
def test_diabetes_student_is_within_two_hundredths_of_the_same_model_without_privacy() -> None:
    cohort = diabetes_cohort()
    study = run(cohort)
    _check_ledger(cohort, study, 550)
    card: Any = study.model.card.student
    assert card.epsilon <= 4
    test = dataset(cohort, cohort.test)
    bar = auc(learner_of(cohort.plan).predict(without_privacy(cohort), test.features), test.targets)
    assert bar > 0.63
    assert _student_figure(cohort, study, auc) >= bar - 0.02


@needs_diabetes
@pytest.mark.slow
def test_membership_shows_in_a_model_without_privacy_and_not_in_the_student() -> None:
    found = learned_by_heart(diabetes_cohort())
    assert found.membership_without_privacy >= 0.8
    assert found.membership_of_teacher >= 0.8
    assert found.membership_of_student <= 0.53
    assert found.fidelity_of_copy > 0.9


@pytest.mark.skipif(not has_pneumonia(), reason="PneumoniaMNIST is not in ../shared/data")
@pytest.mark.slow
def test_teachers_on_images_label_radiographs_for_a_student_as_good_as_a_model_without_privacy() -> None:
    cohort = pneumonia_cohort()
    study = run(cohort)
    assert study.study.phase == "completed"
    test = dataset(cohort, cohort.test)
    bar = accuracy(learner_of(cohort.plan).predict(without_privacy(cohort), test.features), test.targets)
    assert bar > 0.8
    assert _student_figure(cohort, study, accuracy) >= bar - 0.03


@pytest.mark.skipif(not has_pneumonia(), reason="PneumoniaMNIST is not in ../shared/data")
@pytest.mark.torch
@pytest.mark.slow
def test_convolutional_teachers_of_ten_hospitals_label_radiographs_for_a_convolutional_student() -> None:
    pytest.importorskip("torch")
    cohort = radiograph_cohort(queries=60, teachers=3, private=1000)
    labelling: Any = cohort.plan.labelling
    plan = changed(cohort.plan, labelling=changed(labelling, noise=GaussianNoise(64), epsilon=7_900_000))
    verify_plan(plan)
    study = run(replace(cohort, plan=plan))
    assert study.study.phase == "completed"
    assert set(study.study.roster) == set(HOSPITALS)
    card = study.model.card.student
    assert isinstance(card, StudentCard)
    assert (card.teachers, card.labels) == (30, 60)
    assert _student_figure(cohort, study, accuracy) >= 0.7


@needs_adult
def test_a_tenth_of_adult_runs_in_seconds() -> None:
    cohort = adult_cohort(queries=100, teachers=5)
    small = {name: {key: cells[:300] for key, cells in rows.items()} for name, rows in cohort.tables.items()}
    labelling: Any = cohort.plan.labelling
    plan = changed(cohort.plan, labelling=changed(labelling, noise=changed(labelling.noise, gamma=1000)))
    plan = changed(plan, labelling=changed(plan.labelling, epsilon=7_900_000, delta=labelling.delta * 10))
    study = run(replace(cohort, plan=plan, tables=small))
    test = dataset(cohort, cohort.test)
    scores = learner_of(plan).predict(study.model.parameters, test.features)
    assert accuracy(scores, test.targets) > max(0.76, 1 - float(np.mean(test.targets)) - 0.01)
