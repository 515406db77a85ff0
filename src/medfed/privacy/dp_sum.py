"""A differentially private sum of updates: each hospital's L2 clip, its integers, its share of Skellam noise.

Values and noise lie on one lattice of integer steps, so that nothing shows between the steps of the noise. The clip
is exact: it is checked on the integers that are sent, after rounding. What a hospital had to clip stays with it; a
count of clipped coordinates must not travel beside a private sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Final

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from medfed.crypto import Entropy
from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.privacy.events import SkellamVectorSum, Unit
from medfed.privacy.noise_bound import skellam_bound
from medfed.privacy.shares import Roster, SkellamShares

__all__ = [
    "Contribution",
    "Lattice",
    "LatticeChoice",
    "PrivateSum",
    "choose_lattice",
    "lattice_for",
    "private_contribution",
]

_DEVIATION: Final = 1 << 12
"""Steps in one standard deviation of the total noise, at least: what rounding to whole steps loses is far below it."""
_CENTRED: Final = 2**31 - 1
_LEAST_ROOM: Final = 1 << 16
_LEAST_CLIP: Final = 8

Weight = tuple[int, int]


class PrivateSum(Record, frozen=True):
    """What the plan says of one `fixed` entry that is summed privately."""

    length: Annotated[int, Meta(ge=1, le=1 << 28)]
    bound: Annotated[float, Meta(gt=0)]
    """c: the entry's own clip of each coordinate, as in the manifest."""
    clip: Annotated[float, Meta(gt=0)]
    """C: the L2 norm that a hospital's weighted contribution n_i/N · x may have, in units of the mean."""
    multiplier: Annotated[float, Meta(gt=0)]
    """Standard deviation of the total noise on a coordinate over `clip`, when as few survive as may."""
    hospitals: Annotated[int, Meta(ge=1, le=50)]
    dropouts: Annotated[int, Meta(ge=0, le=49)]
    colluding: Annotated[int, Meta(ge=1, le=49)] = 1
    unit: Unit = "hospital"
    """Hospital: its whole contribution, present or not. Patient: any change to the data of the hospitals attended."""
    hospitals_attended: Annotated[int, Meta(ge=1, le=50)] = 1
    """k: with unit patient, how many hospitals may have data of one patient."""

    def __post_init__(self) -> None:
        for what, value in (("bound", self.bound), ("clip", self.clip), ("multiplier", self.multiplier)):
            if not (math.isfinite(value) and value > 0):
                raise InvalidInput(f"private sum: expected a finite {what} above 0, found {value}")
        if not 1 <= self.length <= 1 << 28 or not 1 <= self.hospitals_attended <= self.hospitals:
            raise InvalidInput("private sum: expected 1 to 2^28 coordinates and 1 to all hospitals attended")
        Roster(self.hospitals, self.dropouts, self.colluding)


class LatticeChoice(Record, frozen=True):
    """The integers that everything else follows from. They go into the plan: chosen once, then checked by everybody."""

    step: Annotated[int, Meta(ge=1, le=_CENTRED)]
    """g: wire steps in one step of the lattice."""
    variance: Annotated[int, Meta(ge=1, le=1 << 32)]
    """μ of the promised noise, in squared lattice steps."""
    noise_bound: Annotated[int, Meta(ge=1, le=_CENTRED)]
    """T in wire steps, for `encode_vector` and `decode_sum`: all shares' noise passes it with probability 2^-40."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """The whole numbers behind a `PrivateSum`, the same at every hospital."""

    choice: LatticeChoice
    scale: float
    """s = (2^31 - 1 - n - T) / c: wire steps in one unit of the mean (secure-sum.md, `fixed`)."""
    norm_squared: int
    """The most that the squared L2 norm of a contribution may be, in squared lattice steps."""
    shares: SkellamShares
    event: SkellamVectorSum
    """What one release of the noisy sum costs."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one hospital hands to `encode_vector` under the entry's name."""

    values: NDArray[np.float64]
    """Values that encode to exact multiples of the lattice step."""
    noise: NDArray[np.int64]
    """This hospital's share of the noise, in wire steps: fresh for each round, the same for each attempt at it."""


def choose_lattice(plan: PrivateSum) -> LatticeChoice:
    """The step, variance and T that give the plan's noise and no more than rounding needs, without a sum that wraps.

    T depends on the noise in wire steps, which depends on s, which depends on T: the step is chosen first, then the
    least variance whose noise, seen in units of the mean, is at least multiplier · clip.

    Raises:
        InvalidInput: no step fits: the noise is too large or too small beside the entry's bound.
    """
    deviation = plan.multiplier * plan.clip
    room = _CENTRED - plan.hospitals
    step = max(1, math.floor(room / (_DEVIATION * plan.bound / deviation + _total_bound(plan, _DEVIATION**2))))
    low, high = 0, 4 * _DEVIATION**2
    while high - low > 1:
        middle = (low + high) // 2
        suffices = _has_noise(plan, step, middle, step * (_total_bound(plan, middle) + 1))
        low, high = (low, middle) if suffices else (middle, high)
    # One step to spare, should another machine's logarithm round T up.
    choice = LatticeChoice(step=step, variance=high, noise_bound=step * (_total_bound(plan, high) + 1))
    lattice_for(plan, choice)
    return choice


