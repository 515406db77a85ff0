"""What an agent owes: a piece of work read off the ledger, and what the duties that do it look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from medfed.encoding import Record
from medfed.hospital.site import Site
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import Study
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["Duty", "Me", "Performer", "Work"]


class Work(Record):
    """One thing to do. `key` names it for good: while its transactions are on their way it is not done again."""

    duty: str
    study: StudyId
    round: int = -1
    attempt: int = -1
    detail: str = ""

    @property
    def key(self) -> str:
        """Equal for equal work."""
        return f"{self.duty}/{self.study.hex()}/{self.round}/{self.attempt}/{self.detail}"


class Me(Record):
    """Who asks what is due, and when."""

    name: Name
    now_ms: int
    started_ms: int


class Performer(Protocol):
    """What does works of one kind, whatever they are read off."""

    name: ClassVar[str]
    is_atomic: ClassVar[bool]

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """See `Duty.perform`."""
        ...


class Duty(Protocol):
    """One kind of duty."""

    name: ClassVar[str]
    """What works of this duty are called."""
    is_atomic: ClassVar[bool]
    """Whether the agent puts vault writes and outbox into one commit. A duty that is not atomic makes its own commits,
    in the order that its effects need, and gives the same bodies when it is done again."""

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """What is owed to `study` now; pure."""
        ...

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Do it: may train, read blobs and write the vault. Returns what to put on the ledger.

        Raises `Unavailable` to be asked again later.
        """
        ...
