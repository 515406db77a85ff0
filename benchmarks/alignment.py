"""Private set intersection: the rate of one core, all threads against one, and four hospitals with 10,000 people each.

The peer is openmined-psi (Diffie-Hellman on P-256, two parties), if it is installed; both do the same work: hashing to
the group and blinding one's own list, and blinding somebody else's.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Section, Target, alternately, spread
from benchmarks.results import say

from medfed.alignment.blinding import blind_list
from medfed.alignment.inputs import prepare_list
from medfed.crypto import KeystoreCost, new_scalar, random_element, system_entropy
from medfed.hospital.site_directory import create_site
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import Coding
from medfed.records.library import Library

HOSPITALS = ("east", "north", "south", "west")
BATCH = 2_000
PASSES = 7
OWN, OTHERS = "hashing and blinding one's own", "blinding another's"
PEER = ", openmined-psi"
SHARED = 0.05
"""Part of each hospital's people who are at the next one too."""


def report(*, quick: bool) -> list[Section]:
    """Rates with the peer's, scaling over threads, and a whole run by four processes."""
    return [_rates(), _whole(1_000 if quick else 10_000)]


def _rates() -> Section:
    """Elements a second and core, alternately with the peer; threads by the wall clock."""
    scalar = new_scalar(system_entropy)
    entries = [b"person %d" % number for number in range(BATCH)]
    foreign = b"".join(random_element(system_entropy) for _ in range(BATCH))
    jobs: dict[str, Callable[[], object]] = {
        OWN: lambda: prepare_list(entries, BATCH, b"benchmark", scalar, system_entropy, workers=1),
        OTHERS: lambda: blind_list(scalar, foreign, BATCH, workers=1),
    }
    peer = _peer()
    if peer is None:
        say("openmined-psi is not installed: no comparison")
    else:
        client, server = peer.client.CreateWithNewKey(True), peer.server.CreateWithNewKey(True)
        texts = [entry.decode() for entry in entries]
        asked = client.CreateRequest(texts)
        jobs[OWN + PEER] = lambda: client.CreateRequest(texts)
        jobs[OTHERS + PEER] = lambda: server.ProcessRequest(asked)
    timings = alternately(PASSES, jobs)
    rows: list[tuple[str, ...]] = [
        (name, f"{BATCH / timing.minimum:,.0f}", spread(timing, 1e-3)) for name, timing in timings.items()
    ]
    targets: list[Target] = []
    if peer is not None:
        ours, theirs = (sum(timings[work + of].minimum for work in (OWN, OTHERS)) for of in ("", PEER))
        targets.append(
            Target(
                "private set intersection, an element hashed and blinded by two: rate of openmined-psi's",
                theirs / ours,
                1.2,
                "times",
                at_most=False,
            )
        )
        for work in (OWN, OTHERS):
            gain = timings[work + PEER].minimum / timings[work].minimum
            rows.append((f"{work}: rate of openmined-psi's", f"{gain:.2f} times", ""))
    cores, gain, ceiling = _scaling(scalar)
    rows.append((f"{OTHERS}, {cores} threads (wall clock)", f"{gain:.2f} times one thread", ""))
    rows.append((f"{OTHERS}, {cores} processes side by side", f"{ceiling:.2f} times one", ""))
    targets.append(
        Target(
            f"private set intersection, {cores} threads: share of what {cores} processes that share nothing gain",
            gain / ceiling,
            0.9,
            "",
            at_most=False,
        )
    )
    note = f"Lists of {BATCH:,} elements; processor time of one core."
    return Section("Private set intersection: rates", note, ("", "elements a second", "ms a list"), rows, targets)


def _scaling(scalar: bytes) -> tuple[int, float, float]:
    """Cores, how much faster a thread on each is than one, and how much processes that share nothing do at once.

    The latter is what the machine can give: cores that are shared with others, or are halves of one, give less than
    their number.
    """
    elements = b"".join(random_element(system_entropy) for _ in range(5 * BATCH))
    cores = os.cpu_count() or 1
    blind = partial(blind_list, scalar, elements, 5 * BATCH)
    with multiprocessing.Pool(cores) as pool:
        tasks = {
            "one": partial(blind, 1),
            "threads": partial(blind, cores),
            "processes": partial(pool.map, blind, [1] * cores, 1),
        }
        timings = alternately(PASSES, tasks, time.perf_counter)
    one = timings["one"].minimum
    return cores, one / timings["threads"].minimum, cores * one / timings["processes"].minimum


def _whole(people: int) -> Section:
    """Four sites with case libraries, agents as processes of their own on one ledger, from opening to the results."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for at, name in enumerate(HOSPITALS):
            _make_site(root, name, at, people)
        _make_site(root, "organiser", 0, 0)
        hospitals = [word for name in HOSPITALS for word in ("--hospital", name)]
        founding = ("--ledger", "l.db", "--name", "bench", *hospitals, "--organiser", "organiser")
        _medfed(root, "consortium", "init", *founding)
        started = time.perf_counter()
        opened = _medfed(
            root, "align", "open", "--ledger", "l.db", "--site", "organiser", *hospitals, "--patients", "--json"
        )
        command = ["agent", "run", "--ledger", "l.db", "--until-complete", "--poll", "0.02", "--site"]
        agents = [subprocess.Popen(_words(*command, name), cwd=root, env=_environment()) for name in HOSPITALS]
        if any(agent.wait() for agent in agents):
            raise RuntimeError("benchmark: an agent failed")
        seconds = time.perf_counter() - started
        asked = ("align", "result", json.loads(opened)["alignment"], "--ledger", "l.db", "--site", "north", "--json")
        shared = max(count for *_, count in json.loads(_medfed(root, *asked))["sizes"])
        if shared != int(people * SHARED):
            raise RuntimeError(f"benchmark: {shared} people were found")
        sent = sum(path.stat().st_size for path in (root / "l.db.blobs").rglob("*") if path.is_file()) / len(HOSPITALS)
    rows = [(f"{people:,}", f"{seconds:.1f} s", f"{sent / 1e6:.2f} MB", f"{shared:,}")]
    note = f"Four processes on {os.cpu_count()} cores, wall clock, from opening the alignment to everybody's result."
    head = ("people a hospital", "in all", "published a hospital", "shared by neighbours")
    return Section("Private set intersection: four hospitals", note, head, rows)


def _make_site(root: Path, name: str, at: int, people: int) -> None:
    create_site(root / name, name, "benchmark", cost=KeystoreCost(passes=1, memory=8 << 20))
    if not people:
        return
    first = int(at * people * (1 - SHARED))
    library = Library(root / name / "library.db", system_entropy)
    finding = (Feature(Coding("urn:benchmark", "fever")),)
    with library.transaction():
        for number in range(first, first + people):
            library.put(Case(f"c{number}", f"p{number}", 0, 50.0, "", finding, Outcome(), f"s{number}"), "benchmark")
    library.close()
    rows = [f"p{number},{number:09}" for number in range(first, first + people)]
    (root / name / "people.csv").write_text("\n".join(["patient,identifier", *rows]) + "\n")
    (root / name / "site.toml").write_text(
        '[alignment]\npatients = "approve"\nlegal_basis = "a benchmark"\nidentifiers = "people.csv"\n'
    )


def _words(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "medfed", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "MEDFED_PASSPHRASE": "benchmark"}


def _medfed(root: Path, *arguments: str) -> str:
    return subprocess.run(
        _words(*arguments), cwd=root, env=_environment(), check=True, capture_output=True, text=True
    ).stdout


def _peer() -> Any:
    try:
        return importlib.import_module("private_set_intersection.python")
    except ImportError:
        return None
