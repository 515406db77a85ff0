"""The native library in a process of its own: what hostile bytes make it do ends there.

The parent sends a request and waits for the answer, each one canonical record behind its length. The child may use so
much memory and the parent waits so long; a child that dies or is too slow is replaced by the next request. The child
gets no key but the one that a request carries, writes no core file, and never opens a file or a connection of its own.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import subprocess
import sys
import threading
import time
from typing import IO, Annotated, Any, Final, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, MedFedError, Unavailable
from medfed.homomorphic.library import KeyPair, NativeCipher, need_library
from medfed.homomorphic.packing import Coefficients, pack, unpack
from medfed.homomorphic.parameters import PARAMETERS, Parameters

__all__ = ["WorkerCipher"]

MEMORY_BYTES: Final = 2 << 30
TIMEOUT_S: Final = 60.0
_MAX_FRAME: Final = 256 << 20
_LENGTH_BYTES: Final = 8
_SECRETS: Final = ("MEDFED_PASSPHRASE", "MEDFED_PASSPHRASE_FILE")


class Request(Record):
    """What the child is to do."""

    action: Literal["generate", "encrypt-zeros", "decrypt"]
    parameters: Parameters
    key: bytes = b""
    data: bytes = b""
    count: Annotated[int, Meta(ge=0, le=4096)] = 0


class Answer(Record):
    """What came of it: `error` is empty, or whose fault it was and why."""

    parts: tuple[bytes, ...] = ()
    error: Literal["", "invalid", "unavailable"] = ""
    message: str = ""


class WorkerCipher:
    """A `Cipher` whose library runs in a child process, started at its first use. Safe to use from several threads."""

    def __init__(
        self, parameters: Parameters = PARAMETERS, *, memory: int = MEMORY_BYTES, timeout: float = TIMEOUT_S
    ) -> None:
        self._parameters: Final = parameters
        self._memory: Final = memory
        self._timeout: Final = timeout
        self._lock: Final = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def generate(self) -> KeyPair:
        """A fresh key pair."""
        public, secret = self._ask(Request("generate", self._parameters), 2)
        return KeyPair(public, secret)

    def encrypt_zeros(self, public: bytes, count: int) -> Coefficients:
        """`count` fresh encryptions of zero."""
        (packed,) = self._ask(Request("encrypt-zeros", self._parameters, public, b"", count), 1)
        found = unpack(self._parameters, packed)
        if len(found) != count:
            raise Unavailable("the encryption worker gave another number of ciphertexts than it was asked for")
        return found

    def decrypt(self, secret: bytes, ciphertexts: Coefficients) -> NDArray[np.uint32]:
        """The plaintexts of checked ciphertexts."""
        data = pack(self._parameters, ciphertexts)
        (plain,) = self._ask(Request("decrypt", self._parameters, secret, data), 1)
        if len(plain) != 4 * len(ciphertexts) * self._parameters.degree:
            raise Unavailable("the encryption worker gave another number of plaintexts than it was asked for")
        return np.frombuffer(plain, dtype="<u4").astype(np.uint32).reshape(len(ciphertexts), -1)

    def close(self) -> None:
        """End the child; the next request starts another."""
        with self._lock:
            self._end()

    def __enter__(self) -> WorkerCipher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_child", None) is not None:
            self._end()

    def _ask(self, request: Request, parts: int) -> tuple[bytes, ...]:
        with self._lock:
            answer = self._answer(request)
        if answer.error == "invalid":
            raise InvalidInput(answer.message)
        if answer.error:
            raise Unavailable(answer.message)
        if len(answer.parts) != parts:
            raise Unavailable("the encryption worker gave an answer that does not fit the question")
        return answer.parts

    def _answer(self, request: Request) -> Answer:
        child = self._child or self._start()
        try:
            return decode(_exchange(child, encode(request), time.monotonic() + self._timeout), Answer)
        except TimeoutError:
            self._end()
            raise Unavailable(f"the encryption worker gave no answer in {self._timeout:g} s and was ended") from None
        except (OSError, EOFError, InvalidInput) as error:
            self._end()
            raise Unavailable(f"the encryption worker ended without an answer (exit {child.returncode})") from error

    def _start(self) -> subprocess.Popen[bytes]:
        need_library()
        environment = {key: value for key, value in os.environ.items() if key not in _SECRETS}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "medfed.homomorphic.worker", str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer requests until the parent closes its side. One library object for each choice of parameters."""
    cipher: NativeCipher | None = None
    chosen: Parameters | None = None
    while True:
        try:
            data = _receive(source)
        except EOFError:
            return
        try:
            request = decode(data, Request)
            if cipher is None or request.parameters != chosen:
                cipher, chosen = NativeCipher(request.parameters), request.parameters
            answer = Answer(_perform(cipher, request))
        except MedFedError as error:
            answer = Answer((), "invalid" if isinstance(error, InvalidInput) else "unavailable", str(error)[:500])
        _send(sink, encode(answer))


def _perform(cipher: NativeCipher, request: Request) -> tuple[bytes, ...]:
    parameters = request.parameters
    if request.action == "generate":
        pair = cipher.generate()
        return pair.public, pair.secret
    if request.action == "encrypt-zeros":
        return (pack(parameters, cipher.encrypt_zeros(request.key, request.count)),)
    plain = cipher.decrypt(request.key, unpack(parameters, request.data))
    return (plain.astype("<u4", copy=False).tobytes(),)


def _exchange(child: subprocess.Popen[bytes], request: bytes, end: float) -> bytes:
    """Send and receive, by a clock; the child reads all of a request before it answers."""
    sink: Any = child.stdin
    source: Any = child.stdout
    framed = memoryview(len(request).to_bytes(_LENGTH_BYTES, "big") + request)
    os.set_blocking(sink.fileno(), False)
    while framed:
        _wait(end, writes=sink)
        framed = framed[os.write(sink.fileno(), framed[: 1 << 16]) :]
    size = int.from_bytes(_read_by(source, _LENGTH_BYTES, end), "big")
    if size > _MAX_FRAME:
        raise EOFError("an answer that is too long")
    return _read_by(source, size, end)


def _read_by(source: Any, size: int, end: float) -> bytes:
    parts: list[bytes] = []
    while size:
        _wait(end, reads=source)
        data = os.read(source.fileno(), min(size, 1 << 20))
        if not data:
            raise EOFError("the worker has ended")
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _wait(end: float, *, reads: Any = None, writes: Any = None) -> None:
    left = end - time.monotonic()
    ready = select.select([reads] if reads else [], [writes] if writes else [], [], max(left, 0.0))
    if not any(ready):
        raise TimeoutError


def _receive(source: IO[bytes]) -> bytes:
    size = int.from_bytes(_exactly(source, _LENGTH_BYTES), "big")
    if size > _MAX_FRAME:
        raise EOFError("a request that is too long")
    return _exactly(source, size)


def _exactly(source: IO[bytes], size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise EOFError("the parent has ended")
    return data


def _send(sink: IO[bytes], data: bytes) -> None:
    sink.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    sink.flush()


def main() -> None:
    """Limit this process, then serve the parent on standard input and output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = int(sys.argv[1]) if most == resource.RLIM_INFINITY else min(int(sys.argv[1]), most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # What the library prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
