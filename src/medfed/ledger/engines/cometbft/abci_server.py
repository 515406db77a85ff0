"""The unix socket that CometBFT finds our application at: length-delimited requests in, responses out.

One thread a connection; CometBFT opens four and sends each one's requests in order. The socket is readable by its
owner alone. A request that is malformed or too large ends its connection; an answer that fails is told to CometBFT,
which stops, and to whoever supervises, and is never guessed.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput, MedFedError, Unavailable
from medfed.ledger.engines.cometbft.messages import ExceptionResponse, Request, Response
from medfed.ledger.engines.cometbft.protobuf import decode_message, encode_message, encode_varint

__all__ = ["MAX_MESSAGE_BYTES", "AbciServer"]

log: Final = logging.getLogger("medfed.ledger")
MAX_MESSAGE_BYTES: Final = 32 << 20
_MAX_CONNECTIONS: Final = 16
_CHUNK: Final = 64 * 1024


class AbciServer:
    """Answers on `path` from construction until `close`."""

    def __init__(self, path: Path, answer: Callable[[Request], Response]) -> None:
        self._path = path
        self._answer = answer
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._closed = False
        self.failure: MedFedError | None = None
        """The error that stopped this node, if one did."""
        self._listener = _listen(path)
        self._thread = threading.Thread(target=self._accept, name="abci", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every connection."""
        with self._lock:
            self._closed = True
            open_now = list(self._connections)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                full = self._closed or len(self._connections) >= _MAX_CONNECTIONS
                if not full:
                    self._connections.add(connection)
            if full:
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="abci connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb", _CHUNK) as reader, connection.makefile("wb", _CHUNK) as writer:
                while (data := _read_frame(reader.read)) is not None:
                    response = self._respond(data)
                    encoded = encode_message(response)
                    writer.write(encode_varint(len(encoded)) + encoded)
                    if response.flush is not None or response.exception is not None:
                        writer.flush()
                    if response.exception is not None:
                        return
        except InvalidInput as error:
            log.warning("abci: %s", error)
        except (OSError, ValueError):
            pass  # the other side is gone, or this one is closing
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _respond(self, data: bytes) -> Response:
        try:
            return self._answer(decode_message(data, Request))
        except MedFedError as error:
            self.failure = self.failure or error
            log.error("abci: %s", error)
            return Response(exception=ExceptionResponse(str(error)))
        except Exception as error:  # a fault of ours must stop this node, not hang CometBFT
            self.failure = self.failure or Unavailable(f"the application failed: {type(error).__name__}")
            log.exception("abci: the application failed")
            return Response(exception=ExceptionResponse(type(error).__name__))


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_MAX_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise Unavailable(f"{path}: cannot listen here: {error.strerror or error}") from None
    return listener


def _read_frame(read: Callable[[int], bytes]) -> bytes | None:
    """The next message, or None where the other side has closed in between."""
    length = shift = 0
    for position in range(5):
        byte = read(1)
        if not byte:
            if position == 0:
                return None
            raise InvalidInput("abci: a length is cut short")
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    else:
        raise InvalidInput("abci: a length has more than 5 bytes")
    if length > MAX_MESSAGE_BYTES:
        raise InvalidInput(f"abci: a message of {length} bytes; at most {MAX_MESSAGE_BYTES} are read")
    data = read(length)
    if len(data) != length:
        raise InvalidInput("abci: a message is cut short")
    return data
