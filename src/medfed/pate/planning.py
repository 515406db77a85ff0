"""From voters, classes, agreement and a budget to noise, queries and expected answers, before anybody is asked.

Every ε here is a bound that holds for any data. What cannot work is refused with the number that would be needed.
Nothing here may look at a vote.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Final

from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput, Refused
from medfed.ledger.contracts.labelling_terms import (
    GAMMA_STEP,
    ConfidentNoise,
    GaussianNoise,
    LaplaceNoise,
    VoteNoise,
    stages_of,
)
from medfed.privacy import Guarantee, Roster, guarantee
from medfed.privacy.vote_noise import Mechanism, mechanism_of, vote_event, vote_shares
from medfed.privacy.vote_reliability import noise_law, share_correct, share_passing

__all__ = ["Proposal", "Wishes", "cost", "plan_labelling", "privacy_curve"]

_MOST_VARIANCE: Final = 1 << 24
_MOST_QUERIES: Final = 1_000_000
_MOST_VOTERS: Final = 100_000_000
_SCREEN: Final = 9
"""Confident aggregation screens with noise of this many times the answers' variance, unless the caller says."""


class Wishes(Record, frozen=True):
    """What the organiser knows and wants."""

    voters: Annotated[int, Meta(ge=1, le=1_000_000)]
    """Sub-teachers of all hospitals together."""
    classes: Annotated[int, Meta(ge=2, le=10_000)]
    agreement: tuple[float, ...]
    """For typical cases, the share of voters that choose the same class; each entry stands for as many cases."""
    epsilon: float
    delta: float
    hospitals: Annotated[int, Meta(ge=3, le=50)]
    dropouts: Annotated[int, Meta(ge=0, le=49)] = 0
    colluding: Annotated[int, Meta(ge=1, le=49)] = 1
    attended: Annotated[int, Meta(ge=1, le=50)] = 1
    """k: the most hospitals that one patient may have been at."""
    mechanism: Mechanism = "gaussian"
    queries: Annotated[int, Meta(ge=1, le=_MOST_QUERIES)] | None = None
    noise: VoteNoise | None = None
    reliability: float = 0.9
    """The least share of answers that must be the voters' own choice."""

    def __post_init__(self) -> None:
        _check_range("voters", self.voters, 1, 1_000_000)
        _check_range("classes", self.classes, 2, 10_000)
        _check_range("hospitals attended", self.attended, 1, self.hospitals)
        if not self.agreement:
            raise InvalidInput("agreement: expected at least one share, found none")
        for share in self.agreement:
            if not 1 / self.classes < share <= 1:
                raise InvalidInput(f"agreement: expected above 1/{self.classes} and at most 1, found {share:g}")
        if not (math.isfinite(self.epsilon) and self.epsilon > 0 and 0 < self.delta < 1):
            raise InvalidInput(f"budget: expected ε above 0 and δ in (0, 1), found {self.epsilon:g}, {self.delta:g}")
        if not 0 < self.reliability < 1:
            raise InvalidInput(f"reliability: expected between 0 and 1, found {self.reliability:g}")
        if self.queries is not None:
            _check_range("queries", self.queries, 1, _MOST_QUERIES)
        if self.noise is not None and mechanism_of(self.noise) != self.mechanism:
            raise InvalidInput(f"noise: expected that of {self.mechanism}, found that of {mechanism_of(self.noise)}")
        Roster(self.hospitals, self.dropouts, self.colluding)

    @property
    def roster(self) -> Roster:
        """Who shares the noise."""
        return Roster(self.hospitals, self.dropouts, self.colluding)


class Proposal(Record, frozen=True):
    """A labelling study that fits the wishes."""

    wishes: Wishes
    noise: VoteNoise
    queries: int
    """Histograms of the first kind: every query gets one."""
    answers: int
    """The most labels: all queries, or with confident aggregation those that may pass the threshold."""
    expected_answers: float
    """Labels to expect at the agreement given."""
    expected_correct: float
    """The share of these that is the voters' own choice."""
    guarantee: Guarantee
    """What all of it costs a patient, whatever the data."""


