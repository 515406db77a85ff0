"""What each event costs: its Rényi curve, from a formula or a sum that names its source.

Pure and independent of the data: an event in, a curve out. Nothing here may take votes, scores or gradients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.privacy import events as e
from medfed.privacy.curve import ORDERS, Conversion, Guarantee, Orders, RenyiCurve, checked_orders
from medfed.privacy.lattice import discrete_laplace_divergence, skellam_divergence
from medfed.privacy.sampled import sampled_gaussian_divergence

__all__ = ["gaussian", "gaussian_max", "guarantee", "pure", "renyi_curve", "skellam_vector", "verify_guarantee"]

Values = NDArray[np.float64]


def renyi_curve(event: e.Event, orders: Sequence[float] | Orders = ORDERS) -> RenyiCurve:
    """The Rényi curve of `event`.

    Args:
        event: what happened. Composed events add up (Mironov 2017, Proposition 1, adaptive).
        orders: Rényi orders α > 1, increasing.

    Raises:
        InvalidInput: orders out of range, something that is no event, or noise beyond what can be summed.
    """
    checked = checked_orders(orders)
    total = np.zeros_like(checked)
    for single, count in _counted(event).items():
        total += count * _values(single, checked)
    return RenyiCurve(checked, total, event.unit)


def guarantee(
    event: e.Event | Iterable[e.Event],
    delta: float,
    orders: Sequence[float] | Orders = ORDERS,
    conversion: Conversion = "canonne-kamath-steinke",
) -> Guarantee:
    """(ε, δ) for all of `event` together: the figure that may be reported.

    Raises:
        InvalidInput: as `renyi_curve` and `RenyiCurve.guarantee`.
    """
    whole = e.Composed(events=tuple(event)) if isinstance(event, Iterable) else event
    return renyi_curve(whole, orders).guarantee(delta, conversion)


def verify_guarantee(claimed: Guarantee, event: e.Event, orders: Sequence[float] | Orders = ORDERS) -> None:
    """Check that `claimed` is what `event` costs, or more: no figure is believed that no event accounts for.

    Raises:
        InvalidInput: another unit, or an ε below what the event costs at that δ.
    """
    if claimed.unit != event.unit:
        raise InvalidInput(f"guarantee: expected one for a {event.unit}, found one for a {claimed.unit}")
    cost = guarantee(event, claimed.delta, orders, claimed.conversion).epsilon
    if not claimed.epsilon >= cost * (1 - 1e-9):
        raise InvalidInput(f"guarantee: ε of {claimed.epsilon:.6g} is claimed, but the releases cost {cost:.6g}")


def _counted(event: object) -> Counter[e.Event]:
    """How often each simple event happened; equal ones are charged together, so their curve is computed once."""
    counts: Counter[e.Event] = Counter()
    pending: list[tuple[object, int]] = [(event, 1)]
    while pending:
        item, times = pending.pop()
        if isinstance(item, e.Composed):
            pending.extend((part, times) for part in item.events)
        elif isinstance(item, e.Repeated):
            pending.append((item.event, times * item.count))
        elif isinstance(item, e.Event):
            counts[item] += times
        else:
            raise InvalidInput(f"accountant: expected an event, found {type(item).__name__}")
    return counts


def _values(event: e.Event, orders: Orders) -> Values:
    match event:
        case e.GaussianSum():
            return gaussian(event.sigma, event.l2, orders)
        case e.SkellamSum():
            return _shifted(Counter(event.shifts), lambda s: skellam_divergence(event.variance, s, orders))
        case e.DiscreteLaplaceSum():
            return _shifted(Counter(event.shifts), lambda s: discrete_laplace_divergence(event.gamma, s, orders))
        case e.SkellamVectorSum():
            return skellam_vector(event.variance, event.l1, event.l2, orders)
        case e.GaussianMax():
            return gaussian_max(event.sigma, event.changed, orders)
        case e.ConfidentGaussianMax():
            threshold = gaussian(event.threshold_sigma, event.changed, orders)
            return event.queries * threshold + event.answered * gaussian_max(event.sigma, event.changed, orders)
        case e.LaplaceMax():
            return pure(2 * event.gamma * event.changed, orders)
        case e.SampledGaussian():
            return sampled_gaussian_divergence(event.multiplier, event.rate, orders)
        case e.Repeated() | e.Composed():
            raise InvalidInput("accountant: expected a simple event")
        case _:
            assert_never(event)


def gaussian(sigma: float, l2: float, orders: Orders) -> Values:
    """α Δ² / (2σ²): the Gaussian mechanism (Mironov 2017, Proposition 7)."""
    return orders * (l2 / sigma) ** 2 / 2


def gaussian_max(sigma: float, changed: int, orders: Orders) -> Values:
    """α k² / σ²: GNMax whatever the votes (Papernot et al. 2018, Proposition 8, for k changed votes)."""
    return orders * (changed / sigma) ** 2


def pure(epsilon: float, orders: Orders) -> Values:
    """min(ε, α ε² / 2): any ε-differentially private mechanism (Bun and Steinke 2016, Proposition 3.3)."""
    return np.minimum(epsilon, orders * epsilon**2 / 2)


def skellam_vector(variance: float, l1: float, l2: float, orders: Orders) -> Values:
    """α Δ₂² / (2μ) + min(((2α - 1) Δ₂² + 6 Δ₁) / (4μ²), 3 Δ₁ / (2μ)): Skellam noise of variance μ on each coordinate.

    Agarwal, Kairouz, Liu 2021, Theorem 3.5 and Corollary 3.6. Stated for whole orders: an order between
    takes the value of the next whole one, which is not smaller.
    """
    a = np.ceil(orders)
    correction = np.minimum(((2 * a - 1) * l2**2 + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
    return a * l2**2 / (2 * variance) + correction


def _shifted(shifts: Counter[int], divergence: Callable[[int], Values]) -> Values:
    """The noises of different counts are independent, so their divergences add."""
    return np.add.reduce([count * divergence(shift) for shift, count in shifts.items()])
