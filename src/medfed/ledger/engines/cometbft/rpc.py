"""Asking CometBFT: JSON-RPC over its unix socket, with the connection made anew when it was lost.

Answers are bounded and only read. This module must never take CometBFT's word for what is final: that is what the
application has committed.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from typing import Any, Final

import msgspec

from medfed.errors import InvalidInput, Unavailable

__all__ = ["MAX_ANSWER_BYTES", "RpcClient"]

MAX_ANSWER_BYTES: Final = 16 << 20
_IN_CACHE: Final = "tx already exists in cache"


class RpcClient:
    """One node's RPC. Safe to use from several threads; one request at a time."""

    def __init__(self, path: str, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._number = 0

    def broadcast(self, entry: bytes) -> str:
        """Put an entry into the pool. Returns why it did not stay there; empty if it did, or was there before.

        Raises:
            Unavailable: CometBFT does not answer, or its pool is full.
        """
        try:
            result = self.call("broadcast_tx_sync", tx=base64.b64encode(entry).decode())
        except InvalidInput as error:
            if _IN_CACHE in str(error):
                return ""
            raise Unavailable(f"CometBFT does not take the transactions: {error}") from None
        return str(result.get("log", "")) or "refused" if result.get("code") else ""

    def status(self) -> dict[str, Any]:
        """What CometBFT says of itself: `node_info`, `sync_info` and `validator_info`."""
        return self.call("status")

    def net_info(self) -> dict[str, Any]:
        """The peers that are connected."""
        return self.call("net_info")

    def commit(self, height: int | None = None) -> dict[str, Any]:
        """The signed header of a CometBFT height, by default of the newest."""
        return self.call("commit", **({} if height is None else {"height": str(height)}))

    def validators(self, height: int, page: int = 1) -> dict[str, Any]:
        """The validators of a CometBFT height, 100 a page."""
        return self.call("validators", height=str(height), page=str(page), per_page="100")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call. A lost connection is made anew once: what CometBFT is asked may be asked twice.

        Raises:
            Unavailable: there is no answer. InvalidInput: CometBFT answers with an error.
        """
        with self._lock:
            self._number += 1
            body = json.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": parameters})
            try:
                answer = self._post(body)
            except (OSError, http.client.HTTPException):
                self._drop()
                try:
                    answer = self._post(body)
                except (OSError, http.client.HTTPException) as error:
                    self._drop()
                    raise Unavailable(f"CometBFT does not answer: {_reason(error)}") from None
        return _result(method, answer)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._drop()

    def _post(self, body: str) -> bytes:
        if self._connection is None:
            self._connection = _UnixConnection(self._path, self._timeout)
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        with self._connection.getresponse() as response:
            data = response.read(MAX_ANSWER_BYTES + 1)
            if len(data) > MAX_ANSWER_BYTES:
                raise http.client.HTTPException("the answer is too large")
            return data

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Error(msgspec.Struct):
    message: str = ""
    data: Any = ""


class _Answer(msgspec.Struct):
    result: dict[str, Any] | None = None
    error: _Error | None = None


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _result(method: str, answer: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unavailable(f"CometBFT's answer to {method} is not JSON-RPC") from None
    if document.error is not None:
        raise InvalidInput(f"CometBFT, {method}: {document.error.message}: {document.error.data}"[:500])
    if document.result is None:
        raise Unavailable(f"CometBFT's answer to {method} has no result")
    return document.result


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
