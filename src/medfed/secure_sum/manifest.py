"""What the numbers of one vector mean: named entries in a fixed order, and where each lies on the wire.

Every hospital derives the same manifest from the plan, so its digest is enough to agree on it. Nothing here
sees a value.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import force_setattr

from medfed.encoding import Record, digest_of
from medfed.errors import InvalidInput
from medfed.identifiers import Digest

__all__ = ["LIMB_BITS", "MAX_ELEMENTS", "MAX_HOSPITALS", "Entry", "Kind", "Manifest", "check_hospitals"]

MAX_HOSPITALS: Final = 50
MAX_ELEMENTS: Final = 1 << 28
"""Wire elements of one vector: 1 GiB."""
LIMB_BITS: Final = 26
"""A count of two limbs is v mod 2^26 and v div 2^26, so that neither sum of up to 50 limbs wraps."""
_WORD_MAX: Final = 2**32 - 1
_CENTRED_MAX: Final = 2**31 - 1
_COUNT_MAX: Final = 2 ** (2 * LIMB_BITS) - 1
_FIXED_BOUND_MAX: Final = 1e9

Kind = Literal["fixed", "count", "noisy"]


class Entry(Record, frozen=True):
    """One named array of the vector.

    `kind` is "fixed" (real numbers, averaged with the hospitals' weights), "count" (exact non-negative
    integers) or "noisy" (signed integers that carry noise).
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: Kind
    length: Annotated[int, Meta(ge=1, le=MAX_ELEMENTS)]
    """Number of values, however many limbs each has."""
    bound: int | float
    """fixed: the clip c, beyond which a coordinate is clipped. count: the largest value one hospital may report.
    noisy: the largest magnitude, noise included, that one hospital may report."""
    limbs: Literal[1, 2] = 1
    """2 for counts whose sum over the hospitals may pass 2^32 - 1; such a count may reach 2^52 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= 200:
            raise InvalidInput(f"manifest entry {self.name[:40]!r}: expected a name of 1 to 200 characters")
        if self.kind not in ("fixed", "count", "noisy"):
            raise InvalidInput(f"manifest entry {self.name}: unknown kind {self.kind!r}")
        if not 1 <= self.length <= MAX_ELEMENTS:
            raise self._error(f"length from 1 to {MAX_ELEMENTS}", self.length)
        if self.limbs not in (1, 2) or (self.limbs == 2 and self.kind != "count"):
            raise self._error("one limb, or two for a count", self.limbs)
        force_setattr(self, "bound", self._checked_bound())

    @property
    def elements(self) -> int:
        """uint32 elements that the entry takes on the wire; the low limbs come first."""
        return self.length * self.limbs

    def _checked_bound(self) -> int | float:
        if not math.isfinite(self.bound):
            raise self._error("a finite bound", self.bound)
        if self.kind == "fixed":
            if not 0 < self.bound <= _FIXED_BOUND_MAX:
                raise self._error(f"bound above 0, up to {_FIXED_BOUND_MAX:g}", self.bound)
            return float(self.bound)
        largest = {"count": _WORD_MAX, "noisy": _CENTRED_MAX}[self.kind] if self.limbs == 1 else _COUNT_MAX
        if self.bound != int(self.bound) or not 1 <= self.bound <= largest:
            raise self._error(f"a whole bound from 1 to {largest}", self.bound)
        return int(self.bound)

    def _error(self, expected: str, found: float) -> InvalidInput:
        return InvalidInput(f"manifest entry {self.name}: expected {expected}, found {found}")


class Manifest(Record, frozen=True):
    """The entries of a vector, in wire order."""

    entries: Annotated[tuple[Entry, ...], Meta(min_length=1, max_length=10_000)]

    def __post_init__(self) -> None:
        force_setattr(self, "entries", tuple(self.entries))
        if not 1 <= len(self.entries) <= 10_000:
            raise InvalidInput(f"manifest: expected 1 to 10,000 entries, found {len(self.entries)}")
        names = [entry.name for entry in self.entries]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInput(f"manifest entry {twice}: expected distinct names")
        if self.length > MAX_ELEMENTS:
            raise InvalidInput(f"manifest: expected at most {MAX_ELEMENTS} elements, found {self.length}")

    @property
    def length(self) -> int:
        """uint32 elements on the wire."""
        return sum(entry.elements for entry in self.entries)

    @property
    def offsets(self) -> dict[str, int]:
        """Where each entry starts, in elements."""
        starts: dict[str, int] = {}
        at = 0
        for entry in self.entries:
            starts[entry.name] = at
            at += entry.elements
        return starts

    @property
    def digest(self) -> Digest:
        """What hospitals agree on."""
        return digest_of("medfed/manifest", self)


def check_hospitals(manifest: Manifest, hospitals: int) -> None:
    """Check that no sum over `hospitals` (the study roster's size) can wrap.

    Raises:
        InvalidInput: their number is out of range, or an entry's bound is too large for so many.
    """
    if not 1 <= hospitals <= MAX_HOSPITALS:
        raise InvalidInput(f"hospitals: expected 1 to {MAX_HOSPITALS}, found {hospitals}")
    for entry in manifest.entries:
        limit = {"count": _WORD_MAX, "noisy": _CENTRED_MAX}.get(entry.kind)
        if limit is not None and entry.limbs == 1 and entry.bound * hospitals > limit:
            advice = "; a count may take two limbs" if entry.kind == "count" else ""
            raise InvalidInput(
                f"manifest entry {entry.name}: expected a bound of at most {limit // hospitals} for "
                f"{hospitals} hospitals, found {entry.bound}{advice}"
            )
