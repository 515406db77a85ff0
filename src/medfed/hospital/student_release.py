"""The student of a finished labelling study, from published material alone: the labels and the public cases.

Anybody who has the ledger and the blobs gets the same student. It is the only thing that the study releases; this
module must never see a private row.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from medfed.blobs import BlobStore
from medfed.errors import InvalidInput
from medfed.federation.learning_state import LearningState
from medfed.federation.model_file import Model, ModelCard, StudentCard
from medfed.federation.plan import Plan
from medfed.federation.public_cases import PublicCases, read_public_cases
from medfed.federation.study import learner_of
from medfed.hospital.votes_round import labelling_of
from medfed.pate.student import agreement_with_labels, train_student
from medfed.pate.votes import UNANSWERED
from medfed.privacy import DELTA_STEP, EPSILON_STEP
from medfed.privacy.vote_noise import mechanism_of

__all__ = ["cases_in", "labels_in", "student_from", "student_of"]


def cases_in(plan: Plan, blobs: BlobStore) -> PublicCases:
    """The study's public cases.

    Raises:
        Unavailable: they are not here. InvalidInput: they do not fit the plan. Refused: they may identify somebody.
    """
    return read_public_cases(plan, blobs.get(bytes.fromhex(labelling_of(plan).cases)))


def labels_in(state: LearningState, cases: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The label of every public case, `UNANSWERED` where the votes gave none, int64 (cases,)."""
    if state.votes is None:
        raise InvalidInput("labels: the state is not that of a labelling study")
    labels = np.full(cases, UNANSWERED, dtype=np.int64)
    labels[: len(state.votes.labels)] = state.votes.labels
    return labels


def student_of(plan: Plan, state: LearningState, blobs: BlobStore) -> Model:
    """Train the student on the labels in `state`, and write its card.

    Raises:
        Unavailable: the public cases are not here. InvalidInput: no case has a label.
    """
    return student_from(plan, state, cases_in(plan, blobs))


def student_from(plan: Plan, state: LearningState, cases: PublicCases) -> Model:
    """The same from the public cases themselves.

    Raises:
        InvalidInput: no case has a label.
    """
    labelling = labelling_of(plan)
    labels = labels_in(state, len(cases))
    learner, student = learner_of(plan), labelling.student
    parameters = train_student(
        learner, plan.task, cases.features, labels, student.local, plan.training.seed, student.confidence
    )
    card = ModelCard(
        title=plan.purpose.title,
        task=plan.task,
        intended_use=plan.purpose.application,
        plan=plan.digest,
        state=state.digest,
        hospitals=plan.participation.hospitals,
        aggregates=0,
        validation=None,
        test=None,
        limits=_LIMITS,
        student=StudentCard(
            mechanism=mechanism_of(labelling.noise),
            teachers=sum(labelling.teachers),
            queries=labelling.queries,
            labels=int(np.count_nonzero(labels != UNANSWERED)),
            unlabelled=len(cases) - int(np.count_nonzero(labels != UNANSWERED)),
            agreement=agreement_with_labels(learner, parameters, cases.features, labels),
            epsilon=labelling.epsilon / EPSILON_STEP,
            delta=labelling.delta / DELTA_STEP,
            attended=labelling.attended,
        ),
    )
    return Model(plan, cases.standardisation, parameters, card)


_LIMITS: Final = (
    "Learned from public cases that the hospitals' teachers labelled by noisy vote; it never saw a patient of theirs. "
    "Elsewhere it must be validated first. It supports a decision and never makes one. Who may query it without limit "
    "can copy it; that tells nothing more about a patient, but copies its mistakes."
)
