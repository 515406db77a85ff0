"""A program as a child of this process: started, watched, started again when it dies, and stopped when asked.

A child that dies soon waits longer and longer before its next start. It is in a session of its own, so Ctrl-C at a
terminal reaches this process only, which then stops its children in order.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Supervisor"]

log: Final = logging.getLogger("medfed.ledger")
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_STEADY_SECONDS: Final = 30.0
_MOST_LOG_BYTES: Final = 8 << 20


class Supervisor:
    """Keeps one program running."""

    def __init__(
        self,
        command: Sequence[str],
        output: Path,
        *,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] = lambda: None,
        wanted: Callable[[], bool] = lambda: True,
        stop_seconds: float = 10.0,
        label: str = "",
        inherited: Sequence[int] = (),
    ) -> None:
        """`output` takes what the program prints, its directory is where it runs; `before` is done before each start;
        `inherited` are files of this process that the program may use under the same numbers.

        When the program has ended, it is started again as long as `wanted` says so.
        """
        self.name = label or Path(command[0]).name
        self._command = list(command)
        self._output = output
        self._environment = environment
        self._before = before
        self._wanted = wanted
        self._stop_seconds = stop_seconds
        self._inherited = tuple(inherited)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self.starts = 0
        """How often the program was started."""
        self._thread = threading.Thread(target=self._run, name=f"supervisor of {self.name}", daemon=True)

    @property
    def process(self) -> int | None:
        """The number of the process while it runs."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def start(self) -> None:
        """Start the program and watch it."""
        self._thread.start()

    def restart(self) -> None:
        """Kill the program; it is started again as after any other end."""
        with self._lock:
            child = self._child
        if child is not None and child.poll() is None:
            child.kill()

    def stop(self) -> None:
        """Ask the program to end, make it if it does not, and do not start it again."""
        self._stopping.set()
        with self._lock:
            child = self._child
        if child is not None:
            if child.stdin is not None:
                child.stdin.close()
            child.terminate()
            try:
                child.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._is_over():
            began = time.monotonic()
            code = self._run_once()
            if self._is_over():
                return
            lasted = time.monotonic() - began
            pause = _FIRST_PAUSE if lasted > _STEADY_SECONDS else min(2 * pause, _LONGEST_PAUSE)
            log.warning("%s ended (%s) after %.1f s; starting it again in %.1f s", self.name, code, lasted, pause)
            self._stopping.wait(pause)

    def _is_over(self) -> bool:
        return self._stopping.is_set() or not self._wanted()

    def _run_once(self) -> int | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            try:
                self._before()
                self._child = self._spawn()
            except OSError as error:
                log.error("%s: cannot be started: %s", self.name, error.strerror or error)
                return None
            self.starts += 1
        code = self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        return code

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._output.exists() and self._output.stat().st_size > _MOST_LOG_BYTES:
            self._output.replace(self._output.with_name(self._output.name + ".1"))
        with self._output.open("ab") as output:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,  # nothing is ever written: its end tells the child that this process is gone
                stdout=output,
                stderr=output,
                cwd=self._output.parent,
                env=self._environment,
                pass_fds=self._inherited,
                start_new_session=True,
            )
