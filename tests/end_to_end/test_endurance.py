"""A short endurance run: nodes are restarted at random moments, and nothing is left over and nothing leaks."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.endurance import run
from tests.support.cometbft import needs_cometbft


@pytest.mark.slow
@needs_cometbft
def test_some_rounds_with_restarts_leave_no_process_no_port_and_no_open_file_behind(tmp_path: Path) -> None:
    found = run(tmp_path, rounds=4, seed=2, every=2, restarts=0.6, seconds=600)
    assert found["restarts"]
    first, last = found["samples"][0], found["samples"][-1]
    assert last["processes"] <= 16, "four nodes, four CometBFT, four agents, and a child of each that trains just now"
    assert last["ports"] <= 8
    assert last["open_files"] <= 1.5 * first["open_files"] + 50
