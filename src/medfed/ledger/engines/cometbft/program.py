"""Finding the CometBFT program, and making sure that it is the version that this program speaks with."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput, Unavailable

__all__ = ["VERSION", "check_program", "find_program", "installed_program"]

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
