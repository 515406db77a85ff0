"""A child is started again when it dies, and never after it was told to stop."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medfed.ledger.engines.cometbft import supervisor as module
from medfed.ledger.engines.cometbft.supervisor import Supervisor

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_child_that_is_killed_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(SLEEP, tmp_path / "log")
    supervisor.start()
    until(lambda: supervisor.process is not None)
    first = supervisor.process
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.process not in (None, first))
    second = supervisor.process
    supervisor.stop()
    assert supervisor.process is None
    assert supervisor.starts == 2
    assert second is not None
    assert not Path(f"/proc/{second}").exists()


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    supervisor = Supervisor([sys.executable, "-c", code], tmp_path / "log", stop_seconds=0.2)
    supervisor.start()
    until(lambda: (tmp_path / "log").exists() and b"deaf" in (tmp_path / "log").read_bytes())
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 10
    assert supervisor.process is None


def test_a_child_that_dies_at_once_waits_longer_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor(["true"], tmp_path / "log")
    pauses: list[float] = []
    monkeypatch.setattr(supervisor._stopping, "wait", pauses.append)
    supervisor.start()
    until(lambda: len(pauses) >= 10)
    supervisor.stop()
    first, longest = module._FIRST_PAUSE, module._LONGEST_PAUSE
    assert pauses[:10] == [min(first * 2**times, longest) for times in range(1, 11)]
    assert pauses[9] == longest


def test_a_child_that_had_run_steadily_is_started_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEADY_SECONDS", 0.0)
    supervisor = Supervisor(["true"], tmp_path / "log")
    pauses: list[float] = []
    monkeypatch.setattr(supervisor._stopping, "wait", pauses.append)
    supervisor.start()
    until(lambda: len(pauses) >= 3)
    supervisor.stop()
    assert set(pauses) == {module._FIRST_PAUSE}


def test_what_is_not_wanted_any_more_is_not_started_again(tmp_path: Path) -> None:
    wanted = [True]
    supervisor = Supervisor(SLEEP, tmp_path / "log", wanted=lambda: wanted[0])
    supervisor.start()
    until(lambda: supervisor.process is not None)
    wanted[0] = False
    os.kill(supervisor.process or 0, signal.SIGKILL)
    until(lambda: supervisor.process is None)
    time.sleep(0.5)
    assert supervisor.starts == 1
    supervisor.stop()


def test_a_program_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    supervisor = Supervisor([str(tmp_path / "absent")], tmp_path / "log")
    supervisor.start()
    time.sleep(0.5)
    assert supervisor.starts == 0
    supervisor.stop()


def test_a_long_log_makes_room(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (9 << 20))
    supervisor = Supervisor([sys.executable, "-c", "print('new')"], log)
    supervisor.start()
    until(lambda: supervisor.starts > 0)
    supervisor.stop()
    assert log.stat().st_size < 1000
    assert (tmp_path / "log.1").stat().st_size == 9 << 20
