"""Harrell's concordance as exact counts of pairs, which hospitals can add up.

The index is `(concordant + tied / 2) / (concordant + discordant + tied)`; pairs are within one hospital only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput

__all__ = ["concordance_counts", "concordance_index"]

Array = npt.NDArray[Any]


def concordance_counts(risk: Array, time: Array, event: Array) -> tuple[int, int, int]:
    """Pairs (concordant, discordant, tied in risk) among those that can be compared.

    A pair can be compared when the earlier time is an event; of two equal times, an event comes before a censoring,
    and two events cannot be compared (Harrell 1982; `survival::concordance` and lifelines do the same). It is
    concordant when the earlier has the higher risk. O(n log² n), vectorised. All arguments `(n,)`.

    Raises:
        InvalidInput: shapes differ, or a value is not finite.
    """
    if not (risk.ndim == 1 and risk.shape == time.shape == event.shape):
        raise InvalidInput(f"concordance: found shapes {risk.shape}, {time.shape} and {event.shape}")
    if not (np.isfinite(risk).all() and np.isfinite(time).all()):
        raise InvalidInput("concordance: expected finite risks and times")
    is_event = event > 0
    # By falling time, censored before events: what an event can be compared with is a prefix of this order.
    order = np.lexsort((is_event, -time))
    time, is_event = time[order], is_event[order]
    ranks = np.unique(risk, return_inverse=True)[1].astype(np.int64)[order]
    key = np.cumsum(np.diff(time, prepend=time[:1]) != 0) * 2 + is_event
    prefix = np.searchsorted(key, key[is_event], side="left")
    own = ranks[is_event]
    lower = _count_below(ranks, prefix, own)
    lower_or_equal = _count_below(ranks, prefix, own + 1)
    total = int(prefix.sum())
    return lower, total - lower_or_equal, lower_or_equal - lower


def concordance_index(concordant: int, discordant: int, tied: int) -> float:
    """Harrell's index of the given counts.

    Raises:
        InvalidInput: there is no pair.
    """
    pairs = concordant + discordant + tied
    if pairs == 0:
        raise InvalidInput("concordance: no pair can be compared")
    return (concordant + tied / 2) / pairs


def _count_below(ranks: npt.NDArray[np.int64], prefix: Array, bounds: Array) -> int:
    """Sum over queries of how many of the first `prefix` ranks are less than `bounds`.

    A prefix is a union of aligned blocks, one for each bit of its length; each level's blocks are sorted at once.
    """
    span = int(ranks.max(initial=0)) + 2
    positions = np.arange(len(ranks))
    total = 0
    for level in range(len(ranks).bit_length()):
        chosen = (prefix >> level) & 1 == 1
        if not chosen.any():
            continue
        block = (prefix[chosen] >> level) - 1
        sorted_keys = np.sort((positions >> level) * span + ranks)
        found = np.searchsorted(sorted_keys, block * span + bounds[chosen], side="left")
        total += int((found - (block << level)).sum())
    return total
