"""A network of four real nodes is hurt in every way we know; after each, replicas agree and the model is right."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft
from tests.support.network import STUDY, Network, left_over, short_plan

from medfed.ledger.contracts.studies import study_record

pytestmark = [needs_cometbft, pytest.mark.slow]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Callable[..., Network]]:
    made: list[Network] = []

    def make(*arguments: object, **named: object) -> Network:
        one = Network.make(tmp_path / "run", *arguments, **named)  # type: ignore[arg-type]
        made.append(one)
        return one

    yield make
    for one in made:
        one.nodes.stop()


@pytest.mark.parametrize("seed", range(3))
def test_any_of_the_twelve_processes_killed_at_any_moment(network: Callable[..., Network], seed: int) -> None:
    chance = random.Random(seed)
    world = network(short_plan())
    world.begin()
    done = 0
    while done < 12 and not world.is_over():
        time.sleep(chance.uniform(0.1, 0.9))
        done += world.hurt(chance)
    world.finish()
    assert done >= 5, world.kills
    world.check(whole=True)
    assert left_over(world.root) == []


def test_one_of_four_down_for_good_and_the_study_ends(network: Callable[..., Network]) -> None:
    world = network(short_plan(impatient=True))
    world.begin()
    while world.rounds() < 2:
        time.sleep(0.05)
    world.nodes.kill("hungary")
    client = world.nodes.client("cleveland")
    end = time.monotonic() + 200
    while (record := study_record(client.view(), STUDY)) is None or record.phase not in ("completed", "aborted"):
        assert time.monotonic() < end, record
        time.sleep(0.2)
    assert record.phase == "completed"
    client.close()
    world.nodes.start("hungary")  # it comes back after the end, and catches up
    world.finish()
    world.check(whole=False)


def test_two_of_four_down_stops_it_and_nothing_is_lost(network: Callable[..., Network]) -> None:
    world = network(short_plan())
    world.begin()
    while world.rounds() < 2:
        time.sleep(0.05)
    for name in ("hungary", "long-beach"):
        world.nodes.kill(name)
    time.sleep(2.0)  # what was under way comes to rest
    stopped = world.nodes.status("cleveland")
    time.sleep(3.0)
    still = world.nodes.status("cleveland")
    assert stopped is not None
    assert still is not None
    assert still.height == stopped.height
    world.nodes.start("hungary")
    world.nodes.wait_level(stopped.height + 1)
    world.nodes.start("long-beach")
    world.finish()
    world.check(whole=True)
