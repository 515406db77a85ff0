"""`medfed pate audit`: attacks on a released student, by a hospital and on its own rows; only figures come out.

Beside the student stand what PATE is instead of: the teachers' model trained on the same rows without privacy, and one
leaked teacher. All three are attacked with the same rows, members and outsiders.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.federation.features import encode_features
from medfed.federation.model_file import Model
from medfed.federation.prepared import prepare
from medfed.federation.study import learner_of
from medfed.federation.tables import Table
from medfed.hospital.votes_round import classes_in, labelling_of
from medfed.models.dataset import Dataset
from medfed.models.learner import Learner, learner_for
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining
from medfed.pate.attack import Oracle, changed_answers, fidelity, membership_auc, mislead, steal_model
from medfed.pate.service import PredictionService
from medfed.pate.teachers import assign_teachers, train_teachers

__all__ = ["StudentAudit", "audit_student"]

_MOST_ROWS = 2_000
"""Outsiders that are moved to mislead: each costs two answers a feature."""


class StudentAudit(Record):
    """What the attacks found, as it is."""

    members: int
    outsiders: int
    membership_without_privacy: float
    """AUC against the teachers' model trained on all members."""
    membership_of_teacher: float
    """Against one teacher, if it leaked; its members are its own rows."""
    membership_of_student: float
    questions: int
    """Rows that the thief asked the prediction service about."""
    fidelity_of_copy: float
    """The share of other rows on which the copy says what the student says."""
    step: float
    """By how much each input was moved, in standard deviations of the public cases."""
    misled_copy: float
    """Share of answers that the moved rows change, by model: the stolen copy that they were made on,"""
    misled_student: float
    misled_teachers: float
    """and the vote of this hospital's teachers, whom the attacker has never asked."""


def audit_student(model: Model, members: Table, outsiders: Table, teachers: int, step: float = 0.25) -> StudentAudit:
    """Attack a student.

    Args:
        model: the released student.
        members: this hospital's rows that its teachers learned from, with target and patient.
        outsiders: rows of the same kind that nobody learned from, with target.
        teachers: how many this hospital trains.
        step: how far inputs are moved to mislead.

    Raises:
        InvalidInput: not a student, or tables that do not fit its plan.
    """
    plan = model.plan
    labelling_of(plan)
    inside, people = _dataset(model, members)
    outside, _ = _dataset(model, outsiders)
    if len(outside) < 2:
        raise InvalidInput(f"outsiders: expected at least 2 usable rows, found {len(outside)}")
    judge = learner_for(plan.model, plan.task, plan.inputs, plan.outputs)
    assignment = assign_teachers(people, teachers)
    own = train_teachers(judge, inside, people, assignment, teachers, plan.training.local, b"audit", classes_in(plan))
    first = own.parameters[0]
    plain = judge.train(judge.initial(0), inside, plan.training.local, np.random.default_rng(0)).parameters
    student = learner_of(plan)
    released = _oracle(student, model.parameters)
    asked, held_back = outside.take(slice(0, len(outside) // 2)), outside.take(slice(len(outside) // 2, None))
    copy = _steal(released, student, asked, labelling_of(plan).student.local)
    rows = held_back.features[:_MOST_ROWS]
    moved = mislead(copy, rows, step)

    def vote(
        features: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        counts = own.histograms(features) / len(own)
        return counts[:, 1] if plan.task == "binary" else counts

    return StudentAudit(
        members=len(inside),
        outsiders=len(outside),
        membership_without_privacy=membership_auc(_oracle(judge, plain), inside, outside),
        membership_of_teacher=(
            membership_auc(_oracle(judge, first), inside.take(np.flatnonzero(assignment == 0)), outside)
            if first is not None
            else 0.5
        ),
        membership_of_student=membership_auc(released, inside, outside),
        questions=len(asked),
        fidelity_of_copy=fidelity(released, copy, held_back.features),
        step=step,
        misled_copy=changed_answers(copy, rows, moved),
        misled_student=changed_answers(released, rows, moved),
        misled_teachers=changed_answers(vote, rows, moved),
    )


def _dataset(model: Model, table: Table) -> tuple[Dataset, NDArray[np.uint64]]:
    prepared = prepare(model.plan, table, bytes(32))
    features = encode_features(prepared.features, model.plan, model.standardisation)
    return Dataset(features, prepared.targets), prepared.pseudonyms


def _oracle(learner: Learner, parameters: Parameters) -> Oracle:
    return lambda features: learner.predict(parameters, features)


def _steal(released: Oracle, learner: Learner, asked: Dataset, settings: LocalTraining) -> Oracle:
    """Through the prediction service, as a user with all the time in the world."""
    service = PredictionService(released, lambda: 0, per_hour=max(1, len(asked)))
    parameters = steal_model(lambda features: service.ask("thief", features), learner, asked.features, settings, 1)
    return _oracle(learner, parameters)
