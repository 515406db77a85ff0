"""What agents of an encrypted study refuse although a ledger asks for it: hospitals, aggregators and the key holder."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.lying_view import altered_view, due_work, round_of, step_until, study_of
from tests.support.study import STUDY, TestWorld, small_plan

from medfed.errors import Tampered, Unavailable
from medfed.federation.plan import Protection
from medfed.homomorphic import NativeCipher, is_available
from medfed.homomorphic.parameters import PARAMETERS
from medfed.hospital.duties.adding import AddCiphertexts
from medfed.hospital.duties.encrypting import ConfirmEncrypted, EncryptedAttempt, NoteEncryptedRelease, key_in_use
from medfed.hospital.duties.opening import OpenSum
from medfed.hospital.progress import Release, release_keys, study_key
from medfed.hospital.work import Duty, Work
from medfed.identifiers import Name
from medfed.ledger.contracts import ciphertexts
from medfed.ledger.contracts.ciphertexts import PublishDecryption, RefuseSum, ReportCiphertexts, ciphertext_confirmation
from medfed.ledger.contracts.survivors import RefuseSurvivors
from medfed.ledger.engine import StateView
from medfed.ledger.state import Overlay

pytestmark = pytest.mark.skipif(not is_available(), reason="needs TenSEAL")

KEEPER, ADDER = "keeper", "adder"


@pytest.fixture(scope="module")
def cipher() -> NativeCipher:
    return NativeCipher(PARAMETERS)


@pytest.fixture
def world(cipher: NativeCipher) -> TestWorld:
    plan = replace(small_plan(rounds=1), protection=Protection("homomorphic", KEEPER, (ADDER,)))
    world = TestWorld.build(plan)
    world.cipher = cipher
    for name in world.agents:
        world.restart(name)
    world.propose()
    return world


def at(world: TestWorld, phase: str, duty: Duty, name: Name) -> tuple[StateView, Work]:
    view = step_until(world, phase)
    return view, due_work(duty, world, view, name)


def perform(duty: Duty, work: Work, world: TestWorld, view: StateView, name: Name) -> list[object]:
    return list(duty.perform(work, world.agents[name].site, view))


def attempt_key(work: Work) -> str:
    return study_key(STUDY, "attempt", work.round, work.attempt)


def change_attempt(world: TestWorld, name: Name, work: Work, **fields: Any) -> None:
    vault = world.agents[name].site.vault
    known = vault.load(attempt_key(work), EncryptedAttempt)
    assert known is not None
    vault.store(attempt_key(work), replace(known, **fields))


def with_confirmation(view: StateView, name: Name, **fields: Any) -> StateView:
    current = round_of(view)
    place = (STUDY, current.number, current.attempt, name)
    found = ciphertext_confirmation(view, *place)
    assert found is not None
    overlay = Overlay(view.state)
    ciphertexts._CONFIRMATIONS.put(overlay, replace(found, **fields), *place)
    return StateView(view.genesis, view.state.with_writes(overlay.writes), view.tip)


def with_sums(view: StateView, sums: dict[str, bytes]) -> StateView:
    current = round_of(view)
    overlay = Overlay(view.state)
    ciphertexts._SUMS.put(overlay, sums, STUDY, current.number, current.attempt)
    return StateView(view.genesis, view.state.with_writes(overlay.writes), view.tip)


def test_a_hospital_confirms_one_survivor_set_and_what_it_has_submitted(world: TestWorld) -> None:
    view, work = at(world, "confirm", ConfirmEncrypted(), "delta")
    other = altered_view(view, of_round={"survivors_digest": bytes(32)})
    with pytest.raises(Tampered, match="digest"):
        perform(ConfirmEncrypted(), work, world, other, "delta")
    change_attempt(world, "delta", work, survivors=bytes(32))
    with pytest.raises(Tampered, match="two survivor sets"):
        perform(ConfirmEncrypted(), work, world, view, "delta")
    change_attempt(world, "delta", work, blob=bytes(32))
    assert perform(ConfirmEncrypted(), work, world, view, "delta") == []


def test_a_hospital_refuses_survivors_over_whom_the_same_must_not_be_known(world: TestWorld) -> None:
    view, work = at(world, "confirm", ConfirmEncrypted(), "delta")
    site = world.agents["delta"].site
    record = round_of(view)
    progress_state = site.state_of(STUDY, _progress(world))
    (key, *_) = release_keys(site, world.plan, record.kind, progress_state)
    site.vault.store(key, Release(record.survivors[1:]))
    (body,) = perform(ConfirmEncrypted(), work, world, view, "delta")
    assert isinstance(body, RefuseSurvivors)


def _progress(world: TestWorld) -> Any:
    from medfed.hospital.progress import load_progress

    return load_progress(world.agents["delta"].site, STUDY, world.plan)


def test_a_hospital_notes_a_release_over_all_who_signed_only(world: TestWorld) -> None:
    view, work = at(world, "decrypt", NoteEncryptedRelease(), "delta")
    short = altered_view(view, of_round={"confirmed": round_of(view).confirmed[1:]})
    with pytest.raises(Tampered, match="not all have signed"):
        perform(NoteEncryptedRelease(), work, world, short, "delta")
    change_attempt(world, "delta", work, survivors=None)
    assert perform(NoteEncryptedRelease(), work, world, view, "delta") == []


def test_an_aggregator_adds_over_all_who_confirmed_only(world: TestWorld) -> None:
    view, work = at(world, "sum", AddCiphertexts(), ADDER)
    short = altered_view(view, of_round={"confirmed": round_of(view).confirmed[1:]})
    with pytest.raises(Tampered, match="not all have confirmed"):
        perform(AddCiphertexts(), work, world, short, ADDER)


def test_an_aggregator_waits_for_a_missing_blob_and_reports_it_late(world: TestWorld) -> None:
    view, work = at(world, "sum", AddCiphertexts(), ADDER)
    from medfed.ledger.contracts.updates import submission

    current = round_of(view)
    submitted = submission(view, STUDY, current.number, current.attempt, "alpha")
    assert submitted is not None
    world.blobs.delete(submitted.blob)
    with pytest.raises(Unavailable, match="waiting for the updates of alpha"):
        perform(AddCiphertexts(), work, world, view, ADDER)
    world.clock.advance(current.deadline_ms - world.clock() - 1)
    (body,) = perform(AddCiphertexts(), work, world, view, ADDER)
    assert isinstance(body, ReportCiphertexts)
    assert body.who == ("alpha",)


@pytest.mark.parametrize("field", ["key", "ciphertexts"])
def test_an_aggregator_reports_a_blob_that_is_not_what_was_committed_to(world: TestWorld, field: str) -> None:
    view, work = at(world, "sum", AddCiphertexts(), ADDER)
    lied = with_confirmation(view, "beta", **{field: bytes(32)})
    (body,) = perform(AddCiphertexts(), work, world, lied, ADDER)
    assert isinstance(body, ReportCiphertexts)
    assert body.who == ("beta",)


def test_the_key_holder_opens_only_what_all_confirmed_and_all_aggregators_agree_on(world: TestWorld) -> None:
    view, work = at(world, "decrypt", OpenSum(), KEEPER)
    short = altered_view(view, of_round={"confirmed": round_of(view).confirmed[1:]})
    with pytest.raises(Tampered, match="not all have confirmed"):
        perform(OpenSum(), work, world, short, KEEPER)
    for sums in ({}, {"somebody": bytes(32)}, {ADDER: bytes(32), "other": bytes(range(32))}):
        with pytest.raises(Tampered, match="not all aggregators agree"):
            perform(OpenSum(), work, world, with_sums(view, sums), KEEPER)


def test_the_key_holder_opens_one_sum_a_round(world: TestWorld) -> None:
    view, work = at(world, "decrypt", OpenSum(), KEEPER)
    (body,) = perform(OpenSum(), work, world, view, KEEPER)
    assert isinstance(body, PublishDecryption)
    with pytest.raises(Tampered, match="two sums"):
        perform(OpenSum(), work, world, with_sums(view, {ADDER: bytes(32)}), KEEPER)
    assert perform(OpenSum(), work, world, view, KEEPER) == [body]


@pytest.mark.parametrize("fields", [{"sealed_seed": b"nothing sealed"}, {"seed": bytes(32)}])
def test_the_key_holder_refuses_a_sum_with_a_wrong_seed_and_says_whose(
    world: TestWorld, fields: dict[str, bytes]
) -> None:
    view, work = at(world, "decrypt", OpenSum(), KEEPER)
    (body,) = perform(OpenSum(), work, world, with_confirmation(view, "gamma", **fields), KEEPER)
    assert isinstance(body, RefuseSum)
    assert body.who == ("gamma",)


def test_the_key_holder_refuses_what_is_no_sum_and_waits_for_a_good_copy(world: TestWorld) -> None:
    view, work = at(world, "decrypt", OpenSum(), KEEPER)
    garbage = world.blobs.put(b"no ciphertexts")
    (body,) = perform(OpenSum(), work, world, with_sums(view, {ADDER: garbage}), KEEPER)
    assert isinstance(body, RefuseSum)


def test_a_key_holder_that_lost_its_key_opens_nothing(world: TestWorld) -> None:
    view, work = at(world, "decrypt", OpenSum(), KEEPER)
    key = key_in_use(view, study_of(view))
    world.agents[KEEPER].site.vault.delete(study_key(STUDY, "encryption-key", key.hex()))
    assert perform(OpenSum(), work, world, view, KEEPER) == []
