"""How much memory and time a large delivery takes, by the commands that people use: `python -m benchmarks.exchange`.

Two hospitals on one ledger: the owner commits (`exchange offer`) and encrypts (`deliver`), the requester decrypts,
compares and keeps (`verify`). Each command is a process of its own. Its highest resident memory is printed beside that
of the same command with a megabyte, and its time beside that of reading, hashing and writing as many bytes in the same
run. Three times the size is needed on the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

PASSPHRASE: Final = "a passphrase of the benchmark"
MEGABYTE: Final = 1_000_000
_PART: Final = 1 << 20
ON: Final = ("--ledger", "two.db")


class Cost(NamedTuple):
    """Of one command."""

    seconds: float
    memory: float
    """MB, the highest."""
    printed: Any


def run(root: Path, *words: str) -> Cost:
    """Run a command and measure its process; it must end well."""
    start = time.monotonic()
    environment = {**os.environ, "MEDFED_PASSPHRASE": PASSPHRASE}
    command = [sys.executable, "-m", "medfed", *words, "--json"]
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"medfed {words[0]} {words[1]} ended with {process.returncode}")
    return Cost(time.monotonic() - start, usage.ru_maxrss / 1000, json.loads(printed))


def deliver(root: Path, size: int) -> dict[str, Cost]:
    """One file of `size` random bytes from the owner to the requester; what each step cost."""
    with (root / "data").open("wb") as file:
        for at in range(0, size, _PART):
            file.write(os.urandom(min(_PART, size - at)))
    terms = ("--kind", "cases", "--arbiter", "judge", "--purpose", "research", "--site", "owner")
    offered = run(root, "exchange", "offer", "data", *ON, *terms)
    asked = run(
        root, "exchange", "request", offered.printed["dataset"], *ON, "--site", "asker", "--purpose", "research"
    )
    request = asked.printed["request"]
    run(root, "exchange", "decide", request, *ON, "--site", "owner", "--grant")
    delivered = run(root, "exchange", "deliver", request, *ON, "--site", "owner")
    verified = run(root, "exchange", "verify", request, *ON, "--site", "asker")
    if verified.printed["outcome"] != "good":
        sys.exit(f"the delivery is wrong: {verified.printed['outcome']}")
    received = root / verified.printed["file"]
    received.unlink()
    return {"offer": offered, "deliver": delivered, "verify": verified}


def copying(root: Path) -> float:
    """Seconds to read, hash and write the file once, and have it on the disk."""
    start, state = time.monotonic(), hashlib.sha256()
    with (root / "data").open("rb") as source, (root / "copy").open("wb") as target:
        while part := source.read(_PART):
            state.update(part)
            target.write(part)
        target.flush()
        os.fsync(target.fileno())
    (root / "copy").unlink()
    return time.monotonic() - start


def main() -> None:
    """Print one line a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    size = parser.parse_args().megabytes * MEGABYTE
    with tempfile.TemporaryDirectory(prefix="medfed-exchange-") as folder:
        root = Path(folder)
        for name in ("owner", "asker", "third", "judge"):
            run(root, "keys", "create", name, "--name", name)
        founders = ("--hospital", "owner", "--hospital", "asker", "--hospital", "third", "--auditor", "judge")
        run(root, "consortium", "init", *ON, "--name", "two", *founders)
        small, large = deliver(root, MEGABYTE), deliver(root, size)
        floor = copying(root)
    print(f"{size / MEGABYTE:.0f} MB; read, hashed and written once: {floor:.1f} s")
    for step, cost in large.items():
        memory, seconds = cost.memory - small[step].memory, cost.seconds - small[step].seconds
        print(f"{step}: {cost.memory:.0f} MB, {memory:+.0f} MB; {seconds:.1f} s more, {seconds / floor:.1f} times that")


if __name__ == "__main__":
    main()
