"""Similarity of a query to every case of a library: an exact scan over columns (second seed, step 1).

    Sim = (N + sum of w sim over measurements that both have) / (q + beta (c - N) + sum of their w)

N is the weight shared by the two sides' findings, q the query's, c the case's. beta = .25 by default; 0 and 1 are the
two literal readings of the seed: all attributes of the new case, and of either. Absent on both sides never counts;
refuted against present is a mismatch, and counts on both sides; not assessed drops out. A measurement missing on
either side drops out of both sums. The scan is in float32; what it finds is scored again in float64 by `scoring`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from medfed.diagnosis.scoring import DetailWeights, Scores, detail_similarity, query_tables, score_rows
from medfed.errors import InvalidInput
from medfed.records.columns import NUMBER_STEPS, CaseColumns, number_step
from medfed.records.rows import NOT_ASSESSED, PRESENT, REFUTED, Flag, Row
from medfed.records.vocabulary import NumberAttribute, SetAttribute

__all__ = ["DEFAULT_BETA", "CaseIndex", "Hits", "Query"]

DEFAULT_BETA: Final = 0.25
_BLOCK: Final = 16_384
_MARGIN: Final = 64

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Query:
    """What is asked for: a row, and which cases count."""

    row: Row
    nearest: int = 20
    threshold: float = 0.0
    """Cases below this similarity are not found."""
    least_coverage: float = 0.0
    """Nor those in which less than this part of the query's weight could be compared."""


@dataclass(frozen=True)
class Hits:
    """The cases found, best first, ties in the order of rows.

    Arrays of one length; contributions `(hits, attributes)`.
    """

    rows: npt.NDArray[np.intp]
    scores: Weights
    coverage: Weights
    contributions: Weights
    """What each attribute adds to the score; a row of it sums up to the score."""


@dataclass
class _Plan:
    """A query as tables, ready to run over blocks. `*_tables` map a byte to a weight."""

    known: list[tuple[int, Floats]] = field(default_factory=list[tuple[int, Floats]])
    shared: list[tuple[int, Floats]] = field(default_factory=list[tuple[int, Floats]])
    against: list[tuple[int, Floats]] = field(default_factory=list[tuple[int, Floats]])
    refuted: list[tuple[int, Floats]] = field(default_factory=list[tuple[int, Floats]])
    dropped: list[tuple[int, Floats]] = field(default_factory=list[tuple[int, Floats]])
    details: list[tuple[npt.NDArray[np.uint32], Floats]] = field(
        default_factory=list[tuple[npt.NDArray[np.uint32], Floats]]
    )
    steps: dict[int, np.float32] = field(default_factory=dict[int, np.float32])
    """The query's numbers, by attribute."""
    codes: dict[int, Floats] = field(default_factory=dict[int, Floats])
    """Weighted similarity of every code, for attributes with a taxonomy."""
    words: dict[int, npt.NDArray[np.uint64]] = field(default_factory=dict[int, npt.NDArray[np.uint64]])
    """The query's sets as bits."""
    asked: float = 0.0
    """Weight of the findings that the query says are present."""
    whole: float = 0.0
    """Weight of everything that the query says."""


