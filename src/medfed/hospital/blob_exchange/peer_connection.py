"""One peer's blob server: a TLS connection that is kept, the peer's key checked against the ledger, ranges resumed.

What a peer sends is only bytes with a claim; the caller checks the digest. This module must never send anything to a
server that has not proven the key it is expected to have.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import BinaryIO, Final

from medfed.crypto import SigningKey
from medfed.crypto.certificates import certificate_key
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.hospital.blob_exchange.message_signatures import sign_request
from medfed.identifiers import Digest, Name, short

__all__ = ["HAVE_HEADER", "PeerConnection", "client_context"]

HAVE_HEADER: Final = "medfed-have"
"""How many bytes of a blob a server has got from the asking participant so far."""
_CHUNK: Final = 256 * 1024


class PeerConnection:
    """The connection with one peer. Not safe to share between threads."""

    def __init__(
        self,
        address: str,
        peer: Name,
        peer_key: bytes,
        chain: Digest,
        me: Name,
        key: SigningKey,
        *,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`address` is host:port; `peer_key` the signing key that the ledger knows of `peer`."""
        self._address = address
        self._peer = peer
        self._peer_key = peer_key
        self._chain = chain
        self._me = me
        self._key = key
        self._timeout = timeout
        self._clock = clock
        self._connection: http.client.HTTPSConnection | None = None

    def fetch(self, blob: Digest, sink: BinaryIO, start: int, most: int) -> None:
        """Append the blob from byte `start` on to `sink`, which must not become longer than `most` bytes.

        Raises:
            Unavailable: the peer has it not, does not give it, or cannot be reached; what came before stays in `sink`.
            Tampered: the server is somebody else, or sends more than `most` bytes.
        """
        try:
            self._fetch(f"/blobs/{blob.hex()}", sink, start, most)
        except (OSError, http.client.HTTPException, ssl.SSLError) as error:
            self.close()
            raise Unavailable(f"blob {short(blob)}: {self._peer} cannot be reached ({_reason(error)})") from None
        except BaseException:
            self.close()
            raise

    def push(self, blob: Digest, source: BinaryIO, size: int) -> None:
        """Give the peer a blob of `size` bytes, from where an earlier try has stopped. It has it when this returns.

        Raises:
            Unavailable: the peer does not take it, or cannot be reached. Tampered: the server is somebody else, or the
                bytes are not the blob's.
        """
        path = f"/blobs/{blob.hex()}"
        try:
            known = self._request("HEAD", path, 0)
            known.read()
            if known.status == 200:
                return
            start = int(known.headers.get(HAVE_HEADER, "0")) if known.status == 404 else 0
            self._put(path, source, size, start if 0 <= start < size else 0)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Unavailable(f"blob {short(blob)}: {self._peer} cannot be reached ({_reason(error)})") from None
        except BaseException:
            self.close()
            raise

    def _put(self, path: str, source: BinaryIO, size: int, start: int) -> None:
        headers = sign_request("PUT", path, self._chain, self._peer, self._me, self._key, int(self._clock()))
        headers |= {"content-length": str(size - start), "content-range": f"bytes {start}-{max(size - 1, 0)}/{size}"}
        skipped = 0
        while skipped < start:  # the stream checks its digest at its end, so nothing of it may be jumped over
            data = source.read(min(_CHUNK, start - skipped))
            if not data:
                raise Unavailable(f"blob {path[7:19]}: it has become shorter here")
            skipped += len(data)
        connection = self._connection = self._connection or self._connected()
        connection.putrequest("PUT", path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        while (data := source.read(_CHUNK)) and not _has_answered(connection.sock):
            connection.send(data)
        response = connection.getresponse()
        response.read(_CHUNK)
        if response.status not in (200, 201):
            self.close()  # it may not have read all of the body
            code = response.headers.get("medfed-code", "")[:40]
            raise Unavailable(f"{self._peer} answers {response.status} {code} for {path[7:19]}")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _fetch(self, path: str, sink: BinaryIO, start: int, most: int) -> None:
        response = self._request("GET", path, start)
        if response.status == 416:
            response.read(_CHUNK)
            return  # there is no more
        if response.status not in (200, 206):
            response.read(_CHUNK)
            raise Unavailable(f"{self._peer} answers {response.status} for {path[7:19]}")
        if response.status == 200 and start:
            sink.seek(0)
            sink.truncate()
            start = 0
        length = start
        while data := response.read(_CHUNK):
            length += len(data)
            if length > most:
                raise Tampered(f"{self._peer} sends more than the {most} bytes that {path[7:19]} may have")
            sink.write(data)
        if response.length:
            raise Unavailable(f"{self._peer} has ended in the middle of {path[7:19]}")

    def _request(self, method: str, path: str, start: int) -> http.client.HTTPResponse:
        headers = sign_request(method, path, self._chain, self._peer, self._me, self._key, int(self._clock()))
        if start:
            headers["range"] = f"bytes={start}-"
        kept = self._connection is not None
        try:
            return self._send(method, path, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            if not kept:
                raise
            return self._send(method, path, headers)  # the peer had closed what we had kept

    def _send(self, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._connected()
        self._connection.request(method, path, headers=headers)
        return self._connection.getresponse()

    def _connected(self) -> http.client.HTTPSConnection:
        host, port = _split(self._address)
        connection = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=client_context())
        connection.connect()
        found = connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else None
        try:
            proven = certificate_key(found or b"")
        except InvalidInput:
            proven = b""
        if proven != self._peer_key:
            connection.close()
            raise Tampered(f"{self._address} is not {self._peer}: its certificate has another key")
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def client_context() -> ssl.SSLContext:
    """TLS 1.3 without authorities: the certificate's key is compared with the ledger's after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _has_answered(connection: socket.socket) -> bool:
    """Whether the peer speaks in the middle of a body: it refuses it. The server keeps no other word for later."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise Unavailable(f"address {address[:80]!r}: expected host:port")
    return host.strip("[]"), int(port)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
