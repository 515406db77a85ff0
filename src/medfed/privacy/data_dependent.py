"""What PATE queries cost given the very votes: the bounds of Papernot et al. 2017 and 2018, for research only.

A number computed from private votes tells about them. So nothing here is an event, a `RenyiCurve` or a `Guarantee`,
and nothing converts into one: a curve is a `DataDependentCurve`, its ε a `DataDependentEpsilon`, which is no number,
has no encoding, does not print its value, and gives it up only to a caller who writes out that it is for research.
These bounds test the accountant against published values; a real query batch is charged by `renyi` alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medfed.errors import InvalidInput, Refused
from medfed.privacy.curve import ORDERS, Conversion, Orders, checked_orders, epsilon_at
from medfed.privacy.gaussian_tail import log_gaussian_tail, log_one_minus_exp

__all__ = [
    "DataDependentCurve",
    "DataDependentEpsilon",
    "gaussian_max_curve",
    "gaussian_max_log_q",
    "laplace_max_curve",
    "laplace_max_log_q",
    "threshold_curve",
    "threshold_log_answered",
]

Array = NDArray[np.float64]
_HIDDEN: Final = "depends on private votes, not reportable"


class _Unreportable:
    """Neither prints, pickles nor changes what it holds."""

    __slots__ = ("_held",)

    _held: Any

    def __init__(self, held: Any) -> None:
        object.__setattr__(self, "_held", held)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change: {name}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {_HIDDEN}>"

    def __reduce__(self) -> NoReturn:
        raise Refused("data-dependent", f"{type(self).__name__} {_HIDDEN}: it has no encoding")


class DataDependentEpsilon(_Unreportable):
    """An ε that was computed from votes. It is no number: it cannot be added, compared, formatted or encoded."""

    def value_for_research_only(self) -> float:
        """The bare ε, on votes that are no secret. Publishing it for private votes breaks the guarantee it states."""
        return float(self._held)


class DataDependentCurve(_Unreportable):
    """Rényi bounds of queries given their votes, one row a query: shape (queries, orders)."""

    __slots__ = ("orders",)

    orders: Orders

    def __init__(self, orders: Orders, rows: Array) -> None:
        super().__init__(rows)
        object.__setattr__(self, "orders", orders)

    def rows_for_research_only(self) -> Array:
        """The bounds, (queries, orders) float64, on votes that are no secret."""
        return np.array(self._held, dtype=np.float64)

    def epsilon(self, delta: float, conversion: Conversion = "canonne-kamath-steinke") -> DataDependentEpsilon:
        """ε of all the queries together at `delta`; as unreportable as the curve.

        Raises:
            InvalidInput: delta is not between 0 and 1.
        """
        return DataDependentEpsilon(epsilon_at(self.orders, self._held.sum(axis=0), delta, conversion)[0])


def gaussian_max_log_q(votes: ArrayLike, sigma: float) -> Array:
    """log of a bound on P(outcome ≠ arg max) under GNMax, for each query.

    Union bound over the other classes: Σ P(N(0, 2σ²) > gap), at most 1 - 1/m (Papernot et al. 2018, Proposition 7).

    Args:
        votes: (queries, classes) whole numbers of at least 0, or one query's row.
        sigma: standard deviation of the noise on each count.

    Raises:
        InvalidInput: a bad shape, negative counts or a sigma not above 0.
    """
    gaps = _gaps(votes)
    log_q = np.logaddexp.reduce(log_gaussian_tail(gaps / (_positive("sigma", sigma) * math.sqrt(2))), axis=1)
    return np.minimum(log_q, math.log1p(-1 / (gaps.shape[1] + 1)))


def gaussian_max_curve(votes: ArrayLike, sigma: float, orders: Sequence[float] | Orders = ORDERS) -> DataDependentCurve:
    """GNMax's bound given the votes: Papernot et al. 2018, Theorem 6 with the orders of Proposition 10."""
    checked = checked_orders(orders)
    return DataDependentCurve(checked, _theorem_6(gaussian_max_log_q(votes, sigma), sigma**2, checked))


def threshold_log_answered(top: ArrayLike, threshold: float, sigma: float) -> Array:
    """log P(a query is answered): the top count plus N(0, σ²) passes the threshold (Papernot et al. 2018, section 4.1).

    Args:
        top: the largest count of each query.
    """
    counts = np.atleast_1d(np.asarray(top, dtype=np.float64))
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any():
        raise InvalidInput("top counts: expected finite numbers of at least 0")
    return log_gaussian_tail((threshold - np.rint(counts)) / _positive("threshold sigma", sigma))


def threshold_curve(
    top: ArrayLike, threshold: float, sigma: float, orders: Sequence[float] | Orders = ORDERS
) -> DataDependentCurve:
    """The bound of confident GNMax's threshold check given the top counts (Papernot et al. 2018, Appendix A.3).

    Theorem 6 with q the rarer outcome's probability; one vote moves the top count by 1, hence 2σ² for the variance.
    A query that is answered costs `gaussian_max_curve` besides.
    """
    checked = checked_orders(orders)
    log_answered = threshold_log_answered(top, threshold, sigma)
    log_q = np.minimum(log_answered, log_one_minus_exp(log_answered))
    return DataDependentCurve(checked, _theorem_6(log_q, 2 * sigma**2, checked))


