"""Runs seeds of the fault simulation: `python -m medfed.simulation.fault_run --seeds 0:10000`.

Of studies, or with `--dealings` of blind tests and data requests. A failing seed is printed with what does not hold;
`--replay SEED` runs it alone and prints everything that happened.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from medfed.federation.plan import Mode
from medfed.homomorphic import is_available
from medfed.simulation.faults import Cast, draw_cast
from medfed.simulation.faults_dealing_world import run_dealings
from medfed.simulation.faults_dealings import DealingCast, draw_dealings
from medfed.simulation.faults_world import FaultWorld
from medfed.simulation.witness import InvariantBroken

__all__ = ["Outcome", "main", "run_dealings_seed", "run_seed"]

_BATCH = 50


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    ended: str = ""
    failure: str = ""
    """What did not hold; empty if all did."""
    rounds: int = 0
    blocks: int = 0
    trace: list[str] = field(default_factory=list[str])


Run = Callable[[int], Outcome]


def run_seed(seed: int, cast: Cast | None = None, protection: Mode = "masked") -> Outcome:
    """Run one seed; never raises for what it finds."""
    outcome = Outcome(seed)
    cast = cast or draw_cast(seed, protection)
    outcome.trace.append(str(cast))
    world: FaultWorld | None = None

    def note(text: str) -> None:
        where = world.where() if world is not None else ""
        outcome.trace.append(f"{where}{text}")

    try:
        world = FaultWorld(cast, note)
        study = world.run()
        outcome.ended = (
            "held by an earlier release or a withheld blob"
            if world.held
            else f"{study.phase} {study.pause_code}".strip()
        )
    except InvariantBroken as broken:
        outcome.failure = str(broken)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to the seed
        outcome.failure = f"{type(error).__name__}: {error}"
        outcome.trace += traceback.format_exc().splitlines()
    if world is not None:
        outcome.rounds, outcome.blocks = world.study.next_round, world.history.now.tip.height
    return outcome


def run_dealings_seed(seed: int, cast: DealingCast | None = None) -> Outcome:
    """Run one seed of blind tests and data requests; never raises for what it finds."""
    outcome = Outcome(seed)
    cast = cast or draw_dealings(seed)
    outcome.trace.append(str(cast))
    try:
        world = run_dealings(cast, outcome.trace.append)
        outcome.ended, outcome.blocks = "all on time" if cast.on_time else "all", world.history.now.tip.height
    except InvariantBroken as broken:
        outcome.failure = str(broken)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to the seed
        outcome.failure = f"{type(error).__name__}: {error}"
        outcome.trace += traceback.format_exc().splitlines()
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 if every seed held, 1 if one did not."""
    parser = argparse.ArgumentParser(prog="python -m medfed.simulation.fault_run", description=__doc__)
    parser.add_argument("--seeds", default="0:200", help="first:last, the last not included; or one seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    parser.add_argument("--replay", type=int, help="run this seed alone and print all that happens")
    parser.add_argument(
        "--protection", choices=("masked", "homomorphic", "sealed"), default="masked", help="how updates are protected"
    )
    parser.add_argument("--dealings", action="store_true", help="blind tests and data requests, in place of studies")
    options = parser.parse_args(arguments)
    if options.protection == "homomorphic" and not is_available():
        _say("skipped: homomorphic protection needs TenSEAL: pip install 'medfed[he]'")
        return 0
    if options.dealings:
        run, how = run_dealings_seed, " --dealings"
    else:
        run = partial(run_seed, protection=options.protection)
        how = "" if options.protection == "masked" else f" --protection {options.protection}"
    seeds = _range(options.seeds)
    if not seeds:
        parser.error(f"--seeds {options.seeds}: expected first:last with first before last, or one seed")
    before = logging.root.manager.disable
    logging.disable()
    try:
        if options.replay is not None:
            return _replay(options.replay, run)
        return _run_many(seeds, options.jobs, options.keep_going, run, how)
    finally:
        logging.disable(before)


def _replay(seed: int, run: Run) -> int:
    outcome = run(seed)
    for line in outcome.trace:
        _say(line)
    _say(f"seed {seed}: {outcome.failure or outcome.ended}, {outcome.rounds} rounds, {outcome.blocks} blocks")
    return 1 if outcome.failure else 0


def _run_many(seeds: Sequence[int], jobs: int, keep_going: bool, run: Run, how: str) -> int:
    started, failed = time.monotonic(), 0
    ends: Counter[str] = Counter()
    for done, outcome in enumerate(_outcomes(seeds, jobs, run), start=1):
        if outcome.failure:
            failed += 1
            _say(f"seed {outcome.seed} FAILS: {outcome.failure}")
            _say(f"  replay: python -m medfed.simulation.fault_run --replay {outcome.seed}{how}")
            if not keep_going:
                break
        else:
            ends[outcome.ended] += 1
        if done % 500 == 0 or done == len(seeds):
            took = time.monotonic() - started
            _say(f"{done} of {len(seeds)} seeds, {failed} failed, {took:.0f} s, {1000 * took / done:.0f} ms a seed")
    _say(", ".join(f"{count} {ended}" for ended, count in ends.most_common()))
    return 1 if failed else 0


def _outcomes(seeds: Sequence[int], jobs: int, run: Run) -> Iterable[Outcome]:
    if jobs <= 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, seeds, chunksize=_BATCH)


def _range(text: str) -> Sequence[int]:
    """The seeds that are meant; none if `text` is no range."""
    first, _, last = text.partition(":")
    if not first.isdecimal() or not (last or "0").isdecimal():
        return range(0)
    return range(int(first), int(last) if last else int(first) + 1)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
