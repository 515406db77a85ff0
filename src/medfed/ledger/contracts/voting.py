"""Ballots: who may vote, who has voted, and when a vote is carried or lost.

Rules:
1. Only members of the electorate vote, each once; a second vote is refused, whatever it says.
2. A proposal is carried when more than two thirds of the electorate said yes.
3. It is lost as soon as the rest can no longer carry it.
The electorate is read anew at every vote, so that who has left no longer blocks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Name

__all__ = ["Ballot", "Standing", "cast_vote", "standing"]

Standing = Literal["open", "carried", "lost"]


class Ballot(Record):
    """Votes so far, sorted."""

    yes: tuple[Name, ...] = ()
    no: tuple[Name, ...] = ()


def cast_vote(ballot: Ballot, voter: Name, approve: bool, electorate: Collection[Name]) -> Ballot:
    """The ballot with one more vote (rule 1).

    Raises:
        Refused: `not-a-voter` or `already-voted`.
    """
    if voter not in electorate:
        raise Refused("not-a-voter", f"{voter} has no vote on this")
    if voter in ballot.yes or voter in ballot.no:
        raise Refused("already-voted", f"{voter} has voted already")
    if approve:
        return Ballot(tuple(sorted((*ballot.yes, voter))), ballot.no)
    return Ballot(ballot.yes, tuple(sorted((*ballot.no, voter))))


def standing(ballot: Ballot, electorate: Collection[Name]) -> Standing:
    """Rules 2 and 3 over those votes that still belong to the electorate."""
    size = len(electorate)
    yes = sum(1 for name in ballot.yes if name in electorate)
    no = sum(1 for name in ballot.no if name in electorate)
    if 3 * yes > 2 * size:
        return "carried"
    if 3 * (size - no) <= 2 * size:
        return "lost"
    return "open"
