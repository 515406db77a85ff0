"""Whether of those given 30 % about 30 % are ill, and how many were given how much."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from medfed.federation.figures import Histograms
from medfed.federation.metrics import BINS, calibration_curve
from medfed.simulation.report.axes import Frame, drawing, unit_axis
from medfed.simulation.report.markup import Markup, element, joined

__all__ = ["calibration_chart"]

_HISTOGRAM: Final = 54
"""Height of the histogram under the curve."""
_BARS: Final = 16


def calibration_chart(name: str, counts: Histograms, what: str = "ill") -> Markup:
    """Observed share with its interval against the predicted score in tenths, over a histogram of the scores."""
    negative, positive = np.asarray(counts.negative), np.asarray(counts.positive)
    frame = Frame(unit_axis("predicted risk"), unit_axis(f"share that was {what}"), height=360, bottom=44 + _HISTOGRAM)
    lower = Frame(unit_axis("predicted risk"), unit_axis(), height=360, top=360 - 40 - _HISTOGRAM)
    parts = [_grids(frame, lower)]
    parts.append(element("path", {"class": "guess", "d": frame.path([(0.0, 0.0), (1.0, 1.0)])}))
    curve = calibration_curve(negative, positive)
    parts += _bars(lower, negative + positive)
    for mean, share, count in curve:
        (x, low), (_, high), (_, y) = (frame.at(mean, value) for value in (share.low, share.high, share.value))
        hint = element("title", None, f"{count} patients given about {mean:.0%}: {share.value:.0%} {what}")
        parts.append(element("line", {"class": "whisker federated", "x1": x, "x2": x, "y1": low, "y2": high}))
        parts.append(element("circle", {"class": "dot federated", "cx": x, "cy": y, "r": 4.5}, hint))
    line = frame.path([(mean, share.value) for mean, share, _ in curve])
    parts.append(element("path", {"class": "line federated", "d": line}))
    if not curve:
        parts.append(element("text", {"class": "nothing", "x": "50%", "y": "40%"}, "nothing was counted"))
    return drawing(name, frame.width, frame.height, *parts)


def _grids(frame: Frame, lower: Frame) -> Markup:
    """The upper frame's shares, and below the histogram the risks for both."""
    upper = replace(frame, x=replace(frame.x, ticks=(), label=""))
    return joined(upper.grid(), replace(lower, y=replace(lower.y, ticks=(), label="")).grid())


def _bars(lower: Frame, totals: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Markup]:
    sums = totals.reshape(_BARS, BINS // _BARS).sum(axis=1)
    most = int(sums.max(initial=0))
    bars: list[Markup] = []
    for at, count in enumerate(sums.tolist()):
        if count:
            left, top = lower.at(at / _BARS, 0.92 * count / most)
            right, bottom = lower.at((at + 1) / _BARS, 0.0)
            place = {"x": left + 1, "y": top, "width": right - left - 2, "height": bottom - top}
            bars.append(element("rect", {"class": "bar", **place}, element("title", None, f"{count} patients")))
    return bars
