"""A whole job: the heart study through ledger, agents and encryption, against the same training in a plain loop."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Section, Target, alternately, spread
from benchmarks.parts import Parts
from benchmarks.results import say

from medfed.demo.heart import heart_plan, heart_tables
from medfed.federation.baselines import federate_plainly
from medfed.simulation.api import SimulatedStudy, simulate

SHARE = 25.0


def report(*, quick: bool) -> list[Section]:
    """The ratio, and where the time of a durable job goes."""
    say("whole job: the heart study")
    passes = 3 if quick else 9
    processor, wall = (
        min((_parts(durable_job, clock) for _ in range(passes)), key=lambda seconds: sum(seconds.values()))
        for clock in (time.process_time, time.perf_counter)
    )
    return [_ratios(passes), _shares(processor, wall)]


def durable_job() -> SimulatedStudy:
    """The heart study with ledger, vaults and blobs on disk."""
    with tempfile.TemporaryDirectory() as directory:
        return simulate(heart_plan(), heart_tables(), progress=False, directory=Path(directory))


def _ratios(passes: int) -> Section:
    plan, tables = heart_plan(), heart_tables()
    ended = simulate(plan, tables, progress=False)
    if ended.state.digest != federate_plainly(plan, ended.prepared).digest:
        raise RuntimeError("benchmark: the study and the plain loop end with different models: nothing to compare")
    tasks: dict[str, Callable[[], object]] = {
        "plain loop": lambda: federate_plainly(plan, ended.prepared),
        "simulated, in memory": lambda: simulate(plan, tables, progress=False),
        "simulated, on disk": durable_job,
    }
    processor, wall = alternately(passes, tasks), alternately(passes, tasks, time.perf_counter)
    floor, wall_floor = processor["plain loop"].minimum, wall["plain loop"].minimum
    return Section(
        "Whole job: UCI heart disease, 4 hospitals, 20 rounds",
        "Key agreement, 22 secure sums and agreement on every model, against `federate_plainly`: the same statistics, "
        "training and evaluation in one loop. Both end with the same model bit for bit. "
        "4 hospitals' work in one process; 50 steps of a logistic regression a round are next to nothing.",
        ("", "processor seconds", "of the plain loop's", "wall seconds", "of the plain loop's"),
        [
            (
                name,
                spread(processor[name], digits=3),
                f"{processor[name].minimum / floor:.1f}",
                spread(wall[name], digits=3),
                f"{wall[name].minimum / wall_floor:.1f}",
            )
            for name in tasks
        ],
    )


def _shares(processor: dict[str, float], wall: dict[str, float]) -> Section:
    return Section(
        "Where the job's time goes, on disk",
        "The fastest run by each clock. Encryption: fixed point, masks, seeds, unmasking, escrow, sealing, and the "
        "vaults' AES-GCM. Ledger: signing, and the engine with every check and its commits. The rest: reading the "
        "tables, set-up, agents.",
        ("part", "processor seconds", "share", "wall seconds", "share"),
        [
            (name, f"{processor[name]:.3f}", _percent(processor, name), f"{wall[name]:.3f}", _percent(wall, name))
            for name in wall
        ],
        [
            Target("ledger and encryption, share of the job's processor time", _cost(processor), SHARE, "%"),
            Target("ledger and encryption, share of the job's wall clock", _cost(wall), SHARE, "%"),
        ],
    )


def _cost(parts: dict[str, float]) -> float:
    return 100 * (parts["ledger"] + parts["encryption"]) / sum(parts.values())


def _percent(parts: dict[str, float], name: str) -> str:
    return f"{100 * parts[name] / sum(parts.values()):.1f} %"


def _parts(job: Callable[[], object], clock: Callable[[], float]) -> dict[str, float]:
    parts = Parts(clock)
    start = clock()
    with parts.measuring():
        job()
    total = clock() - start
    return {**parts.seconds, "the rest": total - sum(parts.seconds.values())}
