"""Sealed mode, the first seed's: an update under a session key that the aggregator gave to one hospital for one study.

The aggregator alone opens it, may check it, and publishes what it makes of all. The ledger holds the digest of the
ciphertext and a salted commitment to the plaintext, so the aggregator cannot say later that something else was sent,
nor the hospital that it sent something else. Pure: keys and bytes in, bytes out.

A nonce is made of round and attempt, which never repeat within a study, and a session key belongs to one study and
hospital: no nonce is used twice under a key, as long as a hospital never encrypts two updates in one attempt. Whoever
encrypts must therefore have the ciphertext in its vault before it leaves, and send those bytes again after a crash.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from medfed.crypto import SALT_BYTES, Entropy, SealingKey, commit, is_commitment_to, seal
from medfed.crypto.authenticated import decrypt_numbered, encrypt_numbered
from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Name, StudyId, sha256

__all__ = [
    "SealedUpdate",
    "Slot",
    "issue_session_key",
    "open_session_key",
    "open_update",
    "seal_update",
]

SESSION_KEY_BYTES: Final = 32


class Slot(NamedTuple):
    """Where an update belongs: what its encryption is bound to."""

    chain: Digest
    study: StudyId
    hospital: Name
    round: int
    attempt: int


class SealedUpdate(NamedTuple):
    """What leaves a hospital, and what goes on the ledger of it."""

    blob: bytearray
    """Salt and update, encrypted."""
    digest: Digest
    """SHA-256 of the blob."""
    commitment: Digest
    """SHA-256(salt ‖ update)."""


def issue_session_key(
    aggregator: Name, hospital: Name, public: bytes, chain: Digest, study: StudyId, entropy: Entropy
) -> tuple[bytes, bytes]:
    """A fresh session key, and the same sealed to the hospital's public key.

    Raises:
        InvalidInput: `public` is no sealing key.
    """
    key = entropy(SESSION_KEY_BYTES)
    return key, seal(public, key, _info(aggregator, hospital, chain, study))


def open_session_key(
    own: SealingKey, sealed: bytes, aggregator: Name, hospital: Name, chain: Digest, study: StudyId
) -> bytes:
    """The session key that the aggregator sealed to this hospital for this study.

    Raises:
        InvalidInput: it was sealed to somebody else, by another name, for another study or ledger, or changed.
    """
    key = own.open(sealed, _info(aggregator, hospital, chain, study))
    if len(key) != SESSION_KEY_BYTES:
        raise InvalidInput(f"session key: expected {SESSION_KEY_BYTES} bytes, found {len(key)}")
    return key


def seal_update(session_key: bytes, slot: Slot, update: bytes | memoryview, entropy: Entropy) -> SealedUpdate:
    """Encrypt an update for one attempt. Never call it twice for one slot: keep what it returns.

    Raises:
        InvalidInput: a key of another length, or a round or attempt out of range.
    """
    salt = entropy(SALT_BYTES)
    blob = encrypt_numbered(session_key, salt, update, _nonce(slot), _context(slot))
    return SealedUpdate(blob, sha256(blob), commit(salt, update))


def open_update(
    session_key: bytes, slot: Slot, blob: bytes | memoryview, digest: Digest, commitment: Digest
) -> memoryview:
    """The update, checked against both of what the ledger holds. A view into one decrypted buffer.

    Raises:
        InvalidInput: another key, hospital, round, attempt, study or ledger; other bytes than the digest names; or an
            update that is not what was committed to.
    """
    if sha256(blob) != digest:
        raise InvalidInput(f"update of {slot.hospital}: the blob is not the one on the ledger")
    plain = memoryview(decrypt_numbered(session_key, blob, _nonce(slot), _context(slot)))
    salt, update = bytes(plain[:SALT_BYTES]), plain[SALT_BYTES:]
    if not is_commitment_to(commitment, salt, update):
        raise InvalidInput(f"update of {slot.hospital}: it is not what was committed to")
    return update


def _nonce(slot: Slot) -> bytes:
    """12 bytes: round (8) and attempt (4)."""
    if not (0 <= slot.round < 2**64 and 0 <= slot.attempt < 2**32):
        raise InvalidInput(f"sealed update: round {slot.round}, attempt {slot.attempt} are out of range")
    return slot.round.to_bytes(8, "big") + slot.attempt.to_bytes(4, "big")


def _context(slot: Slot) -> bytes:
    return encode(("medfed/sealed-update", *slot))


def _info(aggregator: Name, hospital: Name, chain: Digest, study: StudyId) -> bytes:
    return encode(("medfed/session-key", chain, study, aggregator, hospital))
