"""Hospitals that fall silent at every point of a round, come back, withhold or lie about blobs; and sums stay exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.study import NAMES, STUDY, TestWorld, small_plan

from medfed.blobs import BlobStore, MemoryBlobs
from medfed.errors import Tampered, Unavailable
from medfed.federation.baselines import federate_plainly
from medfed.federation.plan import EarlyStopping, StrategySettings
from medfed.federation.prepared import prepare
from medfed.federation.study import initial_state
from medfed.hospital.aggregation import recompute_state, unmasked_total
from medfed.hospital.duties import updating
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.keying import SealPairSecrets
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.verify import verify_ledger
from medfed.simulation.scheduler import Absence

Present = Callable[[Name, Study, Round | None], bool]


def drive(world: TestWorld, present: Present, limit: int = 4_000) -> Study:
    """Step whoever is present, one after the other, until the study ends."""
    for _ in range(limit):
        moved = 0
        for name in sorted(world.agents):
            view = world.engine.view()
            study = study_record(view, STUDY)
            assert study is not None
            current = round_record(view, STUDY, study.next_round - 1)
            if present(name, study, current):
                moved += world.agents[name].step()
        study = study_record(world.engine.view(), STUDY)
        assert study is not None
        if not moved:
            if study.phase in ("completed", "aborted"):
                return study
            world.idle(None)
    raise AssertionError(f"still {study.phase} after {limit} passes")


def rounds_of(world: TestWorld) -> list[Round]:
    study = study_record(world.engine.view(), STUDY)
    assert study is not None
    found = [round_record(world.engine.view(), STUDY, number) for number in range(study.next_round)]
    return [record for record in found if record is not None]


def spied_vectors(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, bytes], np.ndarray]:
    """Every plain vector that a hospital chose, by round and by the digest of its masked blob."""
    chosen: dict[tuple[int, bytes], np.ndarray] = {}
    original = updating.SubmitMaskedUpdate._masked

    def spy(self, site, view, study, current, update, secrets):  # type: ignore[no-untyped-def]
        plain = update.vector.copy()  # masking overwrites it
        body = original(self, site, view, study, current, update, secrets)
        chosen[current.number, body.blob] = plain
        return body

    monkeypatch.setattr(updating.SubmitMaskedUpdate, "_masked", spy)
    return chosen


def assert_sums_exact(world: TestWorld, chosen: dict[tuple[int, bytes], np.ndarray]) -> int:
    from medfed.ledger.contracts.updates import submission

    view = world.engine.view()
    study = study_record(view, STUDY)
    assert study is not None
    released = 0
    for record in rounds_of(world):
        if record.phase != "released":
            continue
        released += 1
        plain = np.zeros(0, dtype=np.uint32)
        for name in record.survivors:
            submitted = submission(view, STUDY, record.number, record.attempt, name)
            assert submitted is not None
            x = chosen[record.number, submitted.blob]
            plain = x.copy() if not len(plain) else plain + x
        assert np.array_equal(unmasked_total(view, study, world.plan, record, world.blobs), plain)
        assert len(record.survivors) >= study.terms.quorum
    return released


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_released_sum_is_the_plain_sum_for_any_roster_absence_and_schedule(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 7), label="hospitals")
    names = tuple(f"hospital-{i}" for i in range(count))
    plan = small_plan(names)
    spare = count - plan.participation.quorum
    gone = data.draw(st.permutations(names), label="order")[: data.draw(st.integers(0, spare), label="absent")]
    first = st.integers(0, 3)
    away = {name: Absence(data.draw(first), data.draw(st.integers(3, 5))) for name in gone}
    with pytest.MonkeyPatch.context() as patch:
        chosen = spied_vectors(patch)
        world = TestWorld.build(plan, seed=data.draw(st.integers(0, 1000), label="keys"))
        world.propose()
        study = world.run(seed=data.draw(st.integers(0, 1000), label="schedule"), away=away)
        assert study.phase == "completed"
        assert assert_sums_exact(world, chosen) == 4
    assert recompute_state(world.engine.view(), STUDY, world.blobs).digest == study.base
    verify_ledger(world.engine.genesis, world.engine.blocks(), world.engine.genesis.digest)


def test_a_hospital_silent_after_its_update_leaves_the_attempt_and_is_back_in_the_next_round() -> None:
    world = TestWorld.build(small_plan(NAMES))
    world.propose()

    def present(name: Name, study: Study, current: Round | None) -> bool:
        silent = current is not None and current.number == 1 and name == "gamma" and name in current.submitted
        return not silent

    assert drive(world, present).phase == "completed"
    first = rounds_of(world)[1]
    assert (first.attempt, first.survivors) == (1, ("alpha", "beta", "delta"))
    assert rounds_of(world)[2].survivors == NAMES


def test_a_survivor_silent_after_confirming_is_opened_from_escrow() -> None:
    for names in (("alpha", "beta", "gamma"), NAMES, (*NAMES, "omega")):
        with pytest.MonkeyPatch.context() as patch:
            chosen = spied_vectors(patch)
            world = TestWorld.build(small_plan(names))
            world.propose()

            def present(name: Name, study: Study, current: Round | None) -> bool:
                return not (
                    current is not None and current.number == 1 and name == "beta" and name in current.confirmed
                )

            assert drive(world, present).phase == "completed"
            record = rounds_of(world)[1]
            assert record.shares_due
            assert "beta" in record.survivors
            assert "beta" in record.revealed
            assert assert_sums_exact(world, chosen) == 4


def test_a_hospital_away_for_two_rounds_rejoins_and_counts_again() -> None:
    world = TestWorld.build(small_plan(NAMES, rounds=6))
    world.propose()
    study = world.run(away={"delta": Absence(1, 3)})
    assert study.phase == "completed"
    rosters = [record.roster for record in rounds_of(world)]
    survivors = [record.survivors for record in rounds_of(world)]
    assert "delta" not in survivors[1] + survivors[2] + survivors[3]
    assert "delta" not in rosters[3]
    assert "delta" in survivors[-1]


def test_a_study_ends_with_the_rest_when_one_hospital_is_gone_for_good() -> None:
    world = TestWorld.build(small_plan(NAMES, rounds=3))
    world.propose()
    study = world.run(away={"alpha": Absence(2)})
    assert study.phase == "completed"
    assert all("alpha" not in record.survivors for record in rounds_of(world)[2:])


def test_below_the_quorum_the_study_pauses_and_goes_on_when_enough_are_back() -> None:
    world = TestWorld.build(small_plan(NAMES, rounds=2))
    world.propose()
    passes = {"paused": 0}

    def present(name: Name, study: Study, current: Round | None) -> bool:
        if study.phase == "paused":
            passes["paused"] += 1
        two_away = current is not None and current.number == 1 and passes["paused"] < 40
        return not (two_away and name in ("alpha", "beta"))

    study = drive(world, present)
    assert study.phase == "completed"
    assert study.pauses == 1
    assert rounds_of(world)[1].phase == "unreleased"


class PartialBlobs:
    """Hides some blobs from one hospital, as a peer that serves a blob to all but one."""

    def __init__(self, under: BlobStore, hidden: set[Digest]) -> None:
        self._under = under
        self.hidden = hidden

    def put(self, data: bytes | memoryview) -> Digest:
        return self._under.put(data)

    def get(self, digest: Digest) -> bytes:
        self._check(digest)
        return self._under.get(digest)

    def open_stream(self, digest: Digest):  # type: ignore[no-untyped-def]
        self._check(digest)
        return self._under.open_stream(digest)

    def has(self, digest: Digest) -> bool:
        return digest not in self.hidden and self._under.has(digest)

    def size(self, digest: Digest) -> int:
        self._check(digest)
        return self._under.size(digest)

    def delete(self, digest: Digest) -> None:
        self._under.delete(digest)

    def digests(self):  # type: ignore[no-untyped-def]
        return self._under.digests()

    def _check(self, digest: Digest) -> None:
        if digest in self.hidden:
            raise Unavailable("blob: not served")


def test_a_hospital_that_serves_its_blob_to_nobody_is_left_out_without_penalty_for_the_reporters() -> None:
    from medfed.ledger.contracts.updates import submission

    world = TestWorld.build(small_plan(NAMES))
    views = {name: PartialBlobs(world.blobs, set()) for name in NAMES}
    for name in NAMES:
        world.agents[name].site.blobs = views[name]
    world.propose()

    def present(name: Name, study: Study, current: Round | None) -> bool:
        if current is not None and current.number == 1 and current.attempt == 0:
            submitted = submission(world.engine.view(), STUDY, 1, 0, "beta")
            if submitted is not None:
                for other in NAMES:
                    if other != "beta":
                        views[other].hidden.add(submitted.blob)
        return True

    assert drive(world, present).phase == "completed"
    record = rounds_of(world)[1]
    assert record.attempt == 1
    assert record.survivors == ("alpha", "delta", "gamma")
    assert rounds_of(world)[2].survivors == NAMES


def test_early_stopping_skips_what_is_left_of_the_training() -> None:
    plan = small_plan(NAMES, rounds=12, stopping=EarlyStopping(patience=1, min_rounds=2), learning_rate=9.0)
    world = TestWorld.build(plan)
    world.propose()
    study = world.run()
    assert study.phase == "completed"
    kinds = [(record.kind, record.phase) for record in rounds_of(world)]
    assert ("training", "skipped") in kinds
    assert kinds[-1] == ("evaluation", "released")
    assert len(kinds) < 14


def test_three_rejected_aggregates_pause_the_study_for_a_person() -> None:
    world = TestWorld.build(small_plan(NAMES, rounds=8, max_update_norm=1e-9))
    world.propose()
    for _ in range(300):
        moved = sum(agent.step() for agent in list(world.agents.values()))
        study = study_record(world.engine.view(), STUDY)
        assert study is not None
        if study.phase == "paused" and not moved:
            break
        if not moved:
            world.idle(None)
    assert (study.phase, study.pause_code) == ("paused", "three-rejections")
    state = recompute_state(world.engine.view(), STUDY, world.blobs)
    assert state.parameters == initial_state(world.plan).parameters


def test_a_vault_restored_from_a_copy_sits_out_and_the_study_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    import sqlite3

    world = TestWorld.build(small_plan(NAMES, rounds=4))
    world.propose()
    copies: list[sqlite3.Connection] = []
    sent_before: list[int] = []

    def present(name: Name, study: Study, current: Round | None) -> bool:
        vault = world.vaults["gamma"]
        if current is not None and current.number == 2 and not copies:
            copy = sqlite3.connect(":memory:", isolation_level=None)
            vault._connection.backup(copy)
            copies.append(copy)
        if current is not None and current.number == 2 and "gamma" in current.submitted and not sent_before:
            vault._connection = copies[0]
            sent_before.append(1)
            world.restart("gamma")
        return True

    study = drive(world, present)
    assert study.phase == "completed"
    assert "restored from a copy" in caplog.text
    second = rounds_of(world)[2]
    assert second.attempt == 1
    assert "gamma" not in second.survivors
    assert "gamma" in rounds_of(world)[-1].survivors


def test_a_history_that_does_not_extend_the_one_seen_stops_the_agent() -> None:
    world = TestWorld.build(small_plan(NAMES))
    world.propose()
    for _ in range(6):
        for agent in world.agents.values():
            agent.step()
    other = TestWorld.build(small_plan(NAMES))
    other.propose()
    world.agents["alpha"].engine = other.engine
    with pytest.raises(Tampered, match="no longer holds the block"):
        world.agents["alpha"].step()


def test_the_same_seed_gives_the_same_transactions_but_for_sealed_bytes() -> None:
    """HPKE draws its own randomness, so only what is sealed to a study key differs."""
    runs = []
    for _ in range(2):
        world = TestWorld.build(small_plan(NAMES), seed=7)
        world.propose()
        world.run(seed=3)
        runs.append(
            [
                (signed.transaction.sender, signed.transaction.sequence, signed.transaction.body)
                for block in world.engine.blocks()
                for signed in map(SignedTransaction.from_bytes, block.transactions)
                if not isinstance(signed.transaction.body, SealPairSecrets)
            ]
        )
    assert runs[0] == runs[1]
    assert len(runs[0]) > 60


def plain_digest(world: TestWorld) -> Digest:
    """What the world's study leads to without masks, ledger and agents."""
    keys = {hospital: world.consortium.keys[hospital].split_key for hospital in world.tables}
    prepared = {hospital: prepare(world.plan, table, keys[hospital]) for hospital, table in world.tables.items()}
    return federate_plainly(world.plan, prepared).digest


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold"])
def test_a_study_over_the_ledger_gives_the_states_of_plain_federated_averaging_bit_for_bit(name: str) -> None:
    rate = 0.1 if name in ("fedadagrad", "fedadam", "fedyogi") else 1.0
    settings_of = StrategySettings(name=name, rate=rate)  # type: ignore[arg-type]
    plan = small_plan(NAMES, rounds=3, strategy=settings_of, proximal=0.5 if name == "fedprox" else 0.0)
    world = TestWorld.build(plan)
    world.propose()
    study = world.run()
    assert plain_digest(world) == study.base


