"""What the fault simulation found, each as a small test of its own; `regressions.toml` names the seeds."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.study import NAMES, STUDY, TestWorld, small_plan

from medfed.blobs import MemoryBlobs
from medfed.errors import Tampered
from medfed.federation.plan import Plan
from medfed.hospital.aggregation import recompute_state
from medfed.hospital.consent import ConsentPolicy, ConsentRule
from medfed.hospital.duties import choosing
from medfed.hospital.duties.confirming import ConfirmProposedSurvivors
from medfed.hospital.requests import request
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.deadlines import ResumeStudy
from medfed.ledger.contracts.membership import ProposeRemoval, VoteOnRemoval
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, WithdrawFromStudy, study_record
from medfed.ledger.contracts.updates import SubmitUpdate

Present = Callable[[Name, Study, Round | None], bool]


def state_of(world: TestWorld) -> tuple[Study, Round | None]:
    study = study_record(world.engine.view(), STUDY)
    assert study is not None
    return study, round_record(world.engine.view(), STUDY, study.next_round - 1)


def drive(world: TestWorld, present: Present = lambda *_: True, passes: int = 600) -> Study:
    """Step whoever is present until the study ends, or for so many passes."""
    for _ in range(passes):
        moved = 0
        for name in sorted(world.agents):
            if present(name, *state_of(world)):
                moved += world.agents[name].step()
        study, _ = state_of(world)
        if not moved:
            if study.phase in ("completed", "aborted"):
                break
            world.clock.advance(5_000)
    return state_of(world)[0]


def survivors_of(world: TestWorld) -> list[tuple[str, str, tuple[Name, ...]]]:
    study, _ = state_of(world)
    found = [round_record(world.engine.view(), STUDY, number) for number in range(study.next_round)]
    return [(record.kind, record.phase, record.survivors) for record in found if record is not None]


@pytest.mark.parametrize("kind", ["statistics", "training", "evaluation"])
def test_a_garbage_vector_is_rejected_and_stops_nobody(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = choosing._chosen

    def garbage(site: Any, view: Any, study: Any, current: Any, state: Any, plan: Any) -> Any:
        chosen = original(site, view, study, current, state, plan)
        if site.name != "beta" or current.kind != kind:
            return chosen
        return np.random.default_rng(current.number).integers(0, 2**32, len(chosen), dtype=np.uint32)

    monkeypatch.setattr(choosing, "_chosen", garbage)
    world = TestWorld.build(small_plan(NAMES, rounds=2))
    world.propose()
    study = drive(world)
    assert study.phase == "completed"
    assert study.base is not None
    assert recompute_state(world.engine.view(), STUDY, world.blobs).digest == study.base
    if kind == "training":
        state = recompute_state(world.engine.view(), STUDY, world.blobs)
        assert [entry.verdict for entry in state.history[:2]] == ["diverged", "diverged"]


class DamagedBlobs(MemoryBlobs):
    """One site's store, with copies that have been damaged."""

    def __init__(self, under: MemoryBlobs) -> None:
        super().__init__()
        self._blobs = under._blobs
        self.is_damaged = False

    def get(self, digest: Digest) -> bytes:
        if self.is_damaged:
            raise Tampered("blob: the bytes do not match the digest")
        return super().get(digest)

    def open_stream(self, digest: Digest) -> io.BytesIO:
        return io.BytesIO(self.get(digest))


def test_a_damaged_copy_of_a_blob_only_delays_its_site() -> None:
    world = TestWorld.build(small_plan(NAMES, rounds=2))
    assert isinstance(world.blobs, MemoryBlobs)
    damaged = DamagedBlobs(world.blobs)
    world.agents["gamma"].site.blobs = damaged
    world.propose()
    seen: list[str] = []

    def present(name: Name, study: Study, current: Round | None) -> bool:
        damaged.is_damaged = current is not None and current.number == 1 and current.attempt == 0
        seen.extend(world.agents["gamma"].problems.values())
        return True

    assert drive(world, present).phase == "completed"
    assert any("waiting for a good copy" in problem for problem in seen)
    assert "gamma" in survivors_of(world)[-1][2]


def test_who_missed_a_rejected_aggregate_sits_out_until_the_model_changes() -> None:
    world = TestWorld.build(rejecting_once())
    world.propose()

    def present(name: Name, study: Study, current: Round | None) -> bool:
        return not (name == "beta" and current is not None and current.number == 1)

    study = drive(world, present)
    assert study.phase == "completed"
    trained = [
        survivors for kind, phase, survivors in survivors_of(world) if kind == "training" and phase == "released"
    ]
    assert trained == [("alpha", "delta", "gamma"), ("alpha", "delta", "gamma")]
    assert study.pauses == 0


def rejecting_once() -> Plan:
    """Every aggregate is rejected, so the same model is counted in every round; two rounds, below the limit."""
    return small_plan(NAMES, rounds=2, max_update_norm=1e-9)


