from __future__ import annotations

import pytest
from benchmarks.harness import Target, alternately, growth_exponent, in_child, timing_of


def test_an_exponent_is_recovered_whatever_the_constant() -> None:
    sizes = [4.0, 10.0, 20.0, 50.0]
    for power in (0.0, 1.0, 1.7, 2.0):
        assert growth_exponent(sizes, [3.5 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)


def test_an_exponent_needs_two_points_with_their_costs() -> None:
    for sizes, costs in (([4.0], [1.0]), ([4.0, 8.0], [1.0])):
        with pytest.raises(ValueError, match="two or more"):
            growth_exponent(sizes, costs)


def test_tasks_are_warmed_up_and_then_take_turns() -> None:
    order: list[str] = []
    ticks = iter(range(1000))
    tasks = {"one": lambda: order.append("one"), "two": lambda: order.append("two")}
    found = alternately(3, tasks, lambda: float(next(ticks)))
    assert order == ["one", "two"] * 4
    assert {timing.minimum for timing in found.values()} == {1.0}


def test_a_timing_is_the_least_the_middle_and_the_most() -> None:
    found = timing_of([3.0, 1.0, 2.0])
    assert (found.minimum, found.median, found.maximum) == (1.0, 2.0, 3.0)


def test_a_target_knows_its_direction() -> None:
    assert Target("time", 12.0, 12.0, "ns").is_met
    assert not Target("time", 12.1, 12.0, "ns").is_met
    assert Target("rate", 6_000, 6_000, "a second", at_most=False).is_met
    assert not Target("rate", 5_999, 6_000, "a second", at_most=False).is_met


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no_such_subject"):
        in_child("benchmarks.no_such_subject")