def plan_labelling(wishes: Wishes) -> Proposal:
    """A proposal: the noise given, or the least that pays for the queries given, or the most that is reliable enough.

    Raises:
        InvalidInput: numbers out of range, or both noise and a contradicting mechanism.
        Refused: `too-few-voters`, `privacy-budget`: with the number that would do.
    """
    noise = wishes.noise
    if noise is None:
        noise = _reliable_noise(wishes) if wishes.queries is None else _cheap_noise(wishes, wishes.queries)
    queries = wishes.queries if wishes.queries is not None else _affordable(wishes, noise)
    proposal = _proposal(wishes, noise, queries)
    if proposal.guarantee.epsilon > wishes.epsilon * (1 + 1e-12):
        most = _affordable(wishes, noise)
        raise Refused(
            "privacy-budget",
            f"{queries} queries cost ε {proposal.guarantee.epsilon:.4f}, the budget is {wishes.epsilon:g} at δ "
            f"{wishes.delta:g}: it pays for {most} queries with this noise",
        )
    if proposal.expected_correct < wishes.reliability:
        raise _too_few_voters(wishes, noise, proposal)
    return proposal


def cost(wishes: Wishes, noise: VoteNoise, queries: int, answers: int) -> Guarantee:
    """(ε, δ) for a patient, of `queries` histograms and `answers` second ones.

    Raises:
        InvalidInput: no finite bound.
    """
    histograms = (queries, answers)[: stages_of(noise)]
    return guarantee(vote_event(noise, wishes.roster, histograms, wishes.attended), wishes.delta)


def privacy_curve(proposal: Proposal, points: int = 50) -> list[tuple[int, float]]:
    """(queries, ε at the plan's δ) from 1 to all queries, each a bound whatever the data."""
    counts = sorted({max(1, round(proposal.queries * at / points)) for at in range(1, points + 1)} | {1})
    share = proposal.answers / proposal.queries
    return [(n, cost(proposal.wishes, proposal.noise, n, math.ceil(n * share)).epsilon) for n in counts]


def _proposal(wishes: Wishes, noise: VoteNoise, queries: int) -> Proposal:
    passing, correct = _outcome(wishes, noise, wishes.voters)
    answers = _most_answers(queries, passing)
    return Proposal(
        wishes=wishes,
        noise=noise,
        queries=queries,
        answers=answers,
        expected_answers=queries * passing,
        expected_correct=correct,
        guarantee=cost(wishes, noise, queries, answers),
    )


def _outcome(wishes: Wishes, noise: VoteNoise, voters: int) -> tuple[float, float]:
    """(share of queries answered, share of answers that are right), over the agreements given."""
    law = noise_law(vote_shares(noise, wishes.roster, stages_of(noise) - 1))
    right = [share_correct(law, voters, wishes.classes, share) for share in wishes.agreement]
    if isinstance(noise, ConfidentNoise):
        first = noise_law(vote_shares(noise, wishes.roster))
        # The threshold is a number of votes, so with other voters it is the same share of them.
        threshold = max(1, round(noise.threshold * voters / wishes.voters))
        passing = [share_passing(first, voters, wishes.classes, share, threshold) for share in wishes.agreement]
    else:
        passing = [1.0] * len(right)
    total = sum(passing)
    correct = sum(p * r for p, r in zip(passing, right, strict=True)) / total if total > 0 else 0.0
    return total / len(passing), correct


def _most_answers(queries: int, passing: float) -> int:
    """Room for four standard deviations more answers than expected; what passes beyond it is not answered."""
    return min(queries, math.ceil(queries * passing + 4 * math.sqrt(queries * passing * (1 - passing))))


def _affordable(wishes: Wishes, noise: VoteNoise) -> int:
    """The most queries that the budget pays for.

    Raises:
        Refused: not even one.
    """
    passing = _outcome(wishes, noise, wishes.voters)[0]

    def fits(queries: int) -> bool:
        return cost(wishes, noise, queries, _most_answers(queries, passing)).epsilon <= wishes.epsilon

    if not fits(1):
        needed = cost(wishes, noise, 1, 1).epsilon
        raise Refused(
            "privacy-budget",
            f"one query costs ε {needed:.4f}, the budget is {wishes.epsilon:g} at δ {wishes.delta:g}: give ε of at "
            f"least {_up(needed)}, or more noise",
        )
    return _last(fits, 1, _MOST_QUERIES)


