"""Exact samples from a `Law`: inversion of its distribution function by integers that are certain to be right.

A sample is decided by a uniform number U in [0, 1) of which only as many bits are drawn as are needed. The first 64
pick the value from a table, unless they leave two values possible (once in about 2^50 draws); then more bits and a
finer table decide. So the distribution is exactly the law's, not nearly: nothing is cut off, no error is left to be
counted in δ, and no floating-point number is involved. Where a lookup falls may show in its timing; the noise of one
site is drawn on that site.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import Entropy
from medfed.errors import InvalidInput
from medfed.privacy.laws import Law

__all__ = ["Sampler"]

_GUARD: Final = 64
"""Bits beyond the cell's for probabilities: rounding of a million entries stays far below one cell."""
_MOST_ENTRIES: Final = 1 << 22
_MOST_BYTES: Final = 64
_BATCH: Final = 1 << 20


class Sampler:
    """Draws from one law. Immutable; building it costs about 2 µs a table entry, some 24 standard deviations."""

    def __init__(self, law: Law, cell_bytes: int = 8) -> None:
        """
        Args:
            law: what to draw from.
            cell_bytes: how many bytes of U are drawn at first: 1, 2, 4 or 8. Fewer make a second draw more common
                and change nothing else; tests use that.

        Raises:
            InvalidInput: another number of bytes.
        """
        if cell_bytes not in (1, 2, 4, 8):
            raise InvalidInput(f"sampler: expected 1, 2, 4 or 8 bytes at first, found {cell_bytes}")
        self.law = law
        self._bytes = cell_bytes
        self._first, lows, highs = _table(law, 8 * cell_bytes)
        kind = np.dtype(f"<u{cell_bytes}")
        self._lows = np.array(lows, dtype=kind)
        # The smallest U of each value: one cell above where the value before may still end.
        self._starts = np.array([min(high + 1, (1 << 8 * cell_bytes) - 1) for high in highs], dtype=kind)

    def draw(self, count: int, entropy: Entropy) -> NDArray[np.int64]:
        """`count` independent samples, int64.

        Raises:
            InvalidInput: a negative count.
        """
        if count < 0:
            raise InvalidInput(f"samples: expected 0 or more, found {count}")
        out = np.empty(count, dtype=np.int64)
        for at in range(0, count, _BATCH):
            part = out[at : at + _BATCH]
            cells = np.frombuffer(entropy(self._bytes * part.size), dtype=self._lows.dtype)
            index = np.searchsorted(self._lows, cells, side="right")
            np.add(index, self._first, out=part)
            inside = index < self._lows.size
            certain = inside & (cells >= self._starts[np.where(inside, index, 0)])
            for unsure in np.flatnonzero(~certain):
                part[unsure] = self._decide(int(cells[unsure]), entropy)
        return out

    def _decide(self, uniform: int, entropy: Entropy) -> int:
        """The value for a U whose first bits leave more than one possible."""
        size = self._bytes
        while size < _MOST_BYTES:
            uniform = uniform << 8 * self._bytes | int.from_bytes(entropy(self._bytes), "little")
            size += self._bytes
            first, lows, highs = _table(self.law, 8 * size)
            index = bisect_right(lows, uniform)
            if index < len(lows) and uniform > highs[index]:
                return first + index
        raise InvalidInput(f"entropy: {_MOST_BYTES} bytes in a row on the edge between two values; it is not random")


@lru_cache(maxsize=32)
def _table(law: Law, cell_bits: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """(first value, lows, highs): U certainly gives at most first + i if its cell is below lows[i], and certainly
    more than first + i - 1 if its cell is above highs[i]; -1 where nothing lies below.

    With F(k) = P(X ≤ k): lows[i] ≤ ⌊2^bits F(first + i)⌋ and ⌊2^bits F(first + i - 1)⌋ ≤ highs[i].
    """
    bits = cell_bits + _GUARD
    up, tail_above = _upward(law, bits)
    if law.mirror:
        down, tail_below = up[1:], tail_above
    else:
        down, tail_below = _downward(law, bits)
    weights = [*reversed(down), *up]
    at_most_low = list(accumulate(low for low, _ in weights))
    at_most_high = list(accumulate((high for _, high in weights), initial=tail_below))
    all_low, all_high = at_most_low[-1], at_most_high[-1]
    lows: list[int] = []
    highs: list[int] = []
    for i in range(len(weights)):
        # F = A / (A + B): least with A small and the rest B large, and the other way round.
        least, rest = at_most_low[i], all_high - at_most_high[i + 1] + tail_above
        lows.append((least << cell_bits) // (least + rest))
        most = at_most_high[i]
        rest = all_low - (at_most_low[i - 1] if i else 0)
        highs.append((most << cell_bits) // (most + rest) if most else -1)
    return law.anchor - len(down), tuple(lows), tuple(highs)


Weights = list[tuple[int, int]]
"""Bounds on P(k) / P(anchor) in units of 2^-bits, outwards from the anchor."""


def _upward(law: Law, bits: int) -> tuple[Weights, int]:
    """The weights from the anchor up, and a bound on all beyond."""
    ratio, limit = law.ratio(bits)
    unit = 1 << bits
    low = high = unit
    weights = [(low, high)]
    cutoff = 1 << (_GUARD - 8)
    for k in range(law.anchor, law.anchor + _MOST_ENTRIES):
        ratio_low, ratio_high = ratio(k)
        low, high = low * ratio_low >> bits, -(-high * ratio_high >> bits)
        # All beyond k is at most a geometric series with the largest ratio to come.
        largest = max(ratio_high, limit)
        if largest < unit and -(-high * unit // (unit - largest)) <= cutoff:
            return weights, -(-high * unit // (unit - largest))
        weights.append((low, high))
    raise InvalidInput("noise: too wide for a table; take a coarser step")


def _downward(law: Law, bits: int) -> tuple[Weights, int]:
    """The weights below the anchor, downwards, and a bound on all below those. Ratios fall on the way down."""
    ratio, _ = law.ratio(bits)
    unit = 1 << bits
    low = high = unit
    weights: Weights = []
    cutoff = 1 << (_GUARD - 8)
    for k in range(law.anchor, 0, -1):
        ratio_low, ratio_high = ratio(k - 1)
        low, high = (low << bits) // ratio_high, -((-high << bits) // ratio_low)
        if ratio_low > unit:
            # P(j-1)/P(j) ≤ unit / ratio_low for every j ≤ k.
            below = -(-high * ratio_low // (ratio_low - unit))
            if below <= cutoff:
                return weights, below
        weights.append((low, high))
    return weights, 0
