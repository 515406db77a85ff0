"""CometBFT as a child of this process: started, watched, started again when it dies, and stopped in order.

The application must listen before CometBFT starts and go on until it has stopped. When this process dies instead,
CometBFT loses its application and ends by itself. A child that dies at once waits longer and longer before the next.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput, Unavailable

__all__ = ["VERSION", "Supervisor", "check_program", "find_program"]

log: Final = logging.getLogger("medfed.ledger")
VERSION: Final = "0.38.17"
_PROGRAM: Final = "cometbft"
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_STEADY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_MOST_LOG_BYTES: Final = 8 << 20


def find_program() -> Path | None:
    """The CometBFT program: what MEDFED_COMETBFT names, else what the path or Go's own directory has."""
    named = os.environ.get("MEDFED_COMETBFT")
    found = named or shutil.which(_PROGRAM) or shutil.which(_PROGRAM, path=str(Path.home() / "go" / "bin"))
    return Path(found) if found and Path(found).is_file() else None


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


class Supervisor:
    """Keeps one CometBFT running on one home directory."""

    def __init__(self, program: Path, home: Path, socket: Path, failed: Callable[[], bool] = lambda: False) -> None:
        """CometBFT listens on `socket`; `failed` says whether our side has stopped for good."""
        self._command = [str(program), "start", "--home", str(home)]
        self._home = home
        self._socket = socket
        self._failed = failed
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self.starts = 0
        """How often CometBFT was started."""
        self._thread = threading.Thread(target=self._run, name="cometbft supervisor", daemon=True)

    @property
    def process(self) -> int | None:
        """The process number of CometBFT while it runs."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def start(self) -> None:
        """Start CometBFT and watch it."""
        self._thread.start()

    def stop(self) -> None:
        """Ask CometBFT to end, and make it if it does not."""
        self._stopping.set()
        with self._lock:
            child = self._child
        if child is not None:
            child.terminate()
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set() and not self._failed():
            began = time.monotonic()
            code = self._run_once()
            if self._stopping.is_set() or self._failed():
                return
            lasted = time.monotonic() - began
            pause = _FIRST_PAUSE if lasted > _STEADY_SECONDS else min(2 * pause, _LONGEST_PAUSE)
            log.warning("CometBFT ended (%s) after %.1f s; starting it again in %.1f s", code, lasted, pause)
            self._stopping.wait(pause)

    def _run_once(self) -> int | None:
        path = self._home / "cometbft.log"
        if path.exists() and path.stat().st_size > _MOST_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with self._lock:
            if self._stopping.is_set():
                return None
            try:
                self._socket.unlink(missing_ok=True)  # a killed CometBFT leaves it, and the next one would not start
                with path.open("ab") as output:
                    # A session of its own: Ctrl-C reaches this process only, which then stops both in order.
                    self._child = subprocess.Popen(
                        self._command, stdout=output, stderr=output, cwd=self._home, start_new_session=True
                    )
            except OSError as error:
                log.error("%s: cannot be started: %s", self._command[0], error.strerror)
                return None
            self.starts += 1
        return self._child.wait()
