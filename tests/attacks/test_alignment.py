"""What a member or an outsider may try against private set intersection, each a named test.

The liar is `delta`: its agent never runs, and it signs whatever it likes. The others are honest agents, and what they
find must be right whatever it does.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest
from tests.simulation.test_alignment import assert_right
from tests.support.alignment import ID, AlignmentWorld, Entries, entries_of
from tests.vectors.test_ristretto255 import INVALID

from medfed.alignment.blinding import blind_list, elements_of
from medfed.alignment.inputs import run_domain
from medfed.alignment.patients import PatientQuestion, patients_of
from medfed.blobs import MemoryBlobs
from medfed.crypto import (
    Entropy,
    commit,
    hash_to_element,
    is_element,
    multiply,
    new_scalar,
    random_element,
    seeded_entropy,
)
from medfed.encoding import encode
from medfed.identifiers import Digest, sha256
from medfed.ledger.contracts.alignment import CommitInputs, list_length, list_owner
from medfed.ledger.contracts.alignment_blinding import PublishBlinded, ReportBlinded, blinded, publisher_of
from medfed.ledger.transition import Receipt

LIAR = "delta"
FOUR = entries_of(alpha="a b c d", beta="b c e", delta="c x", gamma="d e y z")
HONEST = ("alpha", "beta", "gamma")
SALT = bytes(32)


@dataclass
class Liar:
    """A member that keeps to the protocol except where a test says otherwise."""

    world: AlignmentWorld
    entropy: Entropy = field(default_factory=lambda: seeded_entropy(b"liar"))
    scalar: bytes = b""

    def __post_init__(self) -> None:
        self.scalar = new_scalar(self.entropy)

    def honest_list(self, length: int = 16) -> bytes:
        return b"".join(random_element(self.entropy) for _ in range(length))

    def commit(self, elements: bytes, *, inputs: bytes = b"inputs", length: int | None = None) -> Receipt:
        record = self.world.record
        return self.world.send(
            LIAR,
            CommitInputs(
                ID,
                record.attempt,
                record.question,
                sha256(inputs),
                commit(SALT, sha256(elements)),
                length if length is not None else len(elements) // 32,
            ),
        )

    def publish(self, elements: bytes, *, keep: bool = True) -> Receipt:
        record = self.world.record
        blob = self.world.blobs.put(elements) if keep else sha256(elements)
        return self.publish_blob(blob, SALT if record.stage == 0 else None)

    def publish_blob(self, blob: Digest, salt: bytes | None) -> Receipt:
        record = self.world.record
        return self.world.send(LIAR, PublishBlinded(ID, record.attempt, record.stage, blob, salt))

    def blind(self) -> bytes:
        """What an honest hospital would publish in this stage."""
        record = self.world.record
        owner = list_owner(record, record.stage, LIAR)
        before = publisher_of(record, record.stage - 1, owner)
        blob = blinded(self.world.engine.view(), record, record.stage - 1, before)
        assert blob is not None
        return blind_list(self.scalar, self.world.blobs.get(blob), list_length(record, owner))


def tampered_world() -> tuple[AlignmentWorld, Liar]:
    world = AlignmentWorld.build(FOUR)
    world.silent.add(LIAR)
    world.open()
    return world, Liar(world)


def until(world: AlignmentWorld, phase: str, stage: int = 0) -> None:
    """The honest step until only the liar is awaited, or the stage is reached."""
    for _ in range(50):
        if (world.record.phase, world.record.stage) == (phase, stage):
            return
        world.tick()
    raise AssertionError(f"still {world.record.phase}, stage {world.record.stage}")


def assert_thrown_out(world: AlignmentWorld) -> None:
    record = world.run()
    assert (record.phase, record.attempt, record.roster) == ("completed", 1, HONEST)
    assert_right(world, HONEST)


SMALL_ORDER_EDWARDS = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
]
BAD_ELEMENTS = [bytes(32).hex(), *SMALL_ORDER_EDWARDS, INVALID[0], INVALID[-1]]


@pytest.mark.parametrize("encoding", BAD_ELEMENTS)
def test_small_order_invalid_and_identity_elements_in_the_own_list_throw_the_liar_out(encoding: str) -> None:
    bad = bytes.fromhex(encoding)
    assert not is_element(bad)
    world, liar = tampered_world()
    elements = liar.honest_list(15) + bad
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    assert_thrown_out(world)


def test_bad_elements_put_into_anothers_list_throw_the_liar_out() -> None:
    world, liar = tampered_world()
    elements = liar.honest_list()
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    until(world, "blinding", 1)
    assert liar.publish(liar.blind()[:-32] + bytes(32)).accepted
    assert_thrown_out(world)


@pytest.mark.parametrize("spelling", ["the same", "another encoding"])
def test_an_element_listed_twice_throws_the_liar_out(spelling: str) -> None:
    world, liar = tampered_world()
    elements = liar.honest_list(15)
    first = elements[:32]
    elements += first if spelling == "the same" else first[:-1] + bytes((first[-1] | 0x80,))
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    assert_thrown_out(world)


def test_a_list_longer_than_declared_throws_the_liar_out() -> None:
    world, liar = tampered_world()
    elements = liar.honest_list(500)
    assert liar.commit(elements, length=16).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    assert_thrown_out(world)


def test_a_list_longer_than_the_bound_is_refused_by_the_ledger() -> None:
    _, liar = tampered_world()
    assert liar.commit(liar.honest_list(16), length=1_001).code == "list-too-long"


def test_nothing_can_be_copied_before_the_commitment_because_nothing_is_published() -> None:
    world, _ = tampered_world()
    for _ in range(5):
        world.tick()
    assert [name for name, _ in world.record.lengths] == list(HONEST)
    assert list(world.blobs.digests()) == []


def test_anothers_list_cannot_be_published_as_ones_own() -> None:
    world, liar = tampered_world()
    assert liar.commit(liar.honest_list()).accepted
    until(world, "blinding")
    for _ in range(3):
        world.tick()
    view, record = world.engine.view(), world.record
    theirs = blinded(view, record, 0, "alpha")
    assert theirs is not None
    assert liar.publish_blob(theirs, SALT).code == "other-inputs"
    blinded_again = blind_list(liar.scalar, world.blobs.get(theirs), list_length(record, "alpha"))
    assert liar.publish(blinded_again).code == "other-inputs"


def test_a_replayed_list_is_refused_later_in_the_ring() -> None:
    world, liar = tampered_world()
    elements = liar.honest_list()
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    until(world, "blinding", 1)
    for name in HONEST:
        earlier = blinded(world.engine.view(), world.record, 0, name)
        assert earlier is not None
        assert liar.publish_blob(earlier, None).code == "replayed-list"


def test_a_list_of_an_earlier_attempt_cannot_be_replayed() -> None:
    world, liar = tampered_world()
    elements = liar.honest_list()
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    world.silent.add("gamma")
    while world.record.attempt == 0:
        world.tick()
        if world.record.phase == "blinding" and world.record.stage == 1 and LIAR not in world.record.published:
            assert liar.publish(liar.blind()).accepted
        world.clock.advance(2_000)
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).code == "replayed-list"


def test_inputs_changed_after_the_commitment_are_refused() -> None:
    world, liar = tampered_world()
    assert liar.commit(liar.honest_list()).accepted
    until(world, "blinding")
    assert liar.publish(liar.honest_list()).code == "other-inputs"


def test_inputs_changed_between_attempts_are_refused() -> None:
    world, liar = tampered_world()
    elements = liar.honest_list()
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    world.silent.add("gamma")
    while world.record.attempt == 0:
        world.tick()
        if world.record.phase == "blinding" and world.record.stage == 1 and LIAR not in world.record.published:
            assert liar.publish(liar.blind()).accepted
        world.clock.advance(2_000)
    assert LIAR in world.record.roster
    assert liar.commit(liar.honest_list(), inputs=b"other guesses").code == "inputs-changed"
    assert liar.commit(liar.honest_list()).accepted


def test_a_blob_that_nobody_can_get_throws_the_liar_out() -> None:
    world, liar = tampered_world()
    elements = liar.honest_list()
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements, keep=False).accepted
    assert_thrown_out(world)


def test_a_false_report_followed_by_silence_costs_only_the_liar_its_place() -> None:
    world, liar = tampered_world()
    elements = liar.honest_list()
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    until(world, "blinding", 1)
    assert world.send(LIAR, ReportBlinded(ID, 0, "alpha")).accepted
    assert_thrown_out(world)


def test_stopping_after_the_last_blinding_of_the_own_list_teaches_nothing_about_the_next_attempt() -> None:
    world, liar = tampered_world()
    elements = liar.honest_list()
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    for stage in (1, 2):
        until(world, "blinding", stage)
        assert liar.publish(liar.blind()).accepted
    until(world, "blinding", 3)
    for _ in range(5):
        world.tick()
    seen = {element for digest in world.blobs.digests() for element in elements_of(world.blobs.get(digest))}
    before = set(world.blobs.digests())
    assert_thrown_out(world)
    fresh = {
        element for digest in set(world.blobs.digests()) - before for element in elements_of(world.blobs.get(digest))
    }
    assert not fresh & seen
    assert not fresh & {multiply(liar.scalar, element) for element in seen}


def test_a_member_can_test_a_guess_only_by_putting_it_into_its_own_bounded_committed_list() -> None:
    """Possible, and said in the threat model: a guess in one's own list is answered like any entry."""
    guesses = entries_of(delta="a b c d e f g h")[LIAR]
    world = AlignmentWorld.build({**FOUR, LIAR: guesses})
    world.open()
    assert world.run().phase == "completed"
    found = dict(zip(world.result(LIAR).ids, world.result(LIAR).holders, strict=True))
    assert found[("delta-a",)] == ("alpha", LIAR)
    # All of it is answered at once, under one commitment; more guesses than the bound are declined before anything.
    many: Entries = {b"entry guess %d" % n: (f"g{n}",) for n in range(2_000)}
    world = AlignmentWorld.build({**FOUR, LIAR: many})
    world.open(bound=1_000)
    assert world.run().declined == (LIAR,)


