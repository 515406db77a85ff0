"""A network under strain: a slow link, a full disk, a flood, and a hospital that serves wrong blobs."""

from __future__ import annotations

import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft
from tests.support.links import Links
from tests.support.network import STUDY, Network, left_over, short_plan

from medfed.demo.network_figures import throughput
from medfed.errors import MedFedError
from medfed.hospital.blob_exchange.peer_connection import client_context
from medfed.identifiers import Name
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.contracts.studies import study_record
from medfed.node.node_file import load_node_file

pytestmark = [needs_cometbft, pytest.mark.slow]


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what a test opens, however it ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def network(tmp_path: Path, opened: ExitStack) -> Callable[..., Network]:
    def make(*arguments: object, **named: object) -> Network:
        one = Network.make(tmp_path / "run", *arguments, **named)  # type: ignore[arg-type]
        opened.callback(one.nodes.stop)
        return one

    return make


def wait_for_rounds(world: Network, count: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while world.rounds() < count:
        assert time.monotonic() < end, "the study does not go on"
        time.sleep(0.05)


def test_a_slow_link(network: Callable[..., Network], opened: ExitStack) -> None:
    links = Links()
    opened.callback(links.close)
    links.slow("hungary", seconds=0.1, bytes_per_second=200_000)
    world = network(short_plan(2), route=links.route)
    world.begin()
    world.finish()
    world.check(whole=True)


def test_a_hospital_whose_disk_is_full_comes_back_when_there_is_room(
    network: Callable[..., Network], opened: ExitStack, tmp_path: Path
) -> None:
    disk = tmp_path / "small"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96m", "medfed-test", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    opened.callback(subprocess.run, ["umount", "-l", str(disk)], check=True)
    world = network(short_plan(3))
    opened.callback(world.nodes.stop)  # before the disk goes
    site = world.nodes.site("hungary")
    shutil.move(site, disk / "hungary")
    site.symlink_to(disk / "hungary")
    world.begin()
    wait_for_rounds(world, 2)
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):  # the node writes at the same time
        while True:
            file.write(bytes(64 << 10))
    client = opened.enter_context(closing(world.nodes.client("cleveland")))
    full = time.monotonic()
    while time.monotonic() < full + 6:  # three of four go on, and do not wait for the fourth disk
        assert world.nodes.processes["hungary"].poll() is None, "the node has ended"
        world.send(client, world.organiser, ChangeAddress(f"host-{random.randrange(1000)}"))
        time.sleep(0.3)
    ballast.unlink()
    world.finish()
    world.check(whole=True)


def test_a_flood_of_junk_of_transactions_and_of_connections(network: Callable[..., Network], opened: ExitStack) -> None:
    world = network(short_plan(2))
    world.begin()
    stop = threading.Event()
    done: dict[str, int] = {"junk": 0, "transactions": 0, "connections": 0}
    chance = random.Random(3)

    def junk() -> None:
        with closing(world.nodes.client("hungary")) as client:
            while not stop.is_set():
                with suppress(MedFedError):
                    client.rpc.broadcast(chance.randbytes(chance.randrange(1, 20_000)))
                done["junk"] += 1

    def transactions() -> None:
        with closing(world.nodes.client("long-beach")) as client:
            while not stop.is_set():
                with suppress(MedFedError):
                    throughput(client, world.organiser, 100)
                done["transactions"] += 100

    def connections() -> None:
        _, _, port = load_node_file(world.nodes.site("cleveland")).blobs_listen.rpartition(":")
        held: list[socket.socket] = []
        while not stop.is_set():
            with suppress(OSError, ssl.SSLError):
                plain = socket.create_connection(("127.0.0.1", int(port)), timeout=2)
                if done["connections"] % 3:
                    held.append(plain)  # says nothing, and stays
                else:
                    with client_context().wrap_socket(plain) as secure:
                        secure.sendall(b"GET /blobs/" + b"0" * 64 + b" HTTP/1.1\r\n\r\n")
                        secure.recv(4096)
                done["connections"] += 1
            while len(held) > 20:
                held.pop(0).close()
            time.sleep(0.01)
        for one in held:
            one.close()

    threads = [threading.Thread(target=one) for one in (junk, transactions, connections)]
    for one in threads:
        one.start()
    try:
        world.finish()
    finally:
        stop.set()
        for one in threads:
            one.join()
    assert done["junk"] > 20, done
    assert done["transactions"] >= 100, done
    assert done["connections"] > 20, done
    world.check(whole=True)
    assert left_over(world.root) == []


def test_a_hospital_that_serves_wrong_blobs_is_left_out_and_harms_nobody(network: Callable[..., Network]) -> None:
    def command(name: Name) -> list[str]:
        right = [sys.executable, "-m", "medfed", "-v", "node", "run"]
        return right if name != "hungary" else [sys.executable, "-m", "tests.support.wrong_node", "blobs"]

    world = network(short_plan(2, impatient=True), command=command)
    world.begin()
    world.finish()
    with closing(world.nodes.client("cleveland")) as client:
        record = study_record(client.view(), STUDY)
    assert record is not None
    assert record.phase == "completed"
    world.check(whole=False)
