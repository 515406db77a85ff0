"""Dates as records have them: a year, a month, a day or an instant, each an interval of UTC seconds.

What happened when is only known as far as it was written down: a comparison must ask for the earliest or the latest
moment that a text allows, never for a made-up one in between.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, NamedTuple

from medfed.errors import InvalidInput

__all__ = ["EARLIEST_YEAR", "LATEST_YEAR", "Moment", "age_at", "parse_moment"]

EARLIEST_YEAR: Final = 1850
LATEST_YEAR: Final = 2200
_YEAR_SECONDS: Final = 31_556_952
_PATTERN: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,12})?)?(Z|[+-]\d\d:\d\d)?)?)?)?\Z", re.ASCII
)


class Moment(NamedTuple):
    """The first and the last second that a date allows. An instant has both equal."""

    earliest: int
    latest: int


def parse_moment(text: object, zone_minutes: int = 0) -> Moment:
    """The moment that a FHIR date, dateTime or instant names.

    A date without a zone, or a time without one, is read in the site's own zone, `zone_minutes` east of UTC.
    Fractions of a second are cut off.

    Raises:
        InvalidInput: not a date, or one that does not exist or lies outside the years 1850 to 2200.
    """
    if not isinstance(text, str):
        raise InvalidInput("date: expected a text")
    return _parse(text, zone_minutes)


@lru_cache(maxsize=2048)  # a visit's resources share their moments
def _parse(text: str, zone_minutes: int) -> Moment:
    match = _PATTERN.match(text)
    if match is None:
        raise InvalidInput("date: expected YYYY, YYYY-MM, YYYY-MM-DD or a time with a zone")
    year, month, day, hour, minute, second, zone = match.groups()
    if not EARLIEST_YEAR <= int(year) <= LATEST_YEAR:
        raise InvalidInput(f"date: expected a year from {EARLIEST_YEAR} to {LATEST_YEAR}")
    try:
        offset = _zone(zone, zone_minutes)
        if hour is not None:
            instant = datetime(
                int(year), int(month), int(day), int(hour), int(minute), min(int(second or 0), 59), tzinfo=offset
            )
            start = int(instant.timestamp())
            return Moment(start, start if second else start + 59)
        first = date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        raise InvalidInput("date: no such day or time exists") from None
    start = int(datetime(first.year, first.month, first.day, tzinfo=offset).timestamp())
    end = _following(first, month is not None, day is not None)
    return Moment(start, int(datetime(end.year, end.month, end.day, tzinfo=offset).timestamp()) - 1)


def age_at(birth: Moment, index_time: int) -> float | None:
    """Years from the middle of what is known of the birth to `index_time`; None where that is before the birth."""
    if index_time < birth.earliest:
        return None
    return max(0.0, (index_time - (birth.earliest + birth.latest) / 2) / _YEAR_SECONDS)


def _zone(text: str | None, zone_minutes: int) -> timezone:
    if text == "Z":
        return UTC
    if text is None:
        return timezone(timedelta(minutes=zone_minutes))
    minutes = int(text[1:3]) * 60 + int(text[4:6])
    if minutes > 14 * 60:
        raise ValueError("zone")
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _following(first: date, has_month: bool, has_day: bool) -> date:
    if has_day:
        return first + timedelta(days=1)
    if has_month:
        return date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return date(first.year + 1, 1, 1)
