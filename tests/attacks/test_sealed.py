"""Attacks on updates that are sealed to an aggregator, one test each: what is tried, and who notices."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.sealed import AGGREGATOR, sealed_plan
from tests.support.study import NAMES, STUDY, TestWorld

from medfed.errors import InvalidInput, Unavailable
from medfed.federation.sealed_aggregate import SealedAggregate
from medfed.federation.study import round_manifest
from medfed.hospital.aggregation import manifest_of, plan_of, recompute_state, unmasked_total
from medfed.hospital.duties import aggregating, sealing
from medfed.hospital.duties.aggregating import SessionKeyStore, opened_aggregate
from medfed.hospital.duties.sealing import SealedAttempt, SubmitSealedUpdate
from medfed.hospital.progress import study_key
from medfed.hospital.work import Work
from medfed.identifiers import Name
from medfed.ledger.contracts.aggregates import ReportUpdates, disputes, session_keys
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import SealedSecret
from medfed.ledger.contracts.updates import submission
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import SignedTransaction
from medfed.secure_sum.sealed import Slot, open_update, update_commitment


@pytest.fixture
def world() -> TestWorld:
    made = TestWorld.build(sealed_plan())
    made.propose()
    return made


def _reported(world: TestWorld) -> list[tuple[Name, str]]:
    return [
        (verdict.hospital, verdict.code)
        for block in world.engine.blocks()
        for wire in block.transactions
        if isinstance(body := SignedTransaction.from_bytes(wire).transaction.body, ReportUpdates)
        for verdict in body.who
    ]


def _session_keys(world: TestWorld) -> dict[Name, bytes]:
    found = world.vaults[AGGREGATOR].load(study_key(STUDY, "session-keys"), SessionKeyStore)
    assert found is not None
    return found.keys


# Who can open an update.


def test_nobody_but_the_aggregator_opens_an_update_not_even_with_a_session_key_of_its_own(world: TestWorld) -> None:
    """Beta has every blob, everything on the ledger, its own session key and the private study key."""
    world.step_until(world.in_phase("confirm"))
    view, length = world.engine.view(), round_manifest(plan_of(world.engine.view(), STUDY), "statistics").length
    submitted = submission(view, STUDY, 0, 0, "alpha")
    issued = session_keys(view, STUDY)
    assert submitted is not None
    assert issued is not None
    blob = world.agents["beta"].site.blobs.get(submitted.blob)
    guesses = [bytes(32), submitted.seed_commitment, blob[:32], _session_keys(world)["beta"]]
    for guess in guesses:
        for hospital in NAMES:
            slot = Slot(view.chain, STUDY, hospital, 0, 0)
            with pytest.raises(InvalidInput, match="not under the key"):
                open_update(guess, slot, io.BytesIO(blob), submitted.seed_commitment, length)
    slot = Slot(view.chain, STUDY, "alpha", 0, 0)
    found = open_update(_session_keys(world)["alpha"], slot, io.BytesIO(blob), submitted.seed_commitment, length)
    assert found.tobytes() == world.vaults["alpha"].get(study_key(STUDY, "vector", "values"))


def test_a_session_key_meant_for_another_hospital_does_not_open(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hospital that is shown alpha's sealed key in place of its own, by a lying ledger, gets nothing out of it."""
    world.step_until(lambda study: study.phase == "running")
    view, site = world.engine.view(), world.agents["beta"].site
    issued = session_keys(view, STUDY)
    assert issued is not None
    alphas = next(entry.sealed for entry in issued.keys if entry.receiver == "alpha")
    swapped = replace(issued, keys=(SealedSecret("beta", alphas),))
    monkeypatch.setattr(sealing, "session_keys", lambda reader, study: swapped)
    with pytest.raises(InvalidInput, match="does not open"):
        sealing._session_key(site, view, world.study)


# Hospitals.


