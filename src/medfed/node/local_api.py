"""What a node tells the programs of its own machine: whether it is well, and figures for a monitor.

| path | answer | token |
|---|---|---|
| `/health` | 200 `ok`, or 503 and one line that says why | no |
| `/metrics` | figures in Prometheus's text format 0.0.4 | yes |
| `/status` | `medfed node status` as JSON | yes |

It listens on the loopback only, answers GET and HEAD, takes no body, and reads no path from a request. The token is in
`node/api.token`, which its owner alone may read. Figures are of the node; none is of a patient or a study.
"""

from __future__ import annotations

import ipaddress
import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec

from medfed.crypto import equal, system_entropy
from medfed.crypto.private_file import create_private_file, read_private_file
from medfed.errors import InvalidInput, MedFedError
from medfed.node.bounded_server import BoundedServer, split_address
from medfed.node.node_file import node_directory
from medfed.node.status import NodeStatus, node_status

__all__ = ["LocalApi", "Running", "api_token", "metrics_text"]

log: Final = logging.getLogger("medfed.node")
_IDLE_SECONDS: Final = 10.0
_MOST_CONNECTIONS: Final = 16
_A_SECOND: Final = 20.0
"""Requests that are answered on average; twice as many in a burst."""
_TOKEN_BYTES: Final = 32


class Running(NamedTuple):
    """What only the node's own process knows."""

    consensus_starts: int
    """How often CometBFT was started."""
    agent_starts: int


def api_token(site: Path) -> str:
    """The token of a site's node, which is made if there is none yet: 64 hexadecimal digits.

    Raises:
        Refused, Tampered, Unavailable: as private files say.
    """
    path = node_directory(site) / "api.token"
    if not path.exists():
        create_private_file(path, system_entropy(_TOKEN_BYTES).hex().encode())
    return read_private_file(path, 2 * _TOKEN_BYTES).decode("ascii", errors="replace")


class LocalApi:
    """Serves from construction until `close`."""

    def __init__(
        self, listen: str, site: Path, running: Callable[[], Running], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`listen` is host:port on the loopback; port 0 takes a free one.

        Raises:
            InvalidInput: not the loopback. Unavailable: the port is taken.
        """
        if not _is_loopback(split_address(listen)[0]):
            raise InvalidInput(
                f"api_listen: {listen} is not the loopback; to be asked from elsewhere, put a proxy with TLS before it"
            )
        self._server = _Server(listen, _Answers(site, api_token(site), running, clock))
        self.port: Final[int] = self._server.port
        self._server.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()


class _Answers:
    """What is answered to whom."""

    def __init__(self, site: Path, token: str, running: Callable[[], Running], clock: Callable[[], float]) -> None:
        self._site = site
        self._token = token.encode()
        self._running = running
        self._lock = threading.Lock()
        self._left = 2 * _A_SECOND
        self._clock = clock
        self._at = clock()

    def may_ask(self) -> bool:
        """Whether one more request is answered now."""
        with self._lock:
            now = self._clock()
            self._left = min(2 * _A_SECOND, self._left + (now - self._at) * _A_SECOND)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def knows(self, authorization: str) -> bool:
        """Whether the header has the token."""
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and equal(given.strip().encode(), self._token)

    def answer(self, path: str, authorization: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path not in ("/health", "/metrics", "/status"):
            return 404, _TEXT, b"no such path\n"
        if path != "/health" and not self.knows(authorization):
            return 401, _TEXT, b"the token of node/api.token is needed, as a bearer token\n"
        try:
            status = node_status(self._site)
        except MedFedError as error:
            return 503, _TEXT, f"{error}\n".encode()
        if path == "/health":
            problem = _problem(status)
            return (503, _TEXT, f"{problem}\n".encode()) if problem else (200, _TEXT, b"ok\n")
        if path == "/status":
            fields = {name: getattr(status, name) for name in status.__struct_fields__}
            shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
            return 200, "application/json", msgspec.json.encode(shown) + b"\n"
        free = shutil.disk_usage(self._site).free
        return 200, "text/plain; version=0.0.4; charset=utf-8", metrics_text(status, self._running(), free).encode()


_TEXT: Final = "text/plain; charset=utf-8"


def _problem(status: NodeStatus) -> str:
    """What is not as it should be with a node; empty if nothing."""
    if not status.running or status.consensus_height is None:
        return status.problem or "CometBFT does not answer"
    if status.catching_up:
        return "catching up with the other nodes"
    if not status.peers:
        return "connected with no other node"
    return ""


def metrics_text(status: NodeStatus, running: Running, free: int) -> str:
    """The figures in Prometheus's text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    rows: list[tuple[str, str, str, float]] = [
        ("ledger_height", "gauge", "Blocks in this node's replica.", status.height),
        ("ledger_block_time_seconds", "gauge", "Time of the last block, since 1970.", status.time_ms / 1000),
        ("consensus_answers", "gauge", "Whether CometBFT answers.", status.consensus_height is not None),
        ("consensus_height", "gauge", "CometBFT's height.", status.consensus_height or 0),
        ("consensus_catching_up", "gauge", "Whether blocks are still fetched from others.", status.catching_up),
        ("consensus_starts_total", "counter", "Starts of CometBFT by this process.", running.consensus_starts),
        ("peers", "gauge", "Connected nodes of other participants.", len(status.peers)),
        ("waits_to_vote", "gauge", "Whether it was restored and does not vote yet.", status.waits),
        ("agent_running", "gauge", "Whether an agent works on the site.", status.agent),
        ("agent_starts_total", "counter", "Starts of the agent by this process.", running.agent_starts),
        ("disk_free_bytes", "gauge", "Room on the disk of the site.", free),
    ]
    lines: list[str] = []
    for name, kind, help_text, value in rows:
        full = f"medfed_{name}"
        lines += [f"# HELP {full} {help_text}", f"# TYPE {full} {kind}", f"{full} {float(value):.15g}"]
    return "\n".join(lines) + "\n"


class _Server(BoundedServer):
    def __init__(self, listen: str, answers: _Answers) -> None:
        self.answers = answers
        super().__init__(listen, _Handler, _MOST_CONNECTIONS, "local API")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request a connection: nothing is left over from a body that nobody reads
    server_version = "medfed"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("local API: " + format, *args)

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()

    def _answer(self, *, with_body: bool) -> None:
        answers = cast(_Server, self.server).answers
        if answers.may_ask():
            status, kind, body = answers.answer(self.path, self.headers.get("Authorization", ""))
        else:
            status, kind, body = 429, _TEXT, b"too many requests\n"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
