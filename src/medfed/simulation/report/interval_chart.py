"""Figures with their intervals, one row each, in groups: which differences are more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medfed.simulation.report.axes import Axis, Frame, drawing, is_finite
from medfed.simulation.report.markup import Markup, element, joined

__all__ = ["Group", "Interval", "interval_chart"]

_ROW: Final = 15
_GAP: Final = 12


@dataclass(frozen=True)
class Interval:
    """One figure."""

    kind: str
    """Its colour class."""
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """Figures that belong together, under one label."""

    label: str
    rows: Sequence[Interval]


def interval_chart(name: str, groups: Sequence[Group], x: Axis, *, zero: bool = False) -> Markup:
    """A dot for each figure and a line for its interval; `zero` draws a line at 0, no difference."""
    heights = [_GAP + _ROW * max(len(group.rows), 1) for group in groups]
    frame = Frame(x, Axis(0.0, 1.0, ()), left=96, bottom=40, height=50 + sum(heights))
    parts = [frame.grid(vertical=True)]
    if zero:
        at, _ = frame.at(0.0, 0.0)
        parts.append(
            element("line", {"class": "axis", "x1": at, "x2": at, "y1": frame.top, "y2": frame.height - frame.bottom})
        )
    top = float(frame.top)
    for group, height in zip(groups, heights, strict=True):
        middle = top + height / 2
        parts.append(element("text", {"class": "row", "x": frame.left - 8, "y": middle + 4}, group.label))
        first = top + _GAP / 2 + _ROW / 2
        parts += [_mark(frame, row, first + _ROW * at) for at, row in enumerate(group.rows)]
        top += height
    return drawing(name, frame.width, frame.height, *parts)


def _mark(frame: Frame, row: Interval, y: float) -> Markup:
    if not all(map(is_finite, (row.value, row.low, row.high))):
        return element("text", {"class": "tick", "x": frame.left + 6, "y": y + 4}, "nothing was counted")
    low, high = max(row.low, frame.x.low), min(row.high, frame.x.high)
    (left, _), (right, _), (at, _) = frame.at(low, 0), frame.at(high, 0), frame.at(row.value, 0)
    return joined(
        element("line", {"class": f"whisker {row.kind}", "x1": left, "x2": right, "y1": y, "y2": y}),
        element("circle", {"class": f"dot {row.kind}", "cx": at, "cy": y, "r": 4.5}),
    )
