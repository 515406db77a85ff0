"""Sealed mode, the first seed's: an update under a session key that the aggregator gave to one hospital for one study.

The aggregator alone opens it, may check it, and publishes what it makes of all. The ledger holds the digest of the
blob and a commitment to the key of this attempt. Both together fix the plaintext: under one key a blob opens to one
thing only. So the aggregator cannot say later that something else was sent, nor the hospital that it sent something
else, and either can show an auditor one update by its key without giving away the others. Pure: keys and bytes in,
bytes out.

The key of an attempt is HKDF-SHA256 of the session key, a fresh random salt and the place (ledger, study, hospital,
round, attempt). Under it the update is one `crypto.streams` ciphertext, whose nonces count from 0. So no key and nonce
ever meet twice, even where a vault that was restored from a copy seals another update for a round that it has
forgotten. The same salt and update give the same bytes: that is how they are sent again after a crash.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import SALT_BYTES, Entropy, SealingKey, equal, hkdf_sha256, seal
from medfed.crypto.streams import decrypt_chunks, encrypt_chunks, encrypted_length
from medfed.encoding import digest_of, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Name, StudyId
from medfed.secure_sum.masking import encode_update

__all__ = [
    "Slot",
    "issue_session_key",
    "open_session_key",
    "open_update",
    "seal_update",
    "sealed_length",
    "update_commitment",
]

SESSION_KEY_BYTES: Final = 32
_WORD: Final = np.dtype("<u4")


class Slot(NamedTuple):
    """Where an update belongs: what its encryption is bound to."""

    chain: Digest
    study: StudyId
    hospital: Name
    round: int
    attempt: int


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


def sealed_length(elements: int) -> int:
    """Bytes of the blob of an update of so many uint32."""
    return SALT_BYTES + encrypted_length(4 * elements)


def update_commitment(session_key: bytes, slot: Slot, salt: bytes) -> Digest:
    """What the ledger holds beside the blob's digest: a commitment to the attempt's key, and so to the plaintext.

    Raises:
        InvalidInput: a salt or key of another length, or a round or attempt out of range.
    """
    return _commitment(_attempt_key(session_key, slot, salt))


def seal_update(session_key: bytes, slot: Slot, salt: bytes, update: NDArray[np.uint32]) -> Iterator[bytes]:
    """The blob of an update, part by part; memory does not grow with it.

    Args:
        session_key: 32 bytes.
        slot: where the update belongs.
        salt: 32 fresh random bytes, kept before a part leaves; the same bytes only to make the same blob again.
        update: uint32 of shape [length].

    Raises:
        InvalidInput: a salt or key of another length, a round or attempt out of range, or another shape or type.
    """
    data = encode_update(update)
    key = _attempt_key(session_key, slot, salt)
    return itertools.chain([salt], encrypt_chunks(key, [data], _context(slot)))


def open_update(
    session_key: bytes, slot: Slot, source: BinaryIO, commitment: Digest, length: int
) -> NDArray[np.uint32]:
    """The update in a blob: uint32 [length], the only buffer of that size that is made.

    `source` is the blob that the ledger names, by its digest; it is read to its end.

    Raises:
        InvalidInput: another key, hospital, round, attempt, study or ledger; an update under another key than was
            committed to; changed or shortened bytes, or another length.
    """
    salt = source.read(SALT_BYTES)
    if len(salt) != SALT_BYTES:
        raise InvalidInput(f"update of {slot.hospital}: it has no salt")
    key = _attempt_key(session_key, slot, salt)
    if not equal(_commitment(key), commitment):
        raise InvalidInput(f"update of {slot.hospital}: it is not under the key that was committed to")
    found = np.empty(length, dtype=_WORD)
    target = found.data.cast("B")
    at = 0
    for chunk in decrypt_chunks(key, source, _context(slot)):
        if len(chunk) > len(target) - at:
            raise InvalidInput(f"update of {slot.hospital}: expected {length} elements, found more")
        target[at : at + len(chunk)] = chunk
        at += len(chunk)
    if at != len(target):
        raise InvalidInput(f"update of {slot.hospital}: expected {4 * length} bytes, found {at}")
    return found


def _attempt_key(session_key: bytes, slot: Slot, salt: bytes) -> bytes:
    if len(session_key) != SESSION_KEY_BYTES or len(salt) != SALT_BYTES:
        raise InvalidInput(f"sealed update: expected a key of {SESSION_KEY_BYTES} and a salt of {SALT_BYTES} bytes")
    if not (0 <= slot.round < 2**53 and 0 <= slot.attempt < 2**32):
        raise InvalidInput(f"sealed update: round {slot.round}, attempt {slot.attempt} are out of range")
    return hkdf_sha256(session_key, _context(slot), salt=salt)


def _commitment(key: bytes) -> Digest:
    return digest_of("medfed/sealed-update-key", key)


def _context(slot: Slot) -> bytes:
    return encode(("medfed/sealed-update", *slot))


def _info(aggregator: Name, hospital: Name, chain: Digest, study: StudyId) -> bytes:
    return encode(("medfed/session-key", chain, study, aggregator, hospital))
