"""Spreading again: at once, then at growing intervals, and an end when nothing moves."""

from __future__ import annotations

import pytest
from tests.support.ledger import World

from medfed.errors import Unavailable
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.engines.cometbft.spreading import PATIENCE_SECONDS, Spreading


class Pool:
    """Remembers when it was given something, and answers what the test wants."""

    def __init__(self) -> None:
        self.now = 0.0
        self.given: list[tuple[float, bytes]] = []
        self.answer: str | Unavailable = ""

    def broadcast(self, entry: bytes) -> str:
        self.given.append((self.now, entry))
        if isinstance(self.answer, Unavailable):
            raise self.answer
        return self.answer


def spread_until_the_end(pool: Pool) -> Unavailable:
    transactions = [World.build().sign("alpha", ChangeAddress("host:1"))]
    spreading = Spreading(pool.broadcast, lambda: pool.now)
    with pytest.raises(Unavailable) as raised:
        while True:
            pool.now += max(0.01, spreading.send(transactions))
    return raised.value


def test_it_is_sent_again_ever_more_rarely_with_new_bytes_and_given_up_after_a_minute() -> None:
    pool = Pool()
    error = spread_until_the_end(pool)
    times = [time for time, _ in pool.given]
    assert [round(time) for time in times] == [0, 2, 6, 14, 30, 46]
    assert len({entry for _, entry in pool.given}) == len(pool.given)
    assert "may still enter a block" in str(error)
    assert PATIENCE_SECONDS <= pool.now < PATIENCE_SECONDS + 1


@pytest.mark.parametrize("answer", ["sequence: not yet", Unavailable("CometBFT does not answer")])
def test_a_pool_that_does_not_take_it_is_asked_again_soon_and_named_in_the_end(answer: str | Unavailable) -> None:
    pool = Pool()
    pool.answer = answer
    error = spread_until_the_end(pool)
    assert pool.given[1][0] - pool.given[0][0] < 0.5
    assert str(answer) in str(error)


def test_what_moves_gives_the_rest_time() -> None:
    pool = Pool()
    transactions = [World.build().sign("alpha", ChangeAddress("host:1"))]
    spreading = Spreading(pool.broadcast, lambda: pool.now)
    for _ in range(10):
        spreading.send(transactions)
        pool.now += PATIENCE_SECONDS - 1
        spreading.moved()
    spreading.send(transactions)
