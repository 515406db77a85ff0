"""Each hospital's share of the noise on a secure sum, sized so that the rest suffices when some are missing.

Every hospital adds a share; any N - t shares together are the whole noise that the plan names, and more shares only
add to it. t counts hospitals that may drop out and hospitals that may pool what they know of their own shares: at
least one, because everybody knows its own. Nothing here sees the numbers that the noise is added to.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import Entropy
from medfed.errors import InvalidInput
from medfed.privacy.events import DiscreteLaplaceSum, SkellamSum, Unit, vote_shifts
from medfed.privacy.inversion import Sampler
from medfed.privacy.laws import NegativeBinomial, Poisson
from medfed.privacy.noise_bound import polya_bound, skellam_bound

__all__ = ["PolyaShares", "Roster", "SkellamShares"]


@dataclass(frozen=True, slots=True)
class Roster:
    """Who shares the noise: N hospitals, of whom `dropouts` may be missing and `colluding` may be looking on."""

    hospitals: int
    dropouts: int
    colluding: int = 1

    def __post_init__(self) -> None:
        if self.dropouts < 0 or self.colluding < 1 or self.holders < 1:
            raise InvalidInput(
                f"noise shares of {self.hospitals} hospitals: expected 0 or more dropouts, at least 1 colluding, and "
                f"one left, found {self.dropouts} and {self.colluding}"
            )

    @property
    def holders(self) -> int:
        """N - t: how many shares make the whole noise."""
        return self.hospitals - self.dropouts - self.colluding

    @property
    def survivors(self) -> int:
        """N - dropouts: the fewest survivors that a round may have, or the noise is too small."""
        return self.hospitals - self.dropouts


@dataclass(frozen=True, slots=True)
class SkellamShares:
    """Shares of symmetric Skellam noise: each the difference of two Poisson(σ² / (2 (N - t)))."""

    variance: Fraction
    """σ² of the promised noise on one count."""
    roster: Roster

    @property
    def law(self) -> Poisson:
        """What a share is the difference of two of."""
        return Poisson(self.variance / (2 * self.roster.holders))

    def draw(self, shape: int | tuple[int, ...], entropy: Entropy) -> NDArray[np.int64]:
        """One hospital's fresh share for an array of this shape, int64. Never use a share twice.

        Raises:
            InvalidInput: the variance is not above 0, or too large in steps of 1.
        """
        return _difference(Sampler(self.law), shape, entropy)

    def event(self, hospitals_attended: int = 1) -> SkellamSum:
        """What releasing one query's noisy counts costs a patient, who changes one vote at each hospital attended."""
        return self._event(hospitals_attended, "patient")

    def hospital_event(self, voters: int) -> SkellamSum:
        """What it costs a hospital, which changes the votes of all its `voters` (sub-teachers)."""
        return self._event(voters, "hospital")

    def _event(self, changed: int, unit: Unit) -> SkellamSum:
        return SkellamSum(variance=float(self.variance), shifts=vote_shifts(changed), unit=unit)

    def total_bound(self, coordinates: int) -> int:
        """T: all shares together pass ±T on any of `coordinates` counts with probability at most 2^-40."""
        return skellam_bound(float(self.variance) * self.roster.hospitals / self.roster.holders, coordinates)

    def summed_bound(self, counts: int, coordinates: int) -> int:
        """As `total_bound`, for the sum of the noises on `counts` counts."""
        return skellam_bound(float(self.variance) * counts * self.roster.hospitals / self.roster.holders, coordinates)

    def share_bound(self, coordinates: int) -> int:
        """The same for one hospital's share: what its `noisy` entry must have room for."""
        return skellam_bound(float(self.variance) / self.roster.holders, coordinates)


@dataclass(frozen=True, slots=True)
class PolyaShares:
    """Shares of discrete Laplace noise: each the difference of two NB(1 / (N - t), e^(-γ)).

    N - t such differences sum to the difference of two geometric variables, which is discrete Laplace (Goryczka and
    Xiong 2015, section 4; Balle et al. 2020, Lemma 4.3).
    """

    gamma: Fraction
    """γ of the promised noise on one count."""
    roster: Roster

    @property
    def law(self) -> NegativeBinomial:
        """What a share is the difference of two of."""
        return NegativeBinomial(Fraction(1, self.roster.holders), self.gamma)

    def draw(self, shape: int | tuple[int, ...], entropy: Entropy) -> NDArray[np.int64]:
        """One hospital's fresh share for an array of this shape, int64. Never use a share twice.

        Raises:
            InvalidInput: gamma is not above 0, or so small that the noise is too large in steps of 1.
        """
        return _difference(Sampler(self.law), shape, entropy)

    def event(self, hospitals_attended: int = 1) -> DiscreteLaplaceSum:
        """What releasing one query's noisy counts costs a patient, who changes one vote at each hospital attended."""
        return self._event(hospitals_attended, "patient")

    def hospital_event(self, voters: int) -> DiscreteLaplaceSum:
        """What it costs a hospital, which changes the votes of all its `voters` (sub-teachers)."""
        return self._event(voters, "hospital")

    def _event(self, changed: int, unit: Unit) -> DiscreteLaplaceSum:
        return DiscreteLaplaceSum(gamma=float(self.gamma), shifts=vote_shifts(changed), unit=unit)

    def total_bound(self, coordinates: int) -> int:
        """T: all shares together pass ±T on any of `coordinates` counts with probability at most 2^-40."""
        return polya_bound(self.roster.hospitals / self.roster.holders, float(self.gamma), coordinates)

    def summed_bound(self, counts: int, coordinates: int) -> int:
        """As `total_bound`, for the sum of the noises on `counts` counts."""
        return polya_bound(counts * self.roster.hospitals / self.roster.holders, float(self.gamma), coordinates)

    def share_bound(self, coordinates: int) -> int:
        """The same for one hospital's share: what its `noisy` entry must have room for."""
        return polya_bound(1 / self.roster.holders, float(self.gamma), coordinates)


def _difference(sampler: Sampler, shape: int | tuple[int, ...], entropy: Entropy) -> NDArray[np.int64]:
    sizes = (shape,) if isinstance(shape, int) else shape
    if any(size < 0 for size in sizes):
        raise InvalidInput(f"noise share: expected a shape of sizes of at least 0, found {sizes}")
    count = int(np.prod(sizes, dtype=np.int64))
    plus = sampler.draw(count, entropy)
    plus -= sampler.draw(count, entropy)
    return plus.reshape(sizes)
