"""How a network wears: many rounds of the heart study on four nodes, with restarts at random moments.

    python -m benchmarks.endurance --rounds 200 --seed 1 --output endurance.json

Every few rounds it notes, for all hospitals together: resident memory by program, what lies on the disk by what it is,
open files, processes and listening ports. Nothing of it may grow but what a round has to leave (blocks and blobs); the
growth a round and hospital, over the last three quarters of the run, is printed at its end. Then all are started anew
and do ten rounds more, which tells memory that the ledger needs from memory that is lost: what they hold then, they
hold for the ledger. At last every replica is verified, and all must have one state and one model; a process or port
that outlives its node is an error.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from medfed.demo.heart import FILES, heart_plan
from medfed.demo.network import agreed_state
from medfed.demo.network_figures import resident_mib
from medfed.demo.network_nodes import Nodes
from medfed.demo.place import demo_keys
from medfed.hospital.agent_loop import is_done
from medfed.hospital.site_directory import wall_clock
from medfed.identifiers import StudyId
from medfed.ledger.contracts.studies import study_record
from medfed.ledger.engines.cometbft.engine import PoolEngine
from medfed.ledger.engines.cometbft.program import installed_program
from medfed.simulation.consortium import ORGANISER, make_consortium
from medfed.simulation.world import propose_study

STUDY: StudyId = b"an endurance run"
AGAIN: StudyId = b"the same, afresh"
ROUNDS_AGAIN: Final = 10
Sample = dict[str, float]


def main() -> None:
    """Parse, run, print the samples as JSON."""
    parser = argparse.ArgumentParser(description="How a network wears under restarts.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=10, help="rounds between two samples")
    parser.add_argument("--restarts", type=float, default=0.25, help="restarts a round, on average")
    parser.add_argument("--seconds", type=float, default=3600, help="give up after this time")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    installed_program()
    with tempfile.TemporaryDirectory(prefix="medfed-endurance-") as place:
        found = run(Path(place), given.rounds, given.seed, given.every, given.restarts, given.seconds)
    text = json.dumps(found, indent=1)
    print(text)
    if given.output is not None:
        given.output.write_text(text + "\n")


def run(root: Path, rounds: int, seed: int, every: int, restarts: float, seconds: float) -> dict[str, Any]:
    """One run; its samples and what was restarted.

    Raises:
        RuntimeError: the study has not ended, replicas differ, or something is left over.
    """
    plan = heart_plan()
    plan = replace(plan, training=replace(plan.training, rounds=rounds))
    keys = {name: demo_keys(root / "sites" / name, name) for name in (*FILES, ORGANISER)}
    organiser = keys.pop(ORGANISER)
    consortium = make_consortium("heart", keys.values(), organiser, created_ms=wall_clock())
    nodes = Nodes(root)
    nodes.make(consortium.genesis)
    chance = random.Random(seed)
    samples: list[Sample] = []
    done: list[str] = []
    end = time.monotonic() + seconds
    try:
        nodes.start()
        nodes.wait_connected()
        client = nodes.client("cleveland")
        propose_study(client, organiser, plan, STUDY)
        began, next_hurt = time.monotonic(), chance.expovariate(restarts) if restarts else math.inf
        for number in _rounds(client, STUDY, end):
            if number >= every * (len(samples) + 1):
                samples.append({"round": number, "seconds": round(time.monotonic() - began), **sample(nodes)})
                print(samples[-1], file=sys.stderr, flush=True)
            if number > next_hurt:
                next_hurt = number + chance.expovariate(restarts)
                done.append(restart(nodes, chance))
        client.close()  # a node that is stopped takes its socket with it
        nodes.stop()
        nodes.start()
        nodes.wait_connected()
        client = nodes.client("cleveland")
        propose_study(client, organiser, replace(plan, training=replace(plan.training, rounds=ROUNDS_AGAIN)), AGAIN)
        for _ in _rounds(client, AGAIN, end):
            pass
        afresh = sample(nodes)
        client.close()
    finally:
        nodes.stop()
    found = nodes.verify(consortium.genesis)
    if len({one.tip for one in found.values()}) != 1 or len({agreed_state(nodes, n, STUDY) for n in FILES}) != 1:
        raise RuntimeError("the replicas or the models differ")
    left = processes_under(root)
    if left or listening(root, nodes):
        raise RuntimeError(f"left over: processes {left}, ports {listening(root, nodes)}")
    blocks = next(iter(found.values())).blocks
    return {
        "rounds": rounds,
        "seed": seed,
        "blocks": blocks,
        "restarts": done,
        "samples": samples,
        "growth_kib_a_round_and_hospital": growth(samples),
        "afresh": afresh,
    }


def _rounds(client: PoolEngine, study: StudyId, end: float) -> Iterator[int]:
    """The round that the study is in, five times a second, until all hospitals are through with it.

    Raises:
        RuntimeError: it was aborted, or the monotonic time is after `end`.
    """
    while True:
        record = study_record(client.view(), study)
        number = 0 if record is None else record.next_round
        if record is not None and record.phase == "aborted":
            raise RuntimeError(f"the study was aborted ({record.pause_code})")
        if record is not None and record.phase == "completed" and all(is_done(client.view(), n) for n in FILES):
            return
        if time.monotonic() > end:
            raise RuntimeError(f"still in round {number} when the time is over")
        yield number
        client.wait(client.view().tip.height, 0.2)


def growth(samples: list[Sample]) -> Sample:
    """How fast each kind of file and of memory grows, in KiB a round and hospital, when the run has settled."""
    settled = samples[len(samples) // 4 :]
    if len(settled) < 2:
        return {}
    first, last = settled[0], settled[-1]
    rounds = (last["round"] - first["round"]) * len(FILES)
    names = [name for name in last if name.startswith(("disk_", "memory_"))]
    return {name: round(1024 * (last[name] - first.get(name, 0.0)) / rounds, 1) for name in names}


def restart(nodes: Nodes, chance: random.Random) -> str:
    """Stop a node in order, or kill it, or one of its children; whatever is gone comes back."""
    name = chance.choice(sorted(FILES))
    process = nodes.processes.get(name)
    what = chance.choice(["stop", "kill", "child"])
    if process is None or process.poll() is not None:
        raise RuntimeError(f"the node of {name} has ended")
    if what == "child":
        inside = [number for number in children(process.pid) if number != process.pid]
        if inside:
            import os

            os.kill(chance.choice(inside), signal.SIGKILL)
        return f"{name}: a child killed"
    if what == "stop":
        nodes.stop(name)
    else:
        nodes.kill(name)
    time.sleep(chance.uniform(0, 1))
    nodes.start(name)
    return f"{name}: {what}"


PARTS: Final = {
    "wal": "cs.wal/",
    "blockstore": "blockstore.db/",
    "cometbft_state": "state.db/",
    "replica": "node/ledger.db",
    "vault": "/vault.db",
    "blobs": "/blobs/",
    "logs": ".log",
}
"""What lies in a site, by a part of its path; the first that fits counts."""


def sample(nodes: Nodes) -> Sample:
    """All hospitals together, now; MiB and counts."""
    found: Sample = {"memory_mib": 0.0, "disk_mib": 0.0}
    found |= {f"memory_{program}_mib": 0.0 for program in ("node", "agent", "cometbft")}
    found |= {f"disk_{part}_mib": 0.0 for part in (*PARTS, "rest")}
    numbers: list[int] = []
    for process in nodes.processes.values():
        for program, size in resident_mib(process.pid).items():
            found[f"memory_{program}_mib"] += size
            found["memory_mib"] += size
        numbers += [process.pid, *children(process.pid)]
    for path in files_of(nodes.root / "sites"):
        part = next((name for name, text in PARTS.items() if text in str(path)), "rest")
        size = size_of(path) / (1 << 20)
        found[f"disk_{part}_mib"] += size
        found["disk_mib"] += size
    found["open_files"] = sum(open_files(number) for number in numbers)
    found["processes"] = len(processes_under(nodes.root))
    found["ports"] = len(listening(nodes.root, nodes))
    return {name: round(value, 2) for name, value in found.items()}


def files_of(root: Path) -> list[Path]:
    """Every file; one that is written under another name may be gone when it is looked at."""
    return [path for path in root.rglob("*") if path.is_file()]


def size_of(path: Path) -> int:
    """In bytes; none where the file has just got its final name."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def children(process: int) -> list[int]:
    """A process's children."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += [int(text) for text in task.read_text().split()]
        except OSError:
            continue
    return found


def open_files(process: int) -> int:
    """Open file descriptors; 0 where it has just ended."""
    try:
        return len(list(Path(f"/proc/{process}/fd").iterdir()))
    except OSError:
        return 0


def processes_under(root: Path) -> list[int]:
    """Processes that name the directory on their command line."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(root / "sites").encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def listening(root: Path, nodes: Nodes) -> list[int]:
    """Which of the nodes' ports somebody listens at."""
    from medfed.node.node_file import load_node_file

    files = [load_node_file(nodes.site(name)) for name in FILES]
    wanted = {int(one.rpartition(":")[2]) for file in files for one in (file.listen, file.blobs_listen)}
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sorted({int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A"} & wanted)


if __name__ == "__main__":
    main()
