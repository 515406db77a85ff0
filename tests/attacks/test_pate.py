"""What an attacker may try on a labelling study: reading votes, thinning noise, crafting votes, asking the student."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.labelling import CONFIDENT, LAPLACE, TEN, cases_file, labelling_plan, public_csv, rows, tables

import medfed
from medfed.blobs import MemoryBlobs
from medfed.errors import InvalidInput, Refused
from medfed.federation.plan import Plan
from medfed.hospital import voting
from medfed.hospital.aggregation import manifest_of, released_sum
from medfed.hospital.duties import choosing
from medfed.hospital.vault import Vault
from medfed.ledger.contracts.labelling_terms import GaussianNoise
from medfed.ledger.contracts.rounds import round_record
from medfed.models.dataset import Dataset
from medfed.models.learner import learner_for
from medfed.models.settings import LocalTraining, MlpModel
from medfed.pate.attack import changed_answers, fidelity, membership_auc, mislead, steal_model
from medfed.pate.service import PredictionService
from medfed.pate.student import train_student
from medfed.pate.teachers import assign_teachers, classes_of, train_teachers
from medfed.pate.votes import VOTES, noisy_votes, winners
from medfed.privacy import Roster
from medfed.privacy.vote_noise import vote_shares
from medfed.secure_sum import encode_vector
from medfed.simulation.api import SimulatedStudy


@dataclass
class Seen:
    """Everything that a run made, so that a test can look for what must not be there."""

    exact: list[np.ndarray] = field(default_factory=list)
    """Histograms before their noise, one a hospital and round."""
    sent: list[np.ndarray] = field(default_factory=list)
    """The same with the hospital's noise."""
    choices: list[np.ndarray] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    """Everything that any vault was given, before encryption."""


@contextmanager
def watching() -> Iterator[Seen]:
    """Record what hospitals work out in their own process and what their vaults keep."""
    seen = Seen()
    put, train = Vault.put, voting.train_teachers

    def noisy(histograms: np.ndarray, shares: Any, entropy: Any) -> dict[str, np.ndarray]:
        values = noisy_votes(histograms, shares, entropy)
        seen.exact.append(histograms.copy())
        seen.sent.append(values[VOTES].copy())
        return values

    def storing(self: Vault, key: str, value: bytes | memoryview) -> None:
        seen.stored.append(bytes(value))
        put(self, key, value)

    def training(*arguments: Any) -> Any:
        teachers = train(*arguments)
        seen.choices.append(teachers.choices(np.zeros((1, 9), dtype=np.float32)))
        return teachers

    with (
        patch.object(voting, "noisy_votes", noisy),
        patch.object(Vault, "put", storing),
        patch.object(voting, "train_teachers", training),
    ):
        yield seen


def _totals(study: SimulatedStudy, number: int) -> np.ndarray:
    view = study.ledger.view
    record = round_record(view, study.study.study, number)
    assert record is not None
    return released_sum(view, study.study, study.plan, record, study.blobs)[VOTES]


def _published(study: SimulatedStudy) -> bytes:
    """Every byte on the ledger and in the blobs."""
    blocks = b"".join(wire for block in study.ledger.engine.blocks() for wire in block.transactions)
    state = b"".join(study.ledger.view.state.items().values())
    assert isinstance(study.blobs, MemoryBlobs)
    names = list(study.blobs.digests())
    assert len(names) > 10
    return blocks + state + b"".join(study.blobs.get(name) for name in names)


def _forms(counts: np.ndarray) -> list[bytes]:
    """How an array of counts might be written down."""
    flat = counts.reshape(-1)
    return [flat.astype(kind).tobytes() for kind in ("<i8", "<u4", "<f8", "<f4", ">u4")]


# Nobody sees


@pytest.mark.parametrize("noise", [LAPLACE, CONFIDENT], ids=["laplace", "confident"])
def test_no_exact_histogram_and_no_single_vote_is_on_ledger_blobs_or_in_any_vault(noise: Any, tmp_path: Path) -> None:
    with watching() as seen:
        study = medfed.simulate(labelling_plan(noise=noise), tables(), cases=cases_file(tmp_path))
    rounds = study.study.next_round
    assert len(seen.exact) == rounds * len(TEN)
    assert len(seen.choices) == len(TEN)
    public = _published(study)
    kept = seen.stored
    for exact, sent in zip(seen.exact, seen.sent, strict=True):
        assert not np.array_equal(exact.reshape(-1), sent)
        for form in _forms(exact):
            assert form not in public
            assert not any(form in value for value in kept)
        # The noisy vector is in its own vault, once, and travels only under its mask.
        wire = sent.astype("<i4").tobytes()
        assert wire not in public
        assert sum(wire in value for value in kept) == 1


