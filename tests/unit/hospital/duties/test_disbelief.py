"""What an agent refuses although a ledger asks for it: it checks for itself before it signs or reveals anything."""

from __future__ import annotations

from contextlib import suppress

import pytest
from msgspec.structs import replace
from tests.support.lying_view import altered_view, due_work, round_of, step_until, study_of
from tests.support.study import STUDY, TestWorld, small_plan

from medfed.errors import Tampered, Unavailable
from medfed.hospital.agent import DUTIES
from medfed.hospital.duties.attesting import AttestOutcome, RegisterModel
from medfed.hospital.duties.confirming import ConfirmProposedSurvivors
from medfed.hospital.duties.keying import ConfirmKeys
from medfed.hospital.duties.revealing import RevealOwedShares, RevealOwnSeeds
from medfed.hospital.duties.updating import SubmitMaskedUpdate
from medfed.hospital.progress import AttemptRecord, PairSecretStore, study_key, vector_key
from medfed.hospital.work import Duty, Work
from medfed.ledger.contracts.reveals import RevealSeeds
from medfed.ledger.contracts.updates import submission, survivors_digest
from medfed.ledger.engine import StateView


@pytest.fixture
def world() -> TestWorld:
    world = TestWorld.build(small_plan(rounds=1))
    world.propose()
    return world


def perform(duty: Duty, work: Work, world: TestWorld, view: StateView, name: str = "delta") -> list[object]:
    return list(duty.perform(work, world.agents[name].site, view))


BY_NAME_ALONE = ("advance", "resume", "rejoin", "publish-encryption-key")
"""Duties whose bodies need nothing of the study: the contract is what refuses them."""


@pytest.mark.parametrize(
    "duty", [duty for duty in DUTIES if duty.name not in BY_NAME_ALONE], ids=lambda duty: duty.name
)
def test_work_for_a_study_that_is_not_there_is_nothing_to_do(duty: Duty, world: TestWorld) -> None:
    work = Work(duty.name, b"another study id", 0, 0, "alpha")
    with suppress(Unavailable):
        assert perform(duty, work, world, world.engine.view()) == []


def confirming(world: TestWorld) -> tuple[StateView, Work]:
    view = step_until(world, "confirm", away=())
    return view, due_work(ConfirmProposedSurvivors(), world, view, "delta")


def test_survivors_whose_digest_is_another_are_not_confirmed(world: TestWorld) -> None:
    view, work = confirming(world)
    other = altered_view(view, of_round={"survivors_digest": bytes(32)})
    with pytest.raises(Tampered, match="digest is not that of the survivors"):
        perform(ConfirmProposedSurvivors(), work, world, other)


def test_fewer_survivors_than_the_quorum_are_not_confirmed(world: TestWorld) -> None:
    view, work = confirming(world)
    study, current = study_of(view), round_of(view)
    few = tuple(name for name in current.survivors if name in ("alpha", "delta"))
    assert 0 < len(few) < study.terms.quorum
    blobs = []
    for name in few:
        found = submission(view, STUDY, current.number, current.attempt, name)
        assert found is not None
        blobs.append((name, found.blob))
    digest = survivors_digest(STUDY, current.number, current.attempt, tuple(blobs))
    other = altered_view(view, of_round={"survivors": few, "survivors_digest": digest})
    with pytest.raises(Tampered, match="fewer survivors than the quorum"):
        perform(ConfirmProposedSurvivors(), work, world, other)


def test_a_survivor_that_has_not_submitted_is_not_confirmed(world: TestWorld) -> None:
    view, work = confirming(world)
    other = altered_view(view, of_round={"survivors": (*round_of(view).survivors, "zeta")})
    with pytest.raises(Tampered, match="zeta has not submitted"):
        perform(ConfirmProposedSurvivors(), work, world, other)


def test_a_second_survivor_set_for_one_attempt_is_not_confirmed(world: TestWorld) -> None:
    view, work = confirming(world)
    vault = world.agents["delta"].site.vault
    key = study_key(STUDY, "attempt", work.round, work.attempt)
    known = vault.load(key, AttemptRecord)
    assert known is not None
    vault.store(key, replace(known, survivors=bytes(32)))
    with pytest.raises(Tampered, match="two survivor sets"):
        perform(ConfirmProposedSurvivors(), work, world, view)


def test_nothing_is_confirmed_by_a_vault_that_lost_its_pair_secrets(world: TestWorld) -> None:
    view, work = confirming(world)
    world.agents["delta"].site.vault.delete(study_key(STUDY, "pairs"))
    with pytest.raises(Unavailable, match="no pair secrets"):
        perform(ConfirmProposedSurvivors(), work, world, view)


