"""Points: integers, by each study's policy, every change with its cause.

Rules:
1. A hospital whose update counts in a released training round earns points for its enrolled examples, capped.
2. Naming the base that becomes final earns points; naming another, or none, does not.
3. Whoever seals a block that holds an accepted transaction of somebody else earns the policy's points for it.
4. Nothing is ever taken away, and nothing is earned by an update that was left out.
"""

from __future__ import annotations

from typing import Final, Literal

from medfed.encoding import Record
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.terms import RewardPolicy
from medfed.ledger.state import Overlay, Reader, Table

__all__ = ["Award", "award", "points", "statement", "study_points"]

Cause = Literal["examples", "agreement", "sealing"]


class Award(Record):
    """Points for one cause, in one round where it has one."""

    cause: Cause
    points: int
    round: int = 0


_POINTS: Final[Table[int]] = Table("points", int)
_STUDY_POINTS: Final[Table[int]] = Table("study-points", int)
_AWARDS: Final[Table[tuple[Award, ...]]] = Table("award", tuple[Award, ...])
_SEALING: Final[Table[int]] = Table("sealing-points", int)


def award(overlay: Overlay, who: Name, study: StudyId, round_number: int, cause: Cause, amount: int) -> None:
    """Enter one award; an amount of zero leaves no trace."""
    if amount == 0:
        return
    row = _AWARDS.get(overlay, study, who, round_number) or ()
    _AWARDS.put(overlay, (*row, Award(cause, amount, round_number)), study, who, round_number)
    _STUDY_POINTS.put(overlay, study_points(overlay, study, who) + amount, study, who)
    _POINTS.put(overlay, points(overlay, who) + amount, who)


def award_examples(
    overlay: Overlay, policy: RewardPolicy, who: Name, study: StudyId, round_number: int, examples: int
) -> None:
    """Rule 1."""
    counted = min(examples, policy.cap_examples)
    amount = counted // 100 * policy.per_hundred_examples
    award(overlay, who, study, round_number, "examples", amount)


def award_sealing(overlay: Overlay, who: Name, amount: int) -> None:
    """Rule 3."""
    if amount:
        _SEALING.put(overlay, sealing_points(overlay, who) + amount, who)
        _POINTS.put(overlay, points(overlay, who) + amount, who)


def points(reader: Reader, who: Name) -> int:
    """All points of a participant."""
    return _POINTS.get(reader, who) or 0


def study_points(reader: Reader, study: StudyId, who: Name) -> int:
    """A participant's points from one study."""
    return _STUDY_POINTS.get(reader, study, who) or 0


def sealing_points(reader: Reader, who: Name) -> int:
    """A participant's points for sealing blocks."""
    return _SEALING.get(reader, who) or 0


def statement(reader: Reader, who: Name) -> list[tuple[StudyId, Award]]:
    """Every award of a participant with its study and cause; sealing is summed up apart."""
    return [(key[0], entry) for key, awards in _AWARDS.rows(reader) if key[1] == who for entry in awards]
