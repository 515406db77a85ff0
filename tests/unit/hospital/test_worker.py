"""What goes wrong in a worker stays there: the agent is told in one sentence, goes on, and tries again later."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from medfed.errors import InvalidInput, Refused, Tampered, Unavailable
from medfed.hospital.worker import ForkedWorker, InProcess, Task, Worker
from medfed.models.course import NO_CHECKPOINTS, Checkpoints

Work = Callable[[Checkpoints], bytes]


def task(work: Work, name: str = "round 1", group: str = "study", kept: Checkpoints = NO_CHECKPOINTS) -> Task[bytes]:
    return Task(group, name, b"base", lambda: work, bytes, bytes, kept)


@pytest.fixture
def make() -> Iterator[Callable[..., ForkedWorker]]:
    made: list[ForkedWorker] = []

    def one(**named: float) -> ForkedWorker:
        made.append(ForkedWorker(**{"patience": 20.0, **named}))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for worker in made:
        worker.close()


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_the_bytes_are_those_of_one_process(make: Callable[..., ForkedWorker], size: int) -> None:
    def work(_: Checkpoints) -> bytes:
        return np.random.default_rng(7).bytes(size)

    assert make().do(task(work)) == InProcess().do(task(work))


def test_what_a_worker_changes_stays_in_it(make: Callable[..., ForkedWorker]) -> None:
    seen: list[int] = []

    def work(_: Checkpoints) -> bytes:
        seen.append(1)
        os.environ["MEDFED_SEEN"] = "x"
        return b"%d %d" % (os.getpid(), len(seen))

    found = make().do(task(work)).split()
    assert int(found[0]) != os.getpid()
    assert (found[1], seen, "MEDFED_SEEN" in os.environ) == (b"1", [], False)


def _segfault(_: Checkpoints) -> bytes:
    ctypes.string_at(0)
    return b""


def _leave(_: Checkpoints) -> bytes:
    os._exit(3)


def _killed(_: Checkpoints) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def _wrong(_: Checkpoints) -> bytes:
    raise ZeroDivisionError("Mr Smith has 0 days")


def _leaves_python(_: Checkpoints) -> bytes:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (_segfault, "was ended by SIGSEGV"),
        (_leave, "ended by itself .exit 3."),
        (_killed, "was ended by SIGKILL, as the system does when memory runs out"),
        (_wrong, r"it failed .ZeroDivisionError at test_worker.py:\d+."),
        (_leaves_python, "it failed .SystemExit"),
    ],
)
def test_every_way_to_die_is_a_sentence_that_quotes_nothing(
    make: Callable[..., ForkedWorker], work: Work, said: str
) -> None:
    with pytest.raises(Unavailable, match=f"^round 1: .*{said}") as caught:
        make().do(task(work))
    assert "Smith" not in str(caught.value)


def test_work_that_eats_memory_is_ended_and_the_agent_keeps_its_own(make: Callable[..., ForkedWorker]) -> None:
    def eats(_: Checkpoints) -> bytes:
        kept = []
        while True:
            kept.append(np.ones(1 << 20))

    worker = make(memory=200 << 20)
    with pytest.raises(Unavailable, match="more memory than the 200 MiB of `training_memory_mib`"):
        worker.do(task(eats))
    assert worker.do(task(lambda _: bytes(100 << 20), "round 2")) == bytes(100 << 20)


def test_work_that_never_ends_is_ended_and_other_studies_go_on_meanwhile(make: Callable[..., ForkedWorker]) -> None:
    def loops(_: Checkpoints) -> bytes:
        while True:
            pass

    worker = make(seconds=0.5, patience=0.05)
    with pytest.raises(Unavailable, match="under way in its own process"):
        worker.do(task(loops, group="one"))
    found, end = b"", time.monotonic() + 10
    while not found:
        with suppress(Unavailable):
            found = worker.do(task(lambda _: b"done", group="other"))
        assert time.monotonic() < end
    assert found == b"done"
    while "took longer than 0.5 s" not in (said := _refusal(worker, task(loops, group="one"))):
        assert "under way" in said
        assert time.monotonic() < end
        time.sleep(0.02)


def _refusal(worker: Worker, wanted: Task[bytes]) -> str:
    with pytest.raises(Unavailable) as caught:
        worker.do(wanted)
    return str(caught.value)


def test_what_nobody_asks_for_has_its_time_too(make: Callable[..., ForkedWorker], tmp_path: Path) -> None:
    note = tmp_path / "number"

    def sleeps(_: Checkpoints) -> bytes:
        note.write_text(str(os.getpid()))
        time.sleep(60)
        return b""

    worker = make(seconds=0.3, patience=0.2)
    _refusal(worker, task(sleeps))
    number = int(note.read_text())
    end = time.monotonic() + 10
    while Path(f"/proc/{number}").exists():
        worker.tend()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_after_a_failure_the_same_is_tried_again_after_growing_pauses_and_another_at_once(
    make: Callable[..., ForkedWorker], tmp_path: Path
) -> None:
    now = [0.0]
    tries = tmp_path / "tries"

    def fails(_: Checkpoints) -> bytes:
        with tries.open("a") as file:
            file.write("x")
        os._exit(1)

    worker = make(clock=lambda: now[0])  # type: ignore[arg-type]
    for now[0] in np.arange(0.0, 16.0, 0.5):
        assert "exit 1" in _refusal(worker, task(fails))
    assert len(tries.read_text()) == 5, "at 0, 1, 3, 7 and 15 s"
    assert worker.do(task(lambda _: b"next", "round 2")) == b"next"
    assert "exit 1" in _refusal(worker, task(fails))
    assert len(tries.read_text()) == 6


@pytest.mark.parametrize("error", [InvalidInput("diverged"), Refused("code-differs", "another"), Tampered("changed")])
def test_errors_of_our_own_come_out_as_they_are(make: Callable[..., ForkedWorker], error: Exception) -> None:
    def work(_: Checkpoints) -> bytes:
        raise error

    with pytest.raises(type(error), match=str(error)) as caught:
        make().do(task(work))
    assert getattr(caught.value, "code", "") == getattr(error, "code", "")


class Kept:
    """Checkpoints in a list."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def load(self) -> bytes | None:
        return self.data[-1] if self.data else None

    def save(self, data: bytes) -> None:
        self.data.append(data)


