"""What a fuzz target is, and how one run of it is judged.

A decoder fed with any bytes either takes them or raises one of MedFed's own errors with a short message, within two
seconds of processor time and within a bounded memory. Everything else is a failure.
"""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Literal

from medfed.errors import InvalidInput, MedFedError, Refused, Tampered, Unavailable

SECONDS: Final = 2.0
"""Processor time, so that a busy machine makes no failure."""
REAL_SECONDS: Final = 60.0
"""For a decoder that sleeps or waits for something that never comes."""
MEMORY: Final = 1 << 30
"""Bytes that one run may add to the process's address space."""
LONGEST_MESSAGE: Final = 20_000
KINDS: Final = (InvalidInput, Refused, Unavailable, Tampered)

Form = Literal["bytes", "msgpack", "json", "text"]


class TooMuch(BaseException):
    """Time or memory ran out. No handler of ordinary exceptions catches it."""


@dataclass(frozen=True)
class Target:
    """One decoder. `run` gets the bytes and an empty directory that is its own."""

    name: str
    run: Callable[[bytes, Path], None]
    seeds: Callable[[], Sequence[bytes]]
    """Valid inputs, made by code, the same every time."""
    form: Form = "bytes"
    """How mutations see the seeds."""
    offset: int = 0
    """Where the structured part of `msgpack` seeds begins; -1: behind the first zero byte."""
    cost: int = 1
    """How many times fewer cases this target gets, because a run opens files or computes much."""
    keep: bool = True
    """Whether the valid seeds are small enough to be kept in the corpus."""


def judge(target: Target, data: bytes, folder: Path) -> bool:
    """Whether the target took `data`; raises whatever must not be raised, with a note that says how to replay it."""
    try:
        with bounded():
            target.run(data, folder)
    except MedFedError as error:
        check_error(error)
        return False
    except BaseException as error:
        error.add_note(f"target {target.name}; {len(data)} bytes, in hexadecimal: {data[:300].hex()}")
        raise
    return True


def quietly(action: Callable[..., object], *arguments: object) -> None:
    """Do it; one of our own errors is fine."""
    try:
        action(*arguments)
    except MedFedError as error:
        check_error(error)


def check_error(error: MedFedError) -> None:
    """Of one of the four kinds, with a message that fits a screen or two."""
    assert isinstance(error, KINDS), f"{type(error).__name__} is none of the four kinds of error"
    assert 0 < len(str(error)) <= LONGEST_MESSAGE, f"a message of {len(str(error))} characters"


@contextmanager
def bounded() -> Generator[None]:
    """Time and memory bounds around one run."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooMuch(f"signal {number}: more than {SECONDS} s of processor time or {REAL_SECONDS} s of real time")

    before = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, REAL_SECONDS)
    try:
        with _less_memory():
            yield
    except MemoryError as error:
        raise TooMuch(f"more than {MEMORY >> 20} MiB of memory") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _less_memory() -> Generator[None]:
    """Lower the soft limit of the address space; only Linux says how large it is now, and keeps to the limit."""
    if not sys.platform.startswith("linux"):
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
