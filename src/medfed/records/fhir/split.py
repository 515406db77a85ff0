"""Cuts a JSON document of any size into the elements of its `entry` array and the rest, in memory that stays flat.

Only braces, brackets and quotes are looked at here, many at a time with numpy; whether an element is JSON is for its
parser to say. An element that is not does no harm to the next one as long as its brackets and quotes balance. This
module must never hold more than one element and one chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput

__all__ = ["LARGEST_ELEMENT", "Piece", "split_entries"]

LARGEST_ELEMENT: Final = 16 << 20
"""Bytes of one element, and of all that is not an element, together."""

_KEY: Final = re.compile(rb'"entry"\s*:\s*\Z')
_BLANK: Final = b" \t\r\n"
_QUOTE, _ESCAPE = 34, 92

_DEPTHS: Final = np.zeros(256, np.int8)
_DEPTHS[[ord("{"), ord("[")]] = 1
_DEPTHS[[ord("}"), ord("]")]] = -1
_DEPTHS.flags.writeable = False

Positions = npt.NDArray[np.intp]


class Piece(NamedTuple):
    """`data` is one element of `entry` where `is_element`, else the document without its elements, which ends it."""

    is_element: bool
    data: bytes


class _Scanner:
    """Finds, chunk by chunk, the brackets outside strings and the depth after each."""

    def __init__(self) -> None:
        self.depth = 0
        self._in_string = False
        self._escaping = False

    def scan(self, chunk: bytes) -> tuple[Positions, npt.NDArray[np.int64]]:
        data = np.frombuffer(chunk, np.uint8)
        quotes = np.flatnonzero(data == _QUOTE)
        quotes = self._without_escaped(data, quotes)
        brackets = np.flatnonzero(((data | 32) == 123) | ((data | 32) == 125))  # [ and { differ in one bit, so ] and }
        before = np.searchsorted(quotes, brackets)
        outside = (before + int(self._in_string)) % 2 == 0
        brackets = brackets[outside]
        depths = self.depth + np.cumsum(_DEPTHS[data[brackets]], dtype=np.int64)
        if len(depths):
            self.depth = int(depths[-1])
        self._in_string ^= bool(len(quotes) % 2)
        return brackets, depths

    def _without_escaped(self, data: npt.NDArray[np.uint8], quotes: Positions) -> Positions:
        """The quotes that are not behind an odd run of backslashes."""
        escapes = np.flatnonzero(data == _ESCAPE)
        carried = self._escaping
        self._escaping = False
        if not len(escapes):
            return quotes[1:] if carried and len(quotes) and quotes[0] == 0 else quotes
        starts = np.flatnonzero(np.diff(escapes, prepend=-2) != 1)
        first = np.repeat(escapes[starts], np.diff(starts, append=len(escapes)))
        odd = (escapes - first) % 2 == 0  # the 1st, 3rd, ... of its run escapes what follows
        if carried:
            odd ^= first == 0
        escaped = escapes[odd] + 1
        self._escaping = bool(escaped.size and escaped[-1] == len(data))
        kept = np.ones(len(quotes), bool)
        places = np.searchsorted(quotes, escaped)
        hits = places[places < len(quotes)]
        kept[hits[quotes[hits] == escaped[places < len(quotes)]]] = False
        if carried and escapes[0] != 0 and len(quotes) and quotes[0] == 0:
            kept[0] = False
        return quotes[kept]


def split_entries(chunks: Iterable[bytes], largest: int = LARGEST_ELEMENT) -> Iterator[Piece]:
    """The elements of the top-level `entry` array in order, then the rest of the document with an empty array there.

    Raises:
        InvalidInput: the brackets do not balance, something other than a comma stands between two elements, or an
            element or the rest is larger than `largest` bytes. What came before has then been yielded.
    """
    scanner = _Scanner()
    rest = bytearray()
    pending = bytearray()  # read and not yet given away
    inside, start, closed, elements = False, -1, 0, 0
    for chunk in chunks:
        base = len(pending)
        pending += chunk
        positions, depths = scanner.scan(chunk)
        for place, depth in _turning_points(chunk, positions, depths):
            at = base + place
            if pending[at] in b"{[":
                if not inside and depth == 2 and pending[at] == ord("[") and _is_entry(rest, pending, closed, at):
                    rest += pending[closed : at + 1]
                    inside, closed = True, at + 1
                elif inside and depth == 3 and start < 0:
                    _check_gap(bytes(pending[closed:at]), elements)
                    start = at
            elif depth < 0:
                raise InvalidInput("document: a bracket closes that was not opened")
            elif inside and depth == 2 and start >= 0:
                yield Piece(True, bytes(pending[start : at + 1]))
                elements, start, closed = elements + 1, -1, at + 1
            elif inside and depth == 1:
                if pending[closed:at].strip(_BLANK):
                    raise InvalidInput("document: something other than elements at the end of entry")
                inside, closed = False, at
        keep = start if start >= 0 else closed
        if not inside:
            rest += pending[keep:]
            keep = len(pending)
        del pending[:keep]
        start, closed = (0, 0) if start >= 0 else (-1, 0)
        if len(pending) > largest or len(rest) > largest:
            raise InvalidInput(f"document: an element or the rest is larger than {largest} bytes")
    if scanner.depth or inside:
        raise InvalidInput("document: ends in the middle; brackets or quotes do not balance")
    yield Piece(False, bytes(rest))


def _turning_points(chunk: bytes, positions: Positions, depths: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """The brackets that open to a depth of at most 3, or close to one of at most 2."""
    data = np.frombuffer(chunk, np.uint8)
    opening = _DEPTHS[data[positions]] > 0
    wanted = np.where(opening, depths <= 3, depths <= 2)
    return zip(positions[wanted].tolist(), depths[wanted].tolist(), strict=True)


def _is_entry(rest: bytearray, pending: bytearray, closed: int, at: int) -> bool:
    tail = bytes(rest[-80:]) + bytes(pending[max(closed, at - 80) : at])
    return _KEY.search(tail) is not None


def _check_gap(gap: bytes, elements: int) -> None:
    if gap.strip(_BLANK) != (b"," if elements else b""):
        raise InvalidInput(f"document: expected one comma before element {elements} of entry")
