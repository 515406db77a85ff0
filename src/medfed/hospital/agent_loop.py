"""Runs one agent until it is told to stop: steps, waits for the ledger, backs off while something is unavailable."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from medfed.errors import Unavailable
from medfed.hospital.agent import Agent
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.studies import Study, studies, study_record
from medfed.ledger.engine import StateView

__all__ = ["has_open_studies", "run_agent"]

log: Final = logging.getLogger("medfed.hospital")
_LONGEST_BACKOFF: Final = 5.0
Observer = Callable[[StateView], None]


def run_agent(
    agent: Agent,
    stop: Callable[[], bool],
    *,
    poll: float = 0.2,
    until_complete: bool = False,
    observer: Observer | None = None,
) -> None:
    """Step `agent` until `stop()`; with `until_complete` also when no study of this site is open any more.

    Raises:
        Tampered: the ledger contradicts what the vault has seen. InvalidInput, Refused: the site must be mended.
    """
    backoff = poll
    while not stop():
        try:
            moved = agent.step()
            view = agent.engine.view()
            if observer is not None:
                observer(view)
            if until_complete and not moved and not has_open_studies(view, agent.site.name):
                return
            if not moved:
                agent.engine.wait(view.tip.height, poll)
            backoff = poll
        except Unavailable as error:
            log.warning("%s; trying again in %.1f s", error, backoff)
            time.sleep(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF)


def has_open_studies(view: StateView, name: str) -> bool:
    """Whether some study still needs this hospital: it is under way, or its model is not registered by it yet."""
    records = [study_record(view, identifier) for identifier in studies(view)]
    return any(record is not None and _is_open(view, record, name) for record in records)


def _is_open(view: StateView, record: Study, name: str) -> bool:
    members = record.roster or record.terms.invited
    if name not in members or record.phase == "aborted" or name in record.declined:
        return False
    if record.phase != "completed":
        return True
    return not any(
        entry.study == record.study and (entry.registered_by == name or name in entry.endorsers)
        for entry in artefacts(view)
    )
