"""How often noisy votes name the class that most teachers chose: computed from the law of the noise, not sampled.

For planning only. It takes shares of agreement that somebody assumes or measured on public cases, never real votes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.privacy.lattice import log_skellam
from medfed.privacy.shares import PolyaShares
from medfed.privacy.vote_noise import VoteShares

__all__ = ["NoiseLaw", "noise_law", "share_correct", "share_passing", "split_votes"]

_LEFT_OUT: Final = 40.0
"""Tails below e^-40 are left out."""


@dataclass(frozen=True, slots=True)
class NoiseLaw:
    """The distribution of the total noise on one count, all hospitals present: their shares are then the most."""

    reach: int
    """The noise runs from -reach to reach."""
    probability: NDArray[np.float64]
    """Of each value, length 2 reach + 1."""
    at_most: NDArray[np.float64]
    """Of at most each value."""

    def below_or_at(self, value: int) -> float:
        """P(noise ≤ value)."""
        if value < -self.reach:
            return 0.0
        return float(self.at_most[min(value, self.reach) + self.reach])


def noise_law(shares: VoteShares) -> NoiseLaw:
    """The law of the sum of every hospital's share."""
    holders, hospitals = shares.roster.holders, shares.roster.hospitals
    if isinstance(shares, PolyaShares):
        probability = _polya(hospitals / holders, float(shares.gamma))
    else:
        variance = float(shares.variance) * hospitals / holders
        probability = np.exp(log_skellam(variance, math.ceil(40 + 10 * math.sqrt(variance))))
    probability = np.maximum(probability, 0.0)
    probability /= probability.sum()
    return NoiseLaw(reach=probability.size // 2, probability=probability, at_most=np.cumsum(probability))


def split_votes(voters: int, classes: int, agreement: float) -> tuple[int, NDArray[np.int64]]:
    """(votes for the winning class, votes for each other class) when `agreement` of the voters agree, the rest spread.

    Raises:
        InvalidInput: an agreement at which no class wins.
    """
    if not 1 / classes < agreement <= 1:
        raise InvalidInput(f"agreement: expected above 1/{classes} and at most 1, found {agreement:g}")
    top = math.floor(agreement * voters)
    rest, over = divmod(voters - top, classes - 1)
    return top, np.full(classes - 1, rest, dtype=np.int64) + (np.arange(classes - 1) < over)


def share_correct(law: NoiseLaw, voters: int, classes: int, agreement: float) -> float:
    """P(the winning class keeps a strictly larger noisy count than each other); a tie counts as lost."""
    top, others = split_votes(voters, classes, agreement)
    noise = np.arange(-law.reach, law.reach + 1)
    wins = law.probability.copy()
    for other, times in zip(*np.unique(others, return_counts=True), strict=True):
        most = noise + (top - int(other)) - 1
        beaten = np.where(most < -law.reach, 0.0, law.at_most[np.clip(most, -law.reach, law.reach) + law.reach])
        wins *= beaten ** int(times)
    return float(min(1.0, wins.sum()))


def share_passing(law: NoiseLaw, voters: int, classes: int, agreement: float, threshold: int) -> float:
    """P(the largest noisy count reaches `threshold`)."""
    top, others = split_votes(voters, classes, agreement)
    missed = 1.0
    for count in (top, *(int(other) for other in others)):
        missed *= law.below_or_at(threshold - 1 - count)
    return 1.0 - missed


def _polya(shape: float, gamma: float) -> NDArray[np.float64]:
    """P(k) of the difference of two NB(shape, e^-γ), by convolution."""
    reach = math.ceil((_LEFT_OUT + 4 * abs(math.log(shape)) + math.log1p(1 / gamma)) / gamma) + 8
    k = np.arange(1, reach + 1, dtype=np.float64)
    log_p = np.concatenate(([0.0], np.cumsum(np.log((k - 1 + shape) / k) - gamma)))
    one = np.exp(log_p + shape * math.log(-math.expm1(-gamma)))
    size = 1 << (2 * one.size).bit_length()
    spectrum = np.fft.rfft(one, size)
    difference = np.fft.irfft(spectrum * np.conj(spectrum), size)
    return np.concatenate((difference[-reach:], difference[: reach + 1]))
