"""A hospital's part in a labelling study: its teachers, and its noisy histograms for a batch.

Teachers, their single votes and exact histograms stay in this process and its worker: neither stored nor logged. The
noise is drawn fresh for each round from the site's own randomness; the vault keeps the noisy vector, and only that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import digest_of
from medfed.errors import InvalidInput, Refused
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan, Words
from medfed.federation.prepared import PreparedData
from medfed.federation.public_cases import PublicCases
from medfed.federation.splits import TRAIN
from medfed.federation.word_study import word_votes
from medfed.hospital.computing import compute_histograms
from medfed.hospital.enrolled import can_enrol, charge_patients, enrolled_rows
from medfed.hospital.site import Site
from medfed.hospital.student_release import cases_in
from medfed.hospital.votes_round import classes_in, labelling_of, need_votes_round, shares_in
from medfed.identifiers import Code, Name, StudyId
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.engine import StateView
from medfed.models.learner import learner_for
from medfed.pate.teachers import assign_teachers, train_teachers
from medfed.pate.votes import noisy_votes

__all__ = ["enrol_teachers", "public_cases", "reason_to_decline", "teachers_at", "votes_contribution"]


def votes_contribution(
    site: Site, view: StateView, plan: Plan, state: LearningState, current: Round
) -> dict[str, NDArray[Any]]:
    """This hospital's noisy counts for the round, by entry name.

    Raises:
        Unavailable: the public cases are not here. InvalidInput: they, or this hospital's rows, do not fit.
    """
    labelling, place = labelling_of(plan), need_votes_round(view, current)
    exact = _histograms(site, plan, current)
    batch = exact[place.batch * labelling.batch : (place.batch + 1) * labelling.batch]
    if place.stage:
        passed = list(state.votes.passed) if state.votes is not None else []
        asked = np.zeros((place.histograms, classes_in(plan)), dtype=np.int64)
        asked[: len(passed)] = batch[passed]
        batch = asked
    return dict(noisy_votes(batch, shares_in(plan, place.stage), site.entropy))


def reason_to_decline(site: Site, plan: Plan, study: StudyId) -> Code | None:
    """Why this hospital cannot take part in a labelling study that its policy would approve.

    Raises:
        Unavailable: the public cases are not here yet, so nobody can say.
    """
    try:
        public_cases(site, plan)
    except Refused as refusal:
        return refusal.code
    except InvalidInput:
        return "unusable-cases"
    rows = training_rows(site.prepared(plan))
    if len(np.unique(rows.pseudonyms)) < teachers_at(plan, site.name):
        return "too-few-examples"
    return None if can_enrol(site, plan, study, rows) else "privacy-cap"


def enrol_teachers(site: Site, plan: Plan, study: StudyId) -> None:
    """Charge the study to every patient whose rows teachers will learn from, in the vault.

    Raises:
        Refused: `privacy-cap`. InvalidInput: fewer patients than teachers are left.
    """
    rows = charge_patients(site, plan, study, training_rows(site.prepared(plan)))
    assign_teachers(rows.pseudonyms, teachers_at(plan, site.name))


def public_cases(site: Site, plan: Plan) -> PublicCases:
    """The study's public cases out of the site's blobs.

    Raises:
        Unavailable: they are not here. InvalidInput: they do not fit the plan. Refused: they may identify somebody.
    """
    return cases_in(plan, site.blobs)


def teachers_at(plan: Plan, name: Name) -> int:
    """How many teachers the plan asks of a hospital.

    Raises:
        InvalidInput: the plan does not name it.
    """
    counts = dict(zip(plan.participation.hospitals, labelling_of(plan).teachers, strict=True))
    if name not in counts:
        raise InvalidInput(f"plan: {name} is not among its hospitals")
    return counts[name]


def training_rows(prepared: PreparedData) -> PreparedData:
    """The rows that teachers may learn from."""
    return prepared.take(prepared.split == TRAIN)


def _histograms(site: Site, plan: Plan, current: Round) -> NDArray[np.int64]:
    """Exact counts of every query, worked out once and kept in memory only."""
    known = site.votes.get(current.study)
    if known is None:

        def begin() -> Callable[[], NDArray[np.int64]]:
            cases = public_cases(site, plan)
            rows = enrolled_rows(site, current.study, training_rows(site.prepared(plan)))
            return lambda: _counted(plan, site.name, cases, rows)

        known = site.votes[current.study] = compute_histograms(site, current.study, plan, begin)
    return known


def _counted(plan: Plan, name: Name, cases: PublicCases, rows: PreparedData) -> NDArray[np.int64]:
    """What this hospital's teachers say of each query; of concepts, what the hospital itself says."""
    if isinstance(plan.words, Words):
        return word_votes(rows, labelling_of(plan).queries, plan.words)
    count = teachers_at(plan, name)
    teachers = train_teachers(
        learner_for(plan.model, plan.task, plan.inputs, plan.outputs),
        rows.datasets(cases.standardisation)["train"],
        rows.pseudonyms,
        assign_teachers(rows.pseudonyms, count),
        count,
        plan.training.local,
        digest_of("medfed/teachers", plan.digest, name),
        classes_in(plan),
    )
    return teachers.histograms(cases.features[: labelling_of(plan).queries])
