"""Whatever is sent in whatever order: engines and replays agree, and nothing but `InvalidInput` comes of bad bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.ledger import (
    FOUR,
    INITIAL,
    STUDY,
    StudyWorld,
    World,
    key_of,
    make_terms,
)

from medfed.encoding import Record, decode, digest_of, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Height, sha256
from medfed.ledger import transition
from medfed.ledger.block import Block, transactions_root
from medfed.ledger.contracts.deadlines import AbortStudy, Advance, ResumeStudy, due_at
from medfed.ledger.contracts.keying import ComplainAboutPair, KeysReady
from medfed.ledger.contracts.membership import (
    ChangeAddress,
    Leave,
    ProposeRemoval,
    ProposeUpgrade,
    ReplaceKeys,
    RotateKeys,
    VoteOnParticipant,
    VoteOnRemoval,
    VoteOnUpgrade,
    active_hospitals,
    participant,
)
from medfed.ledger.contracts.registry import RegisterArtefact, WithdrawDataset
from medfed.ledger.contracts.reveals import seeds
from medfed.ledger.contracts.rewards import points, sealing_points, statement
from medfed.ledger.contracts.rounds import Round, current_round, round_record
from medfed.ledger.contracts.studies import (
    MISSES_BEFORE_REJOIN,
    DeclineStudy,
    Rejoin,
    Study,
    WithdrawFromStudy,
    eligible,
    missed_rounds,
    study_record,
)
from medfed.ledger.contracts.survivors import RefuseSurvivors
from medfed.ledger.contracts.terms import Step
from medfed.ledger.contracts.updates import submission
from medfed.ledger.engine import Clock, Sealer, StateView
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Genesis, Policy
from medfed.ledger.merkle import merkle_root
from medfed.ledger.state import State, writes_digest
from medfed.ledger.transaction import Body, SignedTransaction, Transaction
from medfed.ledger.transition import Receipt, Tip
from medfed.ledger.verify import verify_ledger, verify_store

EVERYBODY: Final = (*FOUR, "organiser", "user")
"""Who sends; the aggregator seals and does nothing else, so that the ledger always has a sealer."""
PHASES: Final[dict[str, Callable[[StudyWorld], object]]] = {
    "nothing": lambda study: None,
    "enrolling": StudyWorld.to_enrolling,
    "sealing": StudyWorld.to_sealing,
    "confirming": StudyWorld.to_confirming,
    "running": StudyWorld.to_running,
    "confirm": lambda study: study.to_running().update_all(without=["gamma"]),
    "reveal": lambda study: study.to_running().update_all(without=["gamma"]).confirm_all(),
    "shares due": lambda study: study.to_running().update_all().confirm_all().reveal_all(without=["alpha"]).advance(),
    "voted": lambda study: study.to_running().run_round(),
    "agreeing": lambda study: study.to_running().to_agreeing(),
}
MOVES: Final[dict[str, Callable[[StudyWorld, str, str, int], Body]]] = {
    "address": lambda s, who, other, n: ChangeAddress(f"host:{n}"),
    "leave": lambda s, who, other, n: Leave(),
    "rotate": lambda s, who, other, n: s.world.new_keys(who, n % 3 + 1),
    "replace": lambda s, who, other, n: s.world.replacement(other, n % 3 + 1),
    "candidate": lambda s, who, other, n: s.world.candidate("omega" if n % 2 else other, generation=n % 3),
    "admit": lambda s, who, other, n: VoteOnParticipant("omega", n % 4 > 0),
    "removal": lambda s, who, other, n: ProposeRemoval(other),
    "vote-removal": lambda s, who, other, n: VoteOnRemoval(other, n % 4 > 0),
    "upgrade": lambda s, who, other, n: ProposeUpgrade(2, s.world.view.tip.height + 100_000),
    "vote-upgrade": lambda s, who, other, n: VoteOnUpgrade(2, n % 4 > 0),
    "propose": lambda s, who, other, n: s.proposal(),
    "approve": lambda s, who, other, n: s.approval(),
    "decline": lambda s, who, other, n: DeclineStudy(STUDY, "no-data"),
    "enrol": lambda s, who, other, n: s.enrolment(who, 40 + n),
    "seal": lambda s, who, other, n: s.pair_secrets(who),
    "complain": lambda s, who, other, n: ComplainAboutPair(STUDY, other),
    "ready": lambda s, who, other, n: KeysReady(STUDY),
    "update": lambda s, who, other, n: s.update(who, base=INITIAL if n % 8 == 0 else None, accepts=n % 4 > 0),
    "confirm": lambda s, who, other, n: s.confirmation(who, contents=b"garbage" if n % 5 == 0 else None),
    "missing": lambda s, who, other, n: s.missing(other),
    "refuse": lambda s, who, other, n: RefuseSurvivors(STUDY, s.round.number, s.round.attempt, "no"),
    "reveal": lambda s, who, other, n: s.reveal(who),
    "shares": lambda s, who, other, n: s.shares(who, other),
    "attest": lambda s, who, other, n: s.attestation(accepts=n % 4 > 0, stop=n % 2 == 0),
    "advance": lambda s, who, other, n: Advance(STUDY),
    "resume": lambda s, who, other, n: ResumeStudy(STUDY),
    "abort": lambda s, who, other, n: AbortStudy(STUDY, "x"),
    "withdraw": lambda s, who, other, n: WithdrawFromStudy(STUDY),
    "rejoin": lambda s, who, other, n: Rejoin(STUDY),
    "register": lambda s, who, other, n: RegisterArtefact(sha256(b"x"), "dataset", sha256(bytes([n % 2]))),
    "model": lambda s, who, other, n: RegisterArtefact(sha256(b"m"), "model", sha256(b"c"), STUDY),
    "withdraw-dataset": lambda s, who, other, n: WithdrawDataset(sha256(b"x")),
}
KINDS: Final = (*sorted(MOVES), *["duty"] * 2 * len(MOVES))
"""What somebody owes is sent twice as often as everything else together, or nothing would come of most courses."""
HOW_LONG: Final = (*["no"] * 12, "a bit", "a bit", "past the deadline")
move = st.tuples(st.sampled_from(KINDS), st.sampled_from(EVERYBODY), st.sampled_from(EVERYBODY), st.integers(0, 999))
Course = tuple[str, list[tuple[tuple[str, str, str, int], str]]]
course: st.SearchStrategy[Course] = st.tuples(
    st.sampled_from(sorted(PHASES)),
    st.lists(st.tuples(move, st.sampled_from(HOW_LONG)), max_size=60),
)


def duty(study: StudyWorld, who: str, n: int) -> Body:
    """What an honest hospital would send now."""
    record = study.record
    simple: dict[str, Callable[[], Body]] = {
        "proposed": study.approval,
        "enrolling": lambda: study.enrolment(who),
        "sealing": lambda: study.pair_secrets(who),
        "confirming": lambda: KeysReady(STUDY),
        "agreeing": study.attestation,
        "paused": lambda: ResumeStudy(STUDY),
        "completed": study.attestation,
        "aborted": lambda: ChangeAddress(f"host:{n}"),
    }
    if record.phase != "running":
        return simple[record.phase]()
    now = study.round
    if now.phase == "update":
        return study.update(who)
    if now.phase == "confirm":
        return study.confirmation(who)
    missing = [name for name in now.survivors if name not in now.revealed and name != who]
    return study.shares(who, *missing) if now.shares_due and missing and n % 2 else study.reveal(who)


def body_of(study: StudyWorld, kind: str, who: str, other: str, n: int) -> Body:
    """The move's body as it is right now; where there is nothing to build it from, a body that is refused."""
    if kind not in ("propose",) and study_record(study.world.view, STUDY) is None:
        return MOVES[kind](study, who, other, n) if kind in ("address", "leave", "removal") else Advance(STUDY)
    try:
        return duty(study, who, n) if kind == "duty" else MOVES[kind](study, who, other, n)
    except (AssertionError, StopIteration, ValueError, InvalidInput, IndexError):  # no round, no holder, no share
        return Advance(STUDY)


