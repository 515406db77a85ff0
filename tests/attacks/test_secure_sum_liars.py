"""Every lie that a hospital can tell in a secure sum, told at every opportunity, against a consortium of real agents.

Whatever one liar among four does, the three honest ones finish with the sum of what they put in, nobody honest is
penalised, and no coalition within the bound learns more than the released sums: `FaultWorld` checks it after each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from medfed.ledger.contracts.keying import KeysReady, SealPairSecrets
from medfed.ledger.contracts.reveals import RevealSeeds
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.survivors import ConfirmSurvivors, ReportMissing
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.transaction import SignedTransaction
from medfed.simulation import byzantine
from medfed.simulation.byzantine_acts import ACTS
from medfed.simulation.byzantine_spam import SPAM
from medfed.simulation.faults import Cast
from medfed.simulation.faults_study import STUDY
from medfed.simulation.faults_world import FaultWorld

LIAR = "beta"
HONEST = ("alpha", "delta", "gamma")
ASYMMETRIC = ("blob served to some", "damaged blob")
"""Where some have the blob and some have not, those that report it may be left out of a round: a third cannot be told
from liars."""
EVERY = [(kind, name) for kind, acts in ACTS.items() for name, _ in dict(acts).items()]


def lying(monkeypatch: pytest.MonkeyPatch, *lies: tuple[type, str], seed: int = 7) -> FaultWorld:
    """A study of four in which `beta` tells these lies whenever it can; run to its end."""
    chosen = {kind: tuple(entry for entry in ACTS[kind] if entry[0] == name) for kind, name in lies}
    monkeypatch.setattr(byzantine, "ACTS", chosen)
    monkeypatch.setattr(byzantine, "_DEVIATES", 1.0)
    monkeypatch.setattr(byzantine, "_SPAMS", 0.0)
    names = tuple(sorted((*HONEST, LIAR)))
    world = FaultWorld(Cast(seed, names, rounds=2, byzantine=(LIAR,), ticks=0), lambda _: None)
    study = world.run()
    assert (study.phase, world.held) == ("completed", False)
    return world


def rounds_of(world: FaultWorld) -> list[Round]:
    found = [round_record(world.history.now, STUDY, number) for number in range(world.study.next_round)]
    return [record for record in found if record is not None]


def codes(world: FaultWorld, kind: type) -> list[str]:
    """What became of the liar's transactions of one kind."""
    found: list[str] = []
    for block in world.engine.blocks():
        for data in block.transactions:
            signed = SignedTransaction.from_bytes(data)
            if signed.transaction.sender == LIAR and isinstance(signed.transaction.body, kind):
                (receipt,) = world.engine.submit(signed)
                found.append(receipt.code)
    return found


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{kind.__name__}: {name}" for kind, name in EVERY])
def test_the_honest_finish_whatever_one_liar_says(kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (kind, name))
    released = [record for record in rounds_of(world) if record.phase == "released"]
    assert [record.kind for record in released] == ["statistics", "training", "training", "evaluation"]
    left_out = 1 if name in ASYMMETRIC else 0
    for record in released:
        assert len(set(HONEST) - set(record.survivors)) <= left_out
    assert not set(world.study.expelled) & set(HONEST)


@pytest.mark.parametrize("name", [name for name, _ in SPAM])
def test_the_honest_finish_whatever_is_shouted_in_between(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byzantine, "ACTS", {})
    monkeypatch.setattr(byzantine, "SPAM", [entry for entry in SPAM if entry[0] == name])
    monkeypatch.setattr(byzantine, "_SPAMS", 1.0)
    names = tuple(sorted((*HONEST, LIAR)))
    world = FaultWorld(Cast(3, names, rounds=1, byzantine=(LIAR,), ticks=0), lambda _: None)
    assert world.run().phase == "completed"
    assert all(record.survivors == names for record in rounds_of(world))


def test_a_garbage_escrow_followed_by_silence_expels_the_liar_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (ConfirmSurvivors, "garbage escrow"), (RevealSeeds, "no reveal"))
    assert world.study.expelled == (LIAR,)
    assert [record.phase for record in rounds_of(world)].count("failed") == 1
    assert all(LIAR not in record.roster for record in rounds_of(world)[1:])


def test_a_false_commitment_is_found_out_when_the_shares_open_the_escrow(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (SubmitUpdate, "false commitment"))
    assert world.study.expelled == (LIAR,)
    assert set(codes(world, RevealSeeds)) == {"wrong-seeds"}


def test_a_liar_that_never_reveals_stops_nothing_and_is_opened_from_escrow(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (RevealSeeds, "no reveal"))
    assert all(LIAR in record.survivors and LIAR in record.revealed for record in rounds_of(world))


def test_a_blob_that_nobody_can_get_costs_one_attempt_and_only_its_owner_the_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = lying(monkeypatch, (SubmitUpdate, "digest without a blob"))
    assert world.study.pauses == 0
    assert [(record.survivors, record.phase) for record in rounds_of(world)] == [(HONEST, "released")] * 4


def test_a_false_report_leaves_the_liar_out_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (ConfirmSurvivors, "false report"))
    assert "" in codes(world, ReportMissing)
    assert all(record.survivors == HONEST for record in rounds_of(world))


def test_a_wrong_base_is_recorded_and_never_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (SubmitUpdate, "wrong base"))
    assert all(record.survivors == HONEST for record in rounds_of(world))


def test_garbage_pair_secrets_are_complained_about_and_cost_the_liar_its_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (SealPairSecrets, "garbage pair secrets"), seed=11)
    lost = world.study.lost_edges
    assert all(LIAR in edge for edge in lost)
    assert LIAR not in world.study.roster or len(lost) == 1


def test_a_false_complaint_costs_no_honest_hospital_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (KeysReady, "false complaint"))
    assert set(HONEST) <= set(world.study.roster)


def test_a_second_update_is_refused_and_the_first_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lying(monkeypatch, (SubmitUpdate, "second update"))
    assert set(codes(world, SubmitUpdate)) <= {"", "already-submitted", "wrong-phase"}
    assert all(LIAR in record.survivors for record in rounds_of(world))


def test_what_liars_and_the_curious_hold_together_within_the_bound_opens_nothing() -> None:
    """Five hospitals, two of them liars that share everything: as many as privacy allows for, too many to finish."""
    found: Sequence[Any] = []
    for seed in range(12):
        names = ("alpha", "beta", "delta", "gamma", "kappa")
        cast = Cast(seed, names, rounds=1, byzantine=("beta", "kappa"), live=False, ticks=60)
        world = FaultWorld(cast, lambda _: None)
        world.run()
        found = [*found, *world.witness.published.releases]
    assert found
