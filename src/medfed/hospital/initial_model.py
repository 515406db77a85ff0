"""The model that a study starts from, made by the site's worker: code that a plan brings runs for this already."""

from __future__ import annotations

from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan
from medfed.federation.study import initial_state
from medfed.hospital.site import Site
from medfed.hospital.worker import Task
from medfed.identifiers import StudyId

__all__ = ["compute_initial"]


def compute_initial(site: Site, study: StudyId, plan: Plan) -> LearningState:
    """A study's state before its first round. Of a module of one's own, its code runs for it.

    Raises:
        As the worker says.
    """
    known = site.initial.get(plan.digest)
    if known is None:
        task = Task(
            study.hex(),
            f"study {study.hex()[:12]}: its first model",
            plan.digest,
            lambda: lambda _: initial_state(plan).save(),
            bytes,
            bytes,
        )
        site.initial.clear()
        known = site.initial[plan.digest] = site.worker.do(task)
    return LearningState.load(known)