def pass_time(study: StudyWorld, how_long: str) -> None:
    record = study_record(study.world.view, STUDY)
    due = due_at(study.world.view, record) if record is not None else None
    if how_long == "past the phase" and record is not None and record.phase != "paused":
        how_long = "past the deadline"
    if how_long == "a bit":
        study.world.clock.now_ms += 1_000
    elif how_long == "past the deadline" and due is not None:
        study.world.clock.now_ms = max(study.world.clock.now_ms, due + 1)


class Twins:
    """A memory engine and an embedded one that are given the same calls, and must answer alike."""

    def __init__(self, path: Path, genesis: Genesis, clock: Clock, by: Sealer) -> None:
        self.memory = MemoryEngine(genesis, clock, by)
        self.embedded = EmbeddedEngine.create(path, genesis, clock, by)
        self.genesis = genesis

    def submit(self, *transactions: SignedTransaction) -> list[Receipt]:
        receipts = self.memory.submit(*transactions)
        assert self.embedded.submit(*transactions) == receipts
        return receipts

    def view(self) -> StateView:
        view = self.memory.view()
        assert self.embedded.view().tip == view.tip
        return view

    def wait(self, above: Height, timeout: float) -> Height:
        return self.memory.wait(above, timeout)

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        return self.memory.blocks(start)

    def block_id(self, height: Height) -> Digest | None:
        assert self.memory.block_id(height) == self.embedded.block_id(height)
        return self.memory.block_id(height)

    def close(self) -> None:
        self.embedded.close()


