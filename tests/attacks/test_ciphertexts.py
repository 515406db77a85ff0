"""Attacks on encrypted updates, one test each: what is tried, and who notices before anything is opened."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.study import NAMES, STUDY, TestWorld, small_plan

from medfed.errors import InvalidInput, MedFedError, Refused, Tampered
from medfed.federation.plan import Protection
from medfed.federation.study import round_manifest
from medfed.homomorphic import (
    PARAMETERS,
    EnvelopeReader,
    Layout,
    NativeCipher,
    WorkerCipher,
    add_ciphertexts,
    decrypt_sum,
    encrypt_vector,
    is_available,
)
from medfed.homomorphic.packing import pack, unpack
from medfed.hospital.aggregation import plan_of
from medfed.hospital.duties import adding, encrypting
from medfed.hospital.duties.encrypting import EncryptedAttempt, SubmitEncryptedUpdate
from medfed.hospital.duties.opening import OpenedSum, OpenSum
from medfed.hospital.progress import study_key
from medfed.hospital.work import Work
from medfed.identifiers import Name, sha256
from medfed.ledger.contracts.ciphertexts import (
    ciphertext_confirmation,
    ciphertext_context,
    decryption,
)
from medfed.ledger.contracts.studies import study_record
from medfed.ledger.contracts.updates import submission
from medfed.ledger.engine import StateView

pytestmark = pytest.mark.skipif(not is_available(), reason="needs TenSEAL")

KEEPER, ADDER = "keeper", "adder"
PLAN = replace(small_plan(), protection=Protection("homomorphic", KEEPER, (ADDER,)))


@pytest.fixture(scope="module")
def cipher() -> NativeCipher:
    return NativeCipher(PARAMETERS)


@pytest.fixture
def world(cipher: NativeCipher) -> TestWorld:
    made = TestWorld.build(PLAN)
    made.cipher = cipher
    for name in made.agents:
        made.restart(name)
    made.propose()
    return made


def _layout(world: TestWorld, number: int = 0) -> Layout:
    plan = plan_of(world.engine.view(), STUDY)
    return Layout(4, round_manifest(plan, world.round(number).kind).length)


def _attempt(world: TestWorld, name: Name, number: int = 0) -> EncryptedAttempt:
    found = world.vaults[name].load(study_key(STUDY, "attempt", number, 0), EncryptedAttempt)
    assert found is not None
    return found


def _blob_context(view: StateView, name: Name, number: int = 0) -> bytes:
    study = study_record(view, STUDY)
    assert study is not None
    return ciphertext_context("blob", view.chain, STUDY, number, 0, encrypting.key_in_use(view, study), name)


# The key holder.


def test_a_key_holder_that_asks_for_one_hospitals_ciphertext_gets_an_envelope_that_it_cannot_open(
    world: TestWorld,
) -> None:
    """It has every blob, everything on the ledger, its sealing key and the secret key."""
    world.step_until(
        world.in_phase("decrypt"),
    )
    view, site, layout = world.engine.view(), world.agents[KEEPER].site, _layout(world)
    for name in NAMES:
        confirmed = ciphertext_confirmation(view, STUDY, 0, 0, name)
        submitted = submission(view, STUDY, 0, 0, name)
        assert confirmed is not None
        assert submitted is not None
        envelope = site.blobs.get(submitted.blob)
        guesses = [confirmed.key, confirmed.seed, confirmed.ciphertexts, bytes(32)]
        for sealed in (*(entry.sealed for entry in confirmed.sealed_keys), confirmed.sealed_seed):
            for purpose in (f"key/{ADDER}", f"key/{KEEPER}", f"seed/{KEEPER}"):
                key = encrypting.key_in_use(view, world.study)
                context = ciphertext_context(purpose, view.chain, STUDY, 0, 0, key, name)
                try:
                    guesses.append(site.keys.sealing_key.open(sealed, context))
                except InvalidInput:
                    continue
        assert len(guesses) == 5  # of what is sealed only the tag seed opens
        for key in guesses:
            reader = EnvelopeReader(io.BytesIO(envelope), key, _blob_context(view, name), layout)
            with pytest.raises(InvalidInput, match="does not decrypt"):
                reader.read(100)


def test_the_key_holder_and_an_aggregator_together_do_open_one_hospitals_update(world: TestWorld) -> None:
    """The assumption, shown: this is why the plan names both, and why hospitals are told so before they approve."""
    seen: dict[str, bytes] = {}
    world.step_until(world.in_phase("sum"), without=(ADDER,))
    view, layout = world.engine.view(), _layout(world)
    confirmed = ciphertext_confirmation(view, STUDY, 0, 0, "alpha")
    submitted = submission(view, STUDY, 0, 0, "alpha")
    assert confirmed is not None
    assert submitted is not None
    key = encrypting.key_in_use(view, world.study)
    adder = world.agents[ADDER].site.keys.sealing_key
    context = ciphertext_context(f"key/{ADDER}", view.chain, STUDY, 0, 0, key, "alpha")
    blob_key = adder.open(confirmed.sealed_keys[0].sealed, context)
    envelope = io.BytesIO(world.blobs.get(submitted.blob))
    reader = EnvelopeReader(envelope, blob_key, _blob_context(view, "alpha"), layout)
    secret = world.vaults[KEEPER].get(study_key(STUDY, "encryption-key", key.hex()))
    assert secret is not None
    plain = decrypt_sum(world.cipher, secret, layout, reader, {0: _attempt(world, "alpha").tag_seed})
    seen["alpha"] = plain.tobytes()
    assert seen["alpha"] == world.vaults["alpha"].get(study_key(STUDY, "vector", "values"))


def test_a_key_holder_opens_one_sum_a_round_whatever_histories_it_is_shown(world: TestWorld) -> None:
    world.step_until(world.in_phase("decrypt"))
    site, view = world.agents[KEEPER].site, world.engine.view()
    work = Work("open-sum", STUDY, 0, 0)
    with site.vault.transaction("test"):
        assert OpenSum().perform(work, site, view)
    opened = study_key(STUDY, "opened-sum", 0)
    site.vault.store(opened, OpenedSum(0, sha256(b"what another history had")))
    with pytest.raises(Tampered, match="two sums to open in one round"):
        OpenSum().perform(work, site, view)


# The aggregator.


def _all(readers: list[Any]) -> list[bytes]:
    found: list[bytes] = []
    for reader in readers:
        parts: list[bytes] = []
        while part := reader.read(1 << 20):
            parts.append(part)
        found.append(b"".join(parts))
    return found


LIES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a sum of one": lambda parts: parts[:1],
    "drops a hospital silently": lambda parts: parts[:-1],
    "counts a hospital twice": lambda parts: [*parts, parts[0]],
    "one hospital instead of another": lambda parts: [*parts[:-1], parts[0]],
    "the sum twice": lambda parts: [*parts, *parts],
}


@pytest.mark.parametrize("lie", LIES)
def test_an_aggregators_wrong_sum_is_refused_by_the_key_holder_and_nothing_becomes_known(
    world: TestWorld, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(layout: Layout, readers: list[Any]) -> Iterator[bytes]:
        return add_ciphertexts(layout, [io.BytesIO(part) for part in LIES[lie](_all(readers))])

    monkeypatch.setattr(adding, "add_ciphertexts", lying)
    world.step_until(lambda study: study.phase == "paused")
    assert world.study.pause_code == "sum-refused"
    assert world.round().phase == "unreleased"
    assert decryption(world.engine.view(), STUDY, 0, 0) is None


def test_a_sum_with_one_hospitals_ciphertext_in_some_places_is_refused(world: TestWorld, cipher: NativeCipher) -> None:
    """Right tags come only with right sums: a ciphertext cannot be cut into tags and elements."""
    keys, layout = cipher.generate(), Layout(4, 9_000)
    rng = np.random.default_rng(0)
    parts = [
        b"".join(
            encrypt_vector(
                cipher, keys.public, layout, rng.integers(0, 2**32, 9_000, dtype=np.uint32), at, bytes([at]) * 32
            )
        )
        for at in range(4)
    ]
    seeds = {at: bytes([at]) * 32 for at in range(4)}
    total = unpack(PARAMETERS, b"".join(add_ciphertexts(layout, [io.BytesIO(part) for part in parts])))
    one = unpack(PARAMETERS, parts[0])
    modulus = np.uint64(PARAMETERS.modulus)
    tags = layout.tag_elements
    attempts = []
    spliced = total.copy()
    spliced[:, :, tags:] = one[:, :, tags:]  # coefficients of one, tags of all: not a ciphertext of anything
    attempts.append(spliced)
    shifted = (total + np.roll(one, 7, axis=2)) % modulus  # X^7 times one hospital's ciphertext on top
    attempts.append(shifted)
    attempts.append(((total * np.uint64(2)) % modulus + (modulus - one)) % modulus)
    for changed in attempts:
        with pytest.raises(Refused, match="tags"):
            decrypt_sum(cipher, keys.secret, layout, io.BytesIO(pack(PARAMETERS, changed)), seeds)


def test_a_sum_that_asks_for_the_secret_key_is_refused(cipher: NativeCipher) -> None:
    """Δ · X^j on the second polynomial would put the key's coefficients, rotated by j, into a published total."""
    keys, layout = cipher.generate(), Layout(3, 4_000)
    vector = np.zeros(4_000, dtype=np.uint32)
    seeds = {at: bytes([at]) * 32 for at in range(3)}
    parts = [b"".join(encrypt_vector(cipher, keys.public, layout, vector, at, seeds[at])) for at in range(3)]
    total = unpack(PARAMETERS, b"".join(add_ciphertexts(layout, [io.BytesIO(part) for part in parts])))
    for place in range(0, PARAMETERS.degree, 64):
        for times in (1, 2**31):
            asked = total.copy()
            added = PARAMETERS.delta * times % PARAMETERS.modulus
            asked[0, 1, place] = (int(asked[0, 1, place]) + added) % PARAMETERS.modulus
            with pytest.raises(Refused, match="tags"):
                decrypt_sum(cipher, keys.secret, layout, io.BytesIO(pack(PARAMETERS, asked)), seeds)