def test_who_missed_a_failed_round_sits_out_until_it_is_made_good() -> None:
    """Alpha misses the statistics, whose reveal fails; the next try must be over the same three."""
    world = TestWorld.build(small_plan(NAMES, rounds=1))
    world.propose()

    def present(name: Name, study: Study, current: Round | None) -> bool:
        if current is None or current.number > 0:
            return True
        if name == "alpha":
            return False
        return not (current.phase == "reveal" and name in ("beta", "delta"))

    study = drive(world, present)
    assert study.phase == "completed"
    rounds = survivors_of(world)
    assert rounds[0] == ("statistics", "failed", ("beta", "delta", "gamma"))
    assert [entry[2] for entry in rounds if entry[:2] == ("statistics", "released")] == [("beta", "delta", "gamma")]
    assert rounds[-1][2] == NAMES


def test_a_garbage_escrow_over_no_more_than_the_quorum_leaves_a_study_that_can_only_stand_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The price of exact sums, as it is now: what failed over a liar and two others stays theirs."""
    original = ConfirmProposedSurvivors._confirmation

    def lie(self: Any, site: Any, *rest: Any) -> Any:
        body = original(self, site, *rest)
        return replace(body, escrow=bytes(len(body.escrow))) if site.name == "delta" else body

    def present(name: Name, study: Study, current: Round | None) -> bool:
        in_first = current is not None and current.number == 0
        late = name == "alpha" and in_first and current is not None and current.phase in ("update", "confirm")
        return not late and not (name == "delta" and in_first and current is not None and current.phase == "reveal")

    monkeypatch.setattr(ConfirmProposedSurvivors, "_confirmation", lie)
    patient = ConsentPolicy(rules=(ConsentRule("approve"),), most_resumes=3)
    world = TestWorld.build(small_plan(NAMES, rounds=1), consent=patient)
    world.propose()
    study = drive(world, present)
    assert survivors_of(world)[0] == ("statistics", "failed", ("beta", "delta", "gamma"))
    assert (study.phase, study.expelled) == ("paused", ("delta",))
    assert {phase for _, phase, _ in survivors_of(world)[1:]} == {"unreleased"}


def test_who_withdraws_after_a_failed_round_must_be_removed_before_the_rest_can_go_on() -> None:
    """Withdrawing from a study gives up nothing; leaving the consortium, or being removed from it, does."""
    asked: list[str] = []
    world = TestWorld.build(small_plan(NAMES, rounds=1))
    world.propose()

    def present(name: Name, study: Study, current: Round | None) -> bool:
        if current is not None and current.number == 0 and current.phase == "confirm" and not asked:
            asked.append(request(world.vaults["alpha"], WithdrawFromStudy(STUDY)))
        first = current is not None and current.number == 0 and current.phase == "reveal"
        return not (first and name in ("beta", "delta"))

    study = drive(world, present, passes=400)
    assert study.withdrawn == ("alpha",)
    assert (study.phase, study.pause_code) == ("paused", "survivors-refused")
    for name in ("beta", "gamma", "delta"):
        request(world.vaults[name], ProposeRemoval("alpha") if name == "beta" else VoteOnRemoval("alpha", True))
    for name in ("beta", "gamma", "delta"):
        world.agents[name].step()
    for name in ("beta", "gamma", "delta"):
        request(world.vaults[name], ResumeStudy(STUDY))
    assert drive(world).phase == "completed"
    assert survivors_of(world)[-1][2] == ("beta", "delta", "gamma")


def test_a_restored_vault_does_not_confirm_with_seeds_that_are_not_those_of_the_update_on_the_ledger() -> None:
    """The copy was made before the update, and the update arrived only after the restored agent had drawn another."""
    world = TestWorld.build(small_plan(NAMES, rounds=2))
    world.propose()
    while (current := state_of(world)[1]) is None or current.number < 1:
        drive(world, lambda name, study, current: current is None or current.number < 1, passes=1)
    copied = sqlite3.connect(":memory:", isolation_level=None)
    world.vaults["gamma"]._connection.backup(copied)
    (late,) = [
        signed for signed in world.agents["gamma"].prepare() if isinstance(signed.transaction.body, SubmitUpdate)
    ]
    world.vaults["gamma"]._connection.close()
    world.vaults["gamma"]._connection = copied
    world.restart("gamma")
    world.agents["gamma"].prepare()
    assert world.engine.submit(late)[0].accepted

    def present(name: Name, study: Study, current: Round | None) -> bool:
        return not (name == "gamma" and current is not None and current.phase == "reveal" and current.number == 1)

    study = drive(world, present)
    assert study.phase == "completed"
    assert study.expelled == ()
    assert survivors_of(world)[1][2] == ("alpha", "beta", "delta")
