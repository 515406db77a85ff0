"""The child's side of `worker`: limits itself, does one piece of work, sends the outcome, and is gone.

From the fork to its end it never returns into the agent's code, opens nothing of the agent's, and prints nothing: what
model code says may be about patients.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

from msgspec import Meta

from medfed.encoding import Record, encode
from medfed.errors import InvalidInput, MedFedError, Refused, Tampered
from medfed.models.course import Checkpoints

__all__ = ["CHECKPOINT", "ERROR", "KINDS", "RESULT", "WorkError", "live"]

RESULT, ERROR, CHECKPOINT = 1, 2, 3
KINDS: Final = (RESULT, ERROR, CHECKPOINT)
_SECRETS: Final = ("MEDFED_PASSPHRASE", "MEDFED_PASSPHRASE_FILE")
_DIE_WITH_PARENT: Final = 1
"""`PR_SET_PDEATHSIG` of Linux."""
_NO_MEMORY: Final = ("allocate memory", "out of memory")
"""How torch says it, in an error that is no MemoryError."""


class WorkError(Record):
    """Why there is no outcome: whose fault it is, and a sentence."""

    kind: Literal["invalid", "refused", "unavailable", "tampered", "memory", "failed"]
    code: Annotated[str, Meta(max_length=200)]
    message: Annotated[str, Meta(max_length=1000)]


class _SentCheckpoints:
    """Checkpoints whose vault is on the other side of the channel."""

    def __init__(self, channel: socket.socket, saved: bytes | None) -> None:
        self._channel, self._saved = channel, saved

    def load(self) -> bytes | None:
        """What was there at the fork."""
        return self._saved

    def save(self, data: bytes) -> None:
        """Durable when it returns: the agent has answered."""
        _send(self._channel, CHECKPOINT, data)
        if not self._channel.recv(1):
            os._exit(1)  # the agent is gone, and nobody wants the outcome


def live(
    work: Callable[[Checkpoints], bytes], channel: socket.socket, saved: bytes | None, memory: int, parent: int
) -> NoReturn:
    """The whole life of a child that was just forked from `parent`."""
    code = 1
    try:
        _settle(channel, memory, parent)
        try:
            data, kind = work(_SentCheckpoints(channel, saved)), RESULT
        except BaseException as error:  # noqa: BLE001 - the code may be somebody else's, and this process is its own
            data, kind = encode(_described(error)), ERROR
        _send(channel, kind, data)
        code = 0
    finally:
        os._exit(code)


def _settle(channel: socket.socket, memory: int, parent: int) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        if os.getppid() != parent:
            os._exit(1)
    gc.freeze()  # objects of the agent must not be closed here
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    kept = channel.fileno()
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    for name in _SECRETS:
        os.environ.pop(name, None)
    with contextlib.suppress(OSError):
        os.nice(5)
    if "torch" in sys.modules:
        # The threads of a torch that the parent has used are not here, and the child would wait for them for ever. An
        # agent never uses torch itself, so that this is for programs that hold more than an agent.
        sys.modules["torch"].set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        _limit_memory(memory)


def _limit_memory(memory: int) -> None:
    """At most so many bytes more than now, in place of the agent's own limit.

    What is counted is what a process may write to, not libraries' code.
    """
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    wanted = memory + _data_bytes()
    _, most = resource.getrlimit(kind)
    wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(kind, (wanted, wanted))


def _data_bytes() -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)


def _described(error: BaseException) -> WorkError:
    text = str(error)[:1000]
    if _is_for_memory(error):
        return WorkError("memory", "", "")
    if isinstance(error, InvalidInput):
        return WorkError("invalid", "", text)
    if isinstance(error, Refused):
        return WorkError("refused", error.code[:200], text)
    if isinstance(error, Tampered):
        return WorkError("tampered", "", text)
    if isinstance(error, MedFedError):
        return WorkError("unavailable", "", text)
    last = traceback.extract_tb(error.__traceback__)[-1:]  # where, but not what: that may be about a patient
    where = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in last)
    return WorkError("failed", "", f"{type(error).__name__}{where}"[:1000])


def _is_for_memory(error: BaseException) -> bool:
    """Whether a lack of memory is behind it, whatever was made of that later."""
    seen: BaseException | None = error
    for _ in range(100):
        if seen is None:
            return False
        if isinstance(seen, MemoryError) or any(words in str(seen) for words in _NO_MEMORY):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _send(channel: socket.socket, kind: int, data: bytes) -> None:
    channel.sendall(bytes([kind]) + len(data).to_bytes(8, "big"))
    channel.sendall(data)
