"""A disk that fills up under real processes: the agent says so, loses nothing, and goes on when there is room again."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.processes import (
    LEDGER,
    expected_digest,
    final_state,
    finish,
    make_consortium,
    medfed,
    phase,
    propose,
    start_agent,
    tip_height,
)

from medfed.demo.heart import FILES

KIBIBYTE = 1 << 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a size that everything here fits into, and that is soon filled."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "medfed-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Take up the disk until only `left` bytes are free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):  # the agents write at the same time
        while (free := shutil.disk_usage(disk).free) > left:
            file.write(bytes(min(free - left, 64 * KIBIBYTE)))
    return ballast


def wait_for(condition: Callable[[], bool], agents: dict[str, subprocess.Popen[str]], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        dead = {name: agent.communicate()[0] for name, agent in agents.items() if agent.poll() not in (None, 0)}
        assert not dead, dead
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def stands_still(root: Path) -> bool:
    height = tip_height(root)
    time.sleep(2)
    return tip_height(root) == height


@pytest.mark.slow
@pytest.mark.parametrize("left_kibibytes", [0, 12, 40, 100])
def test_a_hospital_whose_disk_is_full_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path, left_kibibytes: int
) -> None:
    root = make_consortium(tmp_path)
    shutil.move(root / "sites" / "hungary", small_disk / "hungary")
    (root / "sites" / "hungary").symlink_to(small_disk / "hungary")
    propose(root)
    agents = {name: start_agent(root, name) for name in FILES}
    wait_for(lambda: tip_height(root) >= 12, agents)
    ballast = fill(small_disk, left_kibibytes * KIBIBYTE)
    wait_for(lambda: stands_still(root), agents)
    assert phase(root) != "completed"
    ballast.unlink()
    printed = finish(agents)
    assert "full" in printed["hungary"], printed["hungary"]
    assert final_state(root) == ("completed", 0, expected_digest())
    medfed(root, "ledger", "verify", LEDGER, "--blobs", f"{LEDGER}.blobs")


@pytest.mark.slow
@pytest.mark.parametrize("left_kibibytes", [0, 60])
def test_a_ledger_whose_disk_is_full_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path, left_kibibytes: int
) -> None:
    """All agents share the ledger and the blobs; none of them may die, and no block may be half there."""
    root = make_consortium(small_disk)
    propose(root)
    agents = {name: start_agent(root, name) for name in FILES}
    wait_for(lambda: tip_height(root) >= 12, agents)
    ballast = fill(small_disk, left_kibibytes * KIBIBYTE)
    wait_for(lambda: stands_still(root), agents)
    ballast.unlink()
    printed = finish(agents)
    assert any("full" in text for text in printed.values()), printed
    assert final_state(root) == ("completed", 0, expected_digest())
    medfed(root, "ledger", "verify", LEDGER, "--blobs", f"{LEDGER}.blobs")


def test_a_command_on_a_full_disk_says_so_in_one_line(tmp_path: Path, small_disk: Path) -> None:
    root = make_consortium(tmp_path)
    shutil.move(root / "sites" / "hungary", small_disk / "hungary")
    (root / "sites" / "hungary").symlink_to(small_disk / "hungary")
    study = propose(root)
    fill(small_disk, 0)
    for command in (
        ("agent", "run", "--ledger", LEDGER, "--site", "sites/hungary", "--until-complete", "--quiet"),
        ("study", "approve", study, "--ledger", LEDGER, "--site", "sites/hungary"),
        ("keys", "create", "small/new", "--name", "new"),
    ):
        done = medfed(root, *command, code=4)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "full" in done.stderr or "No space" in done.stderr
    assert not (small_disk / "new" / "keys" / "site.key").exists()
