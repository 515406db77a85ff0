"""Either process of a node is killed at every moment of a block: what was final stays, and nothing is done twice."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft
from tests.support.cometbft_child import COUNT, MOMENTS, open_world

from medfed.ledger.contracts.membership import ChangeAddress, participant
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.verify import verify_store

pytestmark = [needs_cometbft, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def run_child(root: Path, *arguments: str) -> tuple[int, dict[int, str]]:
    """Its exit code, and the blocks that it has seen final."""
    command = [sys.executable, "-m", "tests.support.cometbft_child", str(root), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -9), done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return done.returncode, {int(height): block for height, block in lines}


def check_whole(root: Path, seen: dict[int, str]) -> None:
    """What was final still is, every transaction took effect once, and the ledger verifies."""
    world = open_world(root)
    engine = world.engine
    try:
        for height, block in seen.items():
            found = engine.block_id(height)
            assert found is not None
            assert found.hex() == block
        world.accept("beta", ChangeAddress("host:after"))
        sent = [SignedTransaction.from_bytes(wire) for block in engine.blocks() for wire in block.transactions]
        bodies = [signed.transaction.body for signed in sent if signed.transaction.sender == "alpha"]
        assert bodies == [ChangeAddress(f"host:{number}") for number in range(len(bodies))]
        assert len(bodies) >= max(seen, default=0)
        beta = participant(world.view, "beta")
        assert beta is not None
        assert beta.address == "host:after"
    finally:
        tip = world.view.tip
        engine.close()
    assert verify_store(root / "ledger.db").tip == tip


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_application_killed_at_any_moment_goes_on_where_it_was(moment: str, tmp_path: Path) -> None:
    code, seen = run_child(tmp_path, "application", moment, "2")
    assert code == -9, "it was not killed"
    assert 1 in seen
    check_whole(tmp_path, seen)


@pytest.mark.parametrize("moment", MOMENTS)
def test_cometbft_killed_at_any_moment_is_started_again_and_nobody_notices(moment: str, tmp_path: Path) -> None:
    code, seen = run_child(tmp_path, "cometbft", moment, "2")
    assert code == 0
    assert sorted(seen) == list(range(1, COUNT + 1))
    check_whole(tmp_path, seen)


def test_an_application_that_has_lost_everything_gets_the_same_ledger_again_from_cometbft(tmp_path: Path) -> None:
    code, seen = run_child(tmp_path)
    assert code == 0
    before = verify_store(tmp_path / "ledger.db").tip
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    world = open_world(tmp_path)
    try:
        end = time.monotonic() + 30
        while world.engine.wait(before.height - 1, 1.0) < before.height:
            assert time.monotonic() < end
        assert world.view.tip == before
        assert seen[before.height] == before.block.hex()
    finally:
        world.engine.close()
    assert verify_store(tmp_path / "ledger.db").tip == before
