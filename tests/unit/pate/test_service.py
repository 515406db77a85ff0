"""The prediction service: limits, rounding, and what it does not count."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.errors import InvalidInput, Refused
from medfed.pate import service as module
from medfed.pate.service import PredictionService

ROWS = np.zeros((10, 3), dtype=np.float32)


class Clock:
    now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


def _service(per_hour: int = 25, decimals: int = 2) -> tuple[PredictionService, Clock]:
    clock = Clock()
    return PredictionService(lambda rows: np.full(len(rows), 0.123456), clock, per_hour, decimals), clock


def test_answers_are_rounded() -> None:
    assert set(_service()[0].ask("ana", ROWS)) == {0.12}
    assert set(_service(decimals=0)[0].ask("ana", ROWS)) == {0.0}


def test_a_user_gets_no_more_rows_than_an_hour_has_and_others_are_not_held_up() -> None:
    service, clock = _service()
    service.ask("ana", ROWS)
    clock.now_ms = 60_000
    service.ask("ana", ROWS)
    assert service.left("ana") == 5
    with pytest.raises(Refused) as refused:
        service.ask("ana", ROWS)
    assert refused.value.code == "rate-limit"
    assert "wait 3540 seconds" in str(refused.value)
    assert len(service.ask("ana", ROWS[:5])) == 5
    assert len(service.ask("ben", ROWS)) == 10


def test_what_was_refused_is_not_counted_and_an_hour_later_the_limit_is_whole_again() -> None:
    service, clock = _service()
    service.ask("ana", ROWS)
    service.ask("ana", ROWS)
    for _ in range(3):
        with pytest.raises(Refused):
            service.ask("ana", ROWS)
    clock.now_ms = 3_600_000
    assert service.left("ana") == 25
    assert len(service.ask("ana", ROWS)) == 10


def test_more_at_once_than_an_hour_allows_is_refused_without_a_wait() -> None:
    with pytest.raises(Refused, match="25 an hour are allowed"):
        _service()[0].ask("ana", np.zeros((26, 3), dtype=np.float32))


def test_users_are_bounded_and_the_idle_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_USERS", 2)
    service, clock = _service()
    service.ask("ana", ROWS)
    service.ask("ben", ROWS)
    with pytest.raises(Refused, match="users"):
        service.ask("cleo", ROWS)
    clock.now_ms = 3_600_000
    assert len(service.ask("cleo", ROWS)) == 10


@pytest.mark.parametrize("rows", [np.zeros(3), np.zeros((0, 3))])
def test_what_is_no_row_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="rows"):
        _service()[0].ask("ana", rows)


@pytest.mark.parametrize(("user", "per_hour", "decimals"), [("", 1, 1), ("x" * 101, 1, 1)])
def test_a_user_has_a_name(user: str, per_hour: int, decimals: int) -> None:
    with pytest.raises(InvalidInput, match="name"):
        _service(per_hour, decimals)[0].ask(user, ROWS[:1])


@pytest.mark.parametrize(("per_hour", "decimals"), [(0, 2), (10**7, 2), (10, 7), (10, -1)])
def test_limits_out_of_range_are_refused(per_hour: int, decimals: int) -> None:
    with pytest.raises(InvalidInput, match="decimals"):
        _service(per_hour, decimals)
