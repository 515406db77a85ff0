"""A consensus that has died in a living process is found out by its height, and one lying peer cannot pretend it."""

from __future__ import annotations

from typing import Any

from medfed.errors import Unavailable
from medfed.ledger.engines.cometbft.stall import StallWatch


class Network:
    """Heights as CometBFT would tell them, and a clock."""

    def __init__(self, mine: int, *peers: int) -> None:
        self.mine, self.peers, self.now, self.broken = mine, list(peers), 0.0, False
        self.watch = StallWatch(self, lambda: self.now, patience=10)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        assert method == "dump_consensus_state"
        if self.broken:
            raise Unavailable("it does not answer")
        peers = [{"peer_state": {"round_state": {"height": str(height)}}} for height in self.peers]
        return {"round_state": {"height": str(self.mine)}, "peers": peers or None}

    def seconds(self, count: int) -> int:
        """How often it was found stalled in so many seconds."""
        found = 0
        for _ in range(2 * count):
            self.now += 0.5
            found += self.watch.is_stalled()
        return found


def test_a_height_that_stays_while_the_peers_go_on_is_a_stall_once_for_each_patience() -> None:
    network = Network(5, 9, 9, 9)
    assert network.seconds(11) == 0
    assert network.seconds(3) == 1
    assert network.seconds(7) == 0
    assert network.seconds(4) == 1


def test_an_idle_network_and_one_that_is_catching_up_are_none() -> None:
    assert Network(5, 5, 6, 5).seconds(100) == 0
    network = Network(5, 5000, 5000, 5000)
    for _ in range(100):
        network.mine += 1
        assert network.seconds(3) == 0


def test_one_peer_that_lies_about_its_height_starts_nothing_anew() -> None:
    assert Network(5, 10**12, 5, 5).seconds(100) == 0
    assert Network(5, 10**12, 10**12, 5).seconds(100) > 0, "two of four cannot both lie"
    assert Network(5).seconds(100) == 0


def test_what_does_not_answer_is_left_to_the_supervisor() -> None:
    network = Network(5, 9, 9, 9)
    network.broken = True
    assert network.seconds(100) == 0