@pytest.mark.parametrize("noise", [LAPLACE, CONFIDENT], ids=["laplace", "confident"])
def test_what_everybody_can_work_out_is_the_noisy_sum_and_never_the_exact_one(noise: Any, tmp_path: Path) -> None:
    with watching() as seen:
        study = medfed.simulate(labelling_plan(noise=noise), tables(), cases=cases_file(tmp_path))
    sums = [_totals(study, number) for number in range(study.study.next_round)]
    per_round = len(TEN)
    sent = [sum(seen.sent[at * per_round : (at + 1) * per_round]) for at in range(len(sums))]
    exact = [sum(seen.exact[at * per_round : (at + 1) * per_round]).reshape(-1) for at in range(len(sums))]
    for total, noisy, true in zip(sums, sent, exact, strict=True):
        assert np.array_equal(total, noisy)
        assert np.count_nonzero(total != true) > 0.7 * len(true)
    # A votes round carries one entry: no exact count travels beside a noisy one.
    view = study.ledger.view
    record = round_record(view, study.study.study, 0)
    assert record is not None
    assert [(entry.name, entry.kind) for entry in manifest_of(view, study.plan, record).entries] == [(VOTES, "noisy")]


def test_the_number_of_rows_that_a_hospital_enrols_with_is_the_plan_s_and_not_its_own(tmp_path: Path) -> None:
    from medfed.ledger.contracts.studies import enrolment

    study = medfed.simulate(labelling_plan(), tables(), cases=cases_file(tmp_path))
    found = {name: enrolment(study.ledger.view, study.study.study, name) for name in TEN}
    assert {record.examples for record in found.values() if record is not None} == {
        study.plan.participation.min_examples
    }


# The noise


def _loud(missing: bool, tmp_path: Path) -> tuple[SimulatedStudy, np.ndarray]:
    """Residuals of 800 noisy counts: what was added to the survivors' exact sum."""
    cases = public_csv(400)
    plan = labelling_plan(noise=GaussianNoise(1600), cases=cases, queries=400, batch=400, teachers=12)
    away = {"hospital-c": medfed.Absence(0, 5)} if missing else None
    with watching() as seen:
        study = medfed.simulate(plan, tables(), cases=cases_file(tmp_path, cases), away=away)
    record = round_record(study.ledger.view, study.study.study, 0)
    assert record is not None
    assert len(record.survivors) == 10 - missing
    return study, _totals(study, 0) - sum(seen.exact).reshape(-1)


def test_a_missing_hospital_leaves_at_least_the_promised_noise(tmp_path: Path) -> None:
    _, residuals = _loud(True, tmp_path)
    # Nine shares of an eighth of the variance each: one to spare for a survivor that knows its own.
    assert residuals.var() == pytest.approx(1600 * 9 / 8, rel=0.15)
    assert residuals.var() >= 1600


def test_with_everybody_there_is_more(tmp_path: Path) -> None:
    _, residuals = _loud(False, tmp_path)
    assert residuals.var() == pytest.approx(1600 * 10 / 8, rel=0.15)


# Crafted votes


@contextmanager
def crafting(add: np.ndarray) -> Iterator[None]:
    """One hospital, the first to be asked in each round, adds to the vector that it masks; no bound holds it."""
    calls = [0]

    def crafted(*arguments: Any, **options: Any) -> tuple[np.ndarray, int]:
        vector, clipped = encode_vector(*arguments, **options)
        calls[0] += 1
        if calls[0] % len(TEN) == 1:
            vector += np.resize(add, vector.shape).astype("<i4").view("<u4")
        return vector, clipped

    with patch.object(choosing, "encode_vector", crafted):
        yield


def test_votes_that_nobody_could_have_cast_label_nothing(tmp_path: Path) -> None:
    with crafting(np.array([3000, -3000])):
        study = medfed.simulate(labelling_plan(teachers=12), tables(), cases=cases_file(tmp_path))
    assert study.state.votes is not None
    assert set(study.state.votes.labels) == {-1}
    assert study.study.rejections >= 1


def test_a_crafted_vector_may_move_labels_but_add_no_voters(tmp_path: Path) -> None:
    plan = labelling_plan(teachers=12)
    honest = medfed.simulate(plan, tables(), cases=cases_file(tmp_path))
    with crafting(np.array([60, -60])):
        study = medfed.simulate(plan, tables(), cases=cases_file(tmp_path))
    assert study.state.votes is not None
    assert honest.state.votes is not None
    before, after = np.array(honest.state.votes.labels), np.array(study.state.votes.labels)
    # It is not detected: this is the limit that the threat model states.
    assert (after >= 0).all()
    assert (after == 0).mean() > (before == 0).mean()
    totals = _totals(study, 0).reshape(-1, 2)
    shares = vote_shares(LAPLACE, Roster(10, 1))
    assert totals.max() <= 120 + shares.total_bound(totals.size)
    assert np.abs(totals.sum(axis=1) - 120).max() <= shares.summed_bound(2, len(totals))


# The released student

MEMBERS, WIDTH = 300, 30


