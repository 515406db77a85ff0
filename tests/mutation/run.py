"""`make mutants`: does the suite notice wrong changes of the contracts, the transition, `verify` and the secure sum?

First the tests run once as they are, and which lines each runs is kept. Then, for one wrong change at a time, a forked
process imports the changed module and runs the tests that reach the line, the fastest first, until one fails. Printed
is every change that none noticed: kill it with a test, or explain it in docs/testing.md. Needs a system with fork.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest
from tests.mutation.mutations import Mutation, mutated, mutations

PACKAGE = Path(__file__).parents[2] / "src" / "medfed"
PATTERNS = ("ledger/contracts/*.py", "ledger/transition.py", "ledger/verify.py", "secure_sum/*.py")
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for pattern in PATTERNS for path in PACKAGE.glob(pattern))
TESTS = (
    *("tests/unit/ledger", "tests/unit/secure_sum", "tests/attacks", "tests/vectors/test_merkle.py"),
    *("tests/properties/test_ledger.py", "tests/properties/test_secure_sum.py"),
)
LONGEST = 180
"""Seconds after which the tests of one change have run too long: it counts as killed."""
KILLED, SURVIVED, LATE, UNREACHED = "killed", "survived", "too slow", "run by no test"
_UNUSED = 77
Reach = dict[str, list[str]]
"""`module:line` → the tests that run it, the fastest first. Line 0: all that run any of the module's; "": all tests."""
TOGETHER = 60.0
"""Seconds that the tests of one line may take together; the slowest are left out."""


class _Recorder:
    """A pytest plugin: which lines of the modules each test runs, and for how long it runs."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measured.switch_context(item.nodeid)
        begun = time.perf_counter()
        kept = yield
        self.seconds[item.nodeid] = time.perf_counter() - begun
        return kept


def record_reach(file: Path) -> int:
    """Run the tests as they are, and write which reach which line. Returns pytest's status."""
    included = [str(PACKAGE / name) for name in MODULES]
    measured = coverage.Coverage(data_file=None, config_file=False, include=included)
    recorder = _Recorder(measured)
    with measured.collect():
        status = _pytest(TESTS, [recorder])
    found: Reach = {"": list(_fastest(recorder.seconds, recorder.seconds))}
    for name in MODULES:
        by_line = measured.get_data().contexts_by_lineno(str(PACKAGE / name))
        tests = {line: set(contexts) - {""} for line, contexts in by_line.items()}
        for line, reaching in [(0, set[str]().union(*tests.values())), *tests.items()]:
            found[f"{name}:{line}"] = list(_fastest(reaching, recorder.seconds))
    file.write_text(json.dumps(found))
    return status


def _fastest(tests: Iterable[str], seconds: Mapping[str, float]) -> Iterator[str]:
    left = TOGETHER
    for test in sorted(tests, key=seconds.__getitem__):
        left -= seconds[test]
        if left < 0:
            return
        yield test


class _Importer(importlib.abc.MetaPathFinder):
    """Imports one module with a change made."""

    def __init__(self, name: str, change: Mutation) -> None:
        self.is_used = False
        self._path = str(PACKAGE / name)
        self._module = "medfed." + name.removesuffix(".py").replace("/", ".")
        self._code = compile(mutated(Path(self._path).read_text(), change.number), self._path, "exec")

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        self.is_used = True
        loader = type("Changed", (SourceFileLoader,), {"get_code": lambda _, __: self._code})(fullname, self._path)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def _try(name: str, change: Mutation, tests: Sequence[str]) -> int:
    importer = _Importer(name, change)
    sys.meta_path.insert(0, importer)
    own = [test for test in tests if f"test_{Path(name).stem}.py" in test]
    rest = [test for test in tests if test not in own]
    status = (own and _pytest(["-x", *own], [])) or (rest and _pytest(["-x", *rest], [])) or 0
    return status if importer.is_used else _UNUSED


