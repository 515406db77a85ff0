"""What the fully blinded lists say: which of one's own entries others have too, and how large the intersections are.

Everybody has all lists, so the sizes are common knowledge and their digest is what hospitals agree on; which entry a
position stands for, its owner alone knows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from medfed.alignment.blinding import elements_of
from medfed.encoding import Record, digest_of
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Name

__all__ = ["Sizes", "holders_of_entries", "sizes"]


class Sizes(Record):
    """What everybody learns of a run."""

    pairs: tuple[tuple[Name, Name, int], ...]
    """(lower, higher, entries that both have), for every pair in order."""
    by_holders: tuple[tuple[int, int], ...]
    """(number of hospitals, entries that exactly so many have), from two hospitals on."""

    @property
    def digest(self) -> Digest:
        """What `CompleteAlignment` names."""
        return digest_of("medfed/alignment-sizes", self)


def holders_of_entries(lists: Mapping[Name, bytes], me: Name, positions: Sequence[int]) -> list[tuple[Name, ...]]:
    """For each of one's own entries the hospitals that have it, oneself included, sorted.

    Args:
        lists: the fully blinded lists by owner.
        positions: where each of one's own entries stands in one's own list.

    Raises:
        InvalidInput: a position that one's own list does not have.
    """
    own = elements_of(lists[me])
    if any(not 0 <= position < len(own) for position in positions):
        raise InvalidInput("alignment: a position outside of one's own list")
    holders = _holders(lists)
    return [tuple(holders[own[position]]) for position in positions]


def sizes(lists: Mapping[Name, bytes]) -> Sizes:
    """The sizes of the intersections, from all fully blinded lists."""
    pairs: Counter[tuple[Name, Name]] = Counter()
    counts: Counter[int] = Counter()
    for names in _holders(lists).values():
        if len(names) > 1:
            counts[len(names)] += 1
            pairs.update(combinations(names, 2))
    listed = tuple((one, other, pairs[one, other]) for one, other in combinations(sorted(lists), 2))
    return Sizes(listed, tuple(sorted(counts.items())))


def _holders(lists: Mapping[Name, bytes]) -> dict[bytes, list[Name]]:
    found: defaultdict[bytes, list[Name]] = defaultdict(list)
    for name in sorted(lists):
        for element in elements_of(lists[name]):
            found[element].append(name)
    return found
