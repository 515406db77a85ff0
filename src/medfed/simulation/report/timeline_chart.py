"""The ledger's timeline: one column a block, as high as its transactions, coloured by what they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medfed.simulation.report.axes import Axis, Frame, drawing, nice_axis
from medfed.simulation.report.markup import Markup, element

__all__ = ["KINDS", "Column", "timeline_chart"]

KINDS: Final = (
    ("joining", "plan, approval, enrolment, keys"),
    ("update", "masked updates"),
    ("confirm", "who counts, signed by all"),
    ("reveal", "seeds that open the sum"),
    ("agree", "agreement on the result"),
    ("other", "deadlines, complaints, other"),
)
"""Colour class and meaning of the groups of transactions."""
_WIDTH: Final = 900


@dataclass(frozen=True)
class Column:
    """One block."""

    height: int
    seconds: float
    """Since the first block."""
    counts: dict[str, int]
    """Transactions by the kinds of `KINDS`."""


def timeline_chart(name: str, columns: Sequence[Column]) -> Markup:
    """Stacked columns by block height."""
    most = max((sum(column.counts.values()) for column in columns), default=1)
    last = max((column.height for column in columns), default=1)
    blocks = nice_axis([0.0, float(last)], "block", most=8)
    x = Axis(0.0, float(last) + 1, tuple(tick for tick in blocks.ticks if tick[0] <= last), "block")
    top = nice_axis([0.0, float(most)], "transactions", most=4)
    frame = Frame(x, Axis(0.0, top.high, top.ticks, "transactions"), width=_WIDTH, height=190)
    parts = [frame.grid()]
    for column in columns:
        base = 0
        for kind, _ in KINDS:
            count = column.counts.get(kind, 0)
            if count:
                parts.append(_box(frame, column, kind, base, count))
            base += count
    return drawing(name, frame.width, frame.height, *parts)


def _box(frame: Frame, column: Column, kind: str, base: int, count: int) -> Markup:
    left, top = frame.at(column.height - 0.42, base + count)
    right, bottom = frame.at(column.height + 0.42, base)
    place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    hint = f"block {column.height}, {column.seconds:.2f} s: {count} of {sum(column.counts.values())} transactions"
    return element("rect", {"class": f"box {kind}", **place}, element("title", None, hint))
