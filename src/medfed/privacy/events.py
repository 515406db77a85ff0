"""What happened, apart from what it costs: the noisy releases that accountants charge, as frozen records.

An event describes a mechanism and never the data it ran on, so every cost computed from one is a real, reportable
bound. What depends on votes is in `data_dependent` and is no event: nothing here may take a histogram or a score.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from msgspec import Meta
from msgspec.structs import force_setattr

from medfed.encoding import Record
from medfed.errors import InvalidInput

__all__ = [
    "Composed",
    "ConfidentGaussianMax",
    "DiscreteLaplaceSum",
    "Event",
    "GaussianMax",
    "GaussianSum",
    "LaplaceMax",
    "Repeated",
    "SampledGaussian",
    "SkellamSum",
    "SkellamVectorSum",
    "Unit",
    "vote_shifts",
]

Unit = Literal["patient", "hospital"]
"""Whose presence or data the guarantee hides."""

_MAX_COUNT = 10**9
_MAX_SHIFT = 10_000
Shifts = Annotated[tuple[int, ...], Meta(min_length=1, max_length=10_000)]


class GaussianSum(Record, frozen=True, tag_field="kind", tag="gaussian-sum"):
    """A sum released with Gaussian noise of standard deviation `sigma`; one unit moves it by at most `l2`."""

    sigma: float
    l2: float = 1.0
    unit: Unit = "patient"

    def __post_init__(self) -> None:
        _check_positive("sigma", self.sigma)
        _check_positive("L2 sensitivity", self.l2)
        _check_unit(self.unit)


class SkellamSum(Record, frozen=True, tag_field="kind", tag="skellam-sum"):
    """Integer counts released with symmetric Skellam noise of the given variance on each.

    `shifts` says by how much one unit moves counts in the worst case, one entry for each count that moves: (1, 1)
    for one changed vote.
    """

    variance: float
    shifts: Shifts = (1, 1)
    unit: Unit = "patient"

    def __post_init__(self) -> None:
        _check_positive("variance", self.variance)
        force_setattr(self, "shifts", _checked_shifts(self.shifts))
        _check_unit(self.unit)


class SkellamVectorSum(Record, frozen=True, tag_field="kind", tag="skellam-vector-sum"):
    """An integer vector released with Skellam noise on each coordinate; one unit moves it by at most `l1` and `l2`."""

    variance: float
    l1: float
    l2: float
    unit: Unit = "hospital"

    def __post_init__(self) -> None:
        _check_positive("variance", self.variance)
        _check_positive("L1 sensitivity", self.l1)
        _check_positive("L2 sensitivity", self.l2)
        _check_unit(self.unit)


class DiscreteLaplaceSum(Record, frozen=True, tag_field="kind", tag="discrete-laplace-sum"):
    """Integer counts released with discrete Laplace noise, P(k) proportional to e^(-gamma |k|); `shifts` as above."""

    gamma: float
    shifts: Shifts = (1, 1)
    unit: Unit = "patient"

    def __post_init__(self) -> None:
        _check_positive("gamma", self.gamma)
        force_setattr(self, "shifts", _checked_shifts(self.shifts))
        _check_unit(self.unit)


class GaussianMax(Record, frozen=True, tag_field="kind", tag="gaussian-max"):
    """GNMax: the class with most votes after Gaussian noise on each count; only the class is released.

    `changed` votes are one unit's at most. The bound holds for any votes (Papernot et al. 2018, Proposition 8).
    """

    sigma: float
    changed: int = 1
    unit: Unit = "patient"

    def __post_init__(self) -> None:
        _check_positive("sigma", self.sigma)
        _check_count("changed votes", self.changed, _MAX_SHIFT)
        _check_unit(self.unit)


class ConfidentGaussianMax(Record, frozen=True, tag_field="kind", tag="confident-gaussian-max"):
    """Confident GNMax: whether a query passes the noisy threshold, and for those that do, its GNMax class.

    For an aggregator that shows only the outcomes. Where both noisy histograms are seen, as in MedFed's `votes`
    rounds, charge two sums instead.
    """

    threshold_sigma: float
    sigma: float
    queries: int
    answered: int
    changed: int = 1
    unit: Unit = "patient"

    def __post_init__(self) -> None:
        _check_positive("threshold sigma", self.threshold_sigma)
        _check_positive("sigma", self.sigma)
        _check_count("queries", self.queries, _MAX_COUNT)
        _check_count("changed votes", self.changed, _MAX_SHIFT)
        if not _is_whole(self.answered) or not 0 <= self.answered <= self.queries:
            raise InvalidInput(f"answered queries: expected 0 to {self.queries}, found {self.answered}")
        _check_unit(self.unit)


class LaplaceMax(Record, frozen=True, tag_field="kind", tag="laplace-max"):
    """LNMax: the class with most votes after Laplace noise of scale 1/gamma; only the class is released."""

    gamma: float
    changed: int = 1
    unit: Unit = "patient"

    def __post_init__(self) -> None:
        _check_positive("gamma", self.gamma)
        _check_count("changed votes", self.changed, _MAX_SHIFT)
        _check_unit(self.unit)


class SampledGaussian(Record, frozen=True, tag_field="kind", tag="sampled-gaussian"):
    """A step of DP-SGD: each unit takes part with probability `rate`, independently; noise is `multiplier` × clip.

    Neighbours differ by one unit added or removed. Fixed-size batches are not Poisson samples: do not charge them so.
    """

    multiplier: float
    rate: float
    unit: Unit = "patient"

    def __post_init__(self) -> None:
        _check_positive("noise multiplier", self.multiplier)
        if not 0 < self.rate <= 1:
            raise InvalidInput(f"sampling rate: expected above 0, at most 1, found {self.rate}")
        _check_unit(self.unit)


class Repeated(Record, frozen=True, tag_field="kind", tag="repeated"):
    """The same event `count` times, each with fresh noise; the later ones may depend on the earlier outcomes."""

    event: Event
    count: int

    def __post_init__(self) -> None:
        _check_event(self.event)
        _check_count("repetitions", self.count, _MAX_COUNT)

    @property
    def unit(self) -> Unit:
        """The protected unit."""
        return self.event.unit


class Composed(Record, frozen=True, tag_field="kind", tag="composed"):
    """Several events about the same people, one after the other, all with the same protected unit."""

    events: Annotated[tuple[Event, ...], Meta(min_length=1, max_length=100_000)]

    def __post_init__(self) -> None:
        force_setattr(self, "events", tuple(self.events))
        if not self.events:
            raise InvalidInput("composed event: expected at least one event, found none")
        for event in self.events:
            _check_event(event)
        units = sorted({event.unit for event in self.events})
        if len(units) > 1:
            raise InvalidInput(f"composed event: expected one protected unit, found {' and '.join(units)}")

    @property
    def unit(self) -> Unit:
        """The protected unit."""
        return self.events[0].unit


Event = (
    GaussianSum
    | SkellamSum
    | SkellamVectorSum
    | DiscreteLaplaceSum
    | GaussianMax
    | ConfidentGaussianMax
    | LaplaceMax
    | SampledGaussian
    | Repeated
    | Composed
)


def vote_shifts(changed: int = 1) -> tuple[int, int]:
    """The worst that one unit does to a vote histogram: k voters leave one class for another.

    Args:
        changed: k; for a patient the most hospitals (hence sub-teachers) that hold data of one patient, for a hospital
            the number of its sub-teachers.

    Raises:
        InvalidInput: k is not from 1 to 10,000.

    Moving k voters between two classes is the worst case because the cost of a shift is convex and 0 at 0, hence
    superadditive; `tests/unit/privacy` checks that for the shifts in use.
    """
    _check_count("changed votes", changed, _MAX_SHIFT)
    return (changed, changed)


def _check_positive(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(f"{what}: expected a finite number above 0, found {value}")


def _check_event(value: object) -> None:
    if not isinstance(value, Event):
        raise InvalidInput(f"accountant: expected an event, found {type(value).__name__}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_count(what: str, value: int, largest: int) -> None:
    if not _is_whole(value) or not 1 <= value <= largest:
        raise InvalidInput(f"{what}: expected a whole number from 1 to {largest}, found {value}")


def _check_unit(unit: str) -> None:
    if unit not in get_args(Unit):
        raise InvalidInput(f"protected unit: expected patient or hospital, found {unit!r}")


def _checked_shifts(shifts: tuple[int, ...]) -> tuple[int, ...]:
    if not shifts:
        raise InvalidInput("shifts: expected at least one, found none")
    for shift in shifts:
        _check_count("shift", shift, _MAX_SHIFT)
    return tuple(sorted(shifts))