def test_an_update_under_another_hospitals_session_key_leaves_its_sender_out(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sealing._session_key

    def other(site: Any, view: Any, study: Any) -> bytes:
        return _session_keys(world)["alpha"] if site.name == "beta" else honest(site, view, study)

    monkeypatch.setattr(sealing, "_session_key", other)
    assert world.run().phase == "completed"
    assert world.round().survivors == ("alpha", "delta", "gamma")
    assert ("beta", "does-not-open") in _reported(world)


@pytest.mark.parametrize("field", ["round", "attempt", "hospital"])
def test_an_update_sealed_for_another_place_leaves_its_sender_out(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """Gamma seals for another round, attempt or hospital: what it commits to is not what its place needs."""
    honest = sealing.Slot

    def elsewhere(chain: bytes, study: bytes, hospital: Name, number: int, attempt: int) -> Slot:
        slot = honest(chain, study, hospital, number, attempt)
        if hospital != "gamma":
            return slot
        return slot._replace(**{field: "alpha" if field == "hospital" else getattr(slot, field) + 1})

    monkeypatch.setattr(sealing, "Slot", elsewhere)
    assert world.run().phase == "completed"
    assert world.round().survivors == ("alpha", "beta", "delta")
    assert {"gamma"} == {name for name, _ in _reported(world)}


def _change_update(monkeypatch: pytest.MonkeyPatch, who: Name, change: Callable[..., Any]) -> None:
    """Let `who` submit something else than its agent would."""
    honest = SubmitSealedUpdate.perform

    def changed(self: Any, work: Work, site: Any, view: StateView) -> Any:
        bodies = honest(self, work, site, view)
        return tuple(change(work, site, view, body) for body in bodies) if site.name == who else bodies

    monkeypatch.setattr(SubmitSealedUpdate, "perform", changed)


def _noted(work: Work, site: Any, body: Any, blob: bytes) -> Any:
    """`body` with another blob, also in the vault, so that the sender's own agent goes on to confirm it."""
    place = study_key(STUDY, "attempt", work.round, work.attempt)
    site.vault.store(place, replace(site.vault.load(place, SealedAttempt), blob=blob))
    return replace(body, blob=blob)


def test_a_replayed_update_of_an_earlier_round_leaves_its_sender_out(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: dict[int, Any] = {}

    def replay(work: Work, site: Any, view: StateView, body: Any) -> Any:
        if work.round == 1:
            first.setdefault(0, body)
        if work.round != 2:
            return body
        return replace(
            _noted(work, site, body, first[0].blob), length=first[0].length, seed_commitment=first[0].seed_commitment
        )

    _change_update(monkeypatch, "delta", replay)
    assert world.run().phase == "completed"
    assert world.round(1).survivors == NAMES
    assert world.round(2).survivors == ("alpha", "beta", "gamma")
    assert _reported(world) == [("delta", "does-not-open")]


def test_another_hospitals_blob_under_ones_own_name_leaves_its_sender_out(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(work: Work, site: Any, view: StateView, body: Any) -> Any:
        alphas = submission(view, STUDY, work.round, work.attempt, "alpha")
        if alphas is None:
            raise Unavailable("alpha has not submitted")
        return replace(_noted(work, site, body, alphas.blob), seed_commitment=alphas.seed_commitment)

    _change_update(monkeypatch, "beta", copy)
    assert world.run().phase == "completed"
    assert world.round().survivors == ("alpha", "delta", "gamma")
    assert ("beta", "does-not-open") in _reported(world)


def test_a_hospital_that_sends_another_plaintext_than_it_committed_to_is_left_out(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commitment is to the key under which another plaintext was sealed; the blob is under one of its own."""

    def other(work: Work, site: Any, view: StateView, body: Any) -> Any:
        slot = Slot(view.chain, STUDY, site.name, work.round, work.attempt)
        return replace(body, seed_commitment=update_commitment(_session_keys(world)["gamma"], slot, bytes(32)))

    _change_update(monkeypatch, "gamma", other)
    assert world.run().phase == "completed"
    assert world.round().survivors == ("alpha", "beta", "delta")
    assert ("gamma", "does-not-open") in _reported(world)


def test_a_hospital_that_says_another_length_is_left_out(world: TestWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    _change_update(monkeypatch, "gamma", lambda work, site, view, body: replace(body, length=body.length + 4))
    assert world.run().phase == "completed"
    assert ("gamma", "wrong-length") in _reported(world)


@pytest.mark.parametrize(("at", "code"), [("numbers.out_of_range", "implausible"), ("examples", "other-examples")])
def test_counts_that_no_honest_hospital_has_leave_their_sender_out(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch, at: str, code: str
) -> None:
    honest = sealing.seal_update
    plan = plan_of(world.engine.view(), STUDY)
    manifest = round_manifest(plan, "statistics")

    def inflated(key: bytes, slot: Slot, salt: bytes, vector: Any) -> Any:
        if slot.hospital == "beta" and slot.round == 0:
            vector = vector.copy()
            vector[manifest.offsets[at]] += 2**31 if code == "implausible" else 1
        return honest(key, slot, salt, vector)

    monkeypatch.setattr(sealing, "seal_update", inflated)
    assert world.run().phase == "completed"
    assert _reported(world) == [("beta", code)]
    assert world.round().survivors == ("alpha", "delta", "gamma")


# The aggregator.


def _lying(monkeypatch: pytest.MonkeyPatch, lie: Callable[[Any, Any], SealedAggregate], in_round: int) -> None:
    honest = aggregating.opened_aggregate

    def changed(site: Any, view: Any, study: Any, current: Round, keys: Any) -> Any:
        found = honest(site, view, study, current, keys)
        return lie(found, (site, view, study, current, keys)) if current.number == in_round else found

    monkeypatch.setattr(aggregating, "opened_aggregate", changed)


def _vector_of(place: Any, name: Name) -> Any:
    """One survivor's vector, as the aggregator opens it."""
    site, view, study, current, keys = place
    return aggregating._opened(site, view, study, plan_of(view, study.study), current, name, keys)


def test_an_aggregator_that_leaves_a_hospital_out_of_the_statistics_is_seen_by_everybody(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer examples than the survivors have enrolled with: all reject it alike, and the plan's ranges are taken."""
    _lying(monkeypatch, lambda found, place: found._replace(total=found.total - _vector_of(place, "gamma")), 0)
    world.step_until(lambda study: study.phase == "paused")
    assert world.study.pause_code == "aggregate-disputed"
    state = recompute_state(world.engine.view(), STUDY, world.blobs)
    assert state.standardisation is not None
    ages = state.standardisation.numbers[0]
    assert (ages.mean, ages.scale) == (50.0, 100.0)  # the plan's range, not anybody's patients


def test_an_aggregator_that_leaves_a_hospital_out_silently_is_disputed_by_that_hospital(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gamma finds counts below its own: of scores, which all fall together only before the first training round."""
    _lying(monkeypatch, lambda found, place: found._replace(total=found.total - _vector_of(place, "gamma")), 2)
    world.step_until(lambda study: study.phase == "paused")
    assert world.study.pause_code == "aggregate-disputed"
    assert "gamma" in {verdict.hospital for verdict in disputes(world.engine.view(), STUDY, 2)}


def test_an_honest_aggregate_is_disputed_by_nobody(world: TestWorld) -> None:
    assert world.run().phase == "completed"
    assert [disputes(world.engine.view(), STUDY, number) for number in range(4)] == [()] * 4


def test_an_aggregator_that_keeps_the_counts_and_changes_the_model_is_caught_by_who_has_its_session_keys(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hospital can tell. Whoever is given the session keys recomputes every published byte."""

    def without_gamma(found: SealedAggregate, place: Any) -> SealedAggregate:
        manifest = manifest_of(place[1], plan_of(place[1], STUDY), place[3])
        size = manifest.entries[0].length
        total = found.total.copy()
        total[:size] -= _vector_of(place, "gamma")[:size]
        return found._replace(total=total)

    _lying(monkeypatch, without_gamma, 1)
    world.step_until(lambda study: study.next_round > 2)
    kept = SessionKeyStore(_session_keys(world))
    view, auditor = world.engine.view(), world.agents["alpha"].site
    assert disputes(view, STUDY, 1) == ()
    plan = plan_of(view, STUDY)
    for number, matches in ((0, True), (1, False)):
        record = world.round(number)
        found = opened_aggregate(auditor, view, world.study, record, kept)
        assert isinstance(found, SealedAggregate)
        published = unmasked_total(view, world.study, plan, record, world.blobs)
        assert np.array_equal(found.total, published) is matches


def test_an_aggregate_beyond_what_hospitals_can_have_sent_is_rejected_by_everybody(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def thrown(found: SealedAggregate, place: Any) -> SealedAggregate:
        total = found.total.copy()
        total[round_manifest(plan_of(place[1], STUDY), "training").offsets["clipped"]] = 2**31
        return found._replace(total=total)

    _lying(monkeypatch, thrown, 1)
    assert world.run().phase == "completed"
    assert recompute_state(world.engine.view(), STUDY, world.blobs).history[0].verdict == "diverged"


def test_an_aggregate_of_another_length_is_rejected_and_stops_no_agent(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lying(monkeypatch, lambda found, place: found._replace(total=found.total[:3]), 1)
    assert world.run().phase == "completed"
    assert recompute_state(world.engine.view(), STUDY, world.blobs).history[0].verdict == "diverged"


def test_an_aggregator_that_issues_a_hospital_garbage_stops_that_hospital_only_which_says_so(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = aggregating.issue_session_key

    def garbage(aggregator: Name, hospital: Name, *others: Any) -> Any:
        key, sealed = honest(aggregator, hospital, *others)
        return (key, sealed[:-1] + bytes([sealed[-1] ^ 1])) if hospital == "gamma" else (key, sealed)

    monkeypatch.setattr(aggregating, "issue_session_key", garbage)
    world.step_until(lambda study: study.next_round > 1)
    assert world.round().survivors == ("alpha", "beta", "delta")
    assert any("does not open" in text for text in world.agents["gamma"].problems.values())
