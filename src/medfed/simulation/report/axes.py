"""From data to places in a drawing: scales, grid lines and labels of a chart.

Charts are SVG without a fixed size: they take the width that they are given. A chart must never fail on data that is
empty or not a number; it leaves such points out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from medfed.simulation.report.markup import Markup, element, joined

__all__ = ["Axis", "Frame", "drawing", "is_finite", "nice_axis", "percent", "unit_axis"]

_LINE_HEIGHT: Final = 15


@dataclass(frozen=True)
class Axis:
    """One direction: its range, where lines are drawn, and how their values are written."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str = ""


@dataclass(frozen=True)
class Frame:
    """A plotting area within a drawing of `width` by `height`."""

    x: Axis
    y: Axis
    width: int = 440
    height: int = 300
    left: int = 52
    right: int = 14
    top: int = 10
    bottom: int = 44

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of data lies in the drawing."""
        across = (x - self.x.low) / (self.x.high - self.x.low)
        up = (y - self.y.low) / (self.y.high - self.y.low)
        plot_width, plot_height = self.width - self.left - self.right, self.height - self.top - self.bottom
        return self.left + across * plot_width, self.height - self.bottom - up * plot_height

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """The `d` of a line through the finite points; where one is not finite, the line breaks."""
        parts: list[str] = []
        pen_down = False
        for x, y in points:
            if not (is_finite(x) and is_finite(y)):
                pen_down = False
                continue
            at_x, at_y = self.at(x, y)
            parts.append(f"{'L' if pen_down else 'M'}{at_x:.1f} {at_y:.1f}")
            pen_down = True
        return "".join(parts)

    def grid(self, *, vertical: bool = False) -> Markup:
        """Grid lines, tick labels and axis labels."""
        bottom, right = self.height - self.bottom, self.width - self.right
        marks: list[Markup] = []
        for value, text in self.y.ticks:
            _, y = self.at(self.x.low, value)
            marks.append(_line("grid", self.left, y, right, y))
            marks.append(_label(text, self.left - 7, y + 4, "end"))
        for value, text in self.x.ticks:
            x, _ = self.at(value, self.y.low)
            if vertical:
                marks.append(_line("grid", x, self.top, x, bottom))
            marks.append(_label(text, x, bottom + _LINE_HEIGHT + 2, "middle"))
        marks.append(_line("axis", self.left, bottom, right, bottom))
        middle_x, middle_y = (self.left + right) / 2, (self.top + bottom) / 2
        if self.x.label:
            marks.append(_label(self.x.label, middle_x, self.height - 6, "middle", "axis-label"))
        if self.y.label:
            turned = {"transform": f"rotate(-90 13 {middle_y:.1f})"}
            marks.append(_label(self.y.label, 13, middle_y, "middle", "axis-label", turned))
        return joined(*marks)


def drawing(name: str, width: int, height: int, *children: str) -> Markup:
    """A picture with a name for those who cannot see it."""
    attributes = {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": name, "class": "chart"}
    return element("svg", attributes, element("title", None, name), *children)


def is_finite(value: float) -> bool:
    """Whether a value can be drawn."""
    return math.isfinite(value)


def percent(value: float) -> str:
    """A share for people: `85 %`; "–" where nothing was counted."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else "–"


def unit_axis(label: str = "", low: float = 0.0, parts: int = 5) -> Axis:
    """From `low` to 1 in per cent."""
    ticks = [low + (1 - low) * i / parts for i in range(parts + 1)]
    return Axis(low, 1.0, tuple((tick, percent(tick)) for tick in ticks), label)


def nice_axis(values: Sequence[float], label: str = "", *, shares: bool = False, most: int = 5) -> Axis:
    """A range with round ends that holds all finite values; something sensible where there are none."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    step = _step((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [at * step for at in range(first, last + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    share_digits = max(0, digits - 2)
    written = [f"{100 * tick:.{share_digits}f} %" if shares else f"{tick:.{digits}f}" for tick in ticks]
    return Axis(ticks[0], ticks[-1], tuple(zip(ticks, written, strict=True)), label)


def _step(rough: float) -> float:
    scale = 10.0 ** math.floor(math.log10(rough))
    return next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= rough * (1 - 1e-9))


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return element("line", {"class": kind, "x1": float(x1), "y1": y1, "x2": float(x2), "y2": y2})


def _label(
    text: str, x: float, y: float, anchor: str, kind: str = "tick", more: dict[str, str] | None = None
) -> Markup:
    return element("text", {"class": kind, "x": float(x), "y": y, "text-anchor": anchor, **(more or {})}, text)
