"""Attacks by model code: a plan that brings code, and a hospital's machine whose code is another."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from msgspec.structs import replace

pytest.importorskip("torchvision")
pytest.importorskip("PIL")

from tests.support.picture_study import PLACES, classified_sets, picture_plan
from tests.support.study import STUDY, TestWorld

import medfed
from medfed.errors import Refused
from medfed.federation.picture_table import picture_table
from medfed.federation.plan import MulticlassTarget, Plan
from medfed.hospital.code_consent import check_code
from medfed.hospital.consent import APPROVE_ALL
from medfed.hospital.worker import ForkedWorker
from medfed.ledger.contracts.studies import study_record
from medfed.models.approved_code import code_digest
from medfed.models.settings import ModuleModel, PictureTraining

pytestmark = pytest.mark.torch
TOP = "attacked_models"
CODE = """
import ctypes
import os
from pathlib import Path

import torch

MEDFED_MODELS = ("Small",)


class Small(torch.nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        wrong = Path(os.environ.get("ATTACKED_MODELS", "nothing"))
        if wrong.exists():
            exec(wrong.read_text())
        self.inner = torch.nn.Linear(shape[0] * shape[1] * shape[2], outputs)

    def forward(self, pictures):
        return self.inner(pictures.flatten(1))
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    file = tmp_path / f"{TOP}.py"
    file.write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield file
    sys.meta_path[:] = finders
    for name in {name for name in set(sys.modules) - modules if name.partition(".")[0] == TOP}:
        del sys.modules[name]


def _plan() -> Plan:
    model = ModuleModel(f"{TOP}:Small", code_digest(f"{TOP}:Small"), 16 * 16 * 2 + 2)
    plan = picture_plan(
        side=16, model=model, target=MulticlassTarget("class", ("dark", "light")), epochs=10, learning_rate=0.02,
        pictures=PictureTraining(schedule="constant"),
    )  # fmt: skip
    return replace(plan, data=replace(plan.data, features=(replace(plan.data.features[0], channels=1),)))


def _proposed(tmp_path: Path, plan: Plan, codes: tuple[str, ...]) -> TestWorld:
    sets = classified_sets(tmp_path / "sets")
    world = TestWorld.build(plan, consent=replace(APPROVE_ALL, code=codes))
    world.tables = {name: picture_table(sets[name]) for name in PLACES}
    for name in PLACES:
        world.restart(name)
    world.propose()
    return world


WRONG = {
    "loops": ("while True: pass", 0.5, "took longer than 0.5 s and was ended"),
    "eats memory": (
        "self.kept = [torch.ones(1 << 22) for _ in range(10_000)]",
        60,
        "it needs more memory than the 400",
    ),
    "eats memory and hides it": (
        "try:\n  self.kept = [bytes(1 << 24) for _ in range(10_000)]\nexcept MemoryError:\n  raise KeyError",
        60,
        "it needs more memory than the 400",
    ),
    "crashes": ("ctypes.string_at(0)", 60, "its process was ended by SIGSEGV"),
    "leaves": ("os._exit(3)", 60, "its process ended by itself .exit 3."),
}


@pytest.mark.parametrize("name", WRONG)
def test_code_that_loops_eats_memory_or_crashes_ends_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    code, seconds, said = WRONG[name]
    plan = _plan()
    assert isinstance(plan.model, ModuleModel)
    flag = tmp_path / "wrong.py"
    monkeypatch.setenv("ATTACKED_MODELS", str(flag))
    world = _proposed(tmp_path, plan, (plan.model.source,))
    now = [0.0]
    agent = world.agents[PLACES[0]]
    with closing(ForkedWorker(400 << 20, seconds, patience=60, clock=lambda: now[0] + time.monotonic())) as worker:
        agent.site.worker = worker
        flag.write_text(code)
        agent.step()
        assert any(re.search(said, problem) for problem in agent.problems.values()), agent.problems
        flag.unlink()
        now[0] = 10
        world.clock.now_ms += 10_000
        agent.step()
        assert not agent.problems
        study = study_record(world.engine.view(), STUDY)
        assert study is not None
        assert study.approved == (PLACES[0],)


@pytest.mark.slow
def test_a_module_trained_in_workers_is_that_of_one_process_bit_for_bit(source: Path, tmp_path: Path) -> None:
    plan = _plan()
    assert isinstance(plan.model, ModuleModel)
    bases: list[bytes | None] = []
    with ExitStack() as stack:
        for apart in (False, True):
            world = _proposed(tmp_path / str(apart), plan, (plan.model.source,))
            for agent in world.agents.values() if apart else ():
                agent.site.worker = stack.enter_context(closing(ForkedWorker(patience=60)))
            record = world.run()
            assert record.phase == "completed"
            bases.append(record.base)
    assert bases[0] == bases[1]


def _answers(world: TestWorld) -> tuple[set[str], set[str]]:
    for agent in world.agents.values():
        agent.step()
    study = study_record(world.engine.view(), STUDY)
    assert study is not None
    return set(study.approved), set(study.declined)


def test_hospitals_that_have_listed_the_digest_train_a_module_of_their_own(source: Path, tmp_path: Path) -> None:
    study = medfed.simulate(_plan(), classified_sets(tmp_path / "sets"))
    assert study.study.phase == "completed"
    assert study.metrics()["accuracy"].value > 0.9


def test_changed_code_at_the_hospitals_is_declined_and_never_run(source: Path, tmp_path: Path) -> None:
    plan = _plan()
    assert isinstance(plan.model, ModuleModel)
    world = _proposed(tmp_path, plan, (plan.model.source,))
    source.write_text(CODE + "\nraise SystemExit('it ran')\n")
    approved, declined = _answers(world)
    assert not approved
    assert declined  # the study is over once a quorum is out of reach


def test_code_that_changes_during_a_study_stops_this_hospitals_part_in_it(source: Path, tmp_path: Path) -> None:
    plan = _plan()
    assert isinstance(plan.model, ModuleModel)
    consent = replace(APPROVE_ALL, code=(plan.model.source,))
    check_code(consent, plan)
    source.write_text(CODE + "\n# one byte more\n")
    with pytest.raises(Refused, match="is another"):
        check_code(consent, plan)


def test_no_rule_approves_code_that_is_not_listed(source: Path, tmp_path: Path) -> None:
    plan = _plan()
    assert _answers(_proposed(tmp_path, plan, ())) == (set(), set())
    with pytest.raises(Refused, match="its digest is not in"):
        check_code(APPROVE_ALL, plan)
