"""The aggregator alone opens an update, nonces never repeat, and a wrong key, round or hospital fails."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medfed.crypto import SealingKey, seeded_entropy
from medfed.errors import InvalidInput
from medfed.identifiers import sha256
from medfed.secure_sum.sealed import Slot, issue_session_key, open_session_key, open_update, seal_update

CHAIN, STUDY = sha256(b"chain"), bytes(16)
SLOT = Slot(CHAIN, STUDY, "alpha", 3, 1)
ENTROPY = seeded_entropy(b"sealed")
ALPHA = SealingKey.generate(seeded_entropy(b"alpha"))
KEY, SEALED = issue_session_key("server", "alpha", ALPHA.public, CHAIN, STUDY, seeded_entropy(b"key"))
UPDATE = b"an update of many numbers" * 10


def test_the_hospital_opens_its_session_key_and_the_aggregator_its_update() -> None:
    assert open_session_key(ALPHA, SEALED, "server", "alpha", CHAIN, STUDY) == KEY
    sent = seal_update(KEY, SLOT, UPDATE, ENTROPY)
    assert bytes(open_update(KEY, SLOT, sent.blob, sent.digest, sent.commitment)) == UPDATE
    assert UPDATE[:8] not in sent.blob


@pytest.mark.parametrize(
    "change",
    [
        {"aggregator": "other"},
        {"hospital": "beta"},
        {"chain": bytes(32)},
        {"study": b"another study id"},
        {"own": SealingKey.generate(seeded_entropy(b"beta"))},
        {"sealed": SEALED[:-1]},
    ],
)
def test_a_session_key_opens_for_its_hospital_study_and_ledger_only(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "own": ALPHA,
        "sealed": SEALED,
        "aggregator": "server",
        "hospital": "alpha",
        "chain": CHAIN,
        "study": STUDY,
    }
    with pytest.raises(InvalidInput):
        open_session_key(**(given | change))


@pytest.mark.parametrize(
    "slot",
    [
        SLOT._replace(round=4),
        SLOT._replace(attempt=0),
        SLOT._replace(hospital="beta"),
        SLOT._replace(study=b"another study id"),
        SLOT._replace(chain=bytes(32)),
    ],
)
def test_an_update_of_another_round_attempt_hospital_study_or_ledger_does_not_open(slot: Slot) -> None:
    sent = seal_update(KEY, SLOT, UPDATE, ENTROPY)
    with pytest.raises(InvalidInput, match="does not decrypt"):
        open_update(KEY, slot, sent.blob, sent.digest, sent.commitment)


def test_another_key_other_bytes_and_another_commitment_are_noticed() -> None:
    sent = seal_update(KEY, SLOT, UPDATE, ENTROPY)
    with pytest.raises(InvalidInput, match="does not decrypt"):
        open_update(bytes(32), SLOT, sent.blob, sent.digest, sent.commitment)
    changed = bytearray(sent.blob)
    changed[7] ^= 1
    with pytest.raises(InvalidInput, match="not the one on the ledger"):
        open_update(KEY, SLOT, changed, sent.digest, sent.commitment)
    with pytest.raises(InvalidInput, match="does not decrypt"):
        open_update(KEY, SLOT, changed, sha256(changed), sent.commitment)
    with pytest.raises(InvalidInput, match="committed"):
        open_update(KEY, SLOT, sent.blob, sent.digest, bytes(32))
    with pytest.raises(InvalidInput):
        open_update(KEY, SLOT, b"short", sha256(b"short"), sent.commitment)


def test_nonces_never_repeat_within_a_study_and_keys_never_between_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every (key, nonce) that reaches the cipher over many rounds, attempts, hospitals and studies is new."""
    used = list[tuple[bytes, bytes]]()

    class Watched:
        def __init__(self, key: bytes) -> None:
            self.key = key

        def encrypt_into(self, nonce: Any, data: Any, associated_data: Any, buf: Any) -> int:
            used.append((self.key, bytes(nonce)))
            return AESGCM(self.key).encrypt_into(nonce, data, associated_data, buf)

    monkeypatch.setattr("medfed.crypto.authenticated.AESGCM", Watched)
    entropy = seeded_entropy(b"many")
    for study in (bytes(16), b"another study id"):
        for hospital in ("alpha", "beta"):
            key, _ = issue_session_key("server", hospital, ALPHA.public, CHAIN, study, entropy)
            for number in (0, 1, 255, 256, 2**32, 2**40):
                for attempt in (0, 1, 255, 256):
                    seal_update(key, Slot(CHAIN, study, hospital, number, attempt), UPDATE, entropy)
    assert len(used) == 2 * 2 * 6 * 4
    assert len(set(used)) == len(used)
    for slot in (SLOT._replace(round=-1), SLOT._replace(attempt=2**32)):
        with pytest.raises(InvalidInput, match="out of range"):
            seal_update(KEY, slot, UPDATE, entropy)


def test_the_same_update_sealed_for_two_attempts_shows_no_likeness() -> None:
    first = seal_update(KEY, SLOT, UPDATE, ENTROPY)
    second = seal_update(KEY, SLOT._replace(attempt=2), UPDATE, ENTROPY)
    assert first.commitment != second.commitment
    same = sum(a == b for a, b in zip(first.blob, second.blob, strict=True))
    assert same < 20


def test_a_large_update_is_sealed_in_few_passes() -> None:
    """A guard against an accidental copy by bytes, not a benchmark."""
    update = memoryview(bytes(8 << 20))
    start = time.perf_counter()
    seal_update(KEY, SLOT, update, ENTROPY)
    assert time.perf_counter() - start < 2