def test_a_stopped_study_gives_the_state_of_the_plain_one_that_stopped() -> None:
    stopping = EarlyStopping(patience=1, min_rounds=2)
    plan = small_plan(NAMES, rounds=12, stopping=stopping, learning_rate=9.0)
    world = TestWorld.build(plan)
    world.propose()
    study = world.run()
    assert plain_digest(world) == study.base


def test_blobs_of_a_study_never_hold_a_plain_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = spied_vectors(monkeypatch)
    world = TestWorld.build(small_plan(NAMES), blobs=MemoryBlobs())
    world.propose()
    world.run()
    stored = {bytes(world.blobs.get(digest)) for digest in world.blobs.digests()}
    assert chosen
    assert not {vector.tobytes() for vector in chosen.values()} & stored


def test_after_a_rejected_aggregate_the_same_model_is_never_counted_over_other_survivors() -> None:
    """Exact validation counts of one model over two survivor sets would give away who is in one and not the other."""
    world = TestWorld.build(small_plan(NAMES, rounds=4, max_update_norm=1e-9))
    world.propose()

    def present(name: Name, study: Study, current: Round | None) -> bool:
        return not (current is not None and current.number >= 2 and name == "beta")

    for _ in range(400):
        moved = 0
        for name in sorted(world.agents):
            study = study_record(world.engine.view(), STUDY)
            assert study is not None
            current = round_record(world.engine.view(), STUDY, study.next_round - 1)
            if present(name, study, current):
                moved += world.agents[name].step()
        if not moved:
            if study.phase == "paused":
                break
            world.idle(None)
    assert (study.phase, study.pause_code) == ("paused", "survivors-refused")
    assert rounds_of(world)[1].survivors == NAMES
    assert rounds_of(world)[2].phase == "unreleased"
