"""A labelling study by hospitals as separate processes on one embedded ledger, one of them killed in the middle."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.labelling import labelling_plan, public_csv, rows
from tests.support.processes import (
    CHEAP,
    LEDGER,
    PASSPHRASE,
    finish,
    kill,
    medfed,
    phase,
    propose,
    start_agent,
    tip_height,
)

from medfed.blobs import DirectoryBlobs
from medfed.crypto import system_entropy
from medfed.demo.heart import site_keys
from medfed.encoding import digest_of
from medfed.federation.model_file import load_model
from medfed.federation.plan import Plan
from medfed.federation.plan_file import format_plan
from medfed.federation.prepared import prepare
from medfed.federation.public_cases import read_public_cases
from medfed.federation.tables import read_csv
from medfed.hospital.aggregation import recompute_state
from medfed.hospital.site_directory import create_site, shared_blobs
from medfed.ledger.contracts.labelling import spent
from medfed.ledger.contracts.labelling_terms import LaplaceNoise
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.studies import studies, study_record
from medfed.ledger.store import reading
from medfed.models.learner import learner_for
from medfed.pate.teachers import assign_teachers, train_teachers

FOUR = ("alpha", "beta", "delta", "gamma")
TEACHERS = 13
MARGIN = 12
"""Votes; with γ 2 the noise of two counts passes it in one case of 10^9."""
SITE = '[data]\nfile = "patients.csv"\n[[consent.rule]]\ndecision = "approve"\n[privacy]\nepsilon = 200.0\n'


def _plan() -> Plan:
    """Little noise, so that which labels are right is known; what a patient is charged is then much."""
    return labelling_plan(FOUR, noise=LaplaceNoise(gamma=20_000), teachers=TEACHERS, dropouts=1)


def _consortium(root: Path) -> Path:
    """Sites with keys and tables, the public cases, and a proposed plan, by the commands that people use."""
    for name in FOUR:
        create_site(root / "sites" / name, name, PASSPHRASE, cost=CHEAP, keys=site_keys(name, system_entropy))
        table = rows(name, 120)
        with (root / "sites" / name / "patients.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table)
            writer.writerows(zip(*table.values(), strict=True))
        (root / "sites" / name / "site.toml").write_text(SITE)
    create_site(root / "sites" / "organiser", "organiser", PASSPHRASE, cost=CHEAP)
    hospitals = [word for name in FOUR for word in ("--hospital", f"sites/{name}")]
    medfed(root, "consortium", "init", "--ledger", LEDGER, "--name", "x", *hospitals, "--organiser", "sites/organiser")
    (root / "plan.toml").write_text(format_plan(_plan()))
    (root / "cases.csv").write_bytes(public_csv())
    stored = json.loads(medfed(root, "pate", "cases", "plan.toml", "cases.csv", "--ledger", LEDGER, "--json").stdout)
    assert stored["stored"]
    assert stored["named_by_plan"]
    return root


def _exact_votes(root: Path) -> np.ndarray:
    """What no party may ever see: the exact histograms of all hospitals together, (queries, classes)."""
    plan: Any = _plan()
    cases = read_public_cases(plan, public_csv())
    total = np.zeros((plan.labelling.queries, 2), dtype=np.int64)
    for name in FOUR:
        table = read_csv(root / "sites" / name / "patients.csv")
        prepared = prepare(plan, table, site_keys(name, system_entropy).split_key)
        learner = learner_for(plan.model, plan.task, plan.inputs, plan.outputs)
        data = prepared.datasets(cases.standardisation)["train"]
        assignment = assign_teachers(prepared.pseudonyms, TEACHERS)
        seed = digest_of("medfed/teachers", plan.digest, name)
        local = plan.training.local
        teachers = train_teachers(learner, data, prepared.pseudonyms, assignment, TEACHERS, local, seed, 2)
        total += teachers.histograms(cases.features[: plan.labelling.queries])
    return total


def _check_end(root: Path, study: str) -> None:
    """Labels are those of the exact votes wherever the noise cannot matter; all is charged and registered once."""
    with reading(root / LEDGER) as store:
        view = store.view()
        record = study_record(view, studies(view)[0])
        assert record is not None
        assert (record.phase, record.pauses) == ("completed", 0)
        assert spent(view, record).histograms == (40,)
        (entry,) = artefacts(view)
        state = recompute_state(view, record.study, DirectoryBlobs(shared_blobs(root / LEDGER)))
    assert {entry.registered_by, *entry.endorsers} == set(FOUR)
    assert state.votes is not None
    labels, votes = np.array(state.votes.labels), _exact_votes(root)
    clear = np.abs(votes[:, 1] - votes[:, 0]) > MARGIN
    assert clear.sum() >= 25
    assert np.array_equal(labels[clear], votes[clear].argmax(axis=1))
    for name in FOUR:
        shown = medfed(root, "pate", "budget", study, "--ledger", LEDGER, "--site", f"sites/{name}", "--json")
        facts = json.loads(shown.stdout)
        assert (facts["spent"], facts["budget"]) == ([40], [40])
        assert facts["accounts"]["most_epsilon"] == pytest.approx(facts["epsilon_charged"])
    medfed(root, "ledger", "verify", LEDGER, "--blobs", f"{LEDGER}.blobs")
    medfed(root, "model", "save", study, "--ledger", LEDGER, "student.safetensors")
    model = load_model(root / "student.safetensors")
    assert model.digest == entry.artefact
    assert model.card.student is not None
    assert model.card.student.teachers == 4 * TEACHERS


def test_four_processes_label_the_cases_and_register_one_student(tmp_path: Path) -> None:
    root = _consortium(tmp_path)
    study = propose(root)
    finish({name: start_agent(root, name) for name in FOUR})
    _check_end(root, study)


@pytest.mark.slow
@pytest.mark.parametrize("height", [8, 22, 30])
def test_a_hospital_that_is_killed_in_the_middle_of_the_votes_changes_nothing(tmp_path: Path, height: int) -> None:
    root = _consortium(tmp_path)
    study = propose(root)
    agents: dict[str, subprocess.Popen[str]] = {name: start_agent(root, name) for name in FOUR}
    while tip_height(root) < height and phase(root) != "completed":
        time.sleep(0.005)
    assert phase(root) != "completed", "killed too late to matter"
    kill(agents["beta"])
    assert agents["beta"].returncode == -signal.SIGKILL
    agents["beta"] = start_agent(root, "beta")
    finish(agents)
    _check_end(root, study)
