"""The audit of a student: what it counts, what it tells apart, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fuzz.targets_models import model, state
from tests.support.labelling import labelling_plan, rows

from medfed.errors import InvalidInput
from medfed.federation.features import encode_features
from medfed.federation.model_file import Model
from medfed.federation.prepared import prepare
from medfed.federation.study import learner_of
from medfed.federation.tables import Table, table_from
from medfed.hospital import student_audit
from medfed.hospital.student_audit import audit_student
from medfed.models.dataset import Dataset
from medfed.models.learner import learner_for
from medfed.models.settings import LocalTraining

PLAN = labelling_plan()
MEMBERS, OUTSIDERS, PUBLIC = (table_from(rows(name, 61)) for name in ("members", "outsiders", "public"))


def student(learned_from: Table, local: LocalTraining | None = None) -> Model:
    """A student of these rows and their own targets."""
    standardisation = state().standardisation
    assert standardisation is not None
    prepared = prepare(PLAN, learned_from, bytes(32))
    data = Dataset(encode_features(prepared.features, PLAN, standardisation), prepared.targets)
    learner = learner_of(PLAN)
    settings = local or LocalTraining(epochs=100, batch_size=0, optimizer="adam", learning_rate=0.05)
    trained = learner.train(learner.initial(0), data, settings, np.random.default_rng(0))
    return Model(PLAN, standardisation, trained.parameters, model().card)


@pytest.fixture(scope="module")
def honest() -> Model:
    return student(PUBLIC)


def test_every_figure_is_counted_and_a_share(honest: Model) -> None:
    found = audit_student(honest, MEMBERS, OUTSIDERS, 5)
    assert (found.members, found.outsiders, found.questions, found.step) == (61, 61, 30, 0.25)
    shares = (
        found.membership_without_privacy, found.membership_of_teacher, found.membership_of_student,
        found.fidelity_of_copy, found.misled_copy, found.misled_student, found.misled_teachers,
    )  # fmt: skip
    assert all(0 <= share <= 1 for share in shares)
    assert found.fidelity_of_copy > 0.8, "the copy says what the student says"
    assert found == audit_student(honest, MEMBERS, OUTSIDERS, 5), "the attacks draw nothing anew"


def test_a_model_of_the_members_is_attacked_as_the_judge_trained_on_them_is(honest: Model) -> None:
    """The same learner, rows and settings: the two figures that are to be compared must then be one."""
    judge = learner_for(PLAN.model, PLAN.task, PLAN.inputs, PLAN.outputs)
    prepared = prepare(PLAN, MEMBERS, bytes(32))
    data = Dataset(encode_features(prepared.features, PLAN, honest.standardisation), prepared.targets)
    plain = judge.train(judge.initial(0), data, PLAN.training.local, np.random.default_rng(0)).parameters
    leaked = Model(PLAN, honest.standardisation, plain, honest.card)
    found = audit_student(leaked, MEMBERS, OUTSIDERS, 5)
    assert found.membership_of_student == found.membership_without_privacy
    assert audit_student(honest, MEMBERS, OUTSIDERS, 5).membership_of_student != found.membership_of_student


def test_members_and_outsiders_that_are_the_same_rows_cannot_be_told_apart(honest: Model) -> None:
    found = audit_student(honest, MEMBERS, MEMBERS, 5)
    assert found.membership_of_student == pytest.approx(0.5)
    assert found.membership_without_privacy == pytest.approx(0.5)


def test_a_longer_step_misleads_more_and_none_misleads_nobody(honest: Model) -> None:
    still, short, far = (audit_student(honest, MEMBERS, OUTSIDERS, 5, step) for step in (0.0, 0.25, 3.0))
    assert (still.misled_copy, still.misled_student, still.misled_teachers) == (0, 0, 0)
    assert short.misled_copy <= far.misled_copy
    assert far.misled_student > 0.5


def test_only_so_many_rows_are_moved(honest: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    honest_mislead = student_audit.mislead

    def counted(oracle: object, features: np.ndarray, step: float) -> np.ndarray:
        moved.append(len(features))
        return honest_mislead(oracle, features, step)  # type: ignore[arg-type]

    monkeypatch.setattr(student_audit, "mislead", counted)
    monkeypatch.setattr(student_audit, "_MOST_ROWS", 7)
    audit_student(honest, MEMBERS, OUTSIDERS, 5)
    assert moved == [7]


def test_a_teacher_without_rows_tells_nothing_of_its_members(honest: Model) -> None:
    people = prepare(PLAN, MEMBERS, bytes(32)).pseudonyms
    most = len(np.unique(people))
    empty = [teachers for teachers in range(2, most + 1) if not (people % np.uint64(teachers) == 0).any()]
    assert empty, "no number of teachers leaves the first without a patient"
    assert audit_student(honest, MEMBERS, OUTSIDERS, empty[0]).membership_of_teacher == 0.5
    assert audit_student(honest, MEMBERS, OUTSIDERS, 1).membership_of_teacher != 0.5


def test_fewer_than_two_outsiders_are_refused(honest: Model) -> None:
    one = table_from({name: values[:1] for name, values in rows("outsiders", 61).items()})
    with pytest.raises(InvalidInput, match="outsiders: expected at least 2 usable rows, found 1"):
        audit_student(honest, MEMBERS, one, 5)
    two = table_from({name: values[:2] for name, values in rows("outsiders", 61).items()})
    assert audit_student(honest, MEMBERS, two, 5).questions == 1


def test_a_model_that_is_no_student_is_refused() -> None:
    with pytest.raises(InvalidInput, match="labelling"):
        audit_student(model(), MEMBERS, OUTSIDERS, 5)
