"""The diagnoses that similar cases vote for: the sum of sim^8 over the nearest, as a share of all votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["POWER", "count_votes"]

POWER: Final = 8
T = TypeVar("T")


def count_votes(scores: npt.NDArray[np.float64], diagnoses: Sequence[Sequence[T]]) -> list[tuple[T, float]]:
    """Each diagnosis with its share, best first, ties in the order in which the nearest cases name them.

    A case votes for each of its diagnoses with its similarity to the power of 8. Shares are of all votes, so they sum
    up to 1; empty where nobody votes.
    """
    votes: dict[T, float] = {}
    for score, named in zip(scores.tolist(), diagnoses, strict=True):
        for diagnosis in named:
            votes[diagnosis] = votes.get(diagnosis, 0.0) + max(score, 0.0) ** POWER
    total = sum(votes.values())
    if not total > 0:
        return []
    return sorted(((diagnosis, vote / total) for diagnosis, vote in votes.items()), key=lambda item: -item[1])
