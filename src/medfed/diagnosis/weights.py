"""Weights of attributes learned from pairs of cases: how much being alike in one goes with having the same outcome.

For each attribute, over the pairs in which it counts, the correlation of its similarity with agreement of the outcome,
from six sums, shrunk by n / (n + 5 % of the pairs) so that rare flags do not win. The sums are integers, so they add up
over hospitals in a secure sum to exactly what they would be for all of their pairs together.

Two statements can be summed. `pair_sums` are six integers an attribute over the pairs within one hospital.
`OutcomeCounts` (in `records`) are counts of each value with each outcome; they know the pairs between hospitals too,
but say more to who sees the total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medfed.diagnosis.scoring import code_similarities
from medfed.records.columns import CaseColumns
from medfed.records.outcome_counts import STEPS, OutcomeCounts, count_outcomes, value_sizes
from medfed.records.vocabulary import Attribute, CodedAttribute, FlagAttribute, NumberAttribute, Vocabulary

__all__ = ["PairSums", "learned_weights", "pair_sums", "shared_weights", "sums_of_counts"]

SHRINKAGE: Final = 0.05
_SET_CASES: Final = 4096
"""A set's pairs are not counted by value; at most so many cases, evenly spread, are compared one by one."""

Integers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairSums:
    """`(attributes, 6)` integers: pairs n, s, a, s², a², s a; s in steps of 1/63, a is 0 or 1.

    And how many pairs exist.
    """

    sums: Integers
    pairs: int

    def __add__(self, other: PairSums) -> PairSums:
        """Both together. Exact: they are integers."""
        return PairSums(self.sums + other.sums, self.pairs + other.pairs)


def pair_sums(columns: CaseColumns, outcomes: Integers, number: int) -> PairSums:
    """The six sums of each attribute over the pairs of these cases.

    Raises:
        InvalidInput: outcomes do not fit the columns.
    """
    counts = count_outcomes(columns, outcomes, number)
    sums = sums_of_counts(columns.attributes, counts).sums.copy()
    for place in columns.sets:
        sums[place] = _set_sums(columns, place, outcomes)
    return PairSums(sums, _pairs(int(counts.cases.sum())))


def sums_of_counts(attributes: tuple[Attribute, ...], counts: OutcomeCounts) -> PairSums:
    """The six sums over all pairs of the counted cases, those between hospitals too. Sets have none: their row is 0."""
    sums = np.zeros((len(attributes), 6), np.int64)
    for place, (attribute, cells) in enumerate(zip(attributes, counts.counts, strict=True)):
        if cells is not None:
            sums[place] = _value_sums(attribute, cells)
    return PairSums(sums, _pairs(int(counts.cases.sum())))


def learned_weights(sums: PairSums) -> Weights:
    """A weight of 0 to 1 for each attribute; all 1 where nothing was learned.

    Attributes that say nothing, or the contrary, weigh 0.
    """
    n, s, a, ss, aa, sa = (sums.sums[:, column].astype(np.float64) for column in range(6))
    covariance = n * sa - s * a
    spread = np.sqrt(np.maximum(n * ss - s * s, 0.0)) * np.sqrt(np.maximum(n * aa - a * a, 0.0))
    correlation = np.where(spread > 0, covariance / np.where(spread > 0, spread, 1.0), 0.0)
    shrunk = np.maximum(correlation, 0.0) * n / np.maximum(n + SHRINKAGE * sums.pairs, 1.0)
    return shrunk / shrunk.max() if shrunk.max(initial=0.0) > 0 else np.ones(len(shrunk))


def shared_weights(vocabulary: Vocabulary, counts: Sequence[int]) -> Weights:
    """Weights for a vocabulary's attributes from the counts that a study summed over its hospitals.

    Sets are not counted; they weigh as much as the others do on average.

    Raises:
        InvalidInput: counts of another vocabulary.
    """
    attributes = vocabulary.attributes
    sizes = np.array(value_sizes(attributes))
    counted = OutcomeCounts.unpack(counts, sizes.tolist(), len(vocabulary.diagnoses))
    weights = learned_weights(sums_of_counts(attributes, counted))
    if (sizes == 0).any() and (sizes > 0).any():
        weights[sizes == 0] = weights[sizes > 0].mean()
    return weights


def _value_sums(attribute: Attribute, cells: Integers) -> list[int]:
    """Over pairs of values: similarity times how many pairs there are, of all and of one outcome."""
    alike = _alike(attribute)
    total = cells.sum(axis=0)
    # Python's integers: squares of counts of large federations pass 64 bits.
    every = np.outer(total.astype(object), total.astype(object))
    same = cells.astype(object).T @ cells.astype(object)
    np.fill_diagonal(every, [t * (t - 1) for t in total.tolist()])
    np.fill_diagonal(same, [sum(c * (c - 1) for c in column) for column in cells.T.tolist()])
    if isinstance(attribute, FlagAttribute):
        every[0, 0] = same[0, 0] = 0  # absent on both sides never counts
    wide = alike.astype(object)
    pairs, agreeing = int(every.sum()) // 2, int(same.sum()) // 2
    return [
        pairs,
        int((every * wide).sum()) // 2,
        agreeing,
        int((every * wide * wide).sum()) // 2,
        agreeing,
        int((same * wide).sum()) // 2,
    ]


def _alike(attribute: Attribute) -> Integers:
    """Similarity of every two values in steps."""
    (size,) = value_sizes((attribute,))
    if isinstance(attribute, NumberAttribute):
        places = np.arange(size)
        return np.maximum(0, STEPS - np.abs(places[:, None] - places))
    if isinstance(attribute, CodedAttribute):
        return np.rint(STEPS * np.array([code_similarities(attribute, code) for code in range(size)])).astype(np.int64)
    return STEPS * np.diag([0, 1]).astype(np.int64)


def _set_sums(columns: CaseColumns, place: int, outcomes: Integers) -> Integers:
    order = columns.measurements.index(place)
    known = np.flatnonzero(columns.known[order // 8] >> np.uint8(order % 8) & np.uint8(1))
    if len(known) > _SET_CASES:
        known = known[np.linspace(0, len(known) - 1, _SET_CASES).astype(np.intp)]
    words = np.ascontiguousarray(columns.sets[place][:, known].T)
    bits = np.unpackbits(words.view(np.uint8), axis=1).astype(np.float32)
    common = (bits @ bits.T).astype(np.int64)  # exact: at most 4096 ones
    sizes = bits.sum(axis=1).astype(np.int64)
    union = sizes[:, None] + sizes - common
    alike = np.where(union > 0, (STEPS * common * 2 + union) // np.maximum(2 * union, 1), STEPS)
    agree = (outcomes[known][:, None] == outcomes[known]).astype(np.int64)
    upper = np.triu_indices(len(known), 1)
    s, a = alike[upper], agree[upper]
    return np.array([len(s), s.sum(), a.sum(), (s * s).sum(), a.sum(), (s * a).sum()], np.int64)


def _pairs(cases: int) -> int:
    return cases * (cases - 1) // 2
