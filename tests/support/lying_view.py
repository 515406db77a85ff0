"""A ledger that says what its contracts would never let it say: what an agent must notice by itself."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from tests.support.study import STUDY, TestWorld

from medfed.hospital.work import Duty, Me, Work
from medfed.identifiers import Name
from medfed.ledger.contracts.rounds import Round, current_round, put_round
from medfed.ledger.contracts.studies import Study, put_study, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.state import Overlay


def study_of(view: StateView) -> Study:
    found = study_record(view, STUDY)
    assert found is not None
    return found


def round_of(view: StateView) -> Round:
    found = current_round(view, study_of(view))
    assert found is not None
    return found


def altered_view(view: StateView, *, of_round: dict[str, Any] | None = None, **of_study: Any) -> StateView:
    """The view with some fields of the study and of its current round replaced."""
    overlay = Overlay(view.state)
    put_study(overlay, replace(study_of(view), **of_study))
    if of_round:
        put_round(overlay, replace(round_of(view), **of_round))
    return StateView(view.genesis, view.state.with_writes(overlay.writes), view.tip)


def step_until(world: TestWorld, phase: str, *, away: tuple[Name, ...] = (), kind: str = "") -> StateView:
    """Step everybody but `away`, one hospital at a time, until the current round is in `phase`."""
    for _ in range(500):
        for name in sorted(world.agents):
            view = world.engine.view()
            study = study_record(view, STUDY)
            current = None if study is None else current_round(view, study)
            if current is not None and current.phase == phase and (not kind or current.kind == kind):
                return view
            if name not in away:
                world.agents[name].step()
        world.clock.advance(500)
    raise AssertionError(f"no round came to {phase}")


def due_work(duty: Duty, world: TestWorld, view: StateView, name: Name) -> Work:
    """The work that `duty` sees for `name`."""
    found = duty.due(view, study_of(view), round_of(view), Me(name, world.clock(), 0))
    assert found, f"{duty.name} is not due to {name}"
    return found[0]
