"""Noisy votes in a secure sum: how they lie in the vector, what a hospital adds, and what the totals mean.

A `votes` round sums one entry and nothing else: no exact count may travel beside a noisy one. Threshold and arg max
work on totals that everybody has seen, so they cost nothing more. This module must never return a histogram without
its noise.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import Entropy
from medfed.errors import InvalidInput
from medfed.privacy.vote_noise import VoteShares
from medfed.secure_sum import Entry, Manifest, check_hospitals

__all__ = [
    "UNANSWERED",
    "VOTES",
    "are_plausible",
    "noisy_votes",
    "pass_threshold",
    "vote_manifest",
    "winners",
]

VOTES: Final = "votes"
"""The one entry of a votes round."""
UNANSWERED: Final = -1
"""The label of a case that got none."""

Totals = NDArray[np.int64]


def vote_manifest(shares: VoteShares, histograms: int, classes: int, most_teachers: int) -> Manifest:
    """What a votes round sums: the counts of `histograms` cases, a case after the other.

    The bound leaves room for the teachers of one hospital and for its share of the noise, which passes it with
    probability 2^-40; noise is never cut off.

    Raises:
        InvalidInput: a sum over all hospitals could wrap.
    """
    length = histograms * classes
    bound = most_teachers + shares.share_bound(length)
    manifest = Manifest((Entry(VOTES, "noisy", length, bound),))
    check_hospitals(manifest, shares.roster.hospitals)
    return manifest


def noisy_votes(histograms: NDArray[np.int64], shares: VoteShares, entropy: Entropy) -> dict[str, NDArray[Any]]:
    """One hospital's contribution: its histograms with its own fresh share of the noise.

    Args:
        histograms: (cases, classes), exact.
        shares: the noise that the plan names.
        entropy: a source that nobody else can predict.

    Raises:
        InvalidInput: not counts of votes.
    """
    if histograms.ndim != 2 or histograms.dtype.kind != "i" or (histograms < 0).any():
        raise InvalidInput(f"votes: expected counts of shape (cases, classes), found {histograms.shape}")
    noise = shares.draw(histograms.shape, entropy)
    return {VOTES: (histograms + noise).reshape(-1)}


def are_plausible(totals: Totals, voters: int, shares: VoteShares) -> bool:
    """Whether `totals` (cases, classes) can be `voters` votes a case and the noise of all hospitals.

    Every case's counts add up to the voters but for the noise, and none is beyond them by more than noise can be;
    honest hospitals fail this with probability below 2^-38. It bounds what a crafted vector can do: it may move votes
    between classes, not add any.
    """
    room = shares.total_bound(totals.size)
    room_of_sum = shares.summed_bound(totals.shape[1], totals.shape[0])
    adds_up = np.abs(totals.sum(axis=1) - voters) <= room_of_sum
    return bool(adds_up.all() and (totals >= -room).all() and (totals <= voters + room).all())


def pass_threshold(totals: Totals, threshold: int, most: int) -> NDArray[np.int64]:
    """The cases whose largest noisy count reaches `threshold`, in order, at most `most`: int64 positions."""
    return np.flatnonzero(totals.max(axis=1) >= threshold)[:most].astype(np.int64)


def winners(totals: Totals) -> NDArray[np.int64]:
    """The class with the largest noisy count of each case, the lowest of equals: int64 (cases,)."""
    return totals.argmax(axis=1).astype(np.int64)
