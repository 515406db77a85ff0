"""The similarity of a query to a few cases, exactly and attribute by attribute: what a doctor is shown.

The same formula as the scan of `similarity`, in float64, with what each attribute contributes and how much of the query
could be compared. No rounding, no shortcuts: this is the side that is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medfed.records.columns import NUMBER_STEPS, CaseColumns, Details, number_step
from medfed.records.rows import PRESENT, REFUTED, Flag, Row
from medfed.records.taxonomy import code_levels, shared_levels
from medfed.records.vocabulary import CodedAttribute, NumberAttribute, SetAttribute

__all__ = [
    "DetailWeights",
    "QueryTables",
    "Scores",
    "code_similarities",
    "detail_similarity",
    "query_tables",
    "score_rows",
]

Weights = npt.NDArray[np.float64]
_SEVERITIES = 3


class DetailWeights(NamedTuple):
    """How much severity, duration and condition of occurrence count beside each other."""

    severity: float = 1.0
    duration: float = 1.0
    condition: float = 1.0
    bands: int = 7
    """Duration bands of the vocabulary."""


class Scores(NamedTuple):
    """Of each row: similarity, compared part of the query's weight, and what each attribute adds."""

    scores: Weights
    coverage: Weights
    contributions: Weights


@dataclass(frozen=True)
class QueryTables:
    """What of a query is the same for all cases."""

    codes: dict[int, npt.NDArray[np.float32]]
    """By coded attribute, the weighted similarity of each code; the last entry is for missing ones."""
    all_weight: float
    """Weight of everything that the query says."""


def query_tables(columns: CaseColumns, weights: Weights, row: Row) -> QueryTables:
    """The tables of a query. A finding that was not assessed or is refuted is nothing that could be shared."""
    codes: dict[int, npt.NDArray[np.float32]] = {}
    whole = 0.0
    for place, (attribute, value) in enumerate(zip(columns.attributes, row, strict=True)):
        if value is None:
            continue
        if not isinstance(value, Flag) or value.status == PRESENT:
            whole += float(weights[place])
        if isinstance(attribute, CodedAttribute) and attribute.taxonomy:
            alike = code_similarities(attribute, int(value))  # pyright: ignore[reportArgumentType]
            codes[place] = np.append(alike * weights[place], 0.0).astype(np.float32)
    return QueryTables(codes, whole)


def code_similarities(attribute: CodedAttribute, code: int) -> Weights:
    """Similarity of `code` to each value: 1 to itself, else the part of the levels that the two share from the top."""
    if not attribute.taxonomy:
        return (np.arange(len(attribute.values)) == code).astype(np.float64)
    levels = [code_levels(attribute.taxonomy, value.code) for value in attribute.values]
    return np.array([shared_levels(levels[code], other) for other in levels])


def detail_similarity(asked: Flag, told: Details, weights: DetailWeights) -> Weights:
    """The weighted mean over severity, duration and condition that both sides know; 1 where none is."""
    above = np.zeros(len(told.rows))
    below = np.zeros(len(told.rows))
    parts = (
        (asked.severity, told.severity, weights.severity, _SEVERITIES),
        (asked.duration, told.duration, weights.duration, weights.bands),
        (asked.condition, told.condition, weights.condition, 0),
    )
    for mine, theirs, weight, span in parts:
        if mine:
            both = weight * (theirs > 0)
            apart = np.abs(theirs.astype(np.float64) - mine)
            above += both * (np.maximum(0.0, 1.0 - apart / span) if span else apart == 0)
            below += both
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 1.0)


def score_rows(
    columns: CaseColumns, weights: Weights, beta: float, details: DetailWeights, row: Row, rows: npt.NDArray[np.intp]
) -> Scores:
    """The scores of the cases in `rows`."""
    above = np.zeros((len(rows), len(row)))
    below = np.zeros(len(rows))
    used = np.zeros(len(rows))
    for place in columns.measurements:
        value = row[place]
        if value is not None:
            known = _known(columns, place, rows)
            above[:, place] = weights[place] * known * _measured(columns, place, value, rows)
            below += weights[place] * known
            used += weights[place] * known
    if columns.flags is not None:
        for flag, place in enumerate(columns.flags.places):
            part = _flag(columns, flag, row[place], rows, details)
            if part is not None:
                above[:, place] = weights[place] * part.shared
                below += weights[place] * (part.mine + beta * (part.theirs - part.shared))
                if part.is_asked:
                    used += weights[place] * part.mine
    whole = query_tables(columns, weights, row).all_weight
    safe = np.where(below > 0, below, 1.0)
    contributions = above / safe[:, None]
    scores = np.where(below > 0, contributions.sum(axis=1), -1.0)
    return Scores(scores, used / whole if whole else np.zeros(len(rows)), contributions)


class _Finding(NamedTuple):
    """How much of one flag is shared, and whether it counts on either side."""

    shared: Weights
    mine: Weights
    theirs: Weights
    is_asked: bool = False


def _flag(
    columns: CaseColumns, flag: int, asked: object, rows: npt.NDArray[np.intp], details: DetailWeights
) -> _Finding | None:
    flags = columns.flags
    assert flags is not None
    present = _bits(flags.present, flag, rows)
    refuted = _bits(flags.refuted, flag, rows)
    dropped = _bits(flags.not_assessed, flag, rows)
    nothing = np.zeros(len(rows))
    if not isinstance(asked, Flag):
        return _Finding(nothing, nothing, present)
    if asked.status == REFUTED:
        return _Finding(nothing, present, present)
    if asked.status != PRESENT:
        return None
    shared = present.copy()
    told = flags.details.get(flag)
    if told is not None:
        places = np.minimum(np.searchsorted(told.rows, rows), len(told.rows) - 1)
        here = told.rows[places] == rows
        alike = detail_similarity(asked, told, details)
        shared *= np.where(here, alike[places], 1.0)
    return _Finding(shared, 1.0 - dropped, present + refuted, True)


def _bits(bits: npt.NDArray[np.uint8] | None, flag: int, rows: npt.NDArray[np.intp]) -> Weights:
    if bits is None:
        return np.zeros(len(rows))
    return (bits[flag // 8, rows] >> np.uint8(flag % 8) & 1).astype(np.float64)


def _known(columns: CaseColumns, place: int, rows: npt.NDArray[np.intp]) -> Weights:
    order = columns.measurements.index(place)
    return (columns.known[order // 8, rows] >> np.uint8(order % 8) & 1).astype(np.float64)


def _measured(columns: CaseColumns, place: int, value: object, rows: npt.NDArray[np.intp]) -> Weights:
    attribute = columns.attributes[place]
    if isinstance(attribute, NumberAttribute):
        step = float(number_step(attribute, np.array([value], np.float64))[0])  # pyright: ignore[reportArgumentType]
        apart = np.abs(columns.numbers[place][rows].astype(np.float64) - step) / NUMBER_STEPS
        return np.maximum(0.0, 1.0 - apart)
    if isinstance(attribute, CodedAttribute):
        alike = np.append(code_similarities(attribute, int(value)), 0.0)  # pyright: ignore[reportArgumentType]
        return alike[np.minimum(columns.codes[place][rows], len(attribute.values))]
    assert isinstance(attribute, SetAttribute)
    bits = np.unpackbits(np.ascontiguousarray(columns.sets[place][:, rows].T).view(np.uint8), axis=1, bitorder="little")
    asked = np.zeros(bits.shape[1], np.uint8)
    asked[list(value)] = 1  # pyright: ignore[reportArgumentType]
    common = (bits & asked).sum(axis=1).astype(np.float64)
    union = (bits | asked).sum(axis=1)
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)
