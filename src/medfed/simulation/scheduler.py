"""Steps many agents in one process until a study has ended: who acts when is a seeded schedule.

All agents of one tick see the same state and their transactions enter one block. Where nobody has anything to do, time
moves on to the next deadline. Absence is a window of rounds in which an agent is not stepped at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import Unavailable
from medfed.hospital.agent import Agent
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.deadlines import due_at
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.engine import Engine, StateView

__all__ = ["Absence", "Idle", "Scheduler", "TickObserver"]

Idle = Callable[[int | None], None]
"""What to do when nobody could act: gets the next deadline (ms), if there is one."""
TickObserver = Callable[[StateView, Study], None]

_MAX_IDLE_TICKS: Final = 10_000


class Absence(Record):
    """A hospital that is not there from the opening of round `first` until round `last` is over."""

    first: Annotated[int, Meta(ge=0)]
    last: Annotated[int, Meta(ge=0)] = 2**31
    """For good by default."""

    def covers(self, round_number: int) -> bool:
        """Whether the hospital is away in that round."""
        return self.first <= round_number <= self.last


class Scheduler:
    """Drives agents over one engine."""

    def __init__(
        self,
        agents: Mapping[Name, Agent],
        engine: Engine,
        idle: Idle,
        *,
        seed: int = 0,
        away: Mapping[Name, Absence] | None = None,
        observer: TickObserver | None = None,
    ) -> None:
        self._agents = dict(agents)
        self._engine = engine
        self._idle = idle
        self._random = random.Random(seed)  # noqa: S311 - a schedule, not a secret
        self._away = dict(away or {})
        self._observer = observer

    def run(self, study: StudyId) -> Study:
        """Step everybody until the study is completed and all present have registered it, or it is aborted.

        Raises:
            Unavailable: nobody can act any more; says in which phase and what holds the agents up.
        """
        idle_ticks = 0
        while True:
            view = self._engine.view()
            record = study_record(view, study)
            if record is None:
                raise Unavailable(f"study {study.hex()}: it is not on the ledger")
            if self._observer is not None:
                self._observer(view, record)
            if self._tick(record):
                idle_ticks = 0
                continue
            if record.phase in ("completed", "aborted"):
                return record
            idle_ticks += 1
            if idle_ticks > _MAX_IDLE_TICKS:
                raise Unavailable(f"the study is {record.phase} and nobody can act: {self._problems()}")
            self._idle(due_at(view, record))

    def _tick(self, record: Study) -> int:
        present = [name for name in self._agents if not self._is_away(name, record)]
        self._random.shuffle(present)
        batches = [(self._agents[name], self._agents[name].prepare()) for name in present]
        transactions = [signed for _, waiting in batches for signed in waiting]
        if not transactions:
            return 0
        receipts = self._engine.submit(*transactions)
        final, at = 0, 0
        for agent, waiting in batches:
            final += agent.settle(receipts[at : at + len(waiting)])
            at += len(waiting)
        return final

    def _is_away(self, name: Name, record: Study) -> bool:
        absence = self._away.get(name)
        return absence is not None and absence.covers(record.next_round - 1)

    def _problems(self) -> str:
        found: Sequence[str] = sorted({text for agent in self._agents.values() for text in agent.problems.values()})
        return "; ".join(found) or "no agent reports a problem"
