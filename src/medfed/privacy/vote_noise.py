"""What the noise of a labelling study means: each hospital's shares of it, and what the histograms cost.

The cost never depends on a vote: every participant sees every noisy histogram, so each histogram is charged in full,
and arg max and threshold come free after it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from medfed.errors import InvalidInput
from medfed.ledger.contracts.labelling_terms import (
    GAMMA_STEP,
    ConfidentNoise,
    GaussianNoise,
    LabellingTerms,
    LaplaceNoise,
    VoteNoise,
    stages_of,
)
from medfed.privacy.account import DELTA_STEP
from medfed.privacy.curve import Guarantee
from medfed.privacy.events import Composed, Event, Repeated
from medfed.privacy.renyi import guarantee
from medfed.privacy.shares import PolyaShares, Roster, SkellamShares

__all__ = [
    "Mechanism",
    "VoteShares",
    "budget_curve",
    "labelling_guarantee",
    "mechanism_of",
    "vote_event",
    "vote_shares",
]

Mechanism = Literal["laplace", "gaussian", "confident"]
VoteShares = PolyaShares | SkellamShares


def mechanism_of(noise: VoteNoise) -> Mechanism:
    """The mechanism's name."""
    match noise:
        case LaplaceNoise():
            return "laplace"
        case GaussianNoise():
            return "gaussian"
        case ConfidentNoise():
            return "confident"


def vote_shares(noise: VoteNoise, roster: Roster, stage: int = 0) -> VoteShares:
    """What each hospital adds a share of. Confident aggregation screens in stage 0 and answers in stage 1.

    Raises:
        InvalidInput: no such stage.
    """
    if not 0 <= stage < stages_of(noise):
        raise InvalidInput(f"vote noise: expected a stage from 0 to {stages_of(noise) - 1}, found {stage}")
    match noise:
        case LaplaceNoise(gamma=gamma):
            return PolyaShares(gamma=Fraction(gamma, GAMMA_STEP), roster=roster)
        case GaussianNoise(variance=variance):
            return SkellamShares(variance=Fraction(variance), roster=roster)
        case ConfidentNoise(screen_variance=screen, variance=variance):
            return SkellamShares(variance=Fraction((screen, variance)[stage]), roster=roster)


def vote_event(noise: VoteNoise, roster: Roster, histograms: tuple[int, ...], attended: int) -> Event:
    """What releasing so many histograms of each stage costs a patient who has been at `attended` hospitals.

    Raises:
        InvalidInput: not a number for each stage, or no histogram at all.
    """
    if len(histograms) != stages_of(noise) or not any(histograms):
        raise InvalidInput(f"vote noise: expected {stages_of(noise)} numbers of histograms, found {histograms}")
    parts = tuple(
        Repeated(event=vote_shares(noise, roster, stage).event(attended), count=count)
        for stage, count in enumerate(histograms)
        if count
    )
    return parts[0] if len(parts) == 1 else Composed(events=parts)


def labelling_guarantee(terms: LabellingTerms, hospitals: int) -> Guarantee:
    """What a labelling study's whole budget costs a patient, whatever the data; `hospitals` is how many are invited.

    Raises:
        InvalidInput: nobody is left to hold the noise, or it is too small for any bound.
    """
    roster = Roster(hospitals, terms.dropouts, terms.colluding)
    return guarantee(vote_event(terms.noise, roster, terms.budget, terms.attended), terms.delta / DELTA_STEP)


def budget_curve(terms: LabellingTerms, hospitals: int, points: int = 40) -> list[tuple[int, float]]:
    """(histograms of the first stage, ε at the plan's δ) from the first to the whole budget, whatever the data.

    A second stage is counted in proportion, rounded up.
    """
    roster = Roster(hospitals, terms.dropouts, terms.colluding)
    whole = terms.budget[0]
    curve: list[tuple[int, float]] = []
    for count in sorted({max(1, round(whole * at / points)) for at in range(1, points + 1)} | {1}):
        counts = (count, *(-(-count * other // whole) for other in terms.budget[1:]))
        event = vote_event(terms.noise, roster, counts, terms.attended)
        curve.append((count, guarantee(event, terms.delta / DELTA_STEP).epsilon))
    return curve
