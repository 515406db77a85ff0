"""Where a training round stands in its study, and what a learner may keep at the hospital.

What is kept never leaves the hospital: a learner gives bytes and gets them back, and knows no vault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["FIRST", "NO_CHECKPOINTS", "Checkpoints", "Course", "NoCheckpoints"]


class Checkpoints(Protocol):
    """Where a learner puts the middle of a round, so that a crash costs minutes, not the round."""

    def load(self) -> bytes | None:
        """What was last saved in this very round from this very start; else None."""
        ...

    def save(self, data: bytes) -> None:
        """Keep `data`, durably, in place of what was kept."""
        ...


class NoCheckpoints:
    """Keeps nothing: an interrupted round starts again."""

    def load(self) -> bytes | None:
        """Nothing."""
        return None

    def save(self, data: bytes) -> None:
        """Nothing."""


NO_CHECKPOINTS: Final = NoCheckpoints()


@dataclass(frozen=True, slots=True)
class Course:
    """One training round among those of a study."""

    index: int
    """Training rounds before this one."""
    rounds: int
    """Training rounds of the study: where a schedule ends."""
    kept: bytes = b""
    """`LocalResult.kept` of the last round that counted with this hospital; empty at first."""
    checkpoints: Checkpoints = NO_CHECKPOINTS


FIRST: Final = Course(0, 1)
"""A training that is not one of several."""