def _cheap_noise(wishes: Wishes, queries: int) -> VoteNoise:
    """The least noise with which the budget pays for `queries`."""
    make = _family(wishes)

    def too_dear(level: int) -> bool:
        noise = make(level)
        passing = _outcome(wishes, noise, wishes.voters)[0] if isinstance(noise, ConfidentNoise) else 1.0
        return _epsilon(wishes, noise, queries, _most_answers(queries, passing)) > wishes.epsilon

    most = _most_level(wishes)
    if too_dear(most):
        raise Refused(
            "privacy-budget",
            f"{queries} queries cost more than ε {wishes.epsilon:g} at δ {wishes.delta:g} whatever the noise: ask "
            "fewer queries or give more ε",
        )
    return make(0 if not too_dear(0) else _last(too_dear, 0, most) + 1)


def _reliable_noise(wishes: Wishes) -> VoteNoise:
    """The most noise with which enough answers are right.

    Raises:
        Refused: not even the least noise is reliable, or what is reliable is too dear for one query.
    """
    make = _family(wishes)

    def reliable(level: int) -> bool:
        return _outcome(wishes, make(level), wishes.voters)[1] >= wishes.reliability

    if not reliable(0):
        raise _too_few_voters(wishes, make(0), None)
    noise = make(_last(reliable, 0, _most_level(wishes)))
    passing = _outcome(wishes, noise, wishes.voters)[0]
    if _epsilon(wishes, noise, 1, _most_answers(1, passing)) > wishes.epsilon:
        raise _too_few_voters(wishes, _cheap_noise(wishes, 1), None)
    return noise


def _too_few_voters(wishes: Wishes, noise: VoteNoise, proposal: Proposal | None) -> Refused:
    """The refusal, with the voters that this noise would need."""

    def lacking(voters: int) -> bool:
        return _outcome(wishes, noise, voters)[1] < wishes.reliability

    found = f"; with {wishes.voters}, {proposal.expected_correct:.1%} are" if proposal else ""
    if lacking(_MOST_VOTERS):
        return Refused(
            "too-few-voters", f"no number of voters gets {wishes.reliability:.0%} of the answers right{found}"
        )
    needed = _last(lacking, wishes.voters, _MOST_VOTERS) + 1
    return Refused(
        "too-few-voters",
        f"{needed} voters are needed for {wishes.reliability:.0%} of the answers to be the voters' own choice{found}",
    )


def _family(wishes: Wishes) -> Callable[[int], VoteNoise]:
    """The noises of a mechanism in order: level 0 is the least."""
    match wishes.mechanism:
        case "laplace":
            return lambda level: LaplaceNoise(gamma=_LARGEST_GAMMA - level)
        case "gaussian":
            return lambda level: GaussianNoise(variance=level + 1)
        case "confident":
            threshold = max(1, round(0.6 * wishes.voters))
            return lambda level: ConfidentNoise(
                screen_variance=_SCREEN * (level + 1), threshold=threshold, variance=level + 1
            )


_LARGEST_GAMMA: Final = 5 * GAMMA_STEP


def _most_level(wishes: Wishes) -> int:
    return _LARGEST_GAMMA - 1 if wishes.mechanism == "laplace" else _MOST_VARIANCE // _SCREEN


def _epsilon(wishes: Wishes, noise: VoteNoise, queries: int, answers: int) -> float:
    """ε, or infinity where the noise is too small for any bound."""
    try:
        return cost(wishes, noise, queries, answers).epsilon
    except InvalidInput:
        return math.inf


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number from `low` to `high` for which `holds`, which is true at `low` and changes once.

    Looks near `low` first: what is far away costs more to compute.
    """
    step = 1
    while low + step < high and holds(low + step):
        low, step = low + step, 2 * step
    high = min(high, low + step)
    if holds(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _up(epsilon: float) -> str:
    return f"{math.ceil(epsilon * 100) / 100:.2f}"


def _check_range(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInput(f"{what}: expected {least} to {most}, found {value}")
