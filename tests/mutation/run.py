"""`make mutants`: does the suite notice wrong changes of the contracts, the transition, `verify` and the secure sum?

The tests are collected once and run once as they are, to learn which reach which line. Then, for one wrong change of a
function at a time, a forked process puts the changed code into the function and runs the tests that reach the line
until one fails: first those that have noticed most changes of the module, then the fastest. Printed is every change
that none noticed: kill it with a test, or explain it in docs/testing.md. Constants and bounds of fields are not changed
here: `tests/unit/ledger/bounds.txt` lists the bounds.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import inspect
import json
import mmap
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import coverage
import pytest
from tests.mutation.mutations import Mutation, mutated, mutations

PACKAGE = Path(__file__).parents[2] / "src" / "medfed"
PATTERNS = ("ledger/contracts/*.py", "ledger/transition.py", "ledger/verify.py", "secure_sum/*.py")
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for pattern in PATTERNS for path in PACKAGE.glob(pattern))
TESTS = (
    *("tests/unit/ledger", "tests/unit/secure_sum", "tests/properties/test_secure_sum.py"),
    *(
        f"tests/attacks/test_{of}.py"
        for of in ("alignment", "blind_test", "ciphertexts", "exchange", "ledger", "rounds")
    ),
)
LEFT_OUT = ("flipped_bit_at_every_byte", "held_back_for_more_than_a_thousand", "cometbft")
"""Parts of names of tests that take too long here, or reach none of it."""
SLOW = 3.0
"""Tests that took longer, in seconds of processor time, are left out: each change would wait for them."""
LONGEST = 60
"""Seconds of processor time for the tests of one change; more means that it runs for ever, and it counts as killed."""
Reach = dict[str, list[str]]
"""`module:line` → the tests that run it, the fastest first."""


@dataclass
class _Attempt:
    """One change that is being tried in another process."""

    name: str
    change: Mutation
    tests: Sequence[str]
    at: mmap.mmap
    """Shared with that process: which of the tests it is at."""


@dataclass
class Campaign:
    """A pytest plugin that tries changes where pytest would run the tests."""

    only: Sequence[str]
    skip: int
    sample: int | None
    seed: int
    jobs: int
    reach: Path | None
    counts: Counter[str] = field(default_factory=Counter[str])
    _running: dict[int, _Attempt] = field(default_factory=dict[int, _Attempt])
    _noticed: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """How many changes of a module a test has noticed."""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of running the tests."""
        changes = [(name, one) for name in MODULES for one in _in_functions((PACKAGE / name).read_text())]
        random.Random(self.seed).shuffle(changes)
        changes = [
            (name, one) for name, one in changes if any(part in f"{name}:{one.line}" for part in self.only or [""])
        ][self.skip :][: self.sample]
        items = {item.nodeid: item for item in session.items}
        try:
            with tempfile.TemporaryDirectory() as folder:
                reach = _reach(session, self.reach or Path(folder) / "reach.json")
            gc.collect()
            gc.freeze()  # so that the many processes to come share these pages
            self._try_all(session, items, reach, changes)
        finally:
            for child in self._running:
                os.killpg(child, signal.SIGKILL)
            what = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.most_common())
            _say(f"{self.counts.total()} of {len(changes)} changes of functions: {what}")
        return True

    def _try_all(self, session: Any, items: dict[str, Any], reach: Reach, changes: list[tuple[str, Mutation]]) -> None:
        for name, change in changes:
            tests = reach.get(f"{name}:{change.line}", [])
            if not tests:
                self._note(name, change, "run by no test")
                continue
            while len(self._running) >= self.jobs:
                self._collect()
            tests = sorted(tests, key=lambda test, name=name: -self._noticed[name, test])
            attempt = _Attempt(name, change, tests, mmap.mmap(-1, 4))
            child = _forked(lambda attempt=attempt: _try(session, items, attempt))
            self._running[child] = attempt
        while self._running:
            self._collect()

    def _collect(self) -> None:
        child, status = os.wait()
        attempt = self._running.pop(child)
        name, change = attempt.name, attempt.change
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, 1, -signal.SIGXCPU, -signal.SIGKILL):
            raise RuntimeError(f"{name}:{change.line}: trying {change.becomes} ended with {code}")
        if code:
            self._noticed[name, attempt.tests[int.from_bytes(attempt.at[:], "little")]] += 1
        self._note(name, change, "killed" if code else "survived")

    def _note(self, name: str, change: Mutation, outcome: str) -> None:
        self.counts[outcome] += 1
        if outcome != "killed":
            _say(f"{name}:{change.line}: {change.was}  ->  {change.becomes}: {outcome}")
        if self.counts.total() % 100 == 0:
            _say(f"{self.counts.total()} tried, {self.counts['killed']} killed")


