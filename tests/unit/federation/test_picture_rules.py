"""Who lacks torch for a plan is told so before it joins."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.labelling import labelling_plan

from medfed.federation.picture_rules import lacks_torch
from medfed.models.settings import MlpModel, SmallCnnModel


@pytest.mark.parametrize("missing", [True, False])
def test_a_student_that_needs_torch_counts_as_the_teachers_do(missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None if missing else object())
    plan = labelling_plan()
    labelling: Any = plan.labelling
    student = replace(labelling, student=replace(labelling.student, model=SmallCnnModel(side=28)))
    assert not lacks_torch(plan)
    assert lacks_torch(replace(plan, model=SmallCnnModel(side=28))) == missing
    assert lacks_torch(replace(plan, model=MlpModel(), labelling=student)) == missing
