"""The secrets that each pair of hospitals shares in a study, and the seeds that an attempt takes from them.

A pair secret is drawn by the bytewise lower hospital and sealed to the higher one's study key. It is never
used as it is, only to derive; after each final round it moves on, so that a vault taken later does not open
an earlier round.
"""

from __future__ import annotations

from typing import Final

from medfed.crypto import Entropy, SealingKey, hkdf_sha256, seal
from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Name, StudyId

__all__ = [
    "draw_pair_secret",
    "mask_sign",
    "open_pair_secret",
    "pair_info",
    "pair_seed",
    "ratchet",
    "seal_pair_secret",
]

SECRET_BYTES: Final = 32


def draw_pair_secret(entropy: Entropy) -> bytes:
    """A new pair secret, 32 bytes."""
    return entropy(SECRET_BYTES)


def pair_info(chain: Digest, study: StudyId, sender: Name, receiver: Name) -> bytes:
    """The HPKE `info` of a pair secret from `sender` to `receiver`: it opens nowhere else."""
    return encode(("medfed/pair-secret", chain, study, sender, receiver))


def seal_pair_secret(
    public: bytes, secret: bytes, *, chain: Digest, study: StudyId, sender: Name, receiver: Name
) -> bytes:
    """Seal `secret` (32 bytes) to the receiver's study key `public`.

    Raises:
        InvalidInput: a malformed secret or key, or a sender that is not the bytewise lower one.
    """
    _check_secret(secret)
    _check_order(sender, receiver)
    return seal(public, secret, pair_info(chain, study, sender, receiver))


def open_pair_secret(
    key: SealingKey, sealed: bytes, *, chain: Digest, study: StudyId, sender: Name, receiver: Name
) -> bytes:
    """The pair secret (32 bytes) that `sender` sealed to `receiver`, whose study key is `key`.

    Raises:
        InvalidInput: it does not open, or holds no secret: a reason to complain.
    """
    _check_order(sender, receiver)
    secret = key.open(sealed, pair_info(chain, study, sender, receiver))
    _check_secret(secret)
    return secret


def ratchet(secret: bytes, r: int) -> bytes:
    """The pair secret after the final round `r`; the old one is then deleted."""
    _check_secret(secret)
    return hkdf_sha256(secret, encode(("medfed/next", r)))


def pair_seed(
    secret: bytes,
    *,
    chain: Digest,
    study: StudyId,
    round: int,
    kind: str,
    attempt: int,
    lower: Name,
    higher: Name,
) -> bytes:
    """The seed (32 bytes) of the mask that `lower` adds and `higher` subtracts in one attempt.

    Raises:
        InvalidInput: a malformed secret, or names in the wrong order.
    """
    _check_secret(secret)
    _check_order(lower, higher)
    return hkdf_sha256(secret, encode(("medfed/pair", chain, study, round, kind, attempt, lower, higher)))


def mask_sign(me: Name, other: Name) -> int:
    """+1 if `me` adds the mask shared with `other`, which is towards higher names; -1 if it subtracts it.

    Raises:
        InvalidInput: nobody shares a mask with itself.
    """
    if me == other:
        raise InvalidInput(f"pair {me}: expected two hospitals")
    return 1 if me.encode() < other.encode() else -1


def _check_secret(secret: bytes) -> None:
    if len(secret) != SECRET_BYTES:
        raise InvalidInput(f"pair secret: expected {SECRET_BYTES} bytes, found {len(secret)}")


def _check_order(lower: Name, higher: Name) -> None:
    if mask_sign(lower, higher) != 1:
        raise InvalidInput(f"pair {lower}, {higher}: expected the bytewise lower name first")
