"""Where a site trains: in a process of its own, so that what happens there happens to nobody else.

The agent forks a child for each piece of work, which sees the site's rows without a copy and sends its result back. It
may use so much memory and so much time, counted from the agent's own; it is the first to go when the machine's memory
runs out, yields the processor to the ledger, prints nowhere, and ends with the agent. A training that takes long does
not keep the agent waiting: `do` says that it is under way, and is asked again. One that crashed, or broke a limit, is
tried again after growing pauses, and every time the message says what happened.

The same bytes come out as in one process. It is no prison for hostile code: see decision 0038. This module must never
let a child touch vault, ledger or keys: all that they are needed for happens before the fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from medfed.encoding import decode
from medfed.errors import InvalidInput, MedFedError, Refused, Tampered, Unavailable
from medfed.hospital.worker_child import CHECKPOINT, ERROR, KINDS, RESULT, WorkError, live
from medfed.models.course import NO_CHECKPOINTS, Checkpoints

__all__ = ["DEFAULT_SECONDS", "ForkedWorker", "InProcess", "Task", "Worker"]

log: Final = logging.getLogger("medfed.hospital")
T = TypeVar("T")
DEFAULT_SECONDS: Final = 86_400
_PATIENCE_SECONDS: Final = 1.0
"""How long the agent waits at once: most trainings of tables are done by then."""
_MOST_AT_ONCE: Final = 4
_MOST_BYTES: Final = 4 << 30
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 600.0
_HEADER: Final = 9


@dataclass(frozen=True)
class Task(Generic[T]):
    """One piece of work, whose outcome follows from what it is named by."""

    group: str
    """A study or the like: of one group only the newest task is worth doing."""
    name: str
    """For people, and with `of` what tells it from the others of its group."""
    of: bytes
    begin: Callable[[], Callable[[Checkpoints], T]]
    """Reads here whatever the work needs, and gives the work itself."""
    pack: Callable[[T], bytes]
    unpack: Callable[[bytes], T]
    checkpoints: Checkpoints = NO_CHECKPOINTS


class Worker(Protocol):
    """Does a site's heavy work."""

    def do(self, task: Task[T]) -> T:
        """The outcome.

        Raises:
            Unavailable: it is under way, or has ended without an outcome: ask again. Others: as the task says.
        """
        ...

    def tend(self) -> None:
        """Look after what is under way, whether or not anybody asks for it."""
        ...

    def forget(self, group: str) -> None:
        """Nobody will ask for anything of this group any more."""
        ...

    def close(self) -> None:
        """End everything."""
        ...


