"""A node's blob server: HTTPS with the site's own key, signed requests, ranges, one directory.

A request gets a blob if the asking participant may have it (`access`). A participant that nobody can call may put one
here that concerns this site too, for the others to fetch. Connections, their time, requests at once and
header sizes are bounded; a participant that asks for too much at once is told to wait. Nothing of a request becomes a
path but 64 hexadecimal digits.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, cast

from medfed.blobs import SiteBlobs
from medfed.crypto import SiteKeys
from medfed.crypto.certificates import make_certificate
from medfed.crypto.memory_file import MemoryFile
from medfed.errors import MedFedError, Refused
from medfed.hospital.blob_exchange.access import BlobIndex
from medfed.hospital.blob_exchange.message_signatures import verify_request
from medfed.hospital.blob_exchange.peer_connection import HAVE_HEADER
from medfed.hospital.blob_exchange.room import BlobRoom
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import StateView
from medfed.node.blob_receiving import BlobReceiver, parse_range
from medfed.node.bounded_server import BoundedServer

__all__ = ["BlobServer"]

log: Final = logging.getLogger("medfed.node")
_PATH: Final = re.compile(r"^/blobs/(?P<digest>[0-9a-f]{64})\Z")
_RANGE: Final = re.compile(r"^bytes=(?P<start>[0-9]{1,15})-\Z")
_CHUNK: Final = 256 * 1024
_IDLE_SECONDS: Final = 30.0
_INTRODUCTION_SECONDS: Final = 15.0
_LINGER_SECONDS: Final = 2.0
_MOST_CONNECTIONS: Final = 64
_MOST_AT_ONCE: Final = 8
"""Requests of one participant that are answered at the same time."""


class BlobServer:
    """Serves from construction until `close`."""

    def __init__(
        self,
        listen: str,
        keys: SiteKeys,
        blobs: SiteBlobs,
        view: Callable[[], StateView],
        index: BlobIndex,
        clock: Callable[[], float] = time.time,
        room: BlobRoom | None = None,
    ) -> None:
        """`listen` is host:port; port 0 takes a free one. `room` is there for blobs that others put here.

        Raises:
            Unavailable: the port is taken, or the address is not this machine's.
        """
        receiver = BlobReceiver(blobs, room or BlobRoom(blobs, 0, list))
        self._rules = _Rules(keys, blobs, view, index, clock, receiver)
        self._server = _Server(listen, self._rules, _server_context(keys))
        self.port: Final[int] = self._server.port
        self._server.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()


class _Rules:
    """Who gets what."""

    def __init__(
        self,
        keys: SiteKeys,
        blobs: SiteBlobs,
        view: Callable[[], StateView],
        index: BlobIndex,
        clock: Callable[[], float],
        receiver: BlobReceiver,
    ) -> None:
        self.receiver: Final = receiver
        self.name: Final = keys.name
        self.blobs: Final = blobs
        self._view = view
        self._index = index
        self._clock = clock
        self._busy: Counter[Name] = Counter()
        self._lock = threading.Lock()

    def admit(self, method: str, path: str, headers: dict[str, str]) -> tuple[Name, Digest]:
        """Who asks, and for which blob.

        Raises:
            Refused: with a code; see `_STATUS`.
        """
        found = _PATH.match(path)
        if found is None:
            raise Refused("no-such-path", "expected /blobs/ and 64 hexadecimal digits")
        view = self._view()

        def key_of(name: Name) -> bytes | None:
            one = participant(view, name)
            return one.signing_key if one is not None and one.status == "active" else None

        sender = verify_request(method, path, headers, view.chain, self.name, key_of, int(self._clock()))
        digest = bytes.fromhex(found["digest"])
        if not self._index.may_read(view, sender, digest):
            raise Refused("not-for-you", "the ledger names no blob of this digest that concerns you")
        if method == "PUT" and not self._index.may_read(view, self.name, digest):
            raise Refused("not-for-me", "the blob does not concern this site")
        return sender, digest

    def begin(self, sender: Name) -> None:
        """One more request of `sender` is answered.

        Raises:
            Refused: `busy`: too many are already.
        """
        with self._lock:
            if self._busy[sender] >= _MOST_AT_ONCE:
                raise Refused("busy", f"at most {_MOST_AT_ONCE} requests at once")
            self._busy[sender] += 1

    def end(self, sender: Name) -> None:
        """It was answered."""
        with self._lock:
            self._busy[sender] -= 1


_STATUS: Final = {
    "no-such-path": 404,
    "not-for-you": 403,
    "not-for-me": 403,
    "busy": 429,
    "wrong-range": 416,
    "too-large": 413,
    "not-the-blob": 422,
}
"""Of refusals; what is not here is 401."""


class _Server(BoundedServer):
    def __init__(self, listen: str, rules: _Rules, context: ssl.SSLContext) -> None:
        self.rules = rules
        self._context = context
        super().__init__(listen, _Handler, _MOST_CONNECTIONS, "blob server")

    def secured(self, request: socket.socket) -> socket.socket:
        """See `BoundedServer`."""
        request.settimeout(_IDLE_SECONDS)
        return self._context.wrap_socket(request, server_side=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "medfed"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def setup(self) -> None:
        super().setup()
        # Who has not said who it is by then takes a place from those who would.
        self._timer = threading.Timer(_INTRODUCTION_SECONDS, self._hang_up)
        self._timer.daemon = True
        self._timer.start()

    def finish(self) -> None:
        self._timer.cancel()
        with contextlib.suppress(OSError):
            super().finish()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_PUT(self) -> None:
        rules = cast(_Server, self.server).rules
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.close_connection = True  # unless all of the body was read
        try:
            if "transfer-encoding" in headers:
                raise Refused("wrong-range", "the body's length must be known")
            sender, digest = rules.admit(self.command, self.path, headers)
            start, size = parse_range(headers.get("content-range", ""), headers.get("content-length", ""))
            self._timer.cancel()
            rules.begin(sender)
        except Refused as refused:
            self._refuse(_STATUS.get(refused.code, 401), refused.code)
            self._linger()
            return
        try:
            rules.receiver.receive(sender, digest, start, size, self.rfile.read)
            self.close_connection = False
            self.send_response(201)
            self._finish(0)
        except Refused as refused:
            self._refuse(_STATUS[refused.code], refused.code)
        except MedFedError as error:
            log.warning("blob server: %s", error)
            self._refuse(507, "no-room")
        finally:
            rules.end(sender)
            self._linger()

    def _linger(self) -> None:
        """Let a sender that was refused in the middle of a body read why: who closes over unread bytes resets all."""
        if not self.close_connection:
            return
        self.wfile.flush()
        self.connection.settimeout(_LINGER_SECONDS)
        end = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            while time.monotonic() < end and self.connection.recv(_CHUNK):
                pass

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("blob server: " + format, *args)

    def _answer(self, *, with_body: bool) -> None:
        rules = cast(_Server, self.server).rules
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            self.close_connection = True  # a body that nobody reads would be taken for the next request
            self._refuse(400, "a-body")
            return
        try:
            sender, digest = rules.admit(self.command, self.path, headers)
            self._timer.cancel()
            rules.begin(sender)
        except Refused as refused:
            self._refuse(_STATUS.get(refused.code, 401), refused.code)
            return
        try:
            self._send(rules, sender, digest, headers.get("range", ""), with_body=with_body)
        finally:
            rules.end(sender)

    def _send(self, rules: _Rules, sender: Name, digest: Digest, wanted: str, *, with_body: bool) -> None:
        try:
            size = rules.blobs.size(digest)
            stream = rules.blobs.open_stream(digest)
        except MedFedError:
            self._refuse(404, "not-here", {HAVE_HEADER: str(rules.receiver.have(sender, digest))})
            return
        with contextlib.closing(stream):
            found = _RANGE.match(wanted)
            start = int(found["start"]) if found else 0
            if start and start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self._finish(0)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Accept-Ranges", "bytes")
            self._finish(size - start, "application/octet-stream")
            if with_body:
                self._copy(stream, start)

    def _copy(self, stream: Any, start: int) -> None:
        """The stream checks its digest at its end: a blob that is damaged here ends short."""
        skipped = 0
        try:
            while data := stream.read(_CHUNK):
                cut = max(0, min(len(data), start - skipped))
                skipped += cut
                self.wfile.write(data[cut:])
        except MedFedError as error:
            log.error("%s", error)
            self.close_connection = True

    def _refuse(self, status: int, code: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("medfed-code", code)
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self._finish(0)

    def _finish(self, length: int, kind: str = "") -> None:
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def _server_context(keys: SiteKeys) -> ssl.SSLContext:
    """TLS 1.3 with a certificate of the site's signing key. The library takes keys from files only."""
    certificate, secret = make_certificate(keys.signing_key, keys.name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    with MemoryFile(certificate + secret) as file:
        context.load_cert_chain(file.path)
    return context
