"""Small SVG charts as strings: lines with bands, points with intervals, steps. Pure; gaps where data are missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

__all__ = ["Series", "interval_chart", "line_chart", "timeline"]

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: apart for colour-blind eyes too."""
_W: Final = 460
_H: Final = 300
_LEFT: Final = 52
_RIGHT: Final = 14
_TOP: Final = 14
_BOTTOM: Final = 44


@dataclass(frozen=True)
class Series:
    """One line: (x, y) or (x, y, low, high) points."""

    name: str
    points: Sequence[tuple[float, ...]]
    dashed: bool = False


@dataclass(frozen=True)
class _Frame:
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return _LEFT + across * (_W - _LEFT - _RIGHT), _H - _BOTTOM - up * (_H - _TOP - _BOTTOM)


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    y: tuple[float, float] | None = None,
    x: tuple[float, float] | None = None,
    diagonal: bool = False,
    marks: bool = False,
) -> str:
    """Lines over numbers, with bands where points have an interval."""
    known = [Series(s.name, [p for p in s.points if _is_finite(p)], s.dashed) for s in series]
    points = [p for s in known for p in s.points]
    if not points:
        return _empty(title)
    frame = _Frame(x or _range([p[0] for p in points], 0.0), y or _range([v for p in points for v in p[1:]], 0.05))
    parts = [_axes(frame, x_label, y_label)]
    if diagonal:
        parts.append(_path([frame.at(frame.x[0], frame.x[0]), frame.at(frame.x[1], frame.x[1])], "#888", "4 4", 1))
    for number, one in enumerate(known):
        colour = COLOURS[number % len(COLOURS)]
        band = [p for p in one.points if len(p) == 4]
        if band:
            upper = [frame.at(p[0], p[3]) for p in band]
            lower = [frame.at(p[0], p[2]) for p in reversed(band)]
            parts.append(f'<polygon points="{_coordinates(upper + lower)}" fill="{colour}" opacity="0.15"/>')
        parts.append(_path([frame.at(p[0], p[1]) for p in one.points], colour, "6 4" if one.dashed else "", 2))
        if marks:
            parts += [_dot(*frame.at(p[0], p[1]), colour) for p in one.points]
    return _svg(title, parts) + _legend([s.name for s in known])


def interval_chart(
    title: str, rows: Sequence[tuple[str, Sequence[tuple[float, float, float]]]], names: Sequence[str]
) -> str:
    """For each row one point with its interval for each name, from 0 to 1."""
    step, top = 22 * len(names) + 14, 12
    height = top + step * len(rows) + 34
    frame_left, right = 128, 14

    def across(value: float) -> float:
        return frame_left + min(max(value, 0.0), 1.0) * (_W - frame_left - right)

    parts: list[str] = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<line x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{top}" y2="{height - 30}" class="grid"/>'
        )
        parts.append(f'<text x="{across(tick):.1f}" y="{height - 14}" text-anchor="middle">{tick:g}</text>')
    for at, (label, values) in enumerate(rows):
        base = top + at * step
        parts.append(f'<text x="{frame_left - 10}" y="{base + step / 2}" text-anchor="end">{escape(label)}</text>')
        for number, (value, low, high) in enumerate(values):
            if not _is_finite((value,)):
                continue
            y, colour = base + 14 + number * 22, COLOURS[number % len(COLOURS)]
            if _is_finite((low, high)):
                ends = f'x1="{across(low):.1f}" x2="{across(high):.1f}"'
                parts.append(f'<line {ends} y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3" opacity="0.45"/>')
            parts.append(_dot(across(value), y, colour, 4.5))
    return _svg(title, parts, height) + _legend(names)


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def timeline(title: str, blocks: Sequence[tuple[float, int, str]], groups: Sequence[str]) -> str:
    """Blocks over time: (seconds, transactions, group), one row a group."""
    if not blocks:
        return _empty(title)
    left, row = 112, 30
    height = 16 + row * len(groups) + 40
    last = max(second for second, _, _ in blocks) or 1.0

    def across(second: float) -> float:
        return left + second / last * (_W - left - 20)

    parts: list[str] = []
    for at, group in enumerate(groups):
        y = 30 + at * row
        parts.append(f'<line x1="{left}" x2="{_W - 14}" y1="{y}" y2="{y}" class="grid"/>')
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(group)}</text>')
        colour = COLOURS[at % len(COLOURS)]
        for second, count, name in blocks:
            if name == group:
                parts.append(_dot(across(second), y, colour, 2.0 + 1.1 * math.sqrt(count), 0.55))
    for tick in (0.0, last / 2, last):
        parts.append(f'<text x="{across(tick):.1f}" y="{height - 12}" text-anchor="middle">{_seconds(tick)} s</text>')
    return _svg(title, parts, height)


def _axes(frame: _Frame, x_label: str, y_label: str) -> str:
    parts: list[str] = []
    for i in range(5):
        value = frame.y[0] + i / 4 * (frame.y[1] - frame.y[0])
        _, y = frame.at(frame.x[0], value)
        parts.append(f'<line x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
        at = frame.x[0] + i / 4 * (frame.x[1] - frame.x[0])
        x, _ = frame.at(at, frame.y[0])
        parts.append(f'<text x="{x:.1f}" y="{_H - _BOTTOM + 17}" text-anchor="middle">{at:.3g}</text>')
    middle = (_TOP + _H - _BOTTOM) / 2
    parts.append(f'<text x="{(_LEFT + _W - _RIGHT) / 2}" y="{_H - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>'
    )
    return "".join(parts)


def _svg(title: str, parts: Sequence[str], height: int = _H) -> str:
    label = escape(title, quote=True)
    return f'<svg viewBox="0 0 {_W} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _legend(names: Sequence[str]) -> str:
    items = [
        f'<span><i style="background:{COLOURS[at % len(COLOURS)]}"></i>{escape(name)}</span>'
        for at, name in enumerate(names)
    ]
    return f'<p class="legend">{"".join(items)}</p>' if len(names) > 1 else ""


def _path(points: Sequence[tuple[float, float]], colour: str, dash: str, width: float) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{_coordinates(points)}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _dot(x: float, y: float, colour: str, radius: float = 3.0, opacity: float = 1.0) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" opacity="{opacity}"/>'


def _coordinates(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low or 1.0) * margin
    return (max(low - room, 0.0) if low >= 0 else low - room), high + room  # a score or a loss is never below 0


def _empty(title: str) -> str:
    return f'<p class="none">{escape(title)}: nothing to show, no data were counted.</p>'


def _is_finite(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) for value in values)
