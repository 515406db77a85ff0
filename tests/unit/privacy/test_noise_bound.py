"""The bounds hold against exact tails, and are not much larger than they need to be."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import pytest
from tests.support import noise_laws

from medfed.errors import InvalidInput
from medfed.privacy.noise_bound import polya_bound, polya_log_tail, skellam_bound, skellam_log_tail


def _skellam_tail(variance: float, x: int) -> mp.mpf:
    pmf = noise_laws.skellam(variance)
    return mp.fsum(pmf(k) for k in range(x, x + 60 + int(6 * variance**0.5)))


def _polya_tail(shape: float, gamma: float, x: int) -> mp.mpf:
    """P(A - B ≥ x) by summation over both."""
    pmf = noise_laws.negative_binomial(shape, gamma)
    reach = x + int(80 / gamma)
    p = [pmf(k) for k in range(reach)]
    upper = [mp.mpf(0)] * (reach + 1)
    for k in range(reach - 1, -1, -1):
        upper[k] = upper[k + 1] + p[k]
    return mp.fsum(p[b] * upper[b + x] for b in range(reach - x))


@pytest.mark.parametrize("variance", [0.5, 25.0, 1600.0])
@pytest.mark.parametrize("deviations", [0.0, 1.0, 4.0, 9.0])
def test_the_skellam_tail_is_at_least_the_exact_one(variance: float, deviations: float) -> None:
    x = round(deviations * variance**0.5)
    with mp.workdps(40):
        assert _skellam_tail(variance, x) <= mp.exp(skellam_log_tail(variance, x)) * (1 + mp.mpf(10) ** -12)


@pytest.mark.parametrize(("shape", "gamma"), [(1.25, 0.5), (1 / 8, 0.5), (1.0, 0.2)])
@pytest.mark.parametrize("x", [0, 3, 20, 90])
def test_the_polya_tail_is_at_least_the_exact_one(shape: float, gamma: float, x: int) -> None:
    with mp.workdps(40):
        assert _polya_tail(shape, gamma, x) <= mp.exp(polya_log_tail(shape, gamma, x)) * (1 + mp.mpf(10) ** -12)


@pytest.mark.parametrize("coordinates", [1, 10_000])
def test_noise_passes_its_bound_with_probability_at_most_2_to_minus_40(coordinates: int) -> None:
    with mp.workdps(40):
        exact: list[tuple[int, Callable[[int], mp.mpf]]] = [
            (skellam_bound(1600.0, coordinates), lambda x: _skellam_tail(1600.0, x)),
            (polya_bound(1.25, 0.5, coordinates), lambda x: _polya_tail(1.25, 0.5, x)),
        ]
        for bound, tail in exact:
            allowed = mp.mpf(2) ** -40
            assert 2 * coordinates * tail(bound + 1) <= allowed
            # Four fifths of it would not do.
            assert 2 * coordinates * tail(round(0.8 * bound)) > allowed


@pytest.mark.parametrize("call", [lambda: skellam_bound(0.0, 1), lambda: skellam_bound(1.0, 0)])
def test_bounds_of_nothing_are_refused(call: Callable[[], int]) -> None:
    with pytest.raises(InvalidInput, match="noise bound"):
        call()


def test_bounds_of_impossible_laws_are_refused() -> None:
    for call in (
        lambda: polya_bound(0.0, 1.0, 1),
        lambda: polya_bound(1.0, -1.0, 1),
        lambda: skellam_bound(float("nan"), 1),
        lambda: skellam_bound(1.0, 1, 0.0),
        lambda: skellam_bound(1e60, 1),
    ):
        with pytest.raises(InvalidInput, match="noise bound"):
            call()
