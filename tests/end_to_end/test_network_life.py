"""Hospitals of a network rotate and lose keys, move, leave and are removed, and the rules change; it goes on."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.cometbft import needs_cometbft
from tests.support.network import Network, short_plan

from medfed.crypto import SiteKeys, load_keystore
from medfed.demo.heart import FILES
from medfed.demo.network_nodes import free_ports
from medfed.demo.place import PASSPHRASE, demo_keys
from medfed.hospital.agent_loop import agent_on
from medfed.hospital.key_rotation import prepare_rotation
from medfed.hospital.site_directory import key_path
from medfed.identifiers import Name
from medfed.ledger import transition
from medfed.ledger.contracts.membership import (
    ChangeAddress,
    Leave,
    ProposeRemoval,
    ProposeUpgrade,
    ReplaceKeys,
    VoteOnRemoval,
    VoteOnUpgrade,
    active_hospitals,
    participant,
)
from medfed.ledger.engines.cometbft.engine import PoolEngine
from medfed.ledger.engines.cometbft.validators import address_of
from medfed.ledger.verify import verify_store
from medfed.node.entering import accept_later, invite_later
from medfed.node.node_file import NodeFile, load_node_file, save_node_file

pytestmark = [needs_cometbft, pytest.mark.slow]
OTHERS = ("cleveland", "long-beach", "switzerland")


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what a test opens, however it ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def network(tmp_path: Path, opened: ExitStack) -> Callable[..., Network]:
    """Four nodes that run, without agents: the test signs for everybody."""

    def make(command: Callable[[Name], list[str]] | None = None) -> Network:
        world = Network.make(tmp_path / "run", short_plan(), command=command)
        opened.callback(world.nodes.stop)
        world.without_agents()
        world.nodes.start()
        world.nodes.wait_connected()
        return world

    return make


@contextmanager
def newer_rules() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transition, "RULES", 2)
        yield


def voters(client: PoolEngine) -> set[str]:
    """The addresses of the validators that CometBFT counts now."""
    height = int(client.rpc.status()["sync_info"]["latest_block_height"])
    return {one["address"].lower() for one in client.rpc.validators(height)["validators"]}


def until(good: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def go_on(world: Network, client: PoolEngine, count: int = 3) -> None:
    """Blocks are made, by an organiser whom nothing of this concerns."""
    for number in range(count):
        world.send(client, world.organiser, ChangeAddress(f"host-{number}"))


def address(keys: SiteKeys) -> str:
    return address_of(keys.signing_key.public).hex()


def same_state(world: Network, client: PoolEngine, names: tuple[Name, ...]) -> None:
    height = client.view().tip.height
    world.nodes.wait_level(height)
    world.nodes.stop()
    found = {verify_store(world.nodes.ledger(name), world.consortium.genesis.digest).tip for name in names}
    assert len(found) == 1


def test_a_hospital_rotates_its_keys_and_moves_and_votes_with_the_new_ones(
    network: Callable[..., Network], opened: ExitStack
) -> None:
    world = network()
    client = opened.enter_context(closing(world.nodes.client("cleveland")))
    site, old = world.nodes.site("hungary"), world.consortium.keys["hungary"]
    body = prepare_rotation(site, PASSPHRASE, client.view().chain, sealing=False)
    with agent_on(site, world.nodes.ledger("hungary"), PASSPHRASE) as agent:
        assert agent.send(body).accepted
    go_on(world, client)
    new = address_of(body.signing_key).hex()
    until(lambda: voters(client) >= {new} and address(old) not in voters(client), "consensus has the old key")
    until(lambda: load_keystore(key_path(site), PASSPHRASE).public.signing == body.signing_key, "the site has not")

    ports = free_ports(2)
    world.nodes.stop("hungary")
    moved = replace(load_node_file(site), listen=f"127.0.0.1:{ports[0]}", blobs_listen=f"127.0.0.1:{ports[1]}")
    save_node_file(site, replace(moved, agent=True))  # whose agent tells the others where its blobs are
    world.nodes.start("hungary")
    until(lambda: _address(client, "hungary") == f"127.0.0.1:{ports[1]}", "the ledger has the old address")
    world.nodes.kill("long-beach")  # of four, three must vote now: with them the new key at the new address
    go_on(world, client)
    world.nodes.start("long-beach")
    same_state(world, client, tuple(FILES))


def _address(client: PoolEngine, name: Name) -> str:
    found = participant(client.view(), name)
    assert found is not None
    return found.address


def test_a_hospital_that_lost_its_disk_gets_new_keys_by_vote(
    network: Callable[..., Network], opened: ExitStack
) -> None:
    world = network()
    client = opened.enter_context(closing(world.nodes.client("cleveland")))
    go_on(world, client)
    site, old = world.nodes.site("hungary"), world.consortium.keys["hungary"]
    world.nodes.stop("hungary")
    shutil.rmtree(site)
    invitation = invite_later(world.nodes.site("cleveland"), "hungary", "hospital")
    new = demo_keys(site, "hungary")
    file = NodeFile(f"127.0.0.1:{free_ports(1)[0]}", agent=False)
    candidate, _ = accept_later(site, new, invitation, file, world.consortium.genesis.digest)
    world.nodes.start("hungary")
    world.nodes.wait_level(client.view().tip.height)  # it follows, with a key that has no vote
    body = ReplaceKeys(candidate.name, candidate.signing_key, candidate.sealing_key, candidate.proof)
    for name in OTHERS[:2]:
        world.send(client, world.consortium.keys[name], body)
        assert address(old) in voters(client)
    world.send(client, world.consortium.keys[OTHERS[2]], body)
    go_on(world, client)
    until(lambda: address(new) in voters(client) and address(old) not in voters(client), "the old key still votes")
    world.nodes.kill("long-beach")  # of four, three must vote now: with them the new key
    go_on(world, client)
    world.nodes.start("long-beach")
    same_state(world, client, tuple(FILES))


def test_one_leaves_and_one_is_removed_and_nobody_waits_for_their_votes(
    network: Callable[..., Network], opened: ExitStack
) -> None:
    world = network()
    client = opened.enter_context(closing(world.nodes.client("cleveland")))
    keys = world.consortium.keys
    world.send(client, keys["hungary"], Leave())
    go_on(world, client)
    until(lambda: address(keys["hungary"]) not in voters(client), "who has left still votes")
    world.nodes.kill("hungary")
    go_on(world, client)
    world.send(client, keys["cleveland"], ProposeRemoval("switzerland"))
    world.send(client, keys["long-beach"], VoteOnRemoval("switzerland", True))
    go_on(world, client)
    assert active_hospitals(client.view()) == ("cleveland", "long-beach")
    until(lambda: address(keys["switzerland"]) not in voters(client), "who was removed still votes")
    world.nodes.kill("switzerland")
    go_on(world, client)
    world.nodes.start("hungary", "switzerland")  # they may follow what they once belonged to
    same_state(world, client, tuple(FILES))


def test_a_node_without_the_new_rules_stops_with_one_line_and_goes_on_when_it_is_updated(
    network: Callable[..., Network], opened: ExitStack
) -> None:
    updated = {"hungary": False}

    def command(name: Name) -> list[str]:
        program = [sys.executable, "-m", "tests.support.wrong_node", "newer"]
        return program if updated.get(name, True) else [sys.executable, "-m", "medfed", "node", "run"]

    world = network(command)
    client = opened.enter_context(closing(world.nodes.client("cleveland")))
    keys = world.consortium.keys
    log = world.root / "hungary.log"
    start = client.view().tip.height + 6
    world.send(client, keys["cleveland"], ProposeUpgrade(2, start))
    for name in ("long-beach", "switzerland"):
        world.send(client, keys[name], VoteOnUpgrade(2, True))
    opened.enter_context(newer_rules())  # this test's own copy of the program, which submits
    go_on(world, client, 6)
    node = world.nodes.processes["hungary"]
    assert node.wait(60) == 4
    lines = [line for line in log.read_text().splitlines() if line.startswith("medfed:")]
    assert lines == [f"medfed: block {start} needs rules 2; this program knows up to 1: update it"]
    stopped = world.nodes.status("hungary")
    assert stopped is not None
    assert stopped.height == start - 1
    updated["hungary"] = True
    world.nodes.start("hungary")
    world.nodes.wait_level(client.view().tip.height)
    world.nodes.kill("long-beach")
    go_on(world, client)
    world.nodes.start("long-beach")
    same_state(world, client, tuple(FILES))
