"""The right program in the right version, and orphans of a killed node ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medfed.errors import InvalidInput, Unavailable
from medfed.ledger.engines.cometbft.program import check_program, end_orphans, find_program


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_version_is_checked(tmp_path: Path) -> None:
    check_program(program(tmp_path / "good", "echo 0.38.17"))
    with pytest.raises(InvalidInput, match=r"expected CometBFT 0\.38\.17, found '0\.37\.4'"):
        check_program(program(tmp_path / "old", "echo 0.37.4"))
    with pytest.raises(Unavailable, match="cannot be run"):
        check_program(program(tmp_path / "broken", "exit 3"))


def test_a_named_program_comes_first_and_one_that_is_not_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = program(tmp_path / "named", "")
    monkeypatch.setenv("MEDFED_COMETBFT", str(named))
    assert find_program() == named
    monkeypatch.setenv("MEDFED_COMETBFT", str(tmp_path / "absent"))
    assert find_program() is None


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="this system shows no command lines as files")
def test_exactly_the_same_command_is_ended_and_nothing_like_it(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    orphan = subprocess.Popen([*sleep, str(tmp_path)])
    other = subprocess.Popen([*sleep, str(tmp_path), "more"])
    try:
        while not Path(f"/proc/{orphan.pid}/cmdline").read_bytes().endswith(os.fsencode(tmp_path) + b"\0"):
            pass
        assert end_orphans([*sleep, str(tmp_path)]) == [orphan.pid]
        assert orphan.wait(10) == -9
        assert other.poll() is None
    finally:
        for process in (orphan, other):
            process.kill()
            process.wait()