def play(course: Course, world: World, batch: int = 1) -> StudyWorld:
    """Play a course, `batch` moves a call, checking what must hold after each call."""
    phase, moves = course
    study = StudyWorld(world, make_terms(steps=(Step("training", 2), Step("evaluation"))))
    PHASES[phase](study)
    for start in range(0, len(moves), batch):
        counts: dict[str, int] = {}
        calls: list[SignedTransaction] = []
        for (kind, who, other, n), time in moves[start : start + batch]:
            pass_time(study, time)
            body = body_of(study, kind, who, other, n)
            calls.append(world.sign(who, body, ahead=counts.get(who, 0)))
            counts[who] = counts.get(who, 0) + 1
            if n % 7 == 0:
                calls.append(replace(calls[-1], signature=bytes(64)) if n % 2 else calls[0])
        receipts = world.engine.submit(*calls)
        for signed, receipt in zip(calls, receipts, strict=True):
            transaction = signed.transaction
            note(f"{transaction.sender}: {transaction.body}: {receipt.code or 'accepted'}")
            if receipt.accepted:
                take_note_of_keys(world, transaction)
        holds(study)
    return study


def take_note_of_keys(world: World, transaction: Transaction) -> None:
    if isinstance(transaction.body, RotateKeys | ReplaceKeys):
        name = transaction.body.name if isinstance(transaction.body, ReplaceKeys) else transaction.sender
        found = participant(world.view, name)
        assert found is not None
        world.generations[name] = next(g for g in range(4) if key_of(name, g).public == found.signing_key)


def holds(study: StudyWorld) -> None:
    """What is true of every state that any course leads to."""
    view = study.world.view
    assert active_hospitals(view)
    record = study_record(view, STUDY)
    if record is None:
        return
    assert set(eligible(view, record)) <= set(record.roster) - set(record.expelled)
    assert set(record.roster) <= set(record.sealed) <= set(record.enrolled) <= set(record.approved)
    assert not set(record.approved) & set(record.declined)
    if record.phase in ("running", "agreeing", "paused", "completed"):
        assert len(record.roster) >= record.terms.quorum
    for number in range(record.next_round):
        current = round_record(view, STUDY, number)
        assert current is not None
        is_open = current.phase in ("update", "confirm", "reveal")
        assert is_open == (record.phase == "running" and number == record.next_round - 1)
        assert set(current.survivors) <= set(current.submitted) <= set(current.roster) <= set(record.roster)
        assert set(current.revealed) <= set(current.survivors)
        assert set(current.confirmed) <= set(current.survivors)
        if current.survivors:
            assert len(current.survivors) >= record.terms.quorum
        for attempt in range(current.attempt + 1):
            for name in record.roster:
                known = seeds(view, STUDY, number, attempt, name)
                if known is None:
                    continue
                sent = submission(view, STUDY, number, attempt, name)
                assert sent is not None
                assert sent.seed_commitment == sha256(known.self_seed)
                assert attempt == current.attempt
                assert current.confirmed == current.survivors
                assert {pair.name for pair in known.pair_seeds}.isdisjoint(current.survivors)
        if current.phase == "released":
            assert current.revealed == current.survivors
    for name in EVERYBODY:
        awarded = sum(award.points for _, award in statement(view, name))
        assert points(view, name) == awarded + sealing_points(view, name)