def test_an_aggregator_reads_no_update_without_the_secret_key(world: TestWorld, cipher: NativeCipher) -> None:
    """What it opens are ciphertexts that look like any numbers below the modulus; a key of its own decrypts nothing."""
    world.step_until(world.in_phase("sum"), without=(ADDER,))
    study, current = world.study, world.round()
    opening = adding._Opening(world.agents[ADDER].site, world.engine.view(), study, current, _layout(world).length)
    with opening._reading("alpha") as reader:
        data = b"".join(_all([reader]))
    numbers = unpack(PARAMETERS, data)
    assert abs(float(numbers.mean()) / PARAMETERS.modulus - 0.5) < 0.02
    vector = np.frombuffer(world.vaults["alpha"].get(study_key(STUDY, "vector", "values")) or b"", dtype="<u4")
    found = cipher.decrypt(cipher.generate().secret, numbers)[0, _layout(world).tag_elements :][: vector.size]
    assert (found == vector).mean() < 0.01


# Hospitals.


def test_malformed_ciphertexts_leave_their_hospital_out_and_the_study_goes_on(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beta commits to bytes that are no ciphertexts: coefficients that are not below the modulus."""
    honest = encrypting.encrypt_vector

    def garbage(cipher: Any, public: bytes, layout: Layout, vector: Any, mine: int, seed: bytes) -> Iterator[bytes]:
        if mine != 1:
            yield from honest(cipher, public, layout, vector, mine, seed)
            return
        yield b"\xff" * layout.size

    monkeypatch.setattr(encrypting, "encrypt_vector", garbage)
    assert world.run().phase == "completed"
    assert world.round().attempt == 1
    assert world.round().survivors == ("alpha", "delta", "gamma")


def test_another_hospitals_envelope_under_ones_own_name_is_reported(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beta, which sees alpha's blob, submits it as its own: it is bound to alpha's name and needs alpha's key."""
    honest = SubmitEncryptedUpdate.perform

    def copying(self: Any, work: Work, site: Any, view: StateView) -> Any:
        bodies = honest(self, work, site, view)
        alphas = submission(view, STUDY, work.round, work.attempt, "alpha")
        if site.name != "beta":
            return bodies
        if alphas is None:
            raise Refused("wait", "alpha has not submitted")
        key = study_key(STUDY, "attempt", work.round, work.attempt)
        known = site.vault.load(key, EncryptedAttempt)
        site.vault.store(key, replace(known, blob=alphas.blob))
        return tuple(replace(body, blob=alphas.blob) for body in bodies)

    monkeypatch.setattr(SubmitEncryptedUpdate, "perform", copying)
    assert world.run().phase == "completed"
    assert world.round().survivors == ("alpha", "delta", "gamma")


def test_a_ciphertext_under_another_key_makes_a_sum_that_is_refused(
    world: TestWorld, cipher: NativeCipher, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cipher.generate().public
    honest = encrypting.encrypt_vector

    def elsewhere(cipher: Any, public: bytes, layout: Layout, vector: Any, mine: int, seed: bytes) -> Iterator[bytes]:
        return honest(cipher, other if mine == 2 else public, layout, vector, mine, seed)

    monkeypatch.setattr(encrypting, "encrypt_vector", elsewhere)
    world.step_until(lambda study: study.phase == "paused")
    assert world.study.pause_code == "sum-refused"
    assert decryption(world.engine.view(), STUDY, 0, 0) is None


def test_a_ciphertext_of_an_earlier_round_makes_a_sum_that_is_refused(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delta replays what it encrypted in the first round, under the tag seed of the new one."""
    honest = encrypting.encrypt_vector
    kept: dict[int, bytes] = {}

    def replaying(cipher: Any, public: bytes, layout: Layout, vector: Any, mine: int, seed: bytes) -> Iterator[bytes]:
        fresh = b"".join(honest(cipher, public, layout, vector, mine, seed))
        if mine != 2:
            yield fresh
            return
        yield kept.setdefault(0, fresh)

    monkeypatch.setattr(encrypting, "encrypt_vector", replaying)
    world.step_until(lambda study: study.phase == "paused")
    assert world.study.pause_code == "sum-refused"
    assert world.round(0).phase == "released"
    assert world.round(1).phase == "unreleased"


def test_a_hospital_that_seals_the_key_holder_another_seed_is_named(
    world: TestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medfed.ledger.contracts.ciphertexts import RefuseSum

    honest = encrypting._sealed_seed
    spoilt: list[Name] = []

    def wrong(view: Any, found: Any, known: EncryptedAttempt, place: Any) -> bytes:
        if place[-1] == "gamma":
            spoilt.append("gamma")
            return honest(view, found, replace(known, tag_seed=bytes(32)), place)
        return honest(view, found, known, place)

    monkeypatch.setattr(encrypting, "_sealed_seed", wrong)
    world.step_until(lambda study: study.phase == "paused")
    assert spoilt
    assert world.study.pause_code == "sum-refused"
    bodies = [
        signed.transaction.body
        for block in world.engine.blocks()
        for signed in block_transactions(block)
        if isinstance(signed.transaction.body, RefuseSum)
    ]
    assert [(body.code, body.who) for body in bodies] == [("wrong-seeds", ("gamma",))]


def block_transactions(block: Any) -> list[Any]:
    from medfed.ledger.transaction import SignedTransaction

    return [SignedTransaction.from_bytes(wire) for wire in block.transactions]


# The native library.


def test_no_bytes_of_a_sum_or_key_take_the_agent_down() -> None:
    """Mutated sums and keys go through the worker, which lives. What is not refused is the total plus known numbers."""
    rng = np.random.default_rng(20)
    with WorkerCipher() as worker:
        keys, layout = worker.generate(), Layout(3, 5_000)
        vector = rng.integers(0, 2**32, 5_000, dtype=np.uint32)
        seeds = {at: bytes([at]) * 32 for at in range(3)}
        parts = [b"".join(encrypt_vector(worker, keys.public, layout, vector, at, seeds[at])) for at in range(3)]
        good = b"".join(add_ciphertexts(layout, [io.BytesIO(part) for part in parts]))
        process: Any = worker._child
        refused = 0
        for data in _mutations(good, rng, 150):
            try:
                total = decrypt_sum(worker, keys.secret, layout, io.BytesIO(data), seeds)
                # An aggregator may add what it likes to the half that no key is in, and learns nothing by it. In the
                # other half only what is lost in the noise goes unnoticed.
                if _key_halves(data) != _key_halves(good):
                    np.testing.assert_array_equal(total, vector * 3)
            except (InvalidInput, Refused):
                refused += 1
        assert refused > 75
        for data in _mutations(keys.public, rng, 60):
            try:
                assert (worker.encrypt_zeros(data, 1) < PARAMETERS.modulus).all()
            except InvalidInput:
                continue
        for data in _mutations(keys.secret, rng, 30):
            try:
                worker.decrypt(data, unpack(PARAMETERS, good))
            except MedFedError:
                continue
        assert worker._child is process
        np.testing.assert_array_equal(decrypt_sum(worker, keys.secret, layout, io.BytesIO(good), seeds), vector * 3)


def _key_halves(data: bytes) -> bytes:
    return unpack(PARAMETERS, data)[:, 1].tobytes()


def _mutations(good: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    for number in range(count):
        data = bytearray(good)
        kind = number % 5
        at, size = int(rng.integers(0, len(data))), int(rng.integers(1, 5_000))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
            if bytes(data) == good:
                continue
        elif kind == 1:
            data[at : at + size] = rng.bytes(len(data[at : at + size]))
        elif kind == 2:
            data[at : at + size] = bytes(len(data[at : at + size]))
        elif kind == 3:
            del data[at : at + size]
        else:
            data[at:at] = rng.bytes(size)
        yield bytes(data)
