"""Similarities against cbrkit's, where its definitions coincide: see `make_cbrkit.py`, which made the values.

All attributes known on both sides: there cbrkit's weighted mean over all attributes is ours over what both have.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.records.coding import local_coding
from medfed.records.columns import CaseColumns
from medfed.records.rows import Row
from medfed.records.vocabulary import Attribute, CodedAttribute, NumberAttribute

MADE = json.loads((Path(__file__).parent / "cbrkit_similarity.json").read_text())


def coded(name: str, values: list[str], path: bool = False) -> CodedAttribute:
    codings = tuple(local_coding(name, value) for value in values)
    return CodedAttribute(local_coding("t", name), codings, "path" if path else "")


ATTRIBUTES: tuple[Attribute, ...] = (
    *(NumberAttribute(local_coding("t", name), 10.0, 10.0 + width) for name, width in MADE["ranges"].items()),
    *(coded(name, values) for name, values in MADE["codes"].items()),
    coded("reason", MADE["paths"], path=True),
)


def row_of(case: list[float | str]) -> Row:
    places = {value: place for values in (*MADE["codes"].values(), MADE["paths"]) for place, value in enumerate(values)}
    return tuple(value if isinstance(value, float) else places[value] for value in case)


@pytest.mark.parametrize("number", range(len(MADE["weights"])))
def test_the_search_finds_cbrkits_similarities(number: int) -> None:
    weights = np.array(list(MADE["weights"][number].values()))
    rows = [row_of(case) for case in MADE["cases"]]
    index = CaseIndex(CaseColumns.build(ATTRIBUTES, rows), weights)
    wanted = np.array(MADE["similarities"][number]).reshape(-1, len(rows))
    for query, similarities in zip(rows, wanted, strict=False):
        hits = index.search(Query(query, len(rows)))
        assert sorted(hits.rows.tolist()) == list(range(len(rows)))
        assert hits.scores == pytest.approx(similarities[hits.rows], abs=1e-4)  # numbers are kept in 1/16383 of a range
