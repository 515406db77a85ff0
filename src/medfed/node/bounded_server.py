"""What a node's two HTTP servers share: a thread for each connection, and no more of them than are bounded."""

from __future__ import annotations

import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final

from medfed.errors import Unavailable

__all__ = ["BoundedServer", "split_address"]

log: Final = logging.getLogger("medfed.node")


class BoundedServer(ThreadingMixIn, TCPServer):
    """Serves from `start` until `stop`. A connection beyond the bound is closed at once."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, listen: str, handler: type[BaseHTTPRequestHandler], most: int, name: str) -> None:
        """`listen` is host:port; port 0 takes a free one. `most` connections are kept at once.

        Raises:
            Unavailable: the port is taken, or the address is not this machine's.
        """
        host, port = split_address(listen)
        self.name: Final = name
        self._slots = threading.BoundedSemaphore(most)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name=name, daemon=True)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), handler)
        except OSError as error:
            raise Unavailable(f"{listen}: the {name} cannot listen here: {error.strerror or error}") from None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server_address[1]

    def start(self) -> None:
        """Serve, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def secured(self, request: socket.socket) -> socket.socket:
        """The connection as it is spoken with; made in its own thread, so nobody waits for a slow one.

        Raises:
            OSError, ValueError: it cannot be.
        """
        return request

    def process_request(self, request: Any, client_address: Any) -> None:
        """See `socketserver.BaseServer`."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See `socketserver.ThreadingMixIn`."""
        try:
            secured = self.secured(request)
        except (OSError, ValueError):
            self.shutdown_request(request)
        else:
            super().process_request_thread(secured, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See `socketserver.BaseServer`."""
        log.debug("%s: a connection has failed", self.name, exc_info=True)


def split_address(address: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