class CaseIndex:
    """Columns with the weights of their attributes, ready to be searched.

    Immutable, so several threads may search it.
    """

    def __init__(
        self,
        columns: CaseColumns,
        weights: Weights,
        beta: float = DEFAULT_BETA,
        details: DetailWeights = DetailWeights(),  # noqa: B008 - frozen
    ) -> None:
        """Weights are one for each attribute, finite and not negative.

        Raises:
            InvalidInput: they are not, or beta is outside 0 to 1.
        """
        if weights.shape != (len(columns.attributes),) or not (np.isfinite(weights) & (weights >= 0)).all():
            raise InvalidInput(f"weights: expected {len(columns.attributes)} finite numbers from 0")
        if not 0 <= beta <= 1:
            raise InvalidInput("beta: expected a number from 0 to 1")
        self.columns = columns
        self.weights = weights.astype(np.float64)
        self.beta = beta
        self.details = details
        self._stated = _stated_weight(columns, self.weights) if columns.flags is not None else None

    def search(self, query: Query) -> Hits:
        """The nearest cases. Those with nothing to compare have no similarity and are never found.

        Raises:
            InvalidInput: the row does not fit the attributes, or `nearest` is below 1.
        """
        if len(query.row) != len(self.columns.attributes) or query.nearest < 1:
            raise InvalidInput(f"query: expected {len(self.columns.attributes)} values and nearest from 1")
        plan = self._plan(query.row)
        found = _Nearest(query.nearest + _MARGIN)
        for start in range(0, self.columns.count, _BLOCK):
            stop = min(start + _BLOCK, self.columns.count)
            found.add(start, self._block(plan, query, start, stop))
        rows = found.rows()
        scores = score_rows(self.columns, self.weights, self.beta, self.details, query.row, rows)
        return _best(rows, scores, query)

    def _plan(self, row: Row) -> _Plan:
        tables = query_tables(self.columns, self.weights, row)
        plan = _Plan(codes=tables.codes, whole=tables.all_weight)
        for place in self.columns.measurements:
            attribute, value = self.columns.attributes[place], row[place]
            if isinstance(attribute, NumberAttribute) and value is not None:
                plan.steps[place] = np.float32(number_step(attribute, np.array([value], np.float64))[0])  # pyright: ignore[reportArgumentType]
            elif isinstance(attribute, SetAttribute) and isinstance(value, frozenset):
                plan.words[place] = _set_words(value, len(attribute.members))
        for byte in range(len(self.columns.known)):
            places = self.columns.measurements[8 * byte : 8 * byte + 8]
            weights = [0.0 if row[place] is None else float(self.weights[place]) for place in places]
            if any(weights):
                plan.known.append((byte, _byte_table(weights)))
        if self.columns.flags is not None:
            self._plan_flags(plan, row)
        return plan

    def _plan_flags(self, plan: _Plan, row: Row) -> None:
        flags = self.columns.flags
        assert flags is not None
        for byte in range(len(flags.present)):
            places = flags.places[8 * byte : 8 * byte + 8]
            here, no, unasked = (
                [
                    float(self.weights[p]) if isinstance(v := row[p], Flag) and v.status == status else 0.0
                    for p in places
                ]
                for status in (PRESENT, REFUTED, NOT_ASSESSED)
            )
            plan.asked += sum(here)
            if any(here):
                plan.shared.append((byte, _byte_table(here)))
                if flags.refuted is not None:
                    plan.refuted.append((byte, _byte_table([self.beta * w for w in here])))
                if flags.not_assessed is not None:
                    plan.dropped.append((byte, _byte_table(here)))
            change = [n - self.beta * (u + h) for h, n, u in zip(here, no, unasked, strict=True)]
            if any(change):
                plan.against.append((byte, _byte_table(change)))
        self._plan_details(plan, row)

    def _plan_details(self, plan: _Plan, row: Row) -> None:
        """Where details differ, the shared weight is less."""
        flags = self.columns.flags
        assert flags is not None
        for flag, told in flags.details.items():
            place = flags.places[flag]
            asked = row[place]
            if (
                isinstance(asked, Flag)
                and asked.status == PRESENT
                and (asked.severity or asked.duration or asked.condition)
            ):
                alike = detail_similarity(asked, told, self.details)
                plan.details.append((told.rows, (self.weights[place] * (alike - 1.0)).astype(np.float32)))

    def _block(self, plan: _Plan, query: Query, start: int, stop: int) -> Floats:
        """Similarities of a block; -1 where there is nothing to compare or too little."""
        size = stop - start
        above = np.zeros(size, np.float32)
        used = np.zeros(size, np.float32)
        for byte, table in plan.known:
            used += table.take(self.columns.known[byte, start:stop])
        self._add_measurements(above, plan, query.row, start, stop)
        below = used
        if self.columns.flags is not None:
            used = used + np.float32(plan.asked)
            below = used.copy()
            self._add_flags(above, below, used, plan, start, stop)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = above / below
        unknown = below <= 1e-12
        if unknown.any():
            scores[unknown] = -1.0
        if query.least_coverage > 0:
            scores[used < np.float32(query.least_coverage * plan.whole * (1 - 1e-6))] = -1.0
        if query.threshold > 0:
            scores[scores < query.threshold - 1e-5] = -1.0
        return scores

    def _add_measurements(self, above: Floats, plan: _Plan, row: Row, start: int, stop: int) -> None:
        columns = self.columns
        for place in columns.measurements:
            value, weight = row[place], np.float32(self.weights[place])
            if value is None or not weight:
                continue
            if place in plan.steps:
                part = np.subtract(columns.numbers[place][start:stop], plan.steps[place], dtype=np.float32)
                np.abs(part, out=part)
                part *= -weight / np.float32(NUMBER_STEPS)
                part += weight
                above += np.maximum(part, np.float32(0), out=part)
            elif place in plan.words:
                above += self._jaccard(plan.words[place], place, weight, start, stop)
            elif place in plan.codes:
                above += plan.codes[place].take(columns.codes[place][start:stop], mode="clip")
            else:
                alike = columns.codes[place][start:stop] == value
                above += np.multiply(alike.view(np.uint8), weight, dtype=np.float32)

    def _jaccard(self, asked: npt.NDArray[np.uint64], place: int, weight: np.float32, start: int, stop: int) -> Floats:
        sizes = self.columns.sizes[place][start:stop]
        if not asked.any():
            order = self.columns.measurements.index(place)
            known = self.columns.known[order // 8, start:stop] >> np.uint8(order % 8) & np.uint8(1)
            return np.multiply((sizes == 0) & (known == 1), weight, dtype=np.float32)
        common = np.zeros(stop - start, np.float32)
        for word, bits in enumerate(asked):
            if bits:
                common += _count_bits(self.columns.sets[place][word, start:stop] & bits)
        union = np.add(sizes, np.float32(_count_bits(asked).sum()), dtype=np.float32)
        union -= common
        common /= union
        common *= weight
        return common

    def _add_flags(self, above: Floats, below: Floats, used: Floats, plan: _Plan, start: int, stop: int) -> None:
        flags = self.columns.flags
        assert flags is not None and self._stated is not None  # noqa: PT018 - asked by the caller
        if self.beta:
            below += self._stated[start:stop] * np.float32(self.beta)
        for byte, table in plan.shared:
            above += table.take(flags.present[byte, start:stop])
        for byte, table in plan.against:
            below += table.take(flags.present[byte, start:stop])
        if flags.refuted is not None:
            for byte, table in plan.refuted:
                below += table.take(flags.refuted[byte, start:stop])
        if flags.not_assessed is not None:
            for byte, table in plan.dropped:
                part = table.take(flags.not_assessed[byte, start:stop])
                below -= part
                used -= part
        for rows, change in plan.details:
            first, last = np.searchsorted(rows, [start, stop])
            inside = rows[first:last] - np.uint32(start)
            above[inside] += change[first:last]
            below[inside] -= np.float32(self.beta) * change[first:last]


class _Nearest:
    """Keeps the best rows of the blocks seen so far."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._rows = np.zeros(0, np.intp)
        self._scores = np.zeros(0, np.float32)
        self._least = np.float32(-0.5)

    def add(self, start: int, scores: Floats) -> None:
        better = np.flatnonzero(scores > self._least)
        if not len(better):
            return
        rows = np.concatenate([self._rows, better + start])
        kept = np.concatenate([self._scores, scores[better]])
        if len(rows) > self._wanted:
            self._least = np.partition(kept, len(kept) - self._wanted)[len(kept) - self._wanted]
            above = np.flatnonzero(kept > self._least)
            # Of those that are equal to the last one that fits, the lower rows stay.
            equal = np.flatnonzero(kept == self._least)[: self._wanted - len(above)]
            order = np.sort(np.concatenate([above, equal]))
            rows, kept = rows[order], kept[order]
        self._rows, self._scores = rows, kept

    def rows(self) -> npt.NDArray[np.intp]:
        return self._rows


def _best(rows: npt.NDArray[np.intp], scores: Scores, query: Query) -> Hits:
    order = np.lexsort((rows, -np.round(scores.scores, 12)))
    fits = (scores.scores[order] >= query.threshold) & (scores.coverage[order] >= query.least_coverage - 1e-9)
    order = order[fits][: query.nearest]
    return Hits(rows[order], scores.scores[order], scores.coverage[order], scores.contributions[order])


def _byte_table(weights: list[float]) -> Floats:
    """For every byte, the sum of the weights of its bits."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return (bits[:, : len(weights)] @ np.asarray(weights, np.float64)).astype(np.float32)


def _stated_weight(columns: CaseColumns, weights: Weights) -> Floats:
    """c of every case: the weight of all findings that it has."""
    flags = columns.flags
    assert flags is not None
    stated = np.zeros(columns.count, np.float32)
    for byte in range(len(flags.present)):
        table = _byte_table([float(weights[place]) for place in flags.places[8 * byte : 8 * byte + 8]])
        bits: npt.NDArray[np.uint8] = flags.present[byte]
        np.add(stated, table.take(bits), out=stated)
    return stated


def _set_words(members: frozenset[int], universe: int) -> npt.NDArray[np.uint64]:
    bits = np.zeros(-(-universe // 64) * 64, np.uint8)
    bits[list(members)] = 1
    return np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)


if hasattr(np, "bitwise_count"):

    def _count_bits(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        return np.bitwise_count(words)

else:  # numpy 1.26

    def _count_bits(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        return np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.uint8)
