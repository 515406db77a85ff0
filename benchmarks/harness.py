"""Measuring several things against each other in one run: alternately, so that a busy moment hits all of them.

Figures are the minimum, median and maximum of several passes; comparisons use minima, which a machine's other work
disturbs least. What only computes is measured in processor time, for the same reason; what waits for a disk, by the
wall clock. Nothing here knows what is measured.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Timing:
    """Seconds of several passes."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class Target:
    """A figure and the bar that it has to meet."""

    what: str
    found: float
    bar: float
    unit: str
    at_most: bool = True

    @property
    def is_met(self) -> bool:
        """Whether the figure is on the right side of its bar."""
        return self.found <= self.bar if self.at_most else self.found >= self.bar


@dataclass(frozen=True)
class Section:
    """One subject's tables and targets."""

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target] = ()


def timing_of(seconds: Sequence[float]) -> Timing:
    """Minimum, median and maximum."""
    return Timing(min(seconds), median(seconds), max(seconds))


def alternately(
    passes: int, tasks: Mapping[str, Callable[[], object]], clock: Callable[[], float] = time.process_time
) -> dict[str, Timing]:
    """Run every task once to warm up, then each in turn, `passes` times."""
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(passes):
        for name, task in tasks.items():
            start = clock()
            task()
            spent[name].append(clock() - start)
    return {name: timing_of(seconds) for name, seconds in spent.items()}


def in_child(module: str, *arguments: object) -> dict[str, Any]:
    """Run `python -m module arguments` in a process of its own and return the JSON object that it prints last.

    Its peak memory is then its own: nothing that this process held before counts.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=child_environment())
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command[1:])}: exit {ended.returncode}\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.strip().splitlines()[-1])


def child_environment() -> dict[str, str]:
    """This process's environment, with the program and these modules to be found in it."""
    places = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def growth_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size by least squares: 1 is linear."""
    if len(sizes) < 2 or len(sizes) != len(costs):
        raise ValueError(f"growth: expected two or more sizes with a cost each, found {len(sizes)} and {len(costs)}")
    xs, ys = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def spread(timing: Timing, unit: float = 1.0, digits: int = 2) -> str:
    """`minimum (median, maximum)` in units of `unit` seconds."""
    low, middle, high = (f"{value / unit:.{digits}f}" for value in (timing.minimum, timing.median, timing.maximum))
    return f"{low} ({middle}, {high})"
