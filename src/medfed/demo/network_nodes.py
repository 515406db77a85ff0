"""Four hospitals' nodes on one machine: made, started, watched and stopped as processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from medfed.demo.heart import FILES
from medfed.demo.place import PASSPHRASE
from medfed.demo.processes import write_site_file
from medfed.errors import InvalidInput, Unavailable
from medfed.hospital.site_directory import wall_clock
from medfed.identifiers import Height, Name
from medfed.ledger.engines.cometbft.engine import PoolEngine, open_client
from medfed.ledger.genesis import Genesis
from medfed.ledger.verify import Verification, verify_store
from medfed.node.founding import found_node
from medfed.node.node_file import NodeFile, ledger_path, load_node_file, save_node_file
from medfed.node.status import NodeStatus, node_status

__all__ = ["Nodes", "free_ports"]

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_NODE: Final = (sys.executable, "-m", "medfed", "-v", "node", "run")


class Nodes:
    """The nodes of the heart study's hospitals, each in its site under `root`/sites."""

    def __init__(self, root: Path, command: Callable[[Name], Sequence[str]] = lambda _: _NODE) -> None:
        """`command` starts one hospital's node; `--site` and its directory are added."""
        self.root = root
        self.processes: dict[Name, subprocess.Popen[bytes]] = {}
        self._command = command

    def make(self, genesis: Genesis, route: Callable[[Name, Name, int], int] = lambda _, __, port: port) -> None:
        """Make the nodes of sites that have their keys already, and tell each about the others.

        `route` says at which port of this machine one hospital (first) reaches another's (second): its own by default.
        """
        addresses: dict[Name, str] = {}
        ports = free_ports(2 * len(FILES))
        for (name, file), port, blobs in zip(FILES.items(), ports[::2], ports[1::2], strict=True):
            write_site_file(self.site(name), file)
            node_file = NodeFile(f"127.0.0.1:{port}", blobs_listen=f"127.0.0.1:{blobs}")
            addresses[name] = found_node(self.site(name), genesis, node_file).address
        for name in FILES:
            peers = tuple(_routed(addresses[other], name, other, route) for other in FILES if other != name)
            save_node_file(self.site(name), replace(load_node_file(self.site(name)), peers=peers))

    def site(self, name: Name) -> Path:
        """A hospital's site."""
        return self.root / "sites" / name

    def ledger(self, name: Name) -> Path:
        """A hospital's replica."""
        return ledger_path(self.site(name))

    def start(self, *names: Name) -> None:
        """Start nodes that do not run."""
        environment = {**os.environ, "MEDFED_PASSPHRASE": PASSPHRASE}
        for name in names or FILES:
            command = [*self._command(name), "--site", str(self.site(name).absolute())]
            with (self.root / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def stop(self, *names: Name) -> None:
        """Stop nodes in order; what does not end in time is killed."""
        stopping = [self.processes.pop(name) for name in names or list(self.processes) if name in self.processes]
        for process in stopping:
            process.send_signal(signal.SIGTERM)
        for process in stopping:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self, name: Name) -> None:
        """Kill a node's own process, and nothing that it has started."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def status(self, name: Name) -> NodeStatus | None:
        """Where a node stands; None while it has never run or its file cannot be read now."""
        try:
            return node_status(self.site(name))
        except (Unavailable, InvalidInput):
            return None

    def client(self, name: Name) -> PoolEngine:
        """An engine on a node."""
        return open_client(self.ledger(name), wall_clock)

    def wait_connected(self, count: int = len(FILES) - 1) -> None:
        """Wait until each running node is connected with `count` others.

        Raises:
            Unavailable: one is not after a minute.
        """

        def connected(name: Name) -> bool:
            status = self.status(name)
            return status is not None and len(status.peers) >= count and (status.consensus_height or 0) > 0

        self._wait(connected, "are not connected", _START_SECONDS)

    def wait_level(self, height: Height, seconds: float = _START_SECONDS) -> None:
        """Wait until every running node has block `height`.

        Raises:
            Unavailable: one has not in time.
        """

        def level(name: Name) -> bool:
            status = self.status(name)
            return status is not None and status.height >= height

        self._wait(level, f"have not reached block {height}", seconds)

    def verify(self, genesis: Genesis) -> dict[Name, Verification]:
        """Every replica, verified from its genesis."""
        return {name: verify_store(self.ledger(name), genesis.digest) for name in FILES}

    def _wait(self, good: Callable[[Name], bool], problem: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        waiting = set(self.processes)
        while waiting := {name for name in waiting if not good(name)}:
            if time.monotonic() > end:
                raise Unavailable(f"after {seconds:.0f} s {', '.join(sorted(waiting))} {problem}; see their logs")
            time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _routed(address: str, one: Name, other: Name, route: Callable[[Name, Name, int], int]) -> str:
    start, _, port = address.rpartition(":")
    return f"{start}:{route(one, other, int(port))}"
