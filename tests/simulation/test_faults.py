"""Seeds of the fault simulation: whatever goes wrong, what must hold holds; and the simulation sees what it is for."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from medfed.homomorphic import is_available
from medfed.hospital.duties import choosing, confirming, revealing, sealing, updating
from medfed.ledger import transition
from medfed.ledger.contracts import deadlines, reveals, rounds, survivors, updates
from medfed.ledger.contracts.studies import study_record
from medfed.simulation.fault_run import main, run_seed
from medfed.simulation.faults import draw_cast

REGRESSIONS = Path(__file__).parent / "regressions.toml"
CHUNK = 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 2_000, CHUNK))
def test_everything_holds_for_every_seed(first: int) -> None:
    failed = [f"seed {o.seed}: {o.failure}" for o in map(run_seed, range(first, first + CHUNK)) if o.failure]
    assert failed == []


def test_everything_holds_for_the_first_seeds() -> None:
    outcomes = [run_seed(seed) for seed in range(2_000, 2_030)]
    assert [outcome.failure for outcome in outcomes if outcome.failure] == []
    assert sum(outcome.ended == "completed" for outcome in outcomes) > 15


@pytest.mark.parametrize(
    "case", tomllib.loads(REGRESSIONS.read_text())["case"], ids=lambda case: f"seed {case['seed']}"
)
def test_a_seed_that_failed_once_holds_now(case: dict[str, Any]) -> None:
    outcome = run_seed(case["seed"])
    assert outcome.failure == "", case["found"]


def test_the_same_seed_gives_the_same_run() -> None:
    for seed in (3, 17, 91):
        assert run_seed(seed) == run_seed(seed)


def test_every_kind_of_fault_and_of_hospital_is_drawn() -> None:
    casts = [draw_cast(seed) for seed in range(400)]
    assert {len(cast.names) for cast in casts} == {3, 4, 5, 6}
    assert {how for cast in casts for _, how in cast.leaving} == {"absent", "leave", "withdraw", "removed", "restored"}
    for field in casts[0].rates.__struct_fields__:
        assert any(getattr(cast.rates, field) for cast in casts), field
    for cast in casts:
        assert len(cast.byzantine) <= cast.bound
        if cast.live:
            assert len(cast.byzantine) + len(cast.leaving) <= len(cast.names) - cast.quorum


def test_the_command_prints_a_failing_seed_and_how_to_replay_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--seeds", "5:8"]) == 0
    assert "3 of 3 seeds, 0 failed" in capsys.readouterr().out
    assert main(["--replay", "5"]) == 0
    assert "the faults stop" in capsys.readouterr().out
    monkeypatch.setattr(updating, "mask_update", lambda vector, *_, **__: vector)
    assert main(["--seeds", "5:8"]) == 1
    printed = capsys.readouterr().out
    assert "seed 5 FAILS" in printed
    assert "--replay 5" in printed
    assert logging.getLogger("medfed").isEnabledFor(logging.ERROR), "whoever calls it may log afterwards"


@pytest.mark.parametrize("seeds", ["5:5", "8:5", "", "five", "5:x", ":7"])
def test_no_seeds_at_all_is_a_mistake_and_no_success(seeds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--seeds", seeds])
    assert ended.value.code == 2
    assert "expected first:last" in capsys.readouterr().err


# --- rules switched off: the simulation must notice -----------------------------------------------------------------


def assert_noticed(seeds: range, *texts: str) -> None:
    """Some seed fails, and the first that does says why. The ranges start just before the first that does."""
    for failure in (outcome.failure for outcome in map(run_seed, seeds)):
        if failure:
            assert any(text in failure for text in texts), failure
            return
    raise AssertionError(f"no seed of {seeds} noticed it")


def test_a_threshold_of_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (rounds, confirming, reveals):
        monkeypatch.setattr(module, "escrow_threshold", lambda study, owner: 1)
    assert_noticed(range(58, 400), "not a released sum", "alone from released sums")


def test_a_quorum_of_the_attempts_roster_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lowered(study: Any, record: Any) -> Any:
        terms = replace(study.terms, quorum=max(3, 2 * len(record.roster) // 3 + 1))
        return replace(study, terms=terms)

    def close_confirm(overlay: Any, call: Any, study: Any, record: Any) -> None:
        out = survivors._left_out(study, record)
        left = replace(record, roster=tuple(name for name in record.roster if name not in out))
        survivors.close_confirm(overlay, call, lowered(study, left), record)

    def close_update(overlay: Any, call: Any, study: Any, record: Any) -> None:
        updates.close_update(overlay, call, lowered(study, record), record)

    def propose(overlay: Any, call: Any, study: Any) -> None:
        record = rounds.current_round(overlay, study)
        original(overlay, call, study if record is None else lowered(study, record))

    original = updates._propose_if_complete
    monkeypatch.setattr(deadlines, "close_confirm", close_confirm)
    monkeypatch.setattr(deadlines, "close_update", close_update)
    monkeypatch.setattr(updates, "_propose_if_complete", propose)
    monkeypatch.setattr(confirming, "verify_survivors", lambda view, study, current: None)
    assert_noticed(range(15, 300), "fewer than the quorum", "was released over", "alone")


def reveal_at_a_quorum(overlay: Any, call: Any, body: Any) -> None:
    survivors.apply_confirm_survivors(overlay, call, body)
    study = study_record(overlay, body.study)
    record = rounds.current_round(overlay, study) if study else None
    if study and record and record.phase == "confirm" and len(record.confirmed) >= study.terms.quorum:
        rounds.put_round(overlay, replace(record, phase="reveal"))


def test_a_reveal_at_a_quorum_of_confirmations_is_noticed_by_the_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transition._HANDLERS, survivors.ConfirmSurvivors, reveal_at_a_quorum)  # type: ignore[arg-type]
    assert_noticed(range(40), "Tampered: round", "not all have signed")


def test_a_reveal_at_a_quorum_of_confirmations_is_noticed_by_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    original = revealing.RevealOwnSeeds.perform

    def careless(self: Any, work: Any, site: Any, view: Any) -> Any:
        record = rounds.round_record(view, work.study, work.round)
        assert record is not None
        shown = replace(record, confirmed=record.survivors)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(revealing, "round_record", lambda *_: shown)
            return original(self, work, site, view)

    monkeypatch.setitem(transition._HANDLERS, survivors.ConfirmSurvivors, reveal_at_a_quorum)  # type: ignore[arg-type]
    monkeypatch.setattr(revealing.RevealOwnSeeds, "perform", careless)
    assert_noticed(range(60), "not a released sum", "alone from released sums")


def test_a_vault_that_lets_everything_be_released_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "may_release", lambda *_: True)
    monkeypatch.setattr(choosing, "_check_wanted", lambda *_: None)
    assert_noticed(range(24, 200), "count the same over", "alone from released sums")


def test_pair_masks_used_in_two_attempts_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = updating.attempt_seed

    def same_for_all(view: Any, study: Any, current: Any, *rest: Any) -> bytes:
        return original(view, study, replace(current, attempt=0), *rest)

    monkeypatch.setattr(updating, "attempt_seed", same_for_all)
    assert_noticed(range(15, 200), "not masked as the protocol says")


def test_an_update_that_leaves_before_its_seeds_are_in_the_vault_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = updating.SubmitMaskedUpdate._masked

    def forgetful(self: Any, site: Any, *rest: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(site.vault, "store", lambda *_: None)
            return original(self, site, *rest)

    monkeypatch.setattr(updating.SubmitMaskedUpdate, "_masked", forgetful)
    assert_noticed(range(3), "that its vault did not know first")


# --- studies whose updates are encrypted or sealed -------------------------------------------------------------------


def test_everything_holds_for_seeds_of_sealed_studies() -> None:
    outcomes = [run_seed(seed, protection="sealed") for seed in range(12)]
    assert [f"seed {o.seed}: {o.failure}" for o in outcomes if o.failure] == []
    assert sum(outcome.ended == "completed" for outcome in outcomes) > 6


@pytest.mark.skipif(not is_available(), reason="needs TenSEAL")
def test_everything_holds_for_seeds_of_encrypted_studies() -> None:
    outcomes = [run_seed(seed, protection="homomorphic") for seed in range(6)]
    assert [f"seed {o.seed}: {o.failure}" for o in outcomes if o.failure] == []
    assert sum(outcome.ended == "completed" for outcome in outcomes) > 2


def test_some_office_holders_are_gone_for_good_and_liars_only_where_they_can_be_told() -> None:
    for protection, offices in (("sealed", {"server"}), ("homomorphic", {"adder", "keeper"})):
        casts = [draw_cast(seed, protection) for seed in range(200)]  # type: ignore[arg-type]
        gone = {name for cast in casts for name, _ in cast.leaving if name not in cast.names}
        assert gone == offices
        assert any(cast.byzantine for cast in casts) is (protection == "sealed")


def test_a_sealed_vector_that_leaves_in_the_clear_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(key: bytes, slot: Any, salt: bytes, vector: Any) -> Any:
        return iter([salt, vector.tobytes()])

    monkeypatch.setattr(sealing, "seal_update", plain)
    assert any("stores its plain vector" in run_seed(seed, protection="sealed").failure for seed in range(3))


UNMASKED_CASES = [
    (23, "homomorphic", "a public key that its key holder never serves was taken for an honest quorum standing still"),
    (53, "homomorphic", "a damaged copy of the public key at one hospital stopped its agent"),
    (61, "sealed", "an aggregate that its aggregator never serves was taken for an honest quorum standing still"),
]


@pytest.mark.parametrize(("seed", "protection", "found"), UNMASKED_CASES, ids=["23", "53", "61"])
def test_a_seed_without_masks_that_failed_once_holds_now(seed: int, protection: Any, found: str) -> None:
    if protection == "homomorphic" and not is_available():
        pytest.skip("needs TenSEAL")
    assert run_seed(seed, protection=protection).failure == "", found
