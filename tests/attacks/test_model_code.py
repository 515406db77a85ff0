"""Attacks by model code: a plan that brings code, and a hospital's machine whose code is another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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
from medfed.ledger.contracts.studies import study_record
from medfed.models.approved_code import code_digest
from medfed.models.settings import ModuleModel, PictureTraining

pytestmark = pytest.mark.torch
TOP = "attacked_models"
CODE = """
import torch

MEDFED_MODELS = ("Small",)


class Small(torch.nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
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
