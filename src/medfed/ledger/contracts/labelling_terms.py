"""What the contracts need to know of a labelling study, in integers: its noise, its batches and its budget.

Whole numbers only, so that everybody gets the same noise from the same plan and the ledger can count it. What the noise
means, and what it costs in ε, is `medfed.privacy.vote_noise`; the hospitals compare that with the plan's budget before
they approve. Records only.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from medfed.encoding import Record

__all__ = [
    "GAMMA_STEP",
    "ConfidentNoise",
    "GaussianNoise",
    "LabellingTerms",
    "LaplaceNoise",
    "VoteNoise",
    "stages_of",
]

GAMMA_STEP: Final = 10_000
"""γ is counted in ten-thousandths."""
MOST_HISTOGRAMS: Final = 1_000_000

Variance = Annotated[int, Meta(ge=1, le=1 << 30)]
Histograms = Annotated[int, Meta(ge=0, le=MOST_HISTOGRAMS)]


class LaplaceNoise(Record, frozen=True, tag_field="mechanism", tag="laplace"):
    """Discrete Laplace noise on each count, P(k) proportional to e^(-γ|k|)."""

    gamma: Annotated[int, Meta(ge=1, le=100 * GAMMA_STEP)]
    """γ in ten-thousandths: 200 is .02."""


class GaussianNoise(Record, frozen=True, tag_field="mechanism", tag="gaussian"):
    """Symmetric Skellam noise of this variance on each count: Gaussian noise for whole numbers."""

    variance: Variance


class ConfidentNoise(Record, frozen=True, tag_field="mechanism", tag="confident"):
    """Two histograms: one for every query at `screen_variance`; where its largest count reaches `threshold`, another
    at `variance`, whose arg max is the label (Papernot et al. 2018, Algorithm 1, with both histograms seen by all).
    """

    screen_variance: Variance
    threshold: Annotated[int, Meta(ge=1, le=1_000_000)]
    """Votes, noise included, that the first histogram's largest count must have."""
    variance: Variance


VoteNoise = LaplaceNoise | GaussianNoise | ConfidentNoise


class LabellingTerms(Record, frozen=True):
    """A labelling study's side of the terms."""

    noise: VoteNoise
    sizes: Annotated[tuple[Annotated[int, Meta(ge=1, le=MOST_HISTOGRAMS)], ...], Meta(min_length=1, max_length=2)]
    """Histograms in one round of each stage: one stage, or screening and answering."""
    budget: Annotated[tuple[Histograms, ...], Meta(min_length=1, max_length=2)]
    """Histograms of each stage that may ever be released, failed rounds included: what the hospitals approved."""
    dropouts: Annotated[int, Meta(ge=0, le=49)]
    """Invited hospitals that may be missing in a round, or the noise is less than was promised."""
    colluding: Annotated[int, Meta(ge=1, le=49)]
    attended: Annotated[int, Meta(ge=1, le=50)]
    """k: the most hospitals that one patient may have been at."""
    epsilon: Annotated[int, Meta(ge=1, lt=2**53)]
    """What the whole budget may cost a patient, in millionths."""
    delta: Annotated[int, Meta(ge=1, lt=2**53)]
    """In units of 10^-15."""


def stages_of(noise: VoteNoise) -> int:
    """Rounds that a batch takes."""
    return 2 if isinstance(noise, ConfidentNoise) else 1
