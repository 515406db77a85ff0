"""Peak memory of masking, aggregating and of an agent's step, in vectors: run in a process of its own.

`python -m benchmarks.secure_sum_memory ELEMENTS HOSPITALS` prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.secure_sum import masked_bytes, streamed
from benchmarks.workload import synthetic_plan, synthetic_tables

from medfed.hospital.duties.updating import SubmitMaskedUpdate
from medfed.secure_sum import unmask_sum
from medfed.simulation.api import simulate


def peak_of(task: Callable[[], object]) -> int:
    """Bytes that `task` held at most, beside what was there before."""
    tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    task()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def agent_peak(parameters: int, method: str) -> float:
    """The most that a method of `SubmitMaskedUpdate` held in a training round, in vectors of the round's update."""
    plan = synthetic_plan(4, 1, parameters)
    original: Any = getattr(SubmitMaskedUpdate, method)
    peaks: list[float] = []

    def measured(*arguments: object) -> object:
        found: list[Any] = []
        peak = peak_of(lambda: found.append(original(*arguments)))
        bodies = found[0] if method == "perform" else found
        for body in bodies:
            if body.length > 2 * parameters:  # a training round's, not a smaller one's
                peaks.append(peak / body.length)
        return found[0]

    setattr(SubmitMaskedUpdate, method, measured)
    try:
        with tempfile.TemporaryDirectory() as directory:
            simulate(plan, synthetic_tables(plan), progress=False, directory=Path(directory))
    finally:
        setattr(SubmitMaskedUpdate, method, original)
    return max(peaks)


def main() -> None:
    """Print the peaks."""
    size, hospitals = int(sys.argv[1]), int(sys.argv[2])
    values = np.random.default_rng(0).normal(0, 0.1, size).astype(np.float32)
    update = masked_bytes(values, hospitals).tobytes()
    seeds = [os.urandom(32) for _ in range(hospitals)]
    client = peak_of(lambda: masked_bytes(values, hospitals))
    aggregate = peak_of(lambda: unmask_sum(streamed([update] * hospitals), seeds, [], size))
    peaks = {"client": client / len(update), "aggregate": aggregate / len(update)}
    peaks["duty"] = agent_peak(1_000_000, "_masked")
    peaks["agent"] = agent_peak(1_000_000, "perform")
    print(json.dumps(peaks))


if __name__ == "__main__":
    main()
