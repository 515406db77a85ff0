"""What can they open? The combinations of honest vectors that follow from all that was published and from a coalition.

An independent solver for the fault simulation: it knows no contract and no agent, only linear algebra. A published
masked vector is a row: one unknown for the plain vector, one for each mask, named by the mask's seed, so that a seed
used twice is one unknown. A seed that is known removes its unknown. Gaussian elimination modulo a prime then leaves the
combinations of plain vectors that the coalition can compute; `broken_promises` says which of them it must not.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from medfed.identifiers import Digest, Name

__all__ = ["Derived", "Escrowed", "MaskedVector", "Published", "Release", "broken_promises", "derive", "known_seeds"]

_PRIME: Final = (1 << 61) - 1

Attempt = tuple[Name, int, int]
"""Owner, round, attempt."""
Plain = tuple[Name, Digest]
"""One plain vector: whose, and the digest of its bytes. The same vector in two attempts or rounds is one unknown."""
Unknown = bytes | Plain | int
"""A mask's seed, a plain vector, or the number of a row (to remember how a combination came about)."""
Row = dict[Unknown, int]


@dataclass(frozen=True, slots=True)
class MaskedVector:
    """A masked vector that left a hospital: plain + Σ sign · keystream(seed)."""

    attempt: Attempt
    plain: Plain
    self_seed: bytes
    pair_seeds: Mapping[Name, tuple[bytes, int]]
    """By the other hospital: seed and sign."""
    blob: Digest


@dataclass(frozen=True, slots=True)
class Escrowed:
    """Seeds in escrow: `threshold` of `holders` open it."""

    attempt: Attempt
    contents: frozenset[bytes]
    holders: frozenset[Name]
    threshold: int


@dataclass(frozen=True, slots=True)
class Release:
    """A sum that may be known: over which survivors, of which round and attempt."""

    round: int
    attempt: int
    survivors: frozenset[Name]


@dataclass
class Published:
    """Everything that an adversary may have seen. It only grows."""

    vectors: dict[tuple[Attempt, Digest], MaskedVector] = field(
        default_factory=dict[tuple[Attempt, Digest], MaskedVector]
    )
    seeds: set[bytes] = field(default_factory=set[bytes])
    escrows: list[Escrowed] = field(default_factory=list[Escrowed])
    shares: dict[Attempt, set[Name]] = field(default_factory=dict[Attempt, set[Name]])
    """Who has posted its share of the owner's key."""
    releases: dict[tuple[int, int, frozenset[Name]], Release] = field(
        default_factory=dict[tuple[int, int, frozenset[Name]], Release]
    )


@dataclass(frozen=True, slots=True)
class Derived:
    """A combination of honest plain vectors that the coalition can compute, and from which rows."""

    plain: Mapping[Plain, int]
    rows: Mapping[int, int]
    """Index into the list of published vectors → signed coefficient."""


def known_seeds(published: Published, coalition: Collection[Name]) -> set[bytes]:
    """The mask seeds that a coalition has: revealed, from escrow, or its own."""
    known = set(published.seeds)
    for escrow in published.escrows:
        posted = published.shares.get(escrow.attempt, set())
        if sum(name in coalition or name in posted for name in escrow.holders) >= escrow.threshold:
            known |= escrow.contents
    for vector in published.vectors.values():
        if vector.attempt[0] in coalition:
            known.add(vector.self_seed)
        for other, (seed, _) in vector.pair_seeds.items():
            if other in coalition or vector.attempt[0] in coalition:
                known.add(seed)
    return known


def derive(published: Published, coalition: Collection[Name]) -> list[Derived]:
    """A basis of what `coalition` can compute about the others' plain vectors."""
    known = known_seeds(published, coalition)
    pivots: dict[bytes, Row] = {}
    found: list[Derived] = []
    for index, vector in enumerate(published.vectors.values()):
        if vector.attempt[0] in coalition:
            continue
        row: Row = {vector.plain: 1, index: 1}
        _add_mask(row, vector.self_seed, 1, known)
        for seed, sign in vector.pair_seeds.values():
            _add_mask(row, seed, sign, known)
        if _reduce(row, pivots):
            plain = {key: _signed(value) for key, value in row.items() if isinstance(key, tuple)}
            rows = {key: _signed(value) for key, value in row.items() if isinstance(key, int)}
            if plain:
                found.append(Derived(plain, rows))
    return found


