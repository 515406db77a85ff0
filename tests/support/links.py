"""TCP links between the nodes of one machine that a test can cut, mend and slow down."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from medfed.identifiers import Name


class Links:
    """A forwarder for each ordered pair of hospitals, made as the nodes are."""

    def __init__(self) -> None:
        self._cut: set[frozenset[Name]] = set()
        self._open: dict[frozenset[Name], list[socket.socket]] = {}
        self._lock = threading.Lock()
        self._listeners: list[socket.socket] = []
        self._slow: dict[Name, tuple[float, float]] = {}

    def route(self, one: Name, other: Name, port: int) -> int:
        """The port at which `one` reaches `other`, whose own port is `port`."""
        listener = socket.create_server(("127.0.0.1", 0))
        self._listeners.append(listener)
        pair = frozenset((one, other))
        threading.Thread(target=self._serve, args=(listener, pair, port), daemon=True).start()
        return listener.getsockname()[1]

    def slow(self, name: Name, *, seconds: float, bytes_per_second: float) -> None:
        """What this hospital sends and gets on new connections takes `seconds`, and longer by its length."""
        self._slow[name] = (seconds, bytes_per_second)

    def cut(self, here: tuple[Name, ...], there: tuple[Name, ...]) -> None:
        """Nothing passes any more between these two groups."""
        with self._lock:
            for pair in (frozenset((one, other)) for one in here for other in there):
                self._cut.add(pair)
                for connection in self._open.pop(pair, []):
                    _close(connection)

    def mend(self) -> None:
        """Everything passes again."""
        with self._lock:
            self._cut.clear()

    def close(self) -> None:
        for listener in self._listeners:
            _close(listener)
        self.cut(tuple({name for pair in self._open for name in pair}), tuple({n for pair in self._open for n in pair}))

    def _serve(self, listener: socket.socket, pair: frozenset[Name], port: int) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                passes = pair not in self._cut
            try:
                outer = socket.create_connection(("127.0.0.1", port), timeout=5) if passes else None
            except OSError:
                outer = None
            if outer is None:
                _close(inner)
                continue
            outer.settimeout(None)
            with self._lock:
                self._open.setdefault(pair, []).extend((inner, outer))
                passes = pair not in self._cut
            if not passes:
                _close(inner)
                _close(outer)
            for source, target in ((inner, outer), (outer, inner)):
                pace = next((self._slow[name] for name in pair if name in self._slow), None)
                threading.Thread(target=_pump, args=(source, target, pace), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, pace: tuple[float, float] | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if pace is not None:
                time.sleep(pace[0] + len(data) / pace[1])
            target.sendall(data)
    _close(source)
    _close(target)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
