"""A demo's agents as processes of their own. They end when the demo does, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from medfed.demo.place import PASSPHRASE, DemoDirectory
from medfed.errors import Unavailable
from medfed.identifiers import Name

__all__ = ["AgentProcesses"]

T = TypeVar("T")
_PATIENCE: Final = 10.0
"""Seconds that an agent has to end by itself."""


class AgentProcesses:
    """The agents of some sites of a demo's directory."""

    def __init__(self, place: DemoDirectory) -> None:
        self._place = place
        self._running: dict[Name, subprocess.Popen[bytes]] = {}

    def start(self, names: Iterable[Name]) -> None:
        """Start an agent for each site. What one says is in `NAME.log`."""
        environment = {**os.environ, "MEDFED_PASSPHRASE": PASSPHRASE}
        for name in names:
            command = [sys.executable, "-m", "medfed", "agent", "run", "--ledger", str(self._place.ledger.absolute())]
            command += ["--site", str(self._place.site(name).absolute()), "--quiet", "--poll", "0.2", "--leashed"]
            with (self._place.root / f"{name}.log").open("wb") as log:
                self._running[name] = subprocess.Popen(
                    command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
                )

    def wait(self, what: str, found: Callable[[], T | None], limit: float) -> T:
        """Look at the ledger until `found` has something, for at most `limit` seconds.

        Raises:
            Unavailable: it took longer, or an agent has ended.
        """
        end = time.monotonic() + limit
        while time.monotonic() < end:
            height = self._place.engine.view().tip.height
            if (result := found()) is not None:
                return result
            for name, agent in self._running.items():
                if agent.poll() is not None:
                    raise Unavailable(f"{what}: the agent of {name} has ended; see {self._place.root / name}.log")
            self._place.engine.wait(height, 0.05)
        raise Unavailable(f"{what}: not done within {limit:.0f} s")

    def stop(self) -> None:
        """End all of them, gently first."""
        for agent in self._running.values():
            agent.send_signal(signal.SIGTERM)
        for agent in self._running.values():
            try:
                agent.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.communicate()
        self._running.clear()