def _population(seed: int, count: int) -> Dataset:
    """Rows whose target is half chance, so that whoever learns them by heart shows it."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, WIDTH)).astype(np.float32)
    chance = 1 / (1 + np.exp(-1.0 * features[:, 0]))
    return Dataset(features, (rng.random(count) < chance).astype(np.float32))


@pytest.fixture(scope="module")
def released() -> dict[str, Any]:
    """Ten hospitals' teachers that overfit, the student of their votes, and the same model without privacy."""
    judge = learner_for(MlpModel(hidden=(128, 64)), "binary", WIDTH, 1)
    by_heart = LocalTraining(epochs=250, batch_size=32, optimizer="adam", learning_rate=0.005)
    hospitals = [_population(seed, MEMBERS) for seed in range(10)]
    public = _population(99, 800)
    histograms, leaked = [], None
    for number, data in enumerate(hospitals):
        people = np.arange(number << 32, (number << 32) + MEMBERS, dtype=np.uint64)
        assignment = assign_teachers(people, 12)
        teachers = train_teachers(judge, data, people, assignment, 12, by_heart, bytes([number]), 2)
        histograms.append(teachers.histograms(public.features))
        if leaked is None:
            leaked = (teachers.parameters[0], data.take(np.flatnonzero(assignment == 0)), teachers)
    rng = np.random.default_rng(7)
    shares = vote_shares(GaussianNoise(400), Roster(10, 1))
    totals = sum(noisy_votes(counts[:300], shares, rng.bytes)[VOTES] for counts in histograms).reshape(-1, 2)
    student = learner_for(MlpModel(), "binary", WIDTH, 1)
    gentle = LocalTraining(epochs=100, batch_size=0, optimizer="adam", learning_rate=0.05, weight_decay=0.01)
    parameters = train_student(student, "binary", public.features[:300], winners(totals), gentle, 0)
    members = Dataset.concatenate(hospitals[:2])
    plain = judge.train(judge.initial(0), members, by_heart, np.random.default_rng(0)).parameters
    return {
        "members": members,
        "outsiders": _population(1234, len(members)),
        "plain": lambda features: judge.predict(plain, features),
        "leaked": (lambda features: judge.predict(leaked[0], features), leaked[1], leaked[2]),
        "student": lambda features: student.predict(parameters, features),
        "learner": student,
        "settings": gentle,
    }


def test_membership_shows_in_the_model_without_privacy_and_in_a_leaked_teacher_but_not_in_the_student(
    released: dict[str, Any],
) -> None:
    members, outsiders = released["members"], released["outsiders"]
    assert membership_auc(released["plain"], members, outsiders) >= 0.8
    leaked, own, _ = released["leaked"]
    assert membership_auc(leaked, own, outsiders) >= 0.8
    assert membership_auc(released["student"], members, outsiders) <= 0.53
    # And the student is worth something.
    right = (classes_of(released["student"](outsiders.features)) == outsiders.targets).mean()
    assert right > 0.6


def test_the_student_can_be_copied_and_the_copy_misleads_it_and_the_teachers(released: dict[str, Any]) -> None:
    student, outsiders = released["student"], released["outsiders"]
    service = PredictionService(student, lambda: 0, per_hour=400)
    parameters = steal_model(
        lambda features: service.ask("thief", features),
        released["learner"],
        outsiders.features[:400],
        released["settings"],
        3,
    )

    def copy(features: np.ndarray) -> np.ndarray:
        return released["learner"].predict(parameters, features)

    rest = outsiders.features[400:]
    assert fidelity(student, copy, rest) > 0.85
    moved = mislead(copy, rest[:300], 0.5)
    _, _, teachers = released["leaked"]
    vote = lambda features: teachers.histograms(features)[:, 1] / len(teachers)  # noqa: E731
    assert changed_answers(copy, rest[:300], moved) > 0.5
    assert changed_answers(student, rest[:300], moved) > 0.4
    # The weakness is real and has to be seen: what fools the copy fools the teachers' vote too (.4 of the rows).
    assert changed_answers(vote, rest[:300], moved) > 0.2


def test_the_service_stops_a_thief_in_a_hurry(released: dict[str, Any]) -> None:
    service = PredictionService(released["student"], lambda: 0, per_hour=50)
    service.ask("thief", released["outsiders"].features[:50])
    with pytest.raises(Refused, match="wait"):
        service.ask("thief", released["outsiders"].features[50:51])


# Plans


def test_a_study_whose_budget_would_be_passed_by_the_plan_itself_is_never_approved(tmp_path: Path) -> None:
    plan: Plan = labelling_plan()
    assert plan.labelling
    cheap = replace(plan, labelling=replace(plan.labelling, epsilon=1_000_000))  # type: ignore[type-var]
    with pytest.raises(InvalidInput, match="cost ε"):
        medfed.simulate(cheap, {name: rows(name, 80) for name in TEN}, cases=cases_file(tmp_path))
