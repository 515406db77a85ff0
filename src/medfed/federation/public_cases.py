"""The public, unlabelled cases of a labelling study: read, checked for identifiers, and standardised by themselves.

Everybody sees these rows, so nothing may be in them that points to a person: only the plan's features, only values that
the plan lists, only numbers in the plan's ranges. No message here may quote a cell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput, Refused
from medfed.federation.features import MISSING, RawFeatures, Standardisation, encode_features, read_features
from medfed.federation.plan import Labelling, NumberFeature, Plan
from medfed.federation.statistics import standardisation_of
from medfed.federation.tables import Table, table_of_bytes
from medfed.identifiers import sha256

__all__ = ["OLDEST", "PublicCases", "read_public_cases", "verify_deidentified"]

OLDEST: Final = 89
"""Years; above that an age identifies (45 CFR 164.514(b)(2)(i)(C))."""
_IDENTIFYING: Final = re.compile(
    r"(^|[^a-z])(name|surname|forename|mrn|nhs|ssn|passport|e-?mail|phone|mobile|fax|address|street|zip|postcode|postal|"
    r"birth|dob|insurance|account|licen[cs]e|url|ip|uid|uuid|guid|patient|encounter|accession|device|serial|photo|id|nbr)"
    r"($|[^a-z])",
    re.IGNORECASE,
)
"""45 CFR 164.514(b)(2), as columns are called."""


@dataclass(frozen=True, eq=False)
class PublicCases:
    """The cases as a model sees them."""

    features: NDArray[np.float32]
    """(cases, plan.inputs)."""
    standardisation: Standardisation
    """From these cases alone."""

    def __len__(self) -> int:
        return len(self.features)


def read_public_cases(plan: Plan, data: bytes) -> PublicCases:
    """The public cases whose CSV bytes the plan names.

    Raises:
        InvalidInput: other bytes, no CSV, a cell that is not of its kind, or fewer cases than queries.
        Refused: `identifiers`; see `verify_deidentified`.
    """
    labelling = plan.labelling
    if not isinstance(labelling, Labelling):
        raise InvalidInput("public cases: the plan is not that of a labelling study")
    if sha256(data).hex() != labelling.cases:
        raise InvalidInput("public cases: their SHA-256 is not the one in the plan")
    features = verify_deidentified(plan, table_of_bytes(data, "public cases"))
    if len(features) < labelling.queries:
        raise InvalidInput(f"public cases: {len(features)} rows; the plan asks about {labelling.queries}")
    standardisation = standardisation_of(plan, features)
    return PublicCases(encode_features(features, plan, standardisation), standardisation)


def verify_deidentified(plan: Plan, table: Table) -> RawFeatures:
    """Check that a table can be shown to everybody, and read its features.

    Only the plan's features, none of them called like an identifier; categories only with values that the plan lists,
    so that no free text is left; numbers only within the plan's range; no age above 89.

    Raises:
        Refused: `identifiers`, with the column and how many cells, never a value.
        InvalidInput: a feature is missing, or a cell is not of its kind.
    """
    wanted = {feature.name for feature in plan.data.features}
    for at, column in enumerate(table.columns, start=1):
        if column not in wanted:
            raise Refused("identifiers", f"{table.source}: column {at} is not a feature of the plan; take it out")
        if _IDENTIFYING.search(column):
            raise Refused("identifiers", f"{table.source}: column {column!r} is called like an identifier")
    features = read_features(table, plan.data)
    for at, number in enumerate(plan.data.numbers):
        _check_number(number, table, features.numbers[:, at])
    for at, category in enumerate(plan.data.categories):
        codes = features.categories[:, at]
        free = int(np.count_nonzero((codes != MISSING) & (codes >= len(category.values))))
        _refuse_cells(table, category.name, free, "are none of the plan's values")
    return features


def _check_number(feature: NumberFeature, table: Table, values: NDArray[np.float64]) -> None:
    outside = int(np.count_nonzero((values < feature.low) | (values > feature.high)))
    _refuse_cells(table, feature.name, outside, "are outside the plan's range")
    if feature.unit == "a" or feature.name.lower() == "age":
        _refuse_cells(table, feature.name, int(np.count_nonzero(values > OLDEST)), f"are ages above {OLDEST}")


def _refuse_cells(table: Table, column: str, count: int, what: str) -> None:
    if count:
        raise Refused("identifiers", f"{table.source}: {count} cells of column {column!r} {what}")
