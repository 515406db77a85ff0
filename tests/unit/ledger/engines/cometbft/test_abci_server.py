"""The socket: framing, many requests in one go, and bad bytes that end a connection and nothing else."""

from __future__ import annotations

import random
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from medfed.errors import InvalidInput, Tampered
from medfed.ledger.engines.cometbft.abci_server import MAX_MESSAGE_BYTES, AbciServer
from medfed.ledger.engines.cometbft.messages import Empty, Request, Response, Text
from medfed.ledger.engines.cometbft.protobuf import decode_message, decode_varint, encode_message, encode_varint

ECHO = Request(echo=Text("hello"))


def answer(request: Request) -> Response:
    if request.echo is not None:
        if request.echo.message == "tampered":
            raise Tampered("block 7: it is not what it was")
        if request.echo.message == "fault":
            raise ValueError("a fault of ours with 17 patients in it")
        return Response(echo=request.echo)
    if request.flush is not None:
        return Response(flush=Empty())
    raise InvalidInput("not a request")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AbciServer]:
    made = AbciServer(tmp_path / "s", answer)
    yield made
    made.close()


def connect(tmp_path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.connect(str(tmp_path / "s"))
    return connection


def framed(request: Request) -> bytes:
    data = encode_message(request)
    return encode_varint(len(data)) + data


def read_all(connection: socket.socket, count: int) -> list[Response]:
    data = b""
    found: list[Response] = []
    while len(found) < count:
        data += connection.recv(65536)
        while data:
            length, start = decode_varint(data, 0)
            if len(data) < start + length:
                break
            found.append(decode_message(data[start : start + length], Response))
            data = data[start + length :]
    return found


def is_closed(connection: socket.socket) -> bool:
    return connection.recv(1) == b""


def test_requests_are_answered_in_order_when_flushed(server: AbciServer, tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        connection.sendall(b"".join(framed(Request(echo=Text(str(n)))) for n in range(100)))
        connection.sendall(framed(Request(flush=Empty())))
        found = read_all(connection, 101)
    assert [one.echo.message for one in found[:-1] if one.echo] == [str(n) for n in range(100)]
    assert found[-1].flush == Empty()


def test_a_request_may_come_a_byte_at_a_time(server: AbciServer, tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        for byte in framed(ECHO) + framed(Request(flush=Empty())):
            connection.sendall(bytes([byte]))
        assert read_all(connection, 2)[0].echo == Text("hello")


def test_only_the_owner_may_connect(server: AbciServer, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("message", "told", "kind"), [("tampered", "block 7", "Tampered"), ("fault", "ValueError", "Unavailable")]
)
def test_an_answer_that_fails_stops_cometbft_and_is_remembered(
    server: AbciServer, tmp_path: Path, message: str, told: str, kind: str
) -> None:
    with connect(tmp_path) as connection:
        connection.sendall(framed(Request(echo=Text(message))))
        (found,) = read_all(connection, 1)
        assert found.exception is not None
        assert told in found.exception.error
        assert "patients" not in found.exception.error
        assert is_closed(connection)
    assert type(server.failure).__name__ == kind


@pytest.mark.parametrize(
    "junk",
    [
        encode_varint(MAX_MESSAGE_BYTES + 1),
        b"\xff" * 10,
        b"\x80" * 10,
        encode_varint(100) + b"cut",
        b"\x80",
    ],
)
def test_bad_framing_ends_its_own_connection_only(server: AbciServer, tmp_path: Path, junk: bytes) -> None:
    with connect(tmp_path) as bad, connect(tmp_path) as good:
        bad.sendall(junk)
        bad.shutdown(socket.SHUT_WR)
        assert is_closed(bad)
        good.sendall(framed(ECHO) + framed(Request(flush=Empty())))
        assert read_all(good, 2)[0].echo == Text("hello")
    assert server.failure is None


def test_five_hundred_connections_of_random_bytes_leave_it_answering(server: AbciServer, tmp_path: Path) -> None:
    chance = random.Random(5)
    for _ in range(500):
        with connect(tmp_path) as connection:
            try:
                connection.sendall(chance.randbytes(chance.randrange(1, 300)))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            except OSError:
                continue  # it has closed already
    with connect(tmp_path) as connection:
        connection.sendall(framed(ECHO) + framed(Request(flush=Empty())))
        assert read_all(connection, 2)[0].echo == Text("hello")


def test_more_connections_than_it_keeps_are_closed_at_once(server: AbciServer, tmp_path: Path) -> None:
    held = [connect(tmp_path) for _ in range(16)]
    for connection in held:
        connection.sendall(framed(ECHO) + framed(Request(flush=Empty())))
        read_all(connection, 2)
    with connect(tmp_path) as one_more:
        assert is_closed(one_more)
    for connection in held:
        connection.close()


def test_closing_it_ends_every_connection_and_removes_the_socket(tmp_path: Path) -> None:
    server = AbciServer(tmp_path / "s", answer)
    with connect(tmp_path) as connection:
        connection.sendall(framed(ECHO) + framed(Request(flush=Empty())))
        read_all(connection, 2)
        server.close()
        assert is_closed(connection)
    assert not (tmp_path / "s").exists()
