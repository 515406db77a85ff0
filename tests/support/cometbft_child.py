"""A node of one as a process of its own, which dies, or whose CometBFT dies, at a chosen moment of a chosen block.

Arguments: directory, who dies (`application` or `cometbft`), the moment, the block. Without the last three nobody dies.
Every block's height and id is printed once it is final.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.ledger import START_MS, HandClock, World, make_genesis, sealer

from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.engines.cometbft.application import Application
from medfed.ledger.engines.cometbft.configuration import NodeSettings
from medfed.ledger.engines.cometbft.host import CometEngine
from medfed.ledger.engines.cometbft.replica import Replica
from medfed.ledger.store import LedgerStore

SETTINGS = NodeSettings(validators=("organiser",))
COUNT = 4
MOMENTS: dict[str, tuple[type, str, bool]] = {
    "before a proposal is made": (Application, "_prepare_proposal", False),
    "after a proposal is made": (Application, "_prepare_proposal", True),
    "after a proposal is checked": (Application, "_process_proposal", True),
    "before a block is finalised": (Application, "_finalize_block", False),
    "after a block is finalised": (Application, "_finalize_block", True),
    "before anything is written": (Replica, "commit", False),
    "before the write is durable": (LedgerStore, "append", True),
    "after the write is durable": (Replica, "commit", True),
    "after the commit is answered": (Application, "_commit", True),
}
"""A method, and whether death comes when it returns or when it is called."""


def open_world(root: Path) -> World:
    """The node's ledger, new or as it was left."""
    clock = HandClock()
    if (root / "ledger.db").exists():
        return World(CometEngine.open(root, clock, sealer("organiser"), SETTINGS), clock)
    return World(CometEngine.create(root, make_genesis(), clock, sealer("organiser"), SETTINGS), clock)


def die_at(who: str, moment: str, block: int, process: Callable[[], int | None]) -> None:
    """Let the method of `moment` kill at the MedFed block `block`."""
    kind, name, afterwards = MOMENTS[moment]
    method = getattr(kind, name)
    done: list[int] = []

    def kill() -> None:
        if done:
            return
        victim = os.getpid() if who == "application" else process()
        if victim is not None:
            done.append(victim)
            os.kill(victim, signal.SIGKILL)

    def wrapped(self: Any, *arguments: Any) -> Any:
        now = _height(self)
        if now == block - 1 and not afterwards and _has_entries(arguments):
            kill()
        result = method(self, *arguments)
        if now == block - 1 and afterwards and _has_entries(arguments):
            kill()
        return result

    setattr(kind, name, wrapped)


def _height(target: Any) -> int:
    if isinstance(target, LedgerStore):
        return target.load_state()[1].height - 1  # asked for inside the transaction, after the block was added
    replica = target if isinstance(target, Replica) else target._replica
    return replica.now()[1].height


def _has_entries(arguments: tuple[Any, ...]) -> bool:
    return not arguments or bool(getattr(arguments[0], "txs", True))


def main() -> None:
    root, *rest = sys.argv[1:]
    holder: list[CometEngine] = []
    if rest:
        die_at(rest[0], rest[1], int(rest[2]), lambda: holder[0].supervisor.process if holder else None)
    world = open_world(Path(root))
    assert isinstance(world.engine, CometEngine)
    holder.append(world.engine)
    for number in range(COUNT):
        world.clock.now_ms = START_MS + number
        world.accept("alpha", ChangeAddress(f"host:{number}"))
        print(world.view.tip.height, world.view.tip.block.hex(), flush=True)
    world.engine.close()


if __name__ == "__main__":
    main()
