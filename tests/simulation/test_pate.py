"""A labelling study over the ledger: ten hospitals as agents, real votes rounds, and a student at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.labelling import CONFIDENT, LAPLACE, TEN, cases_file, labelling_plan, public_csv, rows, tables

import medfed
from medfed.encoding import decode
from medfed.errors import InvalidInput
from medfed.federation.model_file import ModelCard, StudentCard, decode_model
from medfed.hospital.aggregation import recompute_state
from medfed.ledger.contracts.labelling import spent, votes_round
from medfed.ledger.contracts.labelling_terms import GaussianNoise, VoteNoise
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.rounds import round_record
from medfed.simulation.api import SimulatedStudy


def _run(directory: Path, noise: VoteNoise = LAPLACE, **options: object) -> SimulatedStudy:
    plan = labelling_plan(noise=noise)
    return medfed.simulate(plan, tables(), cases=cases_file(directory), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", [LAPLACE, GaussianNoise(100), CONFIDENT], ids=["laplace", "gaussian", "confident"])
def test_ten_hospitals_label_public_cases_and_release_a_student(noise: VoteNoise, tmp_path: Path) -> None:
    study = _run(tmp_path, noise)
    assert study.study.phase == "completed"
    assert study.state.votes is not None
    labels = np.array(study.state.votes.labels)
    assert len(labels) == 40
    assert (labels >= 0).sum() >= 20
    # The noise is small beside the agreement, so most labels are what the cases' own rule says.
    truth = np.array([int(ill) for ill in rows("the public", 60)["ill"][:40]])
    answered = labels >= 0
    assert (labels[answered] == truth[answered]).mean() > 0.75
    test = rows("elsewhere", 400)
    said = study.model.predict({name: test[name] for name in ("age", "dose", "ward")}) >= 0.5
    assert (said == (np.array(test["ill"]) == "1")).mean() > 0.75


def test_the_ledger_says_what_was_spent_and_who_has_the_student(tmp_path: Path) -> None:
    study = _run(tmp_path, CONFIDENT)
    view = study.ledger.view
    assert spent(view, study.study).histograms == (40, 40)
    found = [votes_round(view, study.study.study, number) for number in range(4)]
    assert [(place.batch, place.stage) for place in found if place is not None] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(place is not None and place.charged for place in found)
    (entry,) = artefacts(view)
    assert {entry.registered_by, *entry.endorsers} == set(TEN)
    model = decode_model(study.blobs.get(entry.artefact))
    assert model.digest == study.model.digest
    card = decode(study.blobs.get(entry.card), ModelCard)
    assert isinstance(card.student, StudentCard)
    assert (card.student.queries, card.student.teachers, card.student.unit) == (40, 50, "patient")


def test_anybody_gets_the_same_labels_and_student_from_ledger_and_blobs(tmp_path: Path) -> None:
    study = _run(tmp_path)
    study.ledger.verify()
    again = recompute_state(study.ledger.view, study.study.study, study.blobs)
    assert again.digest == study.state.digest == study.study.base


def test_a_missing_hospital_is_missing_and_the_others_go_on(tmp_path: Path) -> None:
    away = {"hospital-c": medfed.Absence(0, 5)}
    study = _run(tmp_path, away=away)
    assert study.study.phase == "completed"
    for number in range(2):
        record = round_record(study.ledger.view, study.study.study, number)
        assert record is not None
        assert set(TEN) - set(record.survivors) == {"hospital-c"}


def test_equal_seeds_give_equal_studies_and_others_give_other_noise(tmp_path: Path) -> None:
    first, second, third = (_run(tmp_path, seed=seed) for seed in (1, 1, 2))
    assert first.state.digest == second.state.digest
    assert first.state.digest != third.state.digest


def test_cases_that_may_identify_somebody_stop_the_study_before_it_starts(tmp_path: Path) -> None:
    data = public_csv().replace(b"north", b"Jane Roe")
    with pytest.raises(InvalidInput, match="aborted"):
        medfed.simulate(labelling_plan(cases=data), tables(), cases=cases_file(tmp_path, data))


def test_a_study_that_no_account_can_pay_is_declined(tmp_path: Path) -> None:
    plan = labelling_plan(epsilon=8.5)
    with pytest.raises(InvalidInput, match="too-few-approvals"):
        medfed.simulate(plan, tables(), cases=cases_file(tmp_path))


def test_a_hospital_with_fewer_patients_than_teachers_declines_and_the_noise_has_room_for_one(tmp_path: Path) -> None:
    given = tables()
    given["hospital-b"] = rows("hospital-b", 80, patients=4)
    study = medfed.simulate(labelling_plan(), given, cases=cases_file(tmp_path))
    assert study.study.declined == ("hospital-b",)
    assert study.study.phase == "completed"


def test_a_class_that_some_hospitals_lack_is_no_obstacle(tmp_path: Path) -> None:
    given = tables()
    for name in ("hospital-a", "hospital-b"):
        given[name]["ill"] = ["0"] * len(given[name]["ill"])
    assert medfed.simulate(labelling_plan(), given, cases=cases_file(tmp_path)).study.phase == "completed"
