"""The noise that a labelling study adds to its histograms, as whole numbers in the plan: mechanism, size, roster.

Whole numbers because everybody must get the same noise from the same plan, and because the ledger counts them. The
cost that follows from them never depends on a vote: every participant sees every noisy histogram, so each histogram
is charged in full, and arg max and threshold come free after it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Final, Literal

from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.privacy import Composed, Event, PolyaShares, Repeated, Roster, SkellamShares

__all__ = [
    "GAMMA_STEP",
    "ConfidentNoise",
    "GaussianNoise",
    "LaplaceNoise",
    "Mechanism",
    "Shares",
    "VoteNoise",
    "mechanism_of",
]

GAMMA_STEP: Final = 10_000
"""γ is counted in ten-thousandths."""
_MOST_VARIANCE: Final = 1 << 30

Mechanism = Literal["laplace", "gaussian", "confident"]
Shares = PolyaShares | SkellamShares
Variance = Annotated[int, Meta(ge=1, le=_MOST_VARIANCE)]


class LaplaceNoise(Record, frozen=True, tag_field="mechanism", tag="laplace"):
    """Discrete Laplace noise on each count, P(k) proportional to e^(-γ|k|)."""

    gamma: Annotated[int, Meta(ge=1, le=100 * GAMMA_STEP)]
    """γ in ten-thousandths: 200 is .02."""

    def __post_init__(self) -> None:
        _check("gamma", self.gamma, 100 * GAMMA_STEP)

    def shares(self, roster: Roster, stage: int = 0) -> PolyaShares:
        """What each hospital adds a share of. There is one stage."""
        _check_stage(stage, 1)
        return PolyaShares(gamma=Fraction(self.gamma, GAMMA_STEP), roster=roster)

    def event(self, roster: Roster, queries: int, answers: int, attended: int) -> Event:
        """What answering `queries` costs a patient who has been at `attended` hospitals."""
        del answers
        return Repeated(event=self.shares(roster).event(attended), count=queries)


class GaussianNoise(Record, frozen=True, tag_field="mechanism", tag="gaussian"):
    """Symmetric Skellam noise of this variance on each count: Gaussian noise for whole numbers."""

    variance: Variance

    def __post_init__(self) -> None:
        _check("variance", self.variance, _MOST_VARIANCE)

    def shares(self, roster: Roster, stage: int = 0) -> SkellamShares:
        """What each hospital adds a share of. There is one stage."""
        _check_stage(stage, 1)
        return SkellamShares(variance=Fraction(self.variance), roster=roster)

    def event(self, roster: Roster, queries: int, answers: int, attended: int) -> Event:
        """What answering `queries` costs a patient who has been at `attended` hospitals."""
        del answers
        return Repeated(event=self.shares(roster).event(attended), count=queries)


class ConfidentNoise(Record, frozen=True, tag_field="mechanism", tag="confident"):
    """Two histograms: one for every query at `screen_variance`; where its largest count reaches `threshold`, another
    at `variance`, whose arg max is the label (Papernot et al. 2018, Algorithm 1, with both histograms seen by all).
    """

    screen_variance: Variance
    threshold: Annotated[int, Meta(ge=1, le=10**6)]
    """Votes, noise included, that the first histogram's largest count must have."""
    variance: Variance

    def __post_init__(self) -> None:
        _check("screen variance", self.screen_variance, _MOST_VARIANCE)
        _check("threshold", self.threshold, 10**6)
        _check("variance", self.variance, _MOST_VARIANCE)

    def shares(self, roster: Roster, stage: int = 0) -> SkellamShares:
        """What each hospital adds a share of: stage 0 screens, stage 1 answers."""
        _check_stage(stage, 2)
        return SkellamShares(variance=Fraction((self.screen_variance, self.variance)[stage]), roster=roster)

    def event(self, roster: Roster, queries: int, answers: int, attended: int) -> Event:
        """What screening `queries` and answering `answers` of them costs a patient at `attended` hospitals."""
        screened = Repeated(event=self.shares(roster, 0).event(attended), count=queries)
        if not answers:
            return screened
        return Composed(events=(screened, Repeated(event=self.shares(roster, 1).event(attended), count=answers)))


VoteNoise = LaplaceNoise | GaussianNoise | ConfidentNoise


def mechanism_of(noise: VoteNoise) -> Mechanism:
    """The mechanism's name."""
    match noise:
        case LaplaceNoise():
            return "laplace"
        case GaussianNoise():
            return "gaussian"
        case ConfidentNoise():
            return "confident"


def _check(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InvalidInput(f"vote noise: expected {what} from 1 to {most}, found {value}")


def _check_stage(stage: int, stages: int) -> None:
    if not 0 <= stage < stages:
        raise InvalidInput(f"vote noise: expected a stage from 0 to {stages - 1}, found {stage}")