SLOW_IS_FINE: Final = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(course, st.integers(1, 6))
def test_any_course_of_transactions_replays_to_the_same_state(course: Course, batch: int) -> None:
    study = play(course, World.build(policy=Policy(sender_quota=2), sealed_by="server"), batch)
    replays(study.world)


@pytest.mark.slow
@settings(max_examples=600, deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(course)
def test_many_courses_of_transactions_replay_to_the_same_state(course: Course) -> None:
    replays(play(course, World.build(sealed_by="server")).world)


@settings(max_examples=12, deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(course, st.integers(1, 6), st.integers(1, 5))
def test_memory_embedded_and_the_verified_file_agree(course: Course, batch: int, quota: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.db"
        policy = Policy(sender_quota=quota, max_block_transactions=quota + 1)
        world = World.build(policy=policy, make=partial(Twins, path), sealed_by="server")
        play(course, world, batch)
        replays(world)
        world.engine.close()
        assert verify_store(path).tip == tip_of(world)


DISTURBANCES: Final = (
    *("complain", "update", "confirm", "missing", "refuse", "reveal", "shares", "attest", "advance", "rejoin"),
    *("duty",) * 10,
)
disturbance: st.SearchStrategy[Course] = st.tuples(
    st.sampled_from(("confirming", "running", "confirm", "reveal", "shares due", "voted", "agreeing")),
    st.lists(
        st.tuples(
            st.tuples(st.sampled_from(DISTURBANCES), st.sampled_from(FOUR), st.sampled_from(FOUR), st.integers(0, 999)),
            st.sampled_from(("no", "no", "no", "past the phase")),
        ),
        max_size=30,
    ),
)


def standing(study: StudyWorld) -> tuple[Study, Round | None]:
    return study.record, current_round(study.world.view, study.record)


def has_ended(study: StudyWorld) -> bool:
    record = study.record
    enough = len(record.roster or record.terms.invited) - len(record.expelled) >= record.terms.quorum
    return record.phase in ("completed", "aborted") or (record.phase == "paused" and not enough)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(disturbance)
def test_after_any_disturbance_hospitals_that_do_their_duty_bring_the_study_to_its_end(course: Course) -> None:
    """No state is a trap: unless so many were expelled that the quorum is gone, or the study was aborted in keying."""
    study = play(course, World.build(sealed_by="server"))
    for _ in range(80):
        before = standing(study)
        if has_ended(study):
            break
        for name in FOUR:
            record = study.record
            if missed_rounds(record, name) >= MISSES_BEFORE_REJOIN and record.phase in ("running", "paused"):
                study.world.send(name, Rejoin(STUDY))
            study.world.send(name, body_of(study, "duty", name, name, 1))
        if standing(study) == before:
            pass_time(study, "past the phase")
            study.world.send("user", Advance(STUDY))
    record = study.record
    if record.phase == "aborted":
        assert record.pause_code in ("too-few-with-keys", "pair-complaint-among-three")
    elif record.phase == "paused":
        assert len(record.roster) - len(record.expelled) < record.terms.quorum
    else:
        assert record.phase == "completed"


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(course)
def test_past_its_own_deadline_any_study_ends_by_one_advance(course: Course) -> None:
    study = play(course, World.build(sealed_by="server"))
    record = study_record(study.world.view, STUDY)
    if record is None or record.phase in ("completed", "aborted"):
        return
    study.world.clock.now_ms = max(study.world.clock.now_ms, record.ends_ms + 1)
    study.world.accept("server", Advance(STUDY))
    assert (study.record.phase, study.record.pause_code) == ("aborted", "study-deadline")
    holds(study)


def tip_of(world: World) -> Tip:
    """The tip that the last block leaves, whatever the engine says."""
    headers = [block.header for block in world.engine.blocks()]
    return transition.tip_after(headers[-1]) if headers else transition.genesis_tip(world.engine.genesis)[1]


def replays(world: World) -> None:
    found, state = verify_ledger(world.engine.genesis, world.engine.blocks())
    assert found.tip == world.view.tip
    assert state.items() == world.view.state.items()


# Bytes


def _records() -> list[type[Record]]:
    found, waiting = list[type[Record]](), [Record]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith("medfed.ledger"):
                found.append(kind)
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")


RECORDS: Final = _records()


def _samples() -> list[bytes]:
    """Canonical bytes of all kinds that a whole study leaves on the ledger."""
    world = World.build()
    study = StudyWorld(world).to_running(("beta", "alpha"))
    study.update_all()
    world.accept("beta", study.missing("delta"))
    study.confirm_all(without=["gamma"]).advance()
    study.update_all().confirm_all().reveal_all(without=["alpha"]).advance()
    for holder in ("delta", "gamma"):
        world.accept(holder, study.shares(holder, "alpha"))
    found = [encode(world.engine.genesis), encode(world.engine.genesis.policy), encode(world.view.tip)]
    for block in world.engine.blocks():
        signed = [SignedTransaction.from_bytes(wire) for wire in block.transactions]
        found += [encode(block), encode(block.header), encode(block.seal), *(entry.payload for entry in signed)]
        found += [encode(entry.transaction.body) for entry in signed]
    return sorted({*found, *world.view.state.items().values()})


SAMPLES: Final = _samples()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Canonical bytes with some bytes changed, taken out, put in or repeated."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        data[at:end] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(data[at:end]) * 2)))
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), damaged()), st.sampled_from(RECORDS))
def test_bytes_decode_to_a_record_that_encodes_to_them_or_are_invalid_input(data: bytes, kind: type[Record]) -> None:
    try:
        value = decode(data, kind)
    except InvalidInput:
        return
    assert encode(value) == data


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=400), damaged().map(lambda data: bytes(64) + data)))
def test_bytes_are_a_transaction_that_encodes_to_them_or_invalid_input(data: bytes) -> None:
    try:
        signed = SignedTransaction.from_bytes(data)
    except InvalidInput:
        return
    assert signed.to_bytes() == data
    assert encode(signed.transaction) == signed.payload
    assert not signed.is_signed_by(bytes(32))


