"""Asking CometBFT: lost connections are made anew, and no answer, however bad, is more than an error."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medfed.errors import InvalidInput, Unavailable
from medfed.ledger.engines.cometbft.rpc import RpcClient


class Server:
    """Answers each request with what `body` gives; closes after each where told to."""

    def __init__(self, path: Path) -> None:
        self.body: Callable[[dict], bytes] = lambda request: json.dumps(
            {"result": {"echo": request["params"]}}
        ).encode()
        self.closes = False
        self.requests: list[dict] = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                while self.serve(connection, reader):
                    pass

    def serve(self, connection: socket.socket, reader: object) -> bool:
        length = 0
        while (line := reader.readline()).strip():  # type: ignore[attr-defined]
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        if not length:
            return False
        request = json.loads(reader.read(length))  # type: ignore[attr-defined]
        self.requests.append(request)
        body = self.body(request)
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except OSError:
            return False
        return not self.closes


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "s")
    yield made
    made.listener.close()


@pytest.fixture
def client(tmp_path: Path, server: Server) -> Iterator[RpcClient]:
    made = RpcClient(str(tmp_path / "s"), timeout=5)
    yield made
    made.close()


def test_a_call_carries_its_parameters_and_returns_the_result(client: RpcClient, server: Server) -> None:
    assert client.call("status", height="7") == {"echo": {"height": "7"}}
    assert server.requests[0]["method"] == "status"


def test_a_connection_that_was_closed_meanwhile_is_made_anew(client: RpcClient, server: Server) -> None:
    server.closes = True
    for number in range(5):
        assert client.call("status", n=str(number)) == {"echo": {"n": str(number)}}


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        RpcClient(str(tmp_path / "absent")).status()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"text"', b"{}", b'{"result": 7}', b'{"result": null}', b"[" * 50_000, b"\xff\xfe",
     b'{"error": "text"}'],
)  # fmt: skip
def test_an_answer_that_is_none_is_unavailable(client: RpcClient, server: Server, body: bytes) -> None:
    server.body = lambda _: body
    with pytest.raises(Unavailable):
        client.status()


def test_an_error_of_cometbft_is_told(client: RpcClient, server: Server) -> None:
    server.body = lambda _: b'{"error": {"code": -32603, "message": "Internal error", "data": "height 9 is not there"}}'
    with pytest.raises(InvalidInput, match="height 9 is not there"):
        client.commit(9)


def test_what_the_pool_says_to_a_batch(client: RpcClient, server: Server) -> None:
    answers = {
        b'{"result": {"code": 0, "log": ""}}': "",
        b'{"result": {"code": 1, "log": "sequence: not yet"}}': "sequence: not yet",
        b'{"result": {"code": 1, "log": ""}}': "refused",
        b'{"error": {"message": "Internal error", "data": "tx already exists in cache"}}': "",
    }
    for body, expected in answers.items():
        server.body = lambda _, body=body: body
        assert client.broadcast(b"entry") == expected
    server.body = lambda _: b'{"error": {"message": "Internal error", "data": "mempool is full"}}'
    with pytest.raises(Unavailable, match="mempool is full"):
        client.broadcast(b"entry")


def test_an_answer_without_end_is_not_read(client: RpcClient, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfed.ledger.engines.cometbft.rpc.MAX_ANSWER_BYTES", 1000)
    server.body = lambda _: b" " * 2000
    with pytest.raises(Unavailable, match="too large"):
        client.status()