def lattice_for(plan: PrivateSum, choice: LatticeChoice) -> Lattice:
    """What follows from the plan's choice, the same bits everywhere, once it is seen to keep the plan's promise.

    Raises:
        InvalidInput: less noise than the plan says, a T that the noise may pass, or no room for either.
    """
    room = _CENTRED - plan.hospitals - choice.noise_bound
    if room < _LEAST_ROOM or choice.variance < _DEVIATION:
        raise InvalidInput(
            f"private sum: noise of {plan.multiplier * plan.clip:g} does not fit an entry with bound {plan.bound:g}"
        )
    if not _has_noise(plan, choice.step, choice.variance, choice.noise_bound):
        raise InvalidInput("private sum: the lattice gives less noise than multiplier · clip")
    if choice.noise_bound < choice.step * _total_bound(plan, choice.variance):
        raise InvalidInput(f"private sum: the noise may pass the stated bound of {choice.noise_bound}")
    scale = room / plan.bound
    norm_squared = math.floor(Fraction(plan.clip * scale / choice.step) ** 2)
    if norm_squared < _LEAST_CLIP**2:
        raise InvalidInput(f"private sum: a multiplier of {plan.multiplier:g} leaves nothing of the updates")
    roster = Roster(plan.hospitals, plan.dropouts, plan.colluding)
    return Lattice(
        choice=choice,
        scale=scale,
        norm_squared=norm_squared,
        shares=SkellamShares(Fraction(choice.variance), roster),
        event=_event(plan, choice.variance, norm_squared),
    )


def private_contribution(
    values: NDArray[Any], weight: Weight, plan: PrivateSum, lattice: Lattice, entropy: Entropy
) -> Contribution:
    """One hospital's clipped values and noise.

    Args:
        values: x, floating-point with `length` elements of any shape.
        weight: (n_i, N), this hospital's part of the study roster's examples, public.
        plan: what the plan says.
        lattice: what `lattice_for` made of the plan.
        entropy: a source that nobody else can predict.

    Raises:
        InvalidInput: another number of values, NaN or infinity, values that are not floating-point, a bad weight.
    """
    part, whole = weight
    if not 1 <= part <= whole:
        raise InvalidInput(f"weight: expected (part, whole) with 1 ≤ part ≤ whole, found {weight}")
    if values.size != plan.length or not np.issubdtype(values.dtype, np.floating):
        raise InvalidInput(f"private sum: expected {plan.length} floating-point values, found {values.size}")
    x = values.reshape(-1).astype(np.float64)
    if not np.isfinite(x).all():
        raise InvalidInput("private sum: expected finite numbers, found NaN or infinity")
    factor = part / whole * lattice.scale
    steps = _clipped_steps(np.clip(x, -plan.bound, plan.bound), factor / lattice.choice.step, plan, lattice)
    noise = lattice.shares.draw(plan.length, entropy)
    noise *= lattice.choice.step
    return Contribution(values=steps * (lattice.choice.step / factor), noise=noise)


def _total_bound(plan: PrivateSum, variance: int) -> int:
    """T in lattice steps when every hospital's share is in the sum."""
    holders = Roster(plan.hospitals, plan.dropouts, plan.colluding).holders
    return skellam_bound(variance * plan.hospitals / holders, plan.length)


def _has_noise(plan: PrivateSum, step: int, variance: int, noise_bound: int) -> bool:
    """Whether g sqrt(μ) / s is at least multiplier · clip; square roots are correctly rounded, so all agree."""
    room = _CENTRED - plan.hospitals - noise_bound
    return step * math.sqrt(variance) * plan.bound >= plan.multiplier * plan.clip * room


def _clipped_steps(
    x: NDArray[np.float64], steps_per_unit: float, plan: PrivateSum, lattice: Lattice
) -> NDArray[np.float64]:
    """x in whole lattice steps, its squared norm at most `norm_squared`, no coordinate beyond the entry's bound."""
    scaled = x * steps_per_unit
    limit = math.sqrt(lattice.norm_squared)
    norm = _norm(scaled)
    if norm > limit:
        scaled *= limit / norm
    steps = np.rint(scaled)
    while _squared_norm(steps) > lattice.norm_squared:
        # Towards zero no coordinate grows; the factor takes care of what floating point may have added.
        steps = np.trunc(scaled)
        scaled *= 1 - 2.0**-30
    furthest = math.floor(plan.bound * steps_per_unit)
    return np.clip(steps, -furthest, furthest, out=steps)


def _norm(scaled: NDArray[np.float64]) -> float:
    """The L2 norm, without overflow."""
    largest = float(np.abs(scaled).max())
    return largest * math.sqrt(float(np.square(scaled / largest).sum())) if largest else 0.0


def _squared_norm(steps: NDArray[np.float64]) -> int:
    """Exact: whole numbers below 2^31, squared and summed in two 31-bit parts."""
    whole = np.abs(steps).astype(np.uint64)
    squares = whole * whole
    return (int((squares >> np.uint64(31)).sum()) << 31) + int((squares & np.uint64(_CENTRED)).sum())


def _event(plan: PrivateSum, variance: int, norm_squared: int) -> SkellamVectorSum:
    """Zeroing a hospital moves the sum by one contribution; other data of a patient, by two at each hospital attended.

    L1 is at most sqrt(length) times L2, and for whole numbers at most L2 squared.
    """
    times = 1 if plan.unit == "hospital" else 2 * plan.hospitals_attended
    l2 = math.sqrt(norm_squared)
    l1 = min(math.sqrt(plan.length) * l2, float(norm_squared))
    return SkellamVectorSum(
        variance=float(variance), l1=times * l1 * (1 + 1e-12), l2=times * l2 * (1 + 1e-12), unit=plan.unit
    )
