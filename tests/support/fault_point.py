"""`medfed`, run as a process that dies at its fault points: just before and after each thing that becomes durable.

For tests only; nothing in the product knows of it. Environment variables:

MEDFED_TEST_DIE_AT    a file of the fault points died at: the process kills itself (SIGKILL) at each kind of
                      fault point that is not in it often enough, having written it there first.
MEDFED_TEST_TIMES     how often to die at each kind; a kind is a name without its numbers.
MEDFED_TEST_KINDS     a regular expression; only at kinds in which it is found. Left out, at all.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from medfed.blobs import DirectoryBlobs
from medfed.hospital import site_directory
from medfed.hospital.vault import Vault
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.store import LedgerStore

DIE_AT = "MEDFED_TEST_DIE_AT"
TIMES = "MEDFED_TEST_TIMES"
KINDS = "MEDFED_TEST_KINDS"


def kind_of(name: str) -> str:
    """A fault point's name without numbers and digests."""
    return re.sub(r"[0-9a-f]{6,}|[0-9]+", "#", name)


class FaultPoints:
    """The fault points that this run has still to die at."""

    def __init__(self, path: Path, times: int, kinds: str = "") -> None:
        self._path = path
        self._times = times
        self._kinds = re.compile(kinds)
        path.touch()
        self._died = Counter(path.read_text().splitlines())

    def __call__(self, name: str) -> None:
        """Die here, unless this kind has had its times."""
        kind = kind_of(name)
        if self._died[kind] >= self._times or not self._kinds.search(kind):
            return
        with self._path.open("a") as file:
            file.write(kind + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.kill(os.getpid(), signal.SIGKILL)


def install(effect: FaultPoints) -> None:
    """Put the fault points around vault, blobs and ledger."""

    class FaultyVault(Vault):
        def __init__(self, path: Path | None, key: bytes, entropy: Any) -> None:
            super().__init__(path, key, entropy, effect)

    site_directory.Vault = FaultyVault
    around(DirectoryBlobs, "put", "blob", effect)
    around(EmbeddedEngine, "submit", "submit", effect)
    around(LedgerStore, "append", "append to the ledger", effect)


def around(owner: type, method: str, name: str, effect: FaultPoints) -> None:
    original = getattr(owner, method)

    def wrapped(self: Any, *arguments: Any) -> Any:
        effect(f"before {name}")
        result = original(self, *arguments)
        effect(f"after {name}")
        return result

    setattr(owner, method, wrapped)


if __name__ == "__main__":
    from medfed.cli.main import main

    install(FaultPoints(Path(os.environ[DIE_AT]), int(os.environ[TIMES]), os.environ.get(KINDS, "")))
    main(sys.argv[1:])
