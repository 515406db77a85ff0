"""Blind tests and data requests under faults: seeds, a death at every effect, rules switched off that are noticed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from medfed.hospital import blind_testing, data_exchange
from medfed.hospital.duties import blind_testing as blind_duties
from medfed.hospital.duties import exchanging
from medfed.identifiers import Name
from medfed.ledger.contracts import blind_test as contract
from medfed.simulation.fault_run import main, run_dealings_seed
from medfed.simulation.faults import Crash, Rates
from medfed.simulation.faults_dealing_world import DealingWorld
from medfed.simulation.faults_dealings import DealingCast, draw_dealings

STORY = DealingCast(7, tests=(0,), requests=("wrong-key",))
"""A test that passes, and a delivery that goes to the arbiter and arrives in the end: everybody acts in every way."""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 40, 20))
def test_everything_holds_for_every_seed(first: int) -> None:
    failed = [f"seed {o.seed}: {o.failure}" for o in map(run_dealings_seed, range(first, first + 20)) if o.failure]
    assert failed == []


def test_everything_holds_for_the_first_seeds_and_the_same_seed_is_the_same_run() -> None:
    outcomes = [run_dealings_seed(seed) for seed in range(1_000, 1_006)]
    assert [outcome.failure for outcome in outcomes if outcome.failure] == []
    assert run_dealings_seed(1_000) == outcomes[0]


@pytest.mark.parametrize(
    ("seed", "found"),
    [
        (31, "a damaged copy of a case stopped the service's agent"),
        (67, "an owner kept the key and the blob of a delivery that the deadline had overtaken"),
    ],
)
def test_a_seed_that_failed_once_holds_now(seed: int, found: str) -> None:
    assert run_dealings_seed(seed).failure == "", found


def test_every_kind_of_fault_and_of_lie_is_drawn() -> None:
    casts = [draw_dealings(seed) for seed in range(300)]
    assert {trick for cast in casts for trick in cast.requests} == {"none", "other-data", "wrong-key", "false-dispute"}
    assert {wrong for cast in casts for wrong in cast.tests} >= {0, 1, 3, 4, 6, 13}
    assert {cast.on_time for cast in casts} == {True, False}
    for field in set(Rates().__struct_fields__) - {"old_history"}:
        assert any(getattr(cast.rates, field) for cast in casts), field


class Deaths:
    """Counts the effects of all sites, and kills at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kinds: list[str] = []
        self.fuse = -1
        look = DealingWorld._looked_at

        def looked_at(world: DealingWorld, name: Name, effect: str) -> None:
            look(world, name, effect)
            if not world.calm:
                self.kinds.append(f"{name}: " + re.sub(r"[0-9a-f]{6,}|[0-9]+", "#", effect))
                if len(self.kinds) == self.fuse:
                    raise Crash(effect)

        monkeypatch.setattr(DealingWorld, "_looked_at", looked_at)

    def run(self, folder: Path, fuse: int = -1) -> DealingWorld:
        """One run that dies once, or never."""
        self.kinds, self.fuse = [], fuse
        folder.mkdir()
        world = DealingWorld(STORY, lambda text: None, folder)
        world.run()
        return world


@pytest.mark.slow
def test_a_site_or_a_person_that_dies_at_any_effect_comes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the end must be is what `verify_end` says of a run in which nobody is late."""
    deaths = Deaths(monkeypatch)
    deaths.run(tmp_path / "whole")
    kinds = deaths.kinds
    assert {kind.split(" ")[0] for kind in kinds} >= {"alpha:", "beta:", "auditor:"}
    first = {kind: fuse for fuse, kind in reversed(list(enumerate(kinds, start=1)))}
    for kind, fuse in first.items():
        deaths.run(tmp_path / str(fuse), fuse)
        assert len(deaths.kinds) >= fuse, kind
    assert len(first) > 40


def test_the_command_runs_dealings_and_prints_how_to_replay_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--dealings", "--seeds", "5:7"]) == 0
    assert "2 of 2 seeds, 0 failed" in capsys.readouterr().out
    monkeypatch.setattr(blind_testing, "_put_all", lambda blobs, cases: None)
    assert main(["--dealings", "--seeds", "5:12"]) == 1
    printed = capsys.readouterr().out
    assert "a vault keeps the keys of a blob that is not stored" in printed
    assert "--dealings" in printed


# --- rules switched off: the simulation must notice -----------------------------------------------------------------


def noticed(text: str, *casts: DealingCast) -> None:
    """Some cast fails, and the first that does says why."""
    failures = (run_dealings_seed(cast.seed, cast).failure for cast in casts)
    assert text in next((failure for failure in failures if failure), "nothing")


def test_a_verdict_below_the_threshold_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = contract._decide
    monkeypatch.setattr(contract, "_decide", lambda overlay, test: original(overlay, replace(test, phase="passed")))
    noticed("diagnosed cases were right", DealingCast(1, tests=(6,), requests=()))


def test_codes_that_are_revealed_before_the_service_has_committed_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def early(self: Any, test: Any, me: Any) -> Any:
        return blind_duties._turn(self, test, me, "open", test.requester)

    monkeypatch.setattr(blind_duties.RevealOwnCodes, "due", early)
    noticed("before the service has committed", DealingCast(1, tests=(0,), requests=()))


def test_blaming_an_owner_for_a_copy_that_was_damaged_on_its_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_exchange, "_check_copy", lambda blobs, blob: None)
    casts = (DealingCast(seed, (), ("none",), rates=Rates(blob=400)) for seed in range(40))
    noticed("says that an honest delivery is wrong", *casts)


def test_a_content_key_that_is_not_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = exchanging.DeliverGranted.perform

    def perform(self: Any, work: Any, site: Any, view: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(site.vault, "store", lambda *_: None)
            return original(self, work, site, view)

    monkeypatch.setattr(exchanging.DeliverGranted, "perform", perform)
    noticed("delivers what its vault does not have", DealingCast(1, (), ("none",)))
