"""The heart study on four nodes in real consensus, as `make network-demo` runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft

from medfed.demo.heart import FILES
from medfed.ledger.verify import verify_store
from medfed.node.node_file import ledger_path

pytestmark = pytest.mark.slow
MEDFED = [sys.executable, "-m", "medfed"]


@needs_cometbft
def test_four_nodes_agree_with_each_other_and_bit_for_bit_with_the_embedded_engine(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MEDFED, "demo", "--network", "--output", "run", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert len(figures["result"]) == 64
    assert figures["commit_median"] > 0
    assert figures["transactions_per_second"] > 0
    assert sorted(figures["resident_mib"]) == sorted(FILES)
    tips = {verify_store(ledger_path(tmp_path / "run" / "sites" / name)).tip for name in FILES}
    assert len(tips) == 1
    assert not _running_in(tmp_path)


def test_without_cometbft_the_demo_says_what_is_missing(tmp_path: Path) -> None:
    environment = {**os.environ, "MEDFED_COMETBFT": "", "PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [*MEDFED, "demo", "--network"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 4
    assert "make network" in done.stderr
    assert not (tmp_path / "medfed-demo").exists()


def _running_in(root: Path) -> list[int]:
    """Processes that have this directory on their command line."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(root).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    for number in found:
        os.kill(number, signal.SIGKILL)
    return found