def _pytest(arguments: Sequence[str], plugins: Sequence[object]) -> int:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    hypothesis.settings.register_profile("once", phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate))
    # Only test_*.py are tests: pytest would import a contract called blind_test.py itself, without the change.
    quiet = ["-q", "-p", "no:cacheprovider", "-o", "python_files=test_*.py"]
    quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options = [*quiet, "--hypothesis-profile=once", "--hypothesis-seed=0"]
    return int(pytest.main([*options, *arguments], plugins=list(plugins)))


def _forked(work: Callable[[], int]) -> int:
    """The process that does the work; it imports medfed, this one never does."""
    assert not any(name == "medfed" or name.startswith("medfed.") for name in sys.modules)
    child = os.fork()
    if child == 0:
        os.setsid()
        status = 3
        try:
            status = work()
        finally:
            os._exit(status)
    return child


def _tests_of(name: str, change: Mutation, found: Reach) -> list[str]:
    """Those that reach the line; of what runs on import (constants, fields, bounds), all that reach the module."""
    tree = ast.parse((PACKAGE / name).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = any(node.body[0].lineno <= change.line <= (node.end_lineno or 0) for node in functions)
    return found.get(f"{name}:{change.line}" if inside else f"{name}:0", []) or ([] if inside else found[""])


def run(changes: Sequence[tuple[str, Mutation]], found: Reach, jobs: int) -> Iterator[tuple[str, Mutation, str]]:
    """Try every change, so many at once, and say what became of each as it is known."""
    waiting, running = list(reversed(changes)), dict[int, tuple[str, Mutation, float]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, change = waiting.pop()
                tests = _tests_of(name, change, found)
                if tests:
                    child = _forked(lambda name=name, change=change, tests=tests: _try(name, change, tests))
                    running[child] = (name, change, time.monotonic() + LONGEST)
                else:
                    yield name, change, UNREACHED
            for child, (name, change, deadline) in list(running.items()):
                done, status = os.waitpid(child, os.WNOHANG)
                late = not done and time.monotonic() > deadline
                if done or late:
                    _end_group(child)  # what the tests started, too
                    del running[child]
                    yield name, change, LATE if late else _outcome(os.waitstatus_to_exitcode(status))
            time.sleep(0.02)
    finally:
        for child in running:
            _end_group(child)


def _outcome(status: int) -> str:
    if status == _UNUSED:
        raise RuntimeError("a change was not imported: its tests prove nothing")
    return KILLED if status else SURVIVED


def _end_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make mutants", description="Mutation run of contracts and secure sum.")
    parser.add_argument("--only", default="", help="changes whose module:line contains this")
    parser.add_argument("--sample", type=int, help="so many of the changes, in the order of --seed; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--reach", type=Path, help="which test reaches which line; written if it is not there")
    arguments = parser.parse_args()
    changes = [(name, one) for name in MODULES for one in mutations((PACKAGE / name).read_text())]
    random.Random(arguments.seed).shuffle(changes)
    changes = [(name, one) for name, one in changes if arguments.only in f"{name}:{one.line}"][: arguments.sample]
    counts = Counter[str]()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = _reach(arguments.reach or Path(folder) / "reach.json")
        for name, change, outcome in run(changes, found, arguments.jobs):
            counts[outcome] += 1
            if counts.total() % 100 == 0:
                print(f"{counts.total()} of {len(changes)}", flush=True)
            if outcome in (SURVIVED, UNREACHED):
                print(f"{name}:{change.line}: {change.was}  ->  {change.becomes}: {outcome}", flush=True)
    finally:
        what = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        print(f"{counts.total()} of {len(changes)} changes: {what}", flush=True)
    return int(counts[SURVIVED] + counts[UNREACHED] > 0)


def _reach(file: Path) -> Reach:
    if not file.exists():
        print(f"running {', '.join(TESTS)} as they are", flush=True)
        if os.waitpid(_forked(lambda: record_reach(file)), 0)[1]:
            raise SystemExit("the tests do not pass as they are")
    found: Reach = json.loads(file.read_text())
    return found


if __name__ == "__main__":
    raise SystemExit(main())
