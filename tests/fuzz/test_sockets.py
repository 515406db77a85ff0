"""Almost valid bytes at every socket of a node: each goes on answering, and nothing grows.

CometBFT's own RPC listens on a unix socket of the node's directory and is not ours to fuzz; what it answers is in
`targets_cometbft`.
"""

from __future__ import annotations

import gc
import logging
import random
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.fuzz.mutations import draw_program, mutate
from tests.fuzz.target import Target
from tests.fuzz.targets_cometbft import TARGETS
from tests.support.ledger import key_of
from tests.support.waiting import wait_until
from tests.unit.ledger.engines.cometbft.test_abci_server import ECHO, answer, framed, read_all
from tests.unit.node.test_blob_receiving import DATA as PUSHED
from tests.unit.node.test_blob_receiving import Setting as Receiving
from tests.unit.node.test_blob_server import DATA, Setting, setting
from tests.unit.node.test_local_api import GOOD, ask, well

from medfed.errors import Unavailable
from medfed.hospital.blob_exchange.message_signatures import sign_request
from medfed.hospital.blob_exchange.peer_connection import client_context
from medfed.ledger.engines.cometbft.abci_server import AbciServer
from medfed.ledger.engines.cometbft.messages import Empty, Request, Text
from medfed.node.local_api import LocalApi, Running

__all__ = ["setting"]

CASES = 500
MOST_GROWTH = 1 << 18
"""Bytes of Python's own memory that the second half of the cases may add."""


@dataclass
class Socket:
    """One socket of a node: how to reach it, what is valid there, and whether it still answers."""

    connect: Callable[[], socket.socket]
    seeds: Sequence[bytes]
    check: Callable[[], None]


@pytest.fixture
def blob_socket(setting: Setting) -> Socket:
    """The blob server: mutations of signed requests inside TLS, and of the bytes before it."""
    path = f"/blobs/{setting.digest.hex()}"

    def request(method: str, extra: str = "", body: bytes = b"") -> bytes:
        headers = sign_request(
            method, path, setting.world.view.chain, "alpha", "beta", key_of("beta"), int(time.time())
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{lines}{extra}\r\n".encode() + body

    def connect() -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", setting.server.port), timeout=10)
        return client_context().wrap_socket(plain)

    def check() -> None:
        assert setting.fetch() == DATA

    seeds = (
        request("HEAD"),
        request("GET", "Range: bytes=699000-\r\n"),
        request("PUT", "Content-Length: 5\r\nContent-Range: bytes 0-4/5\r\n", b"12345"),
        request("GET", "Range: bytes=700001-\r\n") + request("HEAD"),
    )
    return Socket(connect, seeds, check)


@pytest.fixture
def push_socket(tmp_path: Path) -> Iterator[Socket]:
    """The blob server again, of a site that takes blobs from one that nobody can call: mutations of its requests."""
    receiving = Receiving(tmp_path)
    path, size = f"/blobs/{receiving.digest.hex()}", len(PUSHED)

    def request(start: int, whole: int, body: bytes) -> bytes:
        headers = sign_request(
            "PUT", path, receiving.world.view.chain, "beta", "alpha", key_of("alpha"), int(time.time())
        )
        headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        headers["Content-Length"] = str(whole - start)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"PUT {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode() + body

    def connect() -> socket.socket:
        return client_context().wrap_socket(socket.create_connection(("127.0.0.1", receiving.server.port), timeout=10))

    def check() -> None:
        assert set(receiving.blobs.digests()) <= {receiving.digest}, "it keeps what has another digest"
        for _ in range(2):  # what was cut off before may have been wrong, and is then begun anew
            with suppress(Unavailable):
                receiving.push()
        assert receiving.blobs.get(receiving.digest) == PUSHED
        receiving.blobs.delete(receiving.digest)
        for one in receiving.connections:
            one.close()
        receiving.connections.clear()

    seeds = (
        request(0, size, PUSHED[:300]),
        request(300, size, PUSHED[300:500]),
        request(0, 5, b"12345"),
        request(size - 100, size, PUSHED[-100:]) + request(0, 0, b""),
    )
    yield Socket(connect, seeds, check)
    receiving.server.close()


@pytest.fixture
def api_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Socket]:
    """The local API, without its limit of requests a second."""
    well(monkeypatch, replace(GOOD, problem=""))
    now = [0.0]

    def clock() -> float:
        now[0] += 1
        return now[0]

    api = LocalApi("127.0.0.1:0", tmp_path, lambda: Running(1, 1), clock)
    token = (tmp_path / "node" / "api.token").read_text()

    def check() -> None:
        assert ask(api, "/health") == (200, "ok\n")

    seeds = [
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        for method, path in (("GET", "/health"), ("GET", "/metrics"), ("HEAD", "/status"))
    ]
    yield Socket(lambda: socket.create_connection(("127.0.0.1", api.port), timeout=10), seeds, check)
    api.close()


@pytest.fixture
def abci_socket(tmp_path: Path) -> Iterator[Socket]:
    """Our application, as CometBFT speaks with it."""
    with ExitStack() as stack:
        server = AbciServer(tmp_path / "s", answer)
        stack.callback(server.close)

        def connect() -> socket.socket:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(10)
            connection.connect(str(tmp_path / "s"))
            return connection

        def check() -> None:
            with connect() as connection:
                connection.sendall(framed(ECHO) + framed(Request(flush=Empty())))
                assert read_all(connection, 2)[0].echo == Text("hello")

        frames = next(target for target in TARGETS if target.name == "abci-frames")
        yield Socket(connect, frames.seeds(), check)


@pytest.mark.parametrize("name", ["blob_socket", "push_socket", "api_socket", "abci_socket"])
def test_a_socket_outlives_almost_valid_bytes_and_nothing_grows(name: str, request: pytest.FixtureRequest) -> None:
    one: Socket = request.getfixturevalue(name)
    one.check()
    chance = random.Random(name)
    as_bytes = Target(name, lambda data, folder: None, lambda: one.seeds, "text" if name != "abci_socket" else "bytes")
    tracemalloc.start()
    logging.disable()  # pytest keeps every line that is logged
    try:
        _send(one, as_bytes, chance, CASES // 2)
        _settle(one)
        threads, files, memory = threading.active_count(), _open_files(), tracemalloc.get_traced_memory()[0]
        _send(one, as_bytes, chance, CASES - CASES // 2)
        _settle(one)
        assert tracemalloc.get_traced_memory()[0] - memory < MOST_GROWTH
    finally:
        logging.disable(logging.NOTSET)
        tracemalloc.stop()
    wait_until(lambda: threading.active_count() <= threads and _open_files() <= files)


def _send(one: Socket, target: Target, chance: random.Random, count: int) -> None:
    for _ in range(count):
        data = mutate(chance.choice(one.seeds), draw_program(chance), target, one.seeds)
        try:
            with one.connect() as connection:
                connection.sendall(data)
                if chance.random() < 0.8:
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
        except OSError:
            continue  # it has hung up


def _settle(one: Socket) -> None:
    """Wait until it answers: a connection that is just ending still holds its place."""

    def answers() -> bool:
        try:
            one.check()
        except OSError:
            return False
        return True

    wait_until(answers)
    gc.collect()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
