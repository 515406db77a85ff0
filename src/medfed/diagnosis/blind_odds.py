"""The chances in a blind test: that a good service fails, that a guesser passes, and what a public record shows.

All of it is exact integer or binomial arithmetic; nothing here draws anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from medfed.errors import InvalidInput

__all__ = ["Interval", "accuracy_interval", "false_refusals", "guess_passes", "passes"]

_MOST_STARTS: Final = 8


class Interval(NamedTuple):
    """A share and its Clopper–Pearson bounds."""

    share: float
    low: float
    high: float


def passes(equal_codes: int, diagnosed: int, num: int, den: int) -> bool:
    """The contract's verdict: n' equal codes over m diagnosed images and one other."""
    return (equal_codes - 1) * den > num * diagnosed


def false_refusals(accuracy: float, diagnosed: int, num: int, den: int, decoy_agrees: float = 0.0) -> float:
    """The probability that a service which is right on each image with `accuracy` gets FALSE.

    Args:
        accuracy: of the service, independent from image to image.
        diagnosed: m.
        num: of the threshold M = num / den.
        den: of the threshold.
        decoy_agrees: the probability that its answer on x0 is the label that was invented for it; 0 is the worst case.

    Raises:
        InvalidInput: a probability outside 0 to 1, or no diagnosed image.
    """
    if not (0 <= accuracy <= 1 and 0 <= decoy_agrees <= 1) or diagnosed < 1:
        raise InvalidInput("blind test: expected probabilities from 0 to 1 and at least one diagnosed image")
    refused = 0.0
    for right in range(diagnosed + 1):
        chance = math.comb(diagnosed, right) * accuracy**right * (1 - accuracy) ** (diagnosed - right)
        for decoy, weight in ((0, 1 - decoy_agrees), (1, decoy_agrees)):
            if not passes(right + decoy, diagnosed, num, den):
                refused += chance * weight
    return min(refused, 1.0)


def guess_passes(counts: Sequence[int], num: int, den: int) -> float:
    """The best chance found of passing without looking at the images, knowing how often each label occurs.

    The images are in a random order, so only how often each label is answered matters, and the number of hits follows
    from rook polynomials. With two labels every way to answer is tried; with more, the answers of every single label,
    of the first few in proportion, and whatever is better beside them.

    Args:
        counts: how often each label is the requester's, the invented one included; m + 1 in all.
        num: of the threshold.
        den: of the threshold.

    Raises:
        InvalidInput: fewer than three images, or a count below 0.
    """
    positions = sum(counts)
    if positions < 3 or min(counts) < 0:
        raise InvalidInput("blind test: expected counts of labels over at least three images")
    labels = sorted((count for count in counts if count), reverse=True)
    least = next((hits for hits in range(positions + 1) if passes(hits, positions - 1, num, den)), positions + 1)
    if len(labels) == 1:
        return 1.0 if positions >= least else 0.0
    if len(labels) == 2:
        return max(_at_least([k, positions - k], labels, least) for k in range(positions + 1))
    return max(_climb(start, labels, least) for start in _starts(labels, positions))


def accuracy_interval(right: int, of: int, confidence: float = 0.95) -> Interval:
    """The share right / of with its exact (Clopper–Pearson) interval.

    Raises:
        InvalidInput: impossible counts, or a confidence outside 0 to 1.
    """
    if not 0 <= right <= of or of < 1 or not 0 < confidence < 1:
        raise InvalidInput(f"record: {right} of {of} at confidence {confidence} is no share")
    tail = (1 - confidence) / 2
    low = 0.0 if right == 0 else _solve(lambda p: _above(right, of, p), tail)
    high = 1.0 if right == of else _solve(lambda p: 1 - _above(right + 1, of, p), tail, falling=True)
    return Interval(right / of, low, high)


def _above(right: int, of: int, p: float) -> float:
    """P(X ≥ right) for X ~ Bin(of, p)."""
    if p <= 0 or p >= 1:
        return float(right == 0 or p >= 1)
    logs = (_log_binomial(of, k) + k * math.log(p) + (of - k) * math.log1p(-p) for k in range(right, of + 1))
    return math.fsum(math.exp(value) for value in logs)


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _solve(chance: Callable[[float], float], target: float, falling: bool = False) -> float:
    """Where a monotone function of p reaches `target`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if (chance(middle) < target) != falling:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _starts(labels: list[int], positions: int) -> list[list[int]]:
    starts: list[list[int]] = []
    for used in range(1, min(len(labels), _MOST_STARTS) + 1):
        chosen = labels[:used]
        answer = [positions * count // sum(chosen) for count in chosen] + [0] * (len(labels) - used)
        answer[0] += positions - sum(answer)
        starts.append(answer)
    return starts


def _climb(answer: list[int], labels: list[int], least: int) -> float:
    best = _at_least(answer, labels, least)
    while True:
        moved = [
            [count + (i == to) - (i == source) for i, count in enumerate(answer)]
            for source in range(min(len(labels), 4))
            for to in range(min(len(labels), 4))
            if source != to and answer[source] > 0
        ]
        chances = [_at_least(other, labels, least) for other in moved]
        if not chances or max(chances) <= best:
            return best
        best = max(chances)
        answer = moved[chances.index(best)]


def _at_least(answer: Sequence[int], labels: Sequence[int], least: int) -> float:
    """P(hits ≥ least) when `answer[c]` positions say label c and a random `labels[c]` of them are right to say so.

    r_k, the ways to place k hits, is the product over labels of the rook polynomials of full boards; then inclusion and
    exclusion (Riordan, 1958, chapter 7). Integers throughout.
    """
    total = sum(labels)
    rooks = [1]
    for said, true in zip(answer, labels, strict=True):
        board = [math.comb(said, j) * math.comb(true, j) * math.factorial(j) for j in range(min(said, true) + 1)]
        product = [0] * (len(rooks) + len(board) - 1)
        for i, a in enumerate(rooks):
            for j, b in enumerate(board):
                product[i + j] += a * b
        rooks = product
    if least >= len(rooks):
        return 0.0
    # P(at least t) = Σ_{k ≥ t} (-1)^{k-t} C(k-1, t-1) S_k, with S_k = r_k (n-k)! / n!
    if least <= 0:
        return 1.0
    ways = sum(
        (-1) ** (k - least) * math.comb(k - 1, least - 1) * rooks[k] * math.factorial(total - k)
        for k in range(least, len(rooks))
    )
    return ways / math.factorial(total)
