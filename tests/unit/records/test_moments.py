"""Dates as intervals: what a text allows, and no more."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from medfed.errors import InvalidInput
from medfed.records.moments import Moment, age_at, parse_moment


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "earliest", "latest"),
    [
        ("2020", at(2020, 1, 1), at(2021, 1, 1) - 1),
        ("2020-02", at(2020, 2, 1), at(2020, 3, 1) - 1),
        ("2020-12", at(2020, 12, 1), at(2021, 1, 1) - 1),
        ("2020-02-29", at(2020, 2, 29), at(2020, 3, 1) - 1),
        ("2020-02-29T10:30:05Z", at(2020, 2, 29, 10, 30, 5), at(2020, 2, 29, 10, 30, 5)),
        ("2020-02-29T10:30:05.999+02:00", at(2020, 2, 29, 8, 30, 5), at(2020, 2, 29, 8, 30, 5)),
        ("2020-02-29T10:30-05:00", at(2020, 2, 29, 15, 30), at(2020, 2, 29, 15, 30, 59)),
        ("2016-12-31T23:59:60Z", at(2016, 12, 31, 23, 59, 59), at(2016, 12, 31, 23, 59, 59)),
    ],
)
def test_a_text_allows_every_second_that_it_does_not_exclude(text: str, earliest: int, latest: int) -> None:
    assert parse_moment(text) == Moment(earliest, latest)


def test_a_date_without_a_zone_is_the_site_s_day() -> None:
    assert parse_moment("2020-06-01", 120).earliest == at(2020, 5, 31, 22)
    assert parse_moment("2020-06-01T00:00:00", -300).earliest == at(2020, 6, 1, 5)


@pytest.mark.parametrize(
    "text",
    ["", "20", "2020-1-1", "2019-02-29", "2020-00-01", "2020-06-31", "2020-06-01T24:00:00Z", "2020-06-01T10:61:00Z",
     "1849", "2201", "0000-01-01", "2020-06-01T10:00:00+15:00", "2020-06-01 ", "٢٠٢٠", None, 2020, [], "2020-06-01T"],
)  # fmt: skip
def test_what_is_no_date_is_refused_without_repeating_it(text: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_moment(text)
    assert not text or str(text) not in str(caught.value) or text == "20"


def test_an_age_is_counted_from_the_middle_of_what_is_known_of_the_birth() -> None:
    assert age_at(parse_moment("1980-06-01"), at(2020, 6, 1)) == pytest.approx(40, abs=0.01)
    assert age_at(parse_moment("1980"), at(2020, 7, 1)) == pytest.approx(40, abs=0.01)
    assert age_at(parse_moment("2020-06-01"), at(2020, 5, 1)) is None
    assert age_at(parse_moment("2020"), at(2020, 2, 1)) == 0
