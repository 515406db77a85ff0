"""What lets a round finish when a survivor falls silent after everybody has signed the survivors.

A survivor encrypts the seeds that it will have to reveal under a fresh key, splits that key (Shamir), and
seals one share to every other hospital with which it has an edge. It keeps none, so that its own share can
never be asked of it. Formulas, for whoever checks them without this module (`encode` is canonical; an attempt
is encoded as its record):

    context       encode(("medfed/escrow", attempt, owner))
    ciphertext    AES-256-GCM of encode(EscrowContents), associated data = context
    share key     HKDF-SHA256(pair secret, info = encode(("medfed/escrow-share", attempt, owner, holder)))
    sealed share  AES-256-GCM of the 33-byte share under the share key, associated data = the same info
    share digest  digest_of("medfed/share", attempt, owner, holder, share)

An escrow must never be made twice for one attempt with different contents; that is the caller's vault to
ensure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta

from medfed.crypto import (
    Entropy,
    combine_shares,
    decrypt,
    encrypt,
    equal,
    hkdf_sha256,
    split_secret,
)
from medfed.encoding import Record, decode, digest_of, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Name
from medfed.secure_sum.keying import Attempt

__all__ = [
    "Escrow",
    "EscrowContents",
    "is_share_of",
    "make_escrow",
    "open_escrow",
    "open_share",
    "share_digest",
    "share_key",
]

_KEY_BYTES: Final = 32
_MAX_HOLDERS: Final = 50
Seed = Annotated[bytes, Meta(min_length=32, max_length=32)]
SealedShare = Annotated[bytes, Meta(min_length=61, max_length=61)]


class EscrowContents(Record, frozen=True):
    """The seeds a survivor owes when the attempt reaches Reveal. Never printed."""

    self_seed: Seed
    pair_seeds: Annotated[dict[Name, Seed], Meta(max_length=_MAX_HOLDERS)]
    """By name, one for each hospital that was expected and dropped out, and with which the owner has an edge."""

    def __repr__(self) -> str:
        return f"EscrowContents(pair_seeds with {sorted(self.pair_seeds)})"

    def __rich_repr__(self) -> list[tuple[str, list[str]]]:
        return [("pair_seeds_with", sorted(self.pair_seeds))]


class Escrow(Record, frozen=True):
    """What a survivor posts with its confirmation. Nothing in it is secret."""

    ciphertext: Annotated[bytes, Meta(max_length=8192)]
    sealed_shares: Annotated[dict[Name, SealedShare], Meta(max_length=_MAX_HOLDERS)]
    share_digests: Annotated[dict[Name, Digest], Meta(max_length=_MAX_HOLDERS)]


def make_escrow(
    contents: EscrowContents,
    threshold: int,
    holders: Mapping[Name, tuple[int, bytes]],
    *,
    attempt: Attempt,
    owner: Name,
    entropy: Entropy,
) -> Escrow:
    """Encrypt `contents` under a fresh key and share that key.

    Args:
        contents: what the owner would reveal.
        threshold: shares that open the escrow.
        holders: for each hospital of the study roster that shares an edge with the owner, its share's index
            (from 1, the same for everybody) and the `share_key` of that pair.
        attempt: what the escrow is bound to.
        owner: who makes it; never among the holders.
        entropy: for the key, the polynomial and the nonces.

    Raises:
        InvalidInput: fewer holders than the threshold, a threshold below 2, two with one index, the owner
            among them.
    """
    if owner in holders:
        raise InvalidInput(f"escrow of {owner}: expected the owner to hold no share")
    if threshold < 2:
        raise InvalidInput(f"escrow threshold: expected 2 or more, found {threshold}")
    if len({index for index, _ in holders.values()}) != len(holders):
        raise InvalidInput(f"escrow of {owner}: expected a distinct index for each holder")
    key = entropy(_KEY_BYTES)
    ciphertext = encrypt(key, encode(contents), _context(attempt, owner), entropy)
    indices = [index for index, _ in holders.values()]
    shares = split_secret(key, threshold, indices, entropy)
    sealed: dict[Name, bytes] = {}
    digests: dict[Name, Digest] = {}
    for holder, (index, sealing) in holders.items():
        sealed[holder] = encrypt(sealing, shares[index], _share_info(attempt, owner, holder), entropy)
        digests[holder] = share_digest(shares[index], attempt=attempt, owner=owner, holder=holder)
    return Escrow(ciphertext, sealed, digests)


def share_key(pair_secret: bytes, *, attempt: Attempt, owner: Name, holder: Name) -> bytes:
    """The key (32 bytes) that seals the holder's share of the owner's escrow, known to these two only."""
    return hkdf_sha256(pair_secret, _share_info(attempt, owner, holder))


def open_share(sealed: bytes, key: bytes, *, attempt: Attempt, owner: Name, holder: Name) -> bytes:
    """The share (33 bytes) that `owner` sealed to `holder` under their `share_key`.

    Raises:
        InvalidInput: it does not open: changed, or made for another attempt or holder.
    """
    return decrypt(key, sealed, _share_info(attempt, owner, holder))


def share_digest(share: bytes, *, attempt: Attempt, owner: Name, holder: Name) -> Digest:
    """What the owner posts beside a sealed share, so that a revealed one can be checked by anybody."""
    return digest_of("medfed/share", attempt, owner, holder, share)


def is_share_of(share: bytes, digest: Digest, *, attempt: Attempt, owner: Name, holder: Name) -> bool:
    """Whether `share` is the one that `owner` promised to `holder` in this attempt."""
    return equal(share_digest(share, attempt=attempt, owner=owner, holder=holder), digest)


def open_escrow(
    ciphertext: bytes, shares: Mapping[int, bytes], threshold: int, *, attempt: Attempt, owner: Name
) -> EscrowContents:
    """The contents of `owner`'s escrow.

    Args:
        ciphertext: from its confirmation.
        shares: by index, each checked against its digest.
        threshold: how many open it.
        attempt: what the escrow is bound to.
        owner: who made it.

    Raises:
        InvalidInput: too few or malformed shares, or they open nothing. If each share matched its digest, the
            owner made a bad escrow.
    """
    key = combine_shares(shares, threshold)
    return decode(decrypt(key, ciphertext, _context(attempt, owner)), EscrowContents)


def _context(attempt: Attempt, owner: Name) -> bytes:
    return encode(("medfed/escrow", attempt, owner))


def _share_info(attempt: Attempt, owner: Name, holder: Name) -> bytes:
    return encode(("medfed/escrow-share", attempt, owner, holder))