def test_a_member_cannot_test_a_guess_against_what_others_have_published() -> None:
    """Not with its own scalar either: every list it sees carries the secret of somebody else."""
    world, liar = tampered_world()
    elements = liar.honest_list()
    assert liar.commit(elements).accepted
    until(world, "blinding")
    assert liar.publish(elements).accepted
    for stage in (1, 2, 3):
        until(world, "blinding", stage)
        assert liar.publish(liar.blind()).accepted
    assert world.run().phase in ("completed", "matching")
    assert_guesses_are_nowhere(world, [liar.scalar])


def test_an_outsider_who_reads_everything_cannot_test_a_guess() -> None:
    world = AlignmentWorld.build(FOUR)
    world.open()
    assert world.run().phase == "completed"
    published = [wire for block in world.engine.blocks() for wire in block.transactions]
    candidates = [sha256(wire) for wire in published] + [SALT]
    assert_guesses_are_nowhere(world, [scalar for scalar in candidates if any(scalar)])


def assert_guesses_are_nowhere(world: AlignmentWorld, scalars: list[bytes]) -> None:
    """Neither an entry's element nor its multiple by anything known occurs in what was published."""
    record = world.record
    domain = run_domain(world.engine.view().chain, ID, record.kind, record.question)
    seen = {element for digest in world.blobs.digests() for element in elements_of(world.blobs.get(digest))}
    assert seen
    for entry in {entry for name in HONEST for entry in world.entries[name]}:
        guess = hash_to_element(entry, domain)
        assert guess not in seen
        for scalar in scalars:
            reduced = (int.from_bytes(scalar, "little") % 2**252).to_bytes(32, "little")
            assert multiply(reduced, guess) not in seen


