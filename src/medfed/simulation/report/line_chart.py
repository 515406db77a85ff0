"""Lines over a number: training curves, ROC curves, and learning curves with the interval around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medfed.simulation.report.axes import Axis, Frame, drawing, is_finite
from medfed.simulation.report.markup import Markup, element, joined

__all__ = ["Line", "line_chart"]


@dataclass(frozen=True)
class Line:
    """One line: its points, its colour class, and low and high ends of an interval at each point where it has one."""

    points: Sequence[tuple[float, float]]
    kind: str
    band: Sequence[tuple[float, float]] = ()
    dots: bool = False
    mark: tuple[float, float] | None = None
    """One point to point out."""


def line_chart(name: str, lines: Sequence[Line], x: Axis, y: Axis, *, diagonal: bool = False) -> Markup:
    """The lines in one frame, bands first so that they hide nothing; `diagonal` draws what guessing would give."""
    frame = Frame(x, y)
    parts = [frame.grid(vertical=diagonal)]
    if diagonal:
        path = frame.path([(x.low, y.low), (x.high, y.high)])
        parts.append(element("path", {"class": "guess", "d": path}))
    parts += [_band(frame, line) for line in lines if line.band]
    parts += [_line(frame, line) for line in lines]
    if not any(is_finite(value) for line in lines for _, value in line.points):
        parts.append(element("text", {"class": "nothing", "x": "50%", "y": "45%"}, "nothing was counted"))
    return drawing(name, frame.width, frame.height, *parts)


def _band(frame: Frame, line: Line) -> Markup:
    low = [(x, ends[0]) for (x, _), ends in zip(line.points, line.band, strict=True) if all(map(is_finite, ends))]
    high = [(x, ends[1]) for (x, _), ends in zip(line.points, line.band, strict=True) if all(map(is_finite, ends))]
    if not low:
        return Markup("")
    return element("path", {"class": f"band {line.kind}", "d": frame.path([*low, *reversed(high)]) + "Z"})


def _line(frame: Frame, line: Line) -> Markup:
    parts = [element("path", {"class": f"line {line.kind}", "d": frame.path(line.points)})]
    if line.dots:
        parts += [_dot(frame, point, line.kind, 3.5) for point in line.points]
    if line.mark is not None:
        parts.append(_dot(frame, line.mark, line.kind, 5.0))
    return joined(*parts)


def _dot(frame: Frame, point: tuple[float, float], kind: str, radius: float) -> Markup:
    if not all(map(is_finite, point)):
        return Markup("")
    x, y = frame.at(*point)
    return element("circle", {"class": f"dot {kind}", "cx": x, "cy": y, "r": radius})
