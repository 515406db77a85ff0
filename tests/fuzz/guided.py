"""Coverage-guided fuzzing with atheris: `python -m tests.fuzz.guided --target question --runs 50000`.

libFuzzer keeps what reaches new branches of `medfed` and mutates that further. It starts from the seeds and the corpus.
An input that fails ends its target's run, is added to the corpus, and is replayed by the suite from then on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import atheris

with atheris.instrument_imports(include=["medfed"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.corpus import keep_crash, kept
from tests.fuzz.target import Target, judge


def fuzz(target: Target, runs: int, seed: int, longest: int, place: Path, keep: bool) -> NoReturn:
    """Run one target in this process, which ends with it."""
    start = place / "start"
    start.mkdir()
    for number, data in enumerate([*target.seeds(), *(data for _, data in kept(target.name))]):
        if len(data) <= longest:
            (start / str(number)).write_bytes(data)

    def one(data: bytes) -> None:
        folder = place / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            judge(target, data, folder)
        except BaseException:
            print(f"{target.name}: failed on {keep_crash(target.name, data) if keep else data[:400].hex()}", flush=True)
            raise

    options = [f"-runs={runs}", f"-seed={seed}", f"-max_len={longest}", "-timeout=0", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={place}/", str(start)], one)
    atheris.Fuzz()
    sys.exit(0)


def run_apart(target: Target, runs: int, seed: int, longest: int, keep: bool) -> bool:
    """Run one target in a fork of this process, which has imported everything; whether it passed."""
    with tempfile.TemporaryDirectory() as place:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            fuzz(target, runs, seed, longest, Path(place), keep)
        passed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print(f"{target.name}: {runs} runs, {'passed' if passed else 'FAILED'}", flush=True)
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the targets; the exit status is 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="may be repeated; all by default")
    parser.add_argument("--runs", type=int, default=20_000, help="of a target, fewer for costly ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=int, default=8_192, help="bytes of one input")
    parser.add_argument("--no-corpus", action="store_true", help="do not add what fails to the corpus")
    asked = parser.parse_args(arguments)
    warnings.simplefilter("error")
    targets = [TARGETS[name] for name in asked.target or TARGETS]
    passed = [
        run_apart(target, max(20, asked.runs // target.cost), asked.seed, asked.longest, not asked.no_corpus)
        for target in targets
    ]
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
