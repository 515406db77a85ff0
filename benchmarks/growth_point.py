"""One simulated study in a process of its own: `python -m benchmarks.growth_point HOSPITALS ROUNDS PARAMETERS`.

Prints one JSON object: processor and wall seconds of the study alone, peak memory of the process, ledger bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.workload import synthetic_plan, synthetic_tables

from medfed.ledger.block import Block
from medfed.ledger.contracts.agreement import Attest
from medfed.ledger.contracts.reveals import RevealSeeds
from medfed.ledger.contracts.survivors import ConfirmSurvivors
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.transaction import SignedTransaction
from medfed.simulation.api import simulate


def ledger_bytes(blocks: Iterable[Block], hospitals: int, rounds: int) -> float:
    """Bytes of the transactions that one hospital sends for one training round: update, confirmation, reveal.

    Round 0 is that of the statistics, so training rounds are numbered from 1.
    """
    total = 0
    for block in blocks:
        for data in block.transactions:
            body = SignedTransaction.from_bytes(data).transaction.body
            if isinstance(body, SubmitUpdate | ConfirmSurvivors | RevealSeeds | Attest) and 1 <= body.round <= rounds:
                total += len(data)
    return total / hospitals / rounds


def peak_mebibytes() -> float:
    """The most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.is_file():  # the resource figure starts from that of whoever started this process
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / (1 << 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    """Measure and print."""
    hospitals, rounds, parameters = map(int, sys.argv[1:4])
    plan = synthetic_plan(hospitals, rounds, parameters)
    tables = synthetic_tables(plan)
    wall, processor = time.perf_counter(), time.process_time()
    ended = simulate(plan, tables, progress=False)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    point = {
        "hospitals": hospitals,
        "rounds": rounds,
        "parameters": ended.state.parameters.flat.size,
        "seconds": processor,
        "wall": wall,
        "mib": peak_mebibytes(),
        "ledger_bytes": ledger_bytes(ended.ledger.engine.blocks(), hospitals, rounds),
    }
    print(json.dumps(point))


if __name__ == "__main__":
    main()