def test_checkpoints_are_kept_by_the_agent_and_the_next_child_goes_on_from_the_last(
    make: Callable[..., ForkedWorker],
) -> None:
    kept = Kept()

    def work(checkpoints: Checkpoints) -> bytes:
        begun = int(checkpoints.load() or b"0")
        for step in range(begun, 5):
            if step == 3 and begun == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            checkpoints.save(b"%d" % (step + 1))
        return b"from %d" % begun

    now = [0.0]
    worker = make(clock=lambda: now[0])  # type: ignore[arg-type]
    assert "SIGKILL" in _refusal(worker, task(work, kept=kept))
    assert kept.data == [b"1", b"2", b"3"]
    now[0] = 2.0
    assert worker.do(task(work, kept=kept)) == b"from 3"


def test_of_one_study_only_the_newest_task_runs_and_what_is_forgotten_ends(
    make: Callable[..., ForkedWorker], tmp_path: Path
) -> None:
    def sleeps(name: str) -> Work:
        def work(_: Checkpoints) -> bytes:
            (tmp_path / name).write_text(str(os.getpid()))
            time.sleep(60)
            return b""

        return work

    worker = make(patience=0.3)
    _refusal(worker, task(sleeps("first"), "round 1"))
    _refusal(worker, task(sleeps("second"), "round 2"))
    first, second = (int((tmp_path / name).read_text()) for name in ("first", "second"))
    assert not Path(f"/proc/{first}").exists()
    assert Path(f"/proc/{second}").exists()
    worker.forget("study")
    assert not Path(f"/proc/{second}").exists()


def test_no_more_than_four_run_at_once(make: Callable[..., ForkedWorker]) -> None:
    worker = make(patience=0.01)

    def sleeps(_: Checkpoints) -> bytes:
        time.sleep(60)
        return b""

    for number in range(4):
        assert "under way" in _refusal(worker, task(sleeps, group=f"study {number}"))
    assert "waits, 4 other trainings" in _refusal(worker, task(sleeps, group="study 4"))
    worker.forget("study 0")
    assert "under way" in _refusal(worker, task(sleeps, group="study 4"))


def test_a_child_has_no_open_file_and_no_passphrase_of_the_agent(
    make: Callable[..., ForkedWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDFED_PASSPHRASE", "secret")

    def work(_: Checkpoints) -> bytes:
        files: list[str] = []
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # the one that lists the others
                files.append(str(entry.readlink()))
        return f"{sorted(files)} {'MEDFED_PASSPHRASE' in os.environ}".encode()

    with (tmp_path / "vault.db").open("wb"):
        found = make().do(task(work)).decode()
    assert "/dev/null" in found
    assert "vault.db" not in found
    assert found.endswith("False")


def test_a_child_ends_with_its_agent(make: Callable[..., ForkedWorker], tmp_path: Path) -> None:
    def agent(_: Checkpoints) -> bytes:
        inner = ForkedWorker(patience=0.3)

        def sleeps(_: Checkpoints) -> bytes:
            (tmp_path / "number").write_text(str(os.getpid()))
            time.sleep(60)
            return b""

        _refusal(inner, task(sleeps))
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    assert "SIGKILL" in _refusal(make(), task(agent))
    number = int((tmp_path / "number").read_text())
    end = time.monotonic() + 5
    while Path(f"/proc/{number}/cmdline").exists() and Path(f"/proc/{number}/cmdline").read_bytes():
        assert time.monotonic() < end, "the child outlives its agent"
        time.sleep(0.02)