def test_every_record_of_the_ledger_is_strict() -> None:
    """Frozen, and without room for a field that nobody has heard of."""
    assert len(RECORDS) > 60
    for kind in RECORDS:
        assert kind.__struct_config__.frozen, kind
        assert kind.__struct_config__.forbid_unknown_fields, kind


def test_every_sample_is_canonical_for_some_record() -> None:
    """So the damaged bytes above start from good ones of many kinds."""
    kinds = {kind for kind in RECORDS for data in SAMPLES if _decodes(data, kind)}
    assert len(kinds) > 25, sorted(kind.__name__ for kind in kinds)


def _decodes(data: bytes, kind: type[Record]) -> bool:
    try:
        decode(data, kind)
    except InvalidInput:
        return False
    return True


# Digests


@given(st.lists(st.binary(max_size=64), max_size=40))
def test_the_root_of_a_blocks_transactions_is_that_of_their_payloads(payloads: list[bytes]) -> None:
    wires = tuple(bytes(64) + payload for payload in payloads)
    assert transactions_root(wires) == merkle_root([sha256(payload) for payload in payloads])
    backwards = tuple(reversed(wires))
    assert (transactions_root(wires) == transactions_root(backwards)) == (wires == backwards)


@given(
    st.lists(
        st.dictionaries(st.binary(max_size=4), st.one_of(st.none(), st.binary(max_size=4)), max_size=5), max_size=5
    )
)
def test_a_state_is_the_sum_of_its_writes_in_order(writes: list[dict[bytes, bytes | None]]) -> None:
    state, oracle = State(), dict[bytes, bytes | None]()
    for step in writes:
        state = state.with_writes(step)
        oracle.update(step)
        assert writes_digest(step) == writes_digest(dict(sorted(step.items())))
    assert state.items() == {key: value for key, value in oracle.items() if value is not None}


def test_the_state_digest_chains_the_writes_of_every_block() -> None:
    world = World.build()
    StudyWorld(world).to_running()
    genesis = world.engine.genesis
    state, tip = transition.genesis_tip(genesis)
    for block in world.engine.blocks():
        writes, _ = transition.apply_block(genesis, state, tip, block)
        expected = digest_of("medfed/state", tip.state_digest, writes_digest(writes))
        assert block.header.state_digest == expected
        state, tip = state.with_writes(writes), transition.tip_after(block.header)
    assert tip == world.view.tip
