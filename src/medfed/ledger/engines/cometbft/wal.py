"""CometBFT's write-ahead log, kept short: it begins a new file every 10 MiB and lets a gigabyte of old ones lie.

After a crash it reads back to where the last height ended, and never further. The files before that are of no use to
anybody: the blocks are in its block store, and what was voted for in `priv_validator_state.json`. This module must
never touch the file that is being written, nor those just before it.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Final

__all__ = ["KEPT", "trim_wal"]

log: Final = logging.getLogger("medfed.ledger")
KEPT: Final = 3
"""Old files of 10 MiB each that stay: one height, with its largest block proposed more than once, fits into them."""
_OLD: Final = re.compile(r"^wal\.([0-9]{3,18})\Z")


def trim_wal(directory: Path, kept: int = KEPT) -> int:
    """Delete all but the newest `kept` old files of the log in `directory`; returns how many.

    CometBFT may run: it looks at old files only when it starts. What cannot be deleted now stays until the next time.
    """
    try:
        names = [entry.name for entry in directory.iterdir()]
    except OSError:
        return 0  # it has not started yet
    numbers = sorted(int(found[1]) for name in names if (found := _OLD.match(name)))
    deleted = 0
    for number in numbers[: max(0, len(numbers) - kept)]:
        try:
            (directory / f"wal.{number:03d}").unlink()
        except OSError as error:
            log.warning("%s: an old log cannot be deleted: %s", directory, error.strerror or error)
            break
        deleted += 1
    return deleted
