"""The diagnoses that similar cases vote for: the sum of sim^8 over the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["POWER", "count_votes", "sum_votes"]

POWER: Final = 8
T = TypeVar("T")


def sum_votes(scores: npt.NDArray[np.float64], diagnoses: Sequence[Sequence[T]]) -> list[tuple[T, float]]:
    """Each diagnosis with its votes, most first, ties in the order in which the nearest cases name them.

    A case votes for each of its diagnoses with its similarity to the power of 8, so an identical case has one vote, one
    of similarity .7 has .06, and one of similarity 0 none; empty where nobody votes.
    """
    votes: dict[T, float] = {}
    for score, named in zip(scores.tolist(), diagnoses, strict=True):
        for diagnosis in named:
            votes[diagnosis] = votes.get(diagnosis, 0.0) + max(score, 0.0) ** POWER
    if not sum(votes.values()) > 0:
        return []
    return sorted(votes.items(), key=lambda item: -item[1])


def count_votes(scores: npt.NDArray[np.float64], diagnoses: Sequence[Sequence[T]]) -> list[tuple[T, float]]:
    """`sum_votes` as shares of all votes: they sum up to 1."""
    votes = sum_votes(scores, diagnoses)
    total = sum(vote for _, vote in votes)
    return [(diagnosis, vote / total) for diagnosis, vote in votes]
