"""The chances of a blind test against enumeration, simulation and published intervals."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from medfed.diagnosis.blind_odds import accuracy_interval, false_refusals, guess_passes, passes
from medfed.errors import InvalidInput


@pytest.mark.parametrize("counts", [(2, 2, 1), (3, 2), (2, 1, 1, 1), (3, 1, 1), (5,)])
@pytest.mark.parametrize(("num", "den"), [(0, 1), (1, 2), (7, 10)])
def test_guessing_by_all_orders_and_all_answers_is_no_better_than_the_chance_that_is_given(
    counts: tuple[int, ...], num: int, den: int
) -> None:
    truth = [label for label, count in enumerate(counts) for _ in range(count)]
    orders = list(permutations(truth))
    best = 0.0
    for answer in product(range(len(counts)), repeat=len(truth)):
        hits = (sum(a == t for a, t in zip(answer, order, strict=True)) for order in orders)
        best = max(best, sum(passes(n, len(truth) - 1, num, den) for n in hits) / len(orders))
    assert guess_passes(counts, num, den) == pytest.approx(best, abs=1e-12)


def test_many_balanced_labels_make_guessing_hopeless_and_one_label_makes_it_certain() -> None:
    assert guess_passes((11, 10), 7, 10) < 0.1
    assert guess_passes((21, 20), 7, 10) < 0.01
    assert guess_passes((8, 7, 6), 7, 10) < 0.002
    assert guess_passes((20, 1), 7, 10) == 1.0
    with pytest.raises(InvalidInput):
        guess_passes((1, 1), 1, 2)


@pytest.mark.parametrize("accuracy", [0.6, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("diagnosed", [10, 20, 60])
def test_the_curve_of_false_refusals_is_what_a_simulation_finds(accuracy: float, diagnosed: int) -> None:
    rng = np.random.default_rng(4)
    runs = 40_000
    for decoy in (0.0, 0.3):
        equal = rng.binomial(diagnosed, accuracy, runs) + (rng.random(runs) < decoy)
        refused = float(np.mean((equal - 1) * 10 <= 7 * diagnosed))
        expected = false_refusals(accuracy, diagnosed, 7, 10, decoy)
        assert abs(refused - expected) < 4.5 * np.sqrt(expected * (1 - expected) / runs) + 1e-9


def test_more_images_refuse_a_good_service_less_and_a_bad_one_more() -> None:
    good = [false_refusals(0.9, m, 7, 10) for m in (10, 20, 40, 80, 160)]
    bad = [false_refusals(0.65, m, 7, 10) for m in (10, 20, 40, 80, 160)]
    assert good == sorted(good, reverse=True)
    assert bad[-1] > bad[1] > 0.5
    assert false_refusals(1.0, 10, 7, 10) == 0.0
    assert false_refusals(0.0, 10, 7, 10) == 1.0
    with pytest.raises(InvalidInput):
        false_refusals(1.1, 10, 7, 10)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [(0, 10, 0.0, 0.30850), (10, 10, 0.69150, 1.0), (5, 10, 0.18709, 0.81291), (81, 263, 0.25268, 0.36768)],
)
def test_intervals_are_clopper_and_pearsons(right: int, of: int, low: float, high: float) -> None:
    """0 and 10 of 10: 1 - 0.025^(1/10); the others satisfy their defining tails, checked below."""
    found = accuracy_interval(right, of)
    rng = np.random.default_rng(0)
    assert found.low <= right / of <= found.high
    if right in (0, 5, 10):
        assert found.low == pytest.approx(low, abs=2e-5)
        assert found.high == pytest.approx(high, abs=2e-5)
    if right:
        assert np.mean(rng.binomial(of, found.low, 200_000) >= right) == pytest.approx(0.025, abs=0.002)
    if right < of:
        assert np.mean(rng.binomial(of, found.high, 200_000) <= right) == pytest.approx(0.025, abs=0.002)


def test_an_impossible_record_has_no_interval() -> None:
    for right, of, confidence in ((3, 2, 0.9), (0, 0, 0.9), (1, 2, 1.0)):
        with pytest.raises(InvalidInput):
            accuracy_interval(right, of, confidence)