def laplace_max_log_q(votes: ArrayLike, gamma: float) -> Array:
    """log of a bound on P(outcome ≠ arg max) under LNMax with noise of scale 1/γ, for each query.

    Σ (2 + γ gap) / (4 e^(γ gap)) over the other classes, at most 1 - 1/m (Papernot et al. 2017, Lemma 4).
    """
    gaps = _positive("gamma", gamma) * _gaps(votes)
    log_q = np.logaddexp.reduce(np.log((2 + gaps) / 4) - gaps, axis=1)
    return np.minimum(log_q, math.log1p(-1 / (gaps.shape[1] + 1)))


def laplace_max_curve(votes: ArrayLike, gamma: float, orders: Sequence[float] | Orders = ORDERS) -> DataDependentCurve:
    """LNMax's bound given the votes: Papernot et al. 2017, Theorems 2 and 3, with ε₀ = 2γ.

    The least of ε₀² α / 2, ε₀, and where q ≤ 1 / (e^ε₀ + 1)
    log((1-q) ((1-q) / (1 - e^ε₀ q))^(α-1) + q e^(ε₀ (α-1))) / (α-1).
    """
    checked = checked_orders(orders)
    log_q = laplace_max_log_q(votes, gamma)[:, None]
    epsilon, a = 2 * gamma, checked[None, :]
    applies = log_q <= -np.log1p(math.exp(epsilon))
    # Where the bound does not apply its logarithms may not exist; those rows get a harmless q and are replaced.
    safe = np.where(applies, log_q, -2 * epsilon - 1)
    log_stay = log_one_minus_exp(safe)
    stays = log_stay + (a - 1) * (log_stay - log_one_minus_exp(epsilon + safe))
    leaves = safe + epsilon * (a - 1)
    given_votes = np.where(applies, np.logaddexp(stays, leaves) / (a - 1), np.inf)
    return DataDependentCurve(checked, np.maximum(np.minimum(given_votes, np.minimum(epsilon**2 * a / 2, epsilon)), 0))


def _theorem_6(log_q: Array, variance: float, orders: Orders) -> Array:
    """Bounds for every query (row) and order (column), α/σ² wherever Theorem 6 does not apply or is no better.

    With μ₂ = σ sqrt(log 1/q) and μ₁ = μ₂ + 1 (Proposition 10), ε_i = μ_i / σ²:
    log((1-q) A^(α-1) + q B^(α-1)) / (α-1), A = (1-q) / (1 - (q e^ε₂)^(1-1/μ₂)), B = e^ε₁ / q^(1/(μ₁-1)).
    """
    log_q, a = log_q[:, None], orders[None, :]
    independent = np.broadcast_to(a / variance, (log_q.shape[0], orders.size))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        high2 = np.sqrt(variance * -log_q)
        high1 = high2 + 1
        e1, e2 = high1 / variance, high2 / variance
        # The conditions: α < μ₁, μ₂ > 1, and q ≤ e^((μ₂-1) ε₂) / (μ₁/(μ₁-1) · μ₂/(μ₂-1))^μ₂, q e^ε₂ < 1.
        room = (high2 - 1) * e2 - high2 * (np.log1p(1 / (high1 - 1)) + np.log1p(1 / (high2 - 1)))
        applies = (a < high1) & (high2 > 1) & (log_q <= room) & (-log_q > e2)
        log_stay = log_one_minus_exp(log_q)
        log_a = log_stay - log_one_minus_exp(np.minimum((log_q + e2) * (1 - 1 / high2), 0.0))
        log_b = e1 - log_q / (high1 - 1)
        given_votes = np.logaddexp(log_stay + (a - 1) * log_a, log_q + (a - 1) * log_b) / (a - 1)
    bounds = np.where(applies, np.minimum(given_votes, independent), independent)
    return np.where(np.isneginf(log_q), 0.0, np.maximum(bounds, 0.0))


def _gaps(votes: ArrayLike) -> Array:
    """How far each class but one of the largest is behind it: (queries, classes - 1)."""
    counts = np.atleast_2d(np.asarray(votes, dtype=np.float64))
    if counts.ndim != 2 or counts.shape[1] < 2:
        raise InvalidInput(f"votes: expected (queries, at least 2 classes), found shape {counts.shape}")
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts != np.rint(counts)).any():
        raise InvalidInput("votes: expected whole numbers of at least 0")
    gaps = counts.max(axis=1, keepdims=True) - counts
    others = np.ones_like(gaps, dtype=bool)
    others[np.arange(len(gaps)), counts.argmax(axis=1)] = False
    return gaps[others].reshape(len(gaps), -1)


def _positive(what: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(f"{what}: expected a finite number above 0, found {value}")
    return value