class InProcess:
    """A `Worker` that does it here and now: for simulations, and for commands that do one step."""

    def do(self, task: Task[T]) -> T:
        """The outcome."""
        return task.begin()(task.checkpoints)

    def tend(self) -> None:
        """Nothing is under way."""

    def forget(self, group: str) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing runs."""


@dataclass
class _Job:
    """A child, and what has come from it."""

    name: str
    of: bytes
    process: int
    channel: socket.socket
    seconds: float
    end: float
    checkpoints: Checkpoints
    buffer: bytearray = field(default_factory=bytearray)
    outcome: tuple[int, bytes] | None = None
    is_running: bool = True


@dataclass(frozen=True)
class _Failure:
    """How a task failed, and from when on it is tried again."""

    name: str
    of: bytes
    error: WorkError
    pause: float
    until: float


class ForkedWorker:
    """A `Worker` that forks a child for each task. For one thread."""

    def __init__(
        self,
        memory: int = 0,
        seconds: float = DEFAULT_SECONDS,
        *,
        patience: float = _PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`memory` is in bytes beyond what the agent itself has, 0 for no limit; the others are in seconds."""
        self._memory = memory
        self._seconds = seconds
        self._patience = patience
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        self._failures: dict[str, _Failure] = {}

    def do(self, task: Task[T]) -> T:
        """The outcome; waits a moment for it, and then says that it is under way."""
        self._raise_failure(task)
        job = self._jobs.get(task.group)
        if job is not None and (job.name, job.of) != (task.name, task.of):
            self._end(task.group)
            job = None
        if job is None:
            job = self._start(task)
            self._advance(task.group, job, self._patience)
        else:
            self._advance(task.group, job, 0.0)
        self._raise_failure(task)
        if job.outcome is None:
            raise Unavailable(f"{task.name}: under way in its own process ({job.process})")
        try:
            found = task.unpack(job.outcome[1])
        except InvalidInput:
            self._fail(task.group, job, WorkError("unavailable", "", f"{task.name}: what its process sent is damaged"))
            self._raise_failure(task)
            raise
        self._end(task.group)
        self._failures.pop(task.group, None)
        return found

    def tend(self) -> None:
        """Keep checkpoints that have come, and end what has had its time."""
        for group, job in list(self._jobs.items()):
            self._advance(group, job, 0.0)

    def forget(self, group: str) -> None:
        """End what is under way in this group."""
        self._end(group)
        self._failures.pop(group, None)

    def close(self) -> None:
        """End every child."""
        for group in list(self._jobs):
            self._end(group)

    def _start(self, task: Task[Any]) -> _Job:
        if sum(job.is_running for job in self._jobs.values()) >= _MOST_AT_ONCE:
            raise Unavailable(f"{task.name}: waits, {_MOST_AT_ONCE} other trainings of this site are under way")
        saved = task.checkpoints.load()
        work = task.begin()
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python warns of threads that hold a lock at the fork. This program's own hold none that the child takes.
            warnings.simplefilter("ignore", DeprecationWarning)
            number = os.fork()
        if not number:
            live(lambda kept: task.pack(work(kept)), theirs, saved, self._memory, parent)
        theirs.close()
        with contextlib.suppress(OSError):  # the child does the same: whoever comes first
            os.setpgid(number, number)
        ours.setblocking(False)
        end = self._clock() + self._seconds
        job = _Job(task.name, task.of, number, ours, self._seconds, end, task.checkpoints)
        self._jobs[task.group] = job
        return job

    def _advance(self, group: str, job: _Job, patience: float) -> None:
        """Take what has come from a child, for at most so long; note how it ended."""
        end = time.monotonic() + patience
        while job.is_running and job.outcome is None:
            if self._take(job):
                continue
            if not job.is_running:
                break
            if self._clock() >= job.end:
                message = f"took longer than {job.seconds:g} s and was ended; `training_seconds` allows more"
                self._fail(group, job, WorkError("unavailable", "", f"{job.name}: {message}"))
                return
            left = end - time.monotonic()
            if left <= 0:
                return
            _wait_for(job.channel, min(left, max(0.0, job.end - self._clock())))
        if job.outcome is not None and job.outcome[0] == ERROR:
            self._fail(group, job, _error_in(job, self._memory))
        elif job.outcome is None:
            self._fail(group, job, WorkError("unavailable", "", f"{job.name}: {_how_it_ended(job.process)}"))

    def _take(self, job: _Job) -> bool:
        """Whether anything came. Sets the outcome when it is whole, and `is_running` when nothing will follow."""
        try:
            data = job.channel.recv(1 << 20)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            job.is_running = False
            return False
        job.buffer += data
        while len(job.buffer) >= _HEADER:
            kind, size = job.buffer[0], int.from_bytes(job.buffer[1:_HEADER], "big")
            if kind not in KINDS or size > _MOST_BYTES:
                job.is_running = False
                return False
            if len(job.buffer) < _HEADER + size:
                return True
            body = bytes(memoryview(job.buffer)[_HEADER : _HEADER + size])
            del job.buffer[: _HEADER + size]
            if kind in (RESULT, ERROR):
                job.outcome, job.is_running = (kind, body), False
                return True
            if kind == CHECKPOINT:
                job.checkpoints.save(body)
                with contextlib.suppress(OSError):
                    job.channel.send(b"\0")
        return True

    def _fail(self, group: str, job: _Job, error: WorkError) -> None:
        before = self._failures.get(group)
        same = before is not None and (before.name, before.of) == (job.name, job.of)
        pause = min(2 * before.pause, _LONGEST_PAUSE) if before is not None and same else _FIRST_PAUSE
        self._failures[group] = _Failure(job.name, job.of, error, pause, self._clock() + pause)
        self._end(group)
        log.warning("%s; trying again in %.0f s at the earliest", error.message, pause)

    def _raise_failure(self, task: Task[Any]) -> None:
        found = self._failures.get(task.group)
        if found is None or (found.name, found.of) != (task.name, task.of) or self._clock() >= found.until:
            return
        raise _raised(found.error)

    def _end(self, group: str) -> None:
        job = self._jobs.pop(group, None)
        if job is None:
            return
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(job.process, signal.SIGKILL)
        job.channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(job.process, 0)


def _wait_for(channel: socket.socket, seconds: float) -> None:
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.poll(max(1, int(seconds * 1000)))


def _error_in(job: _Job, memory: int) -> WorkError:
    """What a child has said about itself."""
    try:
        found = decode(job.outcome[1] if job.outcome is not None else b"", WorkError)
    except InvalidInput:
        return WorkError("unavailable", "", f"{job.name}: what its process sent is damaged")
    if found.kind == "memory":
        limit = f"more memory than the {memory >> 20} MiB of `training_memory_mib`" if memory else "more memory"
        return WorkError("unavailable", "", f"{job.name}: it needs {limit} and was ended")
    if found.kind == "failed":
        return WorkError("unavailable", "", f"{job.name}: it failed ({found.message})")
    return found


def _raised(error: WorkError) -> MedFedError:
    match error.kind:
        case "invalid":
            return InvalidInput(error.message)
        case "refused":
            return Refused(error.code, error.message)
        case "tampered":
            return Tampered(error.message)
        case _:
            return Unavailable(error.message)


def _how_it_ended(process: int) -> str:
    """In words; the child has closed its side, so it is at its end or will be killed now."""
    end = time.monotonic() + 1.0
    while True:
        try:
            number, status = os.waitpid(process, os.WNOHANG)
        except ChildProcessError:
            return "its process has gone"
        if number or time.monotonic() > end:
            break
        time.sleep(0.005)
    if not number:
        return "its process sent no outcome and did not end"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"its process ended by itself (exit {code})"
    more = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-code).name}{more}"
