"""Turns the cells of mapped rows into features, codings, treatments and times; says why where it cannot.

Pure: a row and its mapping in, values out. A reason never holds a cell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

from medfed.errors import InvalidInput
from medfed.records.case import Feature, Status, Treatment
from medfed.records.coding import Coding, local_coding
from medfed.records.mapping import Column, DiagnosisMap, FeatureMap, TableMap, TreatmentMap
from medfed.records.moments import parse_moment
from medfed.records.units import annotate

__all__ = ["Cells", "coding_of", "features_of", "fits", "number_of", "seconds_of", "starts", "treatment_of"]

Cells = Mapping[str, str]
_SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
_DOSE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?:\s*-\s*(?P<high>\d+(?:\.\d+)?))?(?:\s+(?P<unit>\S.*))?\Z")


def fits(cells: Cells, where: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a row has one of the wanted cells in each of the columns."""
    return all(cells.get(column) in wanted for column, wanted in where.items())


def starts(cells: Cells, where: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a row's cells start with one of the wanted texts in each of the columns."""
    return all(cells.get(column, "").startswith(wanted) for column, wanted in where.items())


def seconds_of(cells: Cells, column: str, table: TableMap) -> int | None:
    """A time in seconds; None where no column is named or the cell is missing.

    Raises:
        InvalidInput: the cell is no time.
    """
    text = cells.get(column, "") if column else ""
    if text in table.missing:
        return None
    if table.clock == "date":
        return parse_moment(text.replace(" ", "T", 1)).earliest
    number = number_of(text)
    if abs(number) * _SECONDS[table.clock] > 2**36:
        raise InvalidInput("time: out of bounds")
    return round(number * _SECONDS[table.clock])


def number_of(text: str) -> float:
    """A finite number.

    Raises:
        InvalidInput: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        raise InvalidInput("expected a number") from None
    if not math.isfinite(number) or abs(number) > 1e15:
        raise InvalidInput("expected a finite number")
    return number


def coding_of(source: str, text: str, block: FeatureMap | DiagnosisMap | TreatmentMap) -> Coding | None:
    """The concept that a cell names, cut to its levels; None where nothing is left."""
    if block.separator:
        parts = [part.strip() for part in text.split(block.separator)][block.skip_levels :]
        text = block.separator.join(parts[: block.levels] if block.levels else parts)
    if not text:
        return None
    return Coding(block.system, text[:200]) if block.system else local_coding(source, text)


def features_of(
    source: str, cells: Cells, block: FeatureMap, table: TableMap, columns: Mapping[str, Column]
) -> Iterator[Feature | str]:
    """The features of a row, and reasons for cells that give none. Missing cells give neither."""
    try:
        time = seconds_of(cells, block.time, table)
    except InvalidInput as error:
        yield str(error)
        return
    for name, column in columns.items():
        text = cells.get(name, "")
        if text in table.missing:
            continue
        found = _feature(source, name, text, block, column, time)
        if found is not None:
            yield found


def _feature(
    source: str, name: str, text: str, block: FeatureMap, column: Column, time: int | None
) -> Feature | str | None:
    concept = _column_coding(source, name, column, block)
    if block.type == "flags":
        status = _status(text, block)
        return None if status is None else Feature(concept, block.kind, status, time=time)
    if block.type == "numbers":
        try:
            number = number_of(text)
        except InvalidInput as error:
            return str(error)
        if (column.low is not None and number < column.low) or (column.high is not None and number > column.high):
            return "a number outside the bounds of its column"
        return Feature(concept, "measurement", value=number, unit=column.unit, time=time)
    code = coding_of(source, text, block)
    if code is None:
        return "no code is left at the levels taken"
    if block.type == "coded":
        return Feature(concept, "measurement" if block.kind == "finding" else block.kind, value=code, time=time)
    return Feature(code, block.kind, time=time)


def _column_coding(source: str, name: str, column: Column, block: FeatureMap) -> Coding:
    code = column.code or name
    return (
        Coding(block.system, code, name) if block.system and block.type != "coded" else local_coding(source, code, name)
    )


def _status(text: str, block: FeatureMap) -> Status | None:
    if text in block.present:
        return "present"
    if text in block.refuted:
        return "refuted"
    return "not-assessed" if text in block.not_assessed else None


def treatment_of(source: str, cells: Cells, block: TreatmentMap, table: TableMap) -> Treatment | str:
    """The treatment of a row, or why there is none."""
    text = cells.get(block.column, "")
    drug = None if text in table.missing else coding_of(source, text, block)
    if drug is None:
        return "names no drug or procedure"
    route = cells.get(block.route, "") if block.route else ""
    try:
        time = seconds_of(cells, block.time, table)
        dose, high, unit = _dose(cells, block, table)
    except InvalidInput as error:
        return str(error)
    return Treatment(
        drug,
        block.kind,
        local_coding(f"{source}/route", route) if route not in table.missing else None,
        dose,
        high,
        unit,
        frequency=block.frequencies.get(cells.get(block.frequency, "")) if block.frequency else None,
        as_needed=bool(block.as_needed) and fits(cells, block.as_needed),
        time=time,
    )


def _dose(cells: Cells, block: TreatmentMap, table: TableMap) -> tuple[float | None, float | None, str]:
    """Amount, upper end of a range, unit. A text that is not plainly a dose is none; a negative one is an error."""
    text = cells.get(block.dose, "") if block.dose else ""
    if text in table.missing:
        return None, None, ""
    if text.startswith("-"):
        raise InvalidInput("dose is negative")
    match = _DOSE.match(text)
    if match is None or float(match["number"]) == 0:
        return None, None, ""
    low, high = float(match["number"]), float(match["high"]) if match["high"] else None
    if low > 1e12 or (high is not None and not low <= high <= 1e12):
        raise InvalidInput("dose out of bounds")
    unit = cells.get(block.unit, "") if block.unit else match["unit"] or ""
    return low, high, annotate(unit) if unit else ""
