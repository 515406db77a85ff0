"""How a simulated study grows with hospitals, parameters and rounds: time, memory and ledger bytes, each point in a
process of its own. Exponents are slopes of log cost over log size; 1 is linear.

A simulation does the work of all hospitals in one process; a hospital's own share is that over their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.harness import Section, Target, growth_exponent, in_child
from benchmarks.results import say

HOSPITALS = (4, 10, 20, 50)
PARAMETERS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
ROUNDS = (5, 20, 50, 100)
STANDARD = (50, 10, 100_000, 60.0, 1.5)
"""Hospitals, rounds, parameters, and the most seconds and GiB."""
Point = dict[str, Any]


def report(*, quick: bool) -> list[Section]:
    """One section for each direction, and the standard study."""
    hospitals = [measured(count, 2, 10_000) for count in (HOSPITALS[:3] if quick else HOSPITALS)]
    parameters = [measured(4, 1, size) for size in (PARAMETERS[:3] if quick else PARAMETERS)]
    rounds = [measured(4, count, 1_000) for count in (ROUNDS[:2] if quick else ROUNDS)]
    sections = [
        _direction(
            "hospitals", "2 training rounds of 10,000 parameters.", hospitals, "hospitals", _ledger_targets(hospitals)
        ),
        _direction("parameters", "4 hospitals, one training round.", parameters, "parameters"),
        _direction("rounds", "4 hospitals, 1,000 parameters.", rounds, "rounds"),
    ]
    return sections if quick else [*sections, _standard()]


def measured(hospitals: int, rounds: int, parameters: int) -> Point:
    """One simulated study, in its own process."""
    say(f"growth: {hospitals} hospitals, {rounds} rounds, {parameters:,} parameters")
    return in_child("benchmarks.growth_point", hospitals, rounds, parameters)


def _direction(name: str, note: str, points: Sequence[Point], key: str, targets: Sequence[Target] = ()) -> Section:
    sizes = [float(point[key]) for point in points]
    time = growth_exponent(sizes, [point["seconds"] for point in points])
    last = growth_exponent(sizes[-2:], [point["seconds"] for point in points[-2:]])
    return Section(
        f"Growth with {name}",
        f"{note} Time grows as the {time:.2f}th power over all points, {last:.2f} between the last two.",
        (name, "seconds", "seconds a hospital and round", "MiB", "ledger bytes a hospital and training round"),
        [_row(point, key) for point in points],
        targets,
    )


def _row(point: Point, key: str) -> tuple[str, ...]:
    each = point["seconds"] / point["hospitals"] / (point["rounds"] + 2)
    return (
        f"{point[key]:,}",
        f"{point['seconds']:.2f}",
        f"{each:.4f}",
        f"{point['mib']:.0f}",
        f"{point['ledger_bytes']:.0f}",
    )


def _ledger_targets(points: Sequence[Point]) -> list[Target]:
    return [
        Target(
            f"ledger bytes a hospital and round, {point['hospitals']} hospitals",
            point["ledger_bytes"],
            1_000 + 150 * point["hospitals"],
            "bytes",
        )
        for point in points
    ]


def _standard() -> Section:
    hospitals, rounds, parameters, seconds, gibibytes = STANDARD
    point = measured(hospitals, rounds, parameters)
    shown = f"{hospitals} hospitals, {rounds} rounds, {parameters // 1000}k parameters"
    return Section(
        f"A simulated study of {shown}",
        "All hospitals' work in one process; everything in memory.",
        ("", "found"),
        [
            ("wall clock", f"{point['wall']:.1f} s"),
            ("processor time", f"{point['seconds']:.1f} s"),
            ("peak memory of the process", f"{point['mib']:.0f} MiB"),
        ],
        [
            Target(f"simulate {shown}", point["wall"], seconds, "s (wall clock)"),
            Target("memory of the same", point["mib"] / 1024, gibibytes, "GiB"),
        ],
    )