def test_nothing_that_left_a_site_holds_an_identifier(caplog: pytest.LogCaptureFixture) -> None:
    """Ledger, blobs and logs, as they are and hashed without a secret, at every level of logging."""
    caplog.set_level(logging.DEBUG)
    people = {
        "alpha": ["943-476-5919", "401-023-2137"],
        "beta": ["943-476-5919", "870-316-0001"],
        "gamma": ["401-023-2137", "555-000-1234"],
    }
    question = PatientQuestion()
    held = {}
    for name, numbers in people.items():
        rows = {f"Patient/local-{number}": {"identifier": number} for number in numbers}
        held[name] = {entry: tuple(ids) for entry, ids in patients_of(rows, question).items()}
    world = AlignmentWorld.build(held)
    world.open("patients")
    assert world.run().phase == "completed"
    assert_right(world, ("alpha", "beta", "gamma"))
    left = b"".join(wire for block in world.engine.blocks() for wire in block.transactions)
    left += b"".join(value for _, value in world.engine.view().state.items().items())
    assert isinstance(world.blobs, MemoryBlobs)
    left += b"".join(digest + world.blobs.get(digest) for digest in world.blobs.digests())
    left += "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records).encode()
    for numbers in people.values():
        for number in numbers:
            plain = "".join(c for c in number if c.isdigit())
            (entry,) = patients_of({"p": {"identifier": number}}, question)
            forms = [number.encode(), plain.encode(), entry, f"local-{number}".encode(), encode(number), encode(plain)]
            for form in forms:
                assert form not in left
                assert sha256(form) not in left
                assert sha256(form).hex().encode() not in left
