"""A node has its lost peers called again, for as long as they are lost."""

from __future__ import annotations

from typing import Any

from medfed.errors import InvalidInput, Unavailable
from medfed.ledger.engines.cometbft.calling import PeerCalls

NORTH, SOUTH, EAST = (f"{digit * 40}@{name}.example:26656" for digit, name in zip("abc", ("n", "s", "e"), strict=True))


class Network:
    """Who is connected as CometBFT would tell it, a clock, and what it was asked to call."""

    def __init__(self, *peers: str) -> None:
        self.there: list[str] = []
        self.now = 0.0
        self.called: list[tuple[str, ...]] = []
        self.broken: Exception | None = None
        self.calls = PeerCalls(self, peers, lambda: self.now, every=10)

    def net_info(self) -> dict[str, Any]:
        if isinstance(self.broken, Unavailable):
            raise self.broken
        return {"peers": [{"node_info": {"id": peer.partition("@")[0].upper()}} for peer in self.there] or None}

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        assert method == "dial_peers"
        if self.broken is not None:
            raise self.broken
        self.called.append(tuple(parameters["peers"]))
        return {"log": "Dialing peers in progress"}

    def seconds(self, count: int) -> None:
        for _ in range(2 * count):
            self.now += 0.5
            self.calls.look()


def test_only_who_is_missed_twice_is_called_and_again_until_it_is_there() -> None:
    network = Network(NORTH, SOUTH, EAST)
    network.there = [NORTH]
    network.seconds(15)
    assert network.called == [], "CometBFT calls them itself at first"
    network.seconds(10)
    assert network.called == [(SOUTH, EAST)]
    network.there = [NORTH, SOUTH]
    network.seconds(1000)
    assert set(network.called[1:]) == {(EAST,)}
    assert len(network.called) == 101
    network.there = [NORTH, SOUTH, EAST]
    network.seconds(1000)
    assert len(network.called) == 101


def test_a_peer_that_is_back_at_the_next_look_is_left_alone() -> None:
    network = Network(NORTH)
    for _ in range(10):
        network.there = []
        network.seconds(10)
        network.there = [NORTH]
        network.seconds(10)
    assert network.called == []


def test_a_cometbft_that_does_not_answer_or_cannot_look_up_a_name_is_asked_again_later() -> None:
    network = Network(NORTH)
    for broken in (Unavailable("it does not answer"), InvalidInput("lookup failed")):
        network.broken = broken
        network.seconds(100)
        assert network.called == []
    network.broken = None
    network.seconds(20)
    assert network.called[:1] == [(NORTH,)]


def test_a_node_without_peers_asks_nothing() -> None:
    network = Network()
    network.broken = AssertionError("asked")
    network.seconds(100)
