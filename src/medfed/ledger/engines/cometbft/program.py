"""Finding the CometBFT program, and making sure that it is the version that this program speaks with."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput, Unavailable

__all__ = ["VERSION", "check_program", "end_orphans", "find_program", "installed_program"]

VERSION: Final = "0.38.17"
_PROGRAM: Final = "cometbft"


def find_program() -> Path | None:
    """The CometBFT program: what MEDFED_COMETBFT names, else what the path or Go's own directory has."""
    named = os.environ.get("MEDFED_COMETBFT")
    found = named or shutil.which(_PROGRAM) or shutil.which(_PROGRAM, path=str(Path.home() / "go" / "bin"))
    return Path(found) if found and Path(found).is_file() else None


def installed_program() -> Path:
    """The same, checked.

    Raises:
        Unavailable: it is not installed or does not run. InvalidInput: it is another version.
    """
    program = find_program()
    if program is None:
        raise Unavailable("CometBFT is not installed: run `make network`, or set MEDFED_COMETBFT to the program")
    check_program(program)
    return program


def check_program(program: Path) -> None:
    """Check that a program is the version of CometBFT that this program speaks with.

    Raises:
        InvalidInput: it is another. Unavailable: it does not run.
    """
    try:
        done = subprocess.run([program, "version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{program}: cannot be run ({type(error).__name__})") from None
    if done.stdout.strip().removeprefix("v") != VERSION:
        raise InvalidInput(f"{program}: expected CometBFT {VERSION}, found {done.stdout.strip()[:40]!r}")


def end_orphans(command: list[str]) -> list[int]:
    """Kill processes that were started with exactly this command by somebody who is gone; returns their numbers.

    A CometBFT whose node was killed while it was starting waits for the next node's application, holds the database,
    and is nobody's child. Only call this where no other process may run the command: under the node's lock.
    """
    found = [number for number, line in _commands() if line == command and number != os.getpid()]
    for number in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)
    return found


def _commands() -> list[tuple[int, list[str]]]:
    """Every process with its command line, where the system shows them as files."""
    found: list[tuple[int, list[str]]] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")[:-1]
            found.append((int(path.parent.name), [os.fsdecode(word) for word in words]))
    return found
