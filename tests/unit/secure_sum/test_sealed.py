"""The aggregator alone opens an update, nonces never repeat, and a wrong key, round or hospital fails."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from medfed.crypto import SealingKey, seeded_entropy
from medfed.crypto.streams import CHUNK_BYTES
from medfed.errors import InvalidInput
from medfed.identifiers import sha256
from medfed.secure_sum.sealed import (
    Slot,
    issue_session_key,
    open_session_key,
    open_update,
    seal_update,
    sealed_length,
    update_commitment,
)

CHAIN, STUDY = sha256(b"chain"), bytes(16)
SLOT = Slot(CHAIN, STUDY, "alpha", 3, 1)
ALPHA = SealingKey.generate(seeded_entropy(b"alpha"))
KEY, SEALED = issue_session_key("server", "alpha", ALPHA.public, CHAIN, STUDY, seeded_entropy(b"key"))
UPDATE = np.arange(1_000, dtype=np.uint32)
SALT = sha256(b"salt")


def _sealed(
    key: bytes = KEY, slot: Slot = SLOT, salt: bytes = SALT, update: NDArray[np.uint32] = UPDATE
) -> tuple[bytes, bytes]:
    return b"".join(seal_update(key, slot, salt, update)), update_commitment(key, slot, salt)


def _opened(
    blob: bytes, commitment: bytes, key: bytes = KEY, slot: Slot = SLOT, length: int = 1_000
) -> NDArray[np.uint32]:
    return open_update(key, slot, io.BytesIO(blob), commitment, length)


def test_the_hospital_opens_its_session_key_and_the_aggregator_its_update() -> None:
    assert open_session_key(ALPHA, SEALED, "server", "alpha", CHAIN, STUDY) == KEY
    blob, commitment = _sealed()
    np.testing.assert_array_equal(_opened(blob, commitment), UPDATE)
    assert UPDATE.tobytes()[:16] not in blob


@pytest.mark.parametrize(
    "length", [1, CHUNK_BYTES // 4 - 1, CHUNK_BYTES // 4, CHUNK_BYTES // 4 + 1, CHUNK_BYTES // 2, 700_001]
)
def test_updates_of_every_length_come_back_and_have_the_length_that_was_said(length: int) -> None:
    update = np.random.default_rng(length).integers(0, 2**32, length, dtype=np.uint32)
    blob, commitment = _sealed(update=update)
    assert len(blob) == sealed_length(length)
    np.testing.assert_array_equal(_opened(blob, commitment, length=length), update)


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
    blob, commitment = _sealed()
    with pytest.raises(InvalidInput, match="not under the key"):
        _opened(blob, commitment, slot=slot)
    with pytest.raises(InvalidInput, match="does not decrypt"):  # even where the ledger has the fitting commitment
        _opened(blob, update_commitment(KEY, slot, SALT), slot=slot)


def test_another_key_other_bytes_another_length_and_another_commitment_are_noticed() -> None:
    blob, commitment = _sealed()
    with pytest.raises(InvalidInput, match="not under the key"):
        _opened(blob, commitment, key=bytes(32))
    with pytest.raises(InvalidInput, match="not under the key"):
        _opened(blob, bytes(32))
    changed = bytearray(blob)
    changed[40] ^= 1
    with pytest.raises(InvalidInput, match="does not decrypt"):
        _opened(bytes(changed), commitment)
    for wrong in (blob[:-1], blob + b"0", blob[:40]):
        with pytest.raises(InvalidInput, match=r"does not decrypt|too short"):
            _opened(wrong, commitment)
    with pytest.raises(InvalidInput, match="no salt"):
        _opened(blob[:31], commitment)
    for length in (999, 1_001):
        with pytest.raises(InvalidInput, match="expected"):
            _opened(blob, commitment, length=length)


def test_a_commitment_fixes_the_plaintext_and_is_opened_without_the_session_key() -> None:
    """Two updates of one attempt cannot have one commitment and one digest; other salts give other commitments."""
    first, second = _sealed(), _sealed(update=UPDATE[::-1].copy())
    assert first[1] == second[1]
    assert sha256(first[0]) != sha256(second[0])
    assert update_commitment(KEY, SLOT, sha256(b"other")) != first[1]


def test_keys_and_nonces_never_meet_twice_not_even_after_a_vault_was_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every (key, nonce) that reaches the cipher over many rounds, attempts, hospitals, studies and salts is new."""
    used = list[tuple[bytes, bytes]]()

    class Watched:
        def __init__(self, key: bytes) -> None:
            self.key = key

        def encrypt(self, nonce: Any, data: Any, associated_data: Any) -> bytes:
            used.append((self.key, bytes(nonce)))
            return AESGCM(self.key).encrypt(nonce, data, associated_data)

    monkeypatch.setattr("medfed.crypto.authenticated.AESGCM", Watched)
    entropy = seeded_entropy(b"many")
    update = np.zeros(CHUNK_BYTES // 4 + 1, dtype=np.uint32)  # two chunks
    for study in (bytes(16), b"another study id"):
        for hospital in ("alpha", "beta"):
            key, _ = issue_session_key("server", hospital, ALPHA.public, CHAIN, study, entropy)
            for number in (0, 1, 256, 2**40):
                for attempt in (0, 1, 256):
                    for _ in ("before", "after the restore"):
                        list(seal_update(key, Slot(CHAIN, study, hospital, number, attempt), entropy(32), update))
    assert len(used) == 2 * 2 * 4 * 3 * 2 * 2
    assert len(set(used)) == len(used)


@pytest.mark.parametrize("slot", [SLOT._replace(round=-1), SLOT._replace(attempt=2**32)])
def test_rounds_and_attempts_that_cannot_be_are_refused(slot: Slot) -> None:
    with pytest.raises(InvalidInput, match="out of range"):
        seal_update(KEY, slot, SALT, UPDATE)


@pytest.mark.parametrize(("key", "salt"), [(KEY[:-1], SALT), (KEY, SALT[:-1]), (KEY, b"")])
def test_keys_and_salts_of_another_length_are_refused(key: bytes, salt: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected a key of 32 and a salt of 32 bytes"):
        seal_update(key, SLOT, salt, UPDATE)


def test_the_same_salt_gives_the_same_bytes_and_another_attempt_shows_no_likeness() -> None:
    assert _sealed() == _sealed()
    first, second = _sealed(), _sealed(slot=SLOT._replace(attempt=2))
    assert first[1] != second[1]
    same = sum(a == b for a, b in zip(first[0][32:], second[0][32:], strict=True))
    assert same < 100