def broken_promises(
    published: Published, coalition: Collection[Name], given_up: Collection[Name] = (), quorum: int = 3
) -> list[str]:
    """What `coalition` can compute and must not, in words; empty if every promise holds.

    Promised: for each round nothing but the sum over its released survivors, at least the quorum; and nothing of which
    one hospital's vector follows. `given_up` are hospitals that left or were removed: the difference between an earlier
    and a later sum may be theirs.
    """
    derived = [entry.plain for entry in derive(published, coalition)]
    if not derived:
        return []
    small = [release for release in published.releases.values() if len(release.survivors) < quorum]
    if small:
        return [f"round {small[0].round}: released over {sorted(small[0].survivors)}, fewer than the quorum"]
    options = _permitted(published, coalition)
    excesses = [_excess(choice, derived) for choice in itertools.product(*options)]
    return [min(excesses, key=len)] if all(excesses) else _lone(derived, given_up)


def _permitted(published: Published, outside: Collection[Name]) -> list[list[dict[Plain, int]]]:
    """For every round, the sums that may be known: one of them, whatever histories were shown."""
    plains: dict[tuple[int, int], dict[Name, list[Plain]]] = {}
    for vector in published.vectors.values():
        owner, number, attempt = vector.attempt
        plains.setdefault((number, attempt), {}).setdefault(owner, []).append(vector.plain)
    by_round: dict[int, list[dict[Plain, int]]] = {}
    for release in published.releases.values():
        mine = plains.get((release.round, release.attempt), {})
        # An honest hospital has one vector an attempt; the first stands for it, a second would show as an excess.
        row: dict[Plain, int] = {mine[name][0]: 1 for name in release.survivors if name not in outside and name in mine}
        if row:
            by_round.setdefault(release.round, []).append(row)
    return [by_round[number] for number in sorted(by_round)]


def _excess(permitted: Sequence[dict[Plain, int]], derived: Sequence[Mapping[Plain, int]]) -> str:
    """The first derived combination that does not follow from the permitted ones, or nothing."""
    pivots: dict[Plain, dict[Plain, int]] = {}
    for row in permitted:
        _reduce_plain(dict(row), pivots, keep=True)
    for row in derived:
        if _reduce_plain(dict(row), pivots, keep=False):
            return f"computes {_show(row)}, which is not a released sum"
    return ""


def _lone(derived: Sequence[Mapping[Plain, int]], given_up: Collection[Name]) -> list[str]:
    """Whether one hospital's vector follows from combinations that are each permitted."""
    pivots: dict[Plain, dict[Plain, int]] = {}
    for row in derived:
        _reduce_plain(dict(row), pivots, keep=True)
    for unknown in sorted({key for row in derived for key in row}):
        if unknown[0] not in given_up and not _reduce_plain({unknown: 1}, pivots, keep=False):
            return [f"computes the vector of {unknown[0]} alone from released sums"]
    return []


def _add_mask(row: Row, seed: bytes, sign: int, known: set[bytes]) -> None:
    if seed not in known:
        value = (row.get(seed, 0) + sign) % _PRIME
        if value:
            row[seed] = value
        else:
            row.pop(seed, None)


def _reduce(row: Row, pivots: dict[bytes, Row]) -> bool:
    """Eliminate the masks of `row` in place; False if it became a new pivot.

    A pivot holds no mask of the pivots before it, so that each elimination only brings in later ones.
    """
    while True:
        masks = [key for key in row if isinstance(key, bytes)]
        mask = next((key for key in masks if key in pivots), None)
        if mask is not None:
            _subtract(row, pivots[mask], row[mask])
        elif masks:
            inverse = pow(row[masks[0]], -1, _PRIME)
            pivots[masks[0]] = {key: value * inverse % _PRIME for key, value in row.items()}
            return False
        else:
            return True


def _reduce_plain(row: dict[Plain, int], pivots: dict[Plain, dict[Plain, int]], *, keep: bool) -> bool:
    """Whether something of `row` is left over the pivots; kept as a new pivot if asked to."""
    row = {key: value % _PRIME for key, value in row.items()}
    while row:
        first = min(row)
        pivot = pivots.get(first)
        if pivot is None:
            if keep:
                inverse = pow(row[first], -1, _PRIME)
                pivots[first] = {key: value * inverse % _PRIME for key, value in row.items()}
            return True
        _subtract(row, pivot, row[first])
    return False


def _subtract(row: dict[Any, int], pivot: Mapping[Any, int], factor: int) -> None:
    for key, value in pivot.items():
        left = (row.get(key, 0) - factor * value) % _PRIME
        if left:
            row[key] = left
        else:
            row.pop(key, None)


def _signed(value: int) -> int:
    return value if value < _PRIME // 2 else value - _PRIME


def _show(row: Mapping[Plain, int]) -> str:
    terms: Iterable[str] = (
        f"{_signed(value % _PRIME):+d} {owner}:{digest.hex()[:6]}" for (owner, digest), value in sorted(row.items())
    )
    return " ".join(terms)
