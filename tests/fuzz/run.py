"""Long runs by hand: `python -m tests.fuzz.run --target model-file --runs 100000`.

What fails is written to the corpus, so that the suite replays it from then on, and printed with its traceback.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.corpus import keep_crash, kept
from tests.fuzz.mutations import draw_program, mutate
from tests.fuzz.target import Target, judge
from tests.fuzz.targets import TARGETS


def campaign(target: Target, runs: int, seed: int, most_kinds: int = 20) -> dict[str, bytes]:
    """Run mutations of the seeds and of the corpus. Returns an input for each distinct failure, by where it failed."""
    rng = random.Random(f"{target.name} {seed}")
    seeds = [*target.seeds(), *(data for _, data in kept(target.name))]
    failures: dict[str, bytes] = {}
    taken = 0
    with tempfile.TemporaryDirectory() as place:
        for number in range(runs):
            data = mutate(rng.choice(seeds), draw_program(rng), target, seeds)
            folder = Path(place) / str(number)
            folder.mkdir()
            try:
                taken += judge(target, data, folder)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                where = "|".join(f"{f.name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[-3:])
                kind = f"{type(error).__name__} {where}"
                if kind not in failures or len(data) < len(failures[kind]):
                    if kind not in failures:
                        traceback.print_exception(error, limit=-6)
                    failures[kind] = data
                if len(failures) >= most_kinds:
                    break
            _remove(folder)
    print(f"{target.name}: {runs} cases, {taken} taken, {len(failures)} kinds of failure", flush=True)
    return failures


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaigns; the exit status is 1 where something failed. Warnings count as failures, as in the suite."""
    warnings.simplefilter("error")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="may be repeated; all by default")
    parser.add_argument("--runs", type=int, default=2_000, help="cases a target, fewer for costly ones")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="replays a run")
    asked = parser.parse_args(arguments)
    print(f"seed {asked.seed}")
    bad = 0
    for name in asked.target or TARGETS:
        target = TARGETS[name]
        for data in campaign(target, max(1, asked.runs // target.cost), asked.seed).values():
            print(f"kept {keep_crash(name, data)}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
