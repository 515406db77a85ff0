"""Rényi curves of events, and what they mean as (ε, δ).

A `RenyiCurve` comes from events only; the data-dependent bounds have a type of their own that converts to nothing
here. This module never prints or stores a number that was computed from votes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.privacy.events import Unit

__all__ = ["ORDERS", "Conversion", "Guarantee", "Orders", "RenyiCurve", "checked_orders", "epsilon_at"]

Orders = NDArray[np.float64]
Conversion = Literal["canonne-kamath-steinke", "mironov"]

ORDERS: Final[tuple[float, ...]] = (
    *(1 + x / 20 for x in range(1, 20)),
    *(2 + x / 4 for x in range(40)),
    *(float(x) for x in range(12, 65)),
    *(float(x) for x in range(72, 129, 8)),
    *(160.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1024.0),
)
"""Orders α at which curves are computed unless the caller chooses."""


class Guarantee(Record, frozen=True):
    """(ε, δ)-differential privacy for one `unit`: a bound that may be reported, whatever the data were."""

    epsilon: float
    delta: float
    order: float
    """The order α at which the bound was best."""
    unit: Unit
    conversion: Conversion


class RenyiCurve:
    """An upper bound on the Rényi divergence of every order in `orders` (Mironov 2017, Definition 4). Immutable."""

    __slots__ = ("orders", "unit", "values")

    orders: Orders
    values: NDArray[np.float64]
    unit: Unit

    def __init__(self, orders: Orders, values: NDArray[np.float64], unit: Unit) -> None:
        if values.shape != orders.shape or np.isnan(values).any() or (values < 0).any():
            raise InvalidInput(f"Rényi curve: expected {orders.size} values of at least 0, found shape {values.shape}")
        frozen = [np.array(array, dtype=np.float64) for array in (orders, values)]
        for array in frozen:
            array.flags.writeable = False
        object.__setattr__(self, "orders", frozen[0])
        object.__setattr__(self, "values", frozen[1])
        object.__setattr__(self, "unit", unit)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Rényi curve does not change: {name}")

    def __add__(self, other: RenyiCurve) -> RenyiCurve:
        """Adaptive composition (Mironov 2017, Proposition 1)."""
        if not np.array_equal(self.orders, other.orders):
            raise InvalidInput("composition: expected two curves over the same orders")
        if self.unit != other.unit:
            raise InvalidInput(f"composition: expected one protected unit, found {self.unit} and {other.unit}")
        return RenyiCurve(self.orders, self.values + other.values, self.unit)

    def repeated(self, count: int) -> RenyiCurve:
        """The curve of `count` adaptive repetitions; 0 gives the curve of a release that says nothing."""
        if count < 0:
            raise InvalidInput(f"repetitions: expected 0 or more, found {count}")
        return RenyiCurve(self.orders, self.values * count if count else np.zeros_like(self.values), self.unit)

    def guarantee(self, delta: float, conversion: Conversion = "canonne-kamath-steinke") -> Guarantee:
        """The smallest ε for `delta` over all orders.

        Raises:
            InvalidInput: delta is not between 0 and 1, or no order gives a finite ε.
        """
        epsilon, order = epsilon_at(self.orders, self.values, delta, conversion)
        return Guarantee(epsilon=epsilon, delta=delta, order=order, unit=self.unit, conversion=conversion)

    def delta(self, epsilon: float) -> float:
        """The smallest δ for which (`epsilon`, δ) holds, at most 1 (Canonne, Kamath, Steinke 2020, Proposition 12)."""
        if not epsilon >= 0:
            raise InvalidInput(f"epsilon: expected 0 or more, found {epsilon}")
        a = self.orders
        with np.errstate(over="ignore"):
            log_delta = (a - 1) * (self.values - epsilon + np.log1p(-1 / a)) - np.log(a)
        return float(min(1.0, math.exp(min(0.0, float(log_delta.min())))))


def checked_orders(orders: Sequence[float] | Orders) -> Orders:
    """The orders as float64, increasing.

    Raises:
        InvalidInput: none, or one that is not finite and above 1, or out of order.
    """
    array = np.asarray(orders, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all() or (array <= 1).any():
        raise InvalidInput("Rényi orders: expected finite numbers above 1")
    if (np.diff(array) <= 0).any():
        raise InvalidInput("Rényi orders: expected increasing numbers without repeats")
    return array


def epsilon_at(
    orders: Orders, values: NDArray[np.float64], delta: float, conversion: Conversion = "canonne-kamath-steinke"
) -> tuple[float, float]:
    """(ε, the order that gave it) for a Rényi curve.

    "canonne-kamath-steinke": ε = ρ + log(1 - 1/α) - (log δ + log α) / (α - 1), Canonne, Kamath, Steinke 2020,
    Proposition 12 (equally Balle et al. 2020, Theorem 21). "mironov": ε = ρ - log δ / (α - 1), Mironov 2017,
    Proposition 3; with whole orders this is the moments accountant (Abadi et al. 2016, Theorem 2).

    Raises:
        InvalidInput: delta is not between 0 and 1, an unknown conversion, or no finite ε.
    """
    if not 0 < delta < 1:
        raise InvalidInput(f"delta: expected between 0 and 1, found {delta}")
    if conversion == "mironov":
        epsilons = values - math.log(delta) / (orders - 1)
    elif conversion == "canonne-kamath-steinke":
        epsilons = values + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    else:
        raise InvalidInput(f"conversion: expected canonne-kamath-steinke or mironov, found {conversion!r}")
    best = int(np.argmin(epsilons))
    if not math.isfinite(float(epsilons[best])):
        raise InvalidInput("epsilon: no order gives a finite bound; the noise is too small for these releases")
    return max(0.0, float(epsilons[best])), float(orders[best])