def test_seeds_are_not_revealed_before_all_survivors_have_confirmed(world: TestWorld) -> None:
    view = step_until(world, "reveal")
    work = due_work(RevealOwnSeeds(), world, view, "delta")
    short = altered_view(view, of_round={"confirmed": round_of(view).confirmed[1:]})
    with pytest.raises(Tampered, match="not all have signed"):
        perform(RevealOwnSeeds(), work, world, short)
    other = altered_view(view, of_round={"survivors_digest": bytes(32)})
    with pytest.raises(Tampered, match="not all have signed"):
        perform(RevealOwnSeeds(), work, world, other)
    (body,) = perform(RevealOwnSeeds(), work, world, view)
    assert isinstance(body, RevealSeeds)


def test_a_vault_that_never_signed_the_survivors_reveals_nothing(world: TestWorld) -> None:
    view = step_until(world, "reveal")
    work = due_work(RevealOwnSeeds(), world, view, "delta")
    vault = world.agents["delta"].site.vault
    key = study_key(STUDY, "attempt", work.round, work.attempt)
    known = vault.load(key, AttemptRecord)
    assert known is not None
    vault.store(key, replace(known, survivors=None))
    assert perform(RevealOwnSeeds(), work, world, view) == []


def test_shares_of_nobody_or_by_a_vault_without_secrets_are_not_posted(world: TestWorld) -> None:
    view = step_until(world, "reveal")
    current = round_of(view)
    work = Work(RevealOwedShares.name, STUDY, current.number, current.attempt, "alpha")
    assert perform(RevealOwedShares(), replace(work, detail="zeta"), world, view) == []
    assert len(perform(RevealOwedShares(), work, world, view)) == 1
    world.agents["delta"].site.vault.delete(study_key(STUDY, "pairs"))
    assert perform(RevealOwedShares(), work, world, view) == []


def updating(world: TestWorld) -> tuple[StateView, Work]:
    view = step_until(world, "update", kind="training")
    world.agents["delta"].step()  # it has chosen, drawn and submitted by now
    return view, Work(SubmitMaskedUpdate.name, STUDY, round_of(view).number, round_of(view).attempt)


def test_an_update_that_is_not_the_promised_one_is_not_sent(world: TestWorld) -> None:
    view, work = updating(world)
    vault = world.agents["delta"].site.vault
    key = study_key(STUDY, "attempt", work.round, work.attempt)
    known = vault.load(key, AttemptRecord)
    assert known is not None
    vault.store(key, replace(known, blob=bytes(32)))
    with pytest.raises(Tampered, match="another update than the one it has promised"):
        perform(SubmitMaskedUpdate(), work, world, view)


def test_a_lost_vector_is_not_drawn_anew(world: TestWorld) -> None:
    view, work = updating(world)
    world.agents["delta"].site.vault.delete(vector_key(STUDY))
    with pytest.raises(Tampered, match="does not have"):
        perform(SubmitMaskedUpdate(), work, world, view)


def test_an_update_waits_for_the_agreed_base_and_for_the_rounds_before(world: TestWorld) -> None:
    view, work = updating(world)
    with pytest.raises(Unavailable, match="agreed base"):
        perform(SubmitMaskedUpdate(), work, world, altered_view(view, base=bytes(32)))
    late = Work(work.duty, STUDY, 0, 0)
    with pytest.raises(Unavailable, match="not followed yet"):
        perform(SubmitMaskedUpdate(), late, world, view)


def test_an_update_needs_a_pair_secret_with_everybody_on_the_roster(world: TestWorld) -> None:
    view, work = updating(world)
    vault = world.agents["delta"].site.vault
    found = vault.load(study_key(STUDY, "pairs"), PairSecretStore)
    assert found is not None
    rest = {name: secret for name, secret in found.secrets.items() if name != "alpha"}
    vault.store(study_key(STUDY, "pairs"), replace(found, secrets=rest))
    with pytest.raises(Unavailable, match="no pair secret with alpha"):
        perform(SubmitMaskedUpdate(), work, world, view)


def test_an_outcome_that_is_not_computed_here_is_neither_attested_nor_registered(world: TestWorld) -> None:
    study = world.run()
    assert study.phase == "completed"
    view = world.engine.view()
    register = Work(RegisterModel.name, STUDY)
    with pytest.raises(Unavailable, match="not the one computed here"):
        perform(RegisterModel(), register, world, altered_view(view, base=bytes(32)))
    with pytest.raises(Unavailable, match="not all rounds are followed"):
        perform(RegisterModel(), register, world, altered_view(view, next_round=study.next_round + 1))
    attest = Work(AttestOutcome.name, STUDY, study.base_round, detail="completed")
    with pytest.raises(Unavailable, match="not followed yet"):
        perform(AttestOutcome(), attest, world, altered_view(view, base_round=study.next_round))
    running = altered_view(view, phase="running")
    assert perform(AttestOutcome(), attest, world, running) == [], "nobody stops what has not converged"


def test_keys_are_not_confirmed_by_a_vault_that_drew_none(world: TestWorld) -> None:
    view = step_until(world, "update")
    world.agents["delta"].site.vault.delete_under(study_key(STUDY))
    assert perform(ConfirmKeys(), Work(ConfirmKeys.name, STUDY), world, view) == []
