"""Training that never ends, eats memory or crashes holds up neither the agent nor its other studies, nor the others."""

from __future__ import annotations

import ctypes
import dataclasses
import os
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from tests.support.study import STUDY, TestWorld, small_plan

from medfed.hospital.worker import ForkedWorker, T, Task
from medfed.identifiers import StudyId
from medfed.models.settings import MlpModel
from medfed.simulation.scheduler import Scheduler

OTHER: StudyId = b"another for test"


def _loops() -> None:
    while True:
        pass


def _eats() -> None:
    kept: list[bytes] = []
    while True:
        kept.append(bytes(16 << 20))


def _crashes() -> None:
    ctypes.string_at(0)


def _leaves() -> None:
    os._exit(0)


class SpoiltWorker(ForkedWorker):
    """Trains `STUDY` wrongly."""

    def __init__(self, wrong: Callable[[], None], seconds: float) -> None:
        super().__init__(300 << 20, patience=20.0)
        self._wrong, self._limit = wrong, seconds

    def do(self, task: Task[T]) -> T:
        self._seconds = 600.0  # what is trained rightly may take its time: the machine may be busy
        if task.group == STUDY.hex() and "(training)" in task.name:
            self._seconds = self._limit
            task = dataclasses.replace(task, begin=lambda: lambda _: self._wrong())  # type: ignore[arg-type,return-value]
        return super().do(task)


@pytest.fixture
def worlds() -> Iterator[Callable[[Callable[[], ForkedWorker] | None], TestWorld]]:
    """A world with two studies, in which alpha trains in a worker."""
    workers: list[ForkedWorker] = []

    def make(worker: Callable[[], ForkedWorker] | None) -> TestWorld:
        world = TestWorld.build(small_plan())
        world.propose(OTHER)
        # From another first model: counts of one model are never released over two sets of hospitals.
        world.plan = replace(world.plan, model=MlpModel((3,)))
        world.propose(STUDY)
        if worker is not None:
            workers.append(worker())
            world.agents["alpha"].site.worker = workers[-1]
        return world

    yield make
    for one in workers:
        one.close()


def _ends(world: TestWorld) -> tuple[bytes | None, bytes | None]:
    found: list[bytes | None] = []
    for study in (STUDY, OTHER):
        record = world.run(study)
        assert record.phase == "completed", record.pause_code
        found.append(record.base)
    return found[0], found[1]


Worlds = Callable[[Callable[[], ForkedWorker] | None], TestWorld]


def test_models_trained_in_a_worker_are_those_of_one_process_bit_for_bit(worlds: Worlds) -> None:
    assert _ends(worlds(lambda: ForkedWorker(patience=20.0))) == _ends(worlds(None))


@pytest.mark.parametrize(
    ("wrong", "seconds", "said"),
    [
        (_loops, 0.2, "took longer than 0.2 s and was ended"),
        (_eats, 20, "it needs more memory than the 300 MiB of `training_memory_mib` and was ended"),
        (_crashes, 20, "its process was ended by SIGSEGV"),
        (_leaves, 20, "its process ended by itself (exit 0)"),
    ],
)
def test_where_training_goes_wrong_the_agent_says_so_and_everything_else_goes_on(
    worlds: Worlds, wrong: Callable[[], None], seconds: float, said: str
) -> None:
    expected = _ends(worlds(None))
    world = worlds(lambda: SpoiltWorker(wrong, seconds))
    alpha, problems = world.agents["alpha"], set[str]()
    scheduler = Scheduler(
        world.agents, world.engine, world.idle, observer=lambda *_: problems.update(alpha.problems.values())
    )
    record = scheduler.run(STUDY)
    assert any(said in problem for problem in problems), problems
    assert record.phase == "completed", record.pause_code
    found = _ends(world)
    assert found[0] != expected[0], "without alpha's updates it is another model"
    assert found[1] == expected[1], "the other study has its model, bit for bit"
