"""A hospital's machine is lost and set up anew from a backup: it votes only when it can no longer contradict itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.cometbft import needs_cometbft
from tests.support.network import Network, short_plan

from medfed.demo.network_nodes import free_ports
from medfed.demo.place import PASSPHRASE
from medfed.hospital.site_directory import wall_clock
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.engines.cometbft.application import MAX_DRIFT_MS
from medfed.ledger.verify import verify_store
from medfed.node.backup import restore_backup, write_backup
from medfed.node.node_file import load_node_file, save_node_file
from medfed.node.returning import restored_ms

pytestmark = [needs_cometbft, pytest.mark.slow]
LOST = "hungary"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what a test opens, however it ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def world(tmp_path: Path, opened: ExitStack) -> Network:
    """Four nodes that run, without agents: the test signs for everybody."""
    made = Network.make(tmp_path / "run", short_plan())
    opened.callback(made.nodes.stop)
    made.without_agents()
    made.nodes.start()
    made.nodes.wait_connected()
    return made


def until(good: Callable[[], bool], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def long_ago() -> int:
    """A restoration whose margin for clocks has passed, so that tests need not wait for it."""
    return wall_clock() - MAX_DRIFT_MS - 1000


def test_a_lost_machine_is_set_up_anew_and_votes_again_when_the_others_have_gone_on(
    world: Network, opened: ExitStack, tmp_path: Path
) -> None:
    client = opened.enter_context(closing(world.nodes.client("cleveland")))
    world.send(client, world.organiser, ChangeAddress("before"))
    site = world.nodes.site(LOST)
    write_backup(site, PASSPHRASE, tmp_path / "lost.backup", wall_clock)
    world.send(client, world.organiser, ChangeAddress("after-the-backup"))
    world.nodes.stop(LOST)
    shutil.rmtree(site)

    restore_backup(tmp_path / "lost.backup", site, PASSPHRASE, long_ago)
    world.nodes.start(LOST)
    world.nodes.wait_level(client.view().tip.height)  # it fetches what it has lost
    status = world.nodes.status(LOST)
    assert status is not None
    assert status.waits

    def goes_on() -> bool:
        world.send(client, world.organiser, ChangeAddress("host"))
        return restored_ms(site) is None

    until(goes_on, "it still waits")
    world.nodes.stop("switzerland")  # of four, three must vote: from here on nothing goes without it
    end = client.view().tip.height + 2
    while client.view().tip.height < end:
        world.send(client, world.organiser, ChangeAddress("host"))
    world.nodes.start("switzerland")
    world.nodes.wait_level(end)
    world.nodes.stop()
    digest = world.consortium.genesis.digest
    assert len({verify_store(world.nodes.ledger(name), digest).tip for name in ("cleveland", LOST, "switzerland")}) == 1


def test_a_backup_that_is_started_beside_the_site_itself_never_votes(
    world: Network, opened: ExitStack, tmp_path: Path
) -> None:
    """The mistake that would make a validator vote twice: both machines run."""
    client = opened.enter_context(closing(world.nodes.client("cleveland")))
    write_backup(world.nodes.site(LOST), PASSPHRASE, tmp_path / "lost.backup", wall_clock)
    twin = world.nodes.site("twin")
    restore_backup(tmp_path / "lost.backup", twin, PASSPHRASE, long_ago)
    (twin / "node" / "cometbft" / "config" / "node_key.json").unlink()  # or the others would not even call it
    file = load_node_file(twin)
    save_node_file(twin, replace(file, listen=f"127.0.0.1:{free_ports(1)[0]}", blobs_listen=""))
    world.nodes.start("twin")
    process = world.nodes.processes["twin"]
    log = tmp_path / "run" / "twin.log"

    def has_ended() -> bool:
        world.send(client, world.organiser, ChangeAddress("host"))
        return process.poll() is not None

    until(has_ended, "the twin goes on")
    assert process.returncode == 3
    assert "another machine votes with this site's key" in log.read_text()
    assert restored_ms(twin) is not None