def _in_functions(source: str) -> list[Mutation]:
    """The changes of what functions do; not of constants, fields and defaults, which are made on import."""
    bodies = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    lines = {line for node in bodies for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)}
    return [change for change in mutations(source) if change.line in lines]


def _reach(session: pytest.Session, file: Path) -> Reach:
    """Run every test as it is, in a process of its own, unless that was done before."""
    if not file.exists():
        _say(f"running {len(session.items)} tests as they are")
        if os.waitpid(_forked(lambda: _record(session, file), limit=0), 0)[1]:
            raise SystemExit("the tests do not pass as they are")
    found: Reach = json.loads(file.read_text())
    return found


def _record(session: pytest.Session, file: Path) -> int:
    measured = coverage.Coverage(data_file=None, config_file=False, include=[str(PACKAGE / name) for name in MODULES])
    seconds: dict[str, float] = {}
    with measured.collect():
        for item in session.items:
            measured.switch_context(item.nodeid)
            begun = time.process_time()
            _run(session, [item])
            seconds[item.nodeid] = time.process_time() - begun
    found: Reach = {}
    for name in MODULES:
        for line, tests in measured.get_data().contexts_by_lineno(str(PACKAGE / name)).items():
            quick = [test for test in tests if seconds.get(test, SLOW) < SLOW]
            found[f"{name}:{line}"] = sorted(quick, key=seconds.__getitem__)
    file.write_text(json.dumps(found))
    return int(session.testsfailed > 0)


def _try(session: pytest.Session, items: dict[str, Any], attempt: _Attempt) -> int:
    _put_in(attempt.name, attempt.change)
    for at, test in enumerate(attempt.tests):
        attempt.at[:] = at.to_bytes(4, "little")
        _run(session, [items[test]])
        if session.testsfailed:
            return 1
    return 0


def _run(session: pytest.Session, items: Sequence[pytest.Item]) -> None:
    for item in items:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def _put_in(name: str, change: Mutation) -> None:
    """Exchange the code of the function that is changed; whoever has imported it has the changed one, too."""
    path = PACKAGE / name
    module = importlib.import_module("medfed." + name.removesuffix(".py").replace("/", "."))
    before, after = (_codes(compile(tree, str(path), "exec")) for tree in (
        ast.parse(path.read_text()), mutated(path.read_text(), change.number)
    ))  # fmt: skip
    changed = [place for place in before if before[place] != after.get(place)]
    (place,) = [
        place
        for place in changed
        if not any(place.startswith(f"{other}.<locals>") for other in changed if other != place)
    ]
    found: Any = module
    for part in place.split("."):
        found = inspect.getattr_static(found, part)
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    inspect.unwrap(found).__code__ = after[place]


def _codes(code: CodeType) -> dict[str, CodeType]:
    """Every function's code by its qualified name."""
    found: dict[str, CodeType] = {}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            is_function = inner.co_flags & inspect.CO_OPTIMIZED  # or the body of a class
            found |= ({inner.co_qualname: inner} if is_function else {}) | _codes(inner)
    return found


def _forked(work: Callable[[], int], limit: int = LONGEST) -> int:
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if limit:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        status = 3
        try:
            status = work()
        finally:
            os._exit(status)
    return child


def _say(text: str) -> None:
    sys.__stderr__.write(text + "\n")  # type: ignore[union-attr]
    sys.__stderr__.flush()  # type: ignore[union-attr]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make mutants", description="Wrong changes that no test notices.")
    parser.add_argument("--only", nargs="*", default=[], help="changes whose module:line contains one of these")
    parser.add_argument("--skip", type=int, default=0, help="pass by so many of the changes first")
    parser.add_argument("--sample", type=int, help="so many of the changes, in the order of --seed; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tests", nargs="*", default=TESTS, help="run these only, as pytest names them")
    parser.add_argument("--reach", type=Path, help="keep which test reaches which line in this file, and use it again")
    chosen = vars(parser.parse_args())
    tests = chosen.pop("tests")
    campaign = Campaign(**chosen)
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("stopped", 143))
    options = ["-q", "-s", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-k", f"not ({' or '.join(LEFT_OUT)})"]
    status = int(pytest.main([*options, *tests], plugins=[campaign]))
    return status or int(campaign.counts["killed"] < campaign.counts.total())


if __name__ == "__main__":
    raise SystemExit(main())
