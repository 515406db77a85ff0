"""Escrow: bytes encrypted under a fresh key whose Shamir shares are sealed, one for each holder.

The owner keeps no key and no share. Anyone can check a published share against its digest, and anyone who has the
threshold of valid shares can open the escrow, or see that its owner made it wrongly. `context` binds all of it to one
use and owner; it must never be used for two escrows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from medfed.crypto.authenticated import decrypt, encrypt
from medfed.crypto.commitments import equal
from medfed.crypto.randomness import Entropy
from medfed.crypto.sharing import combine_shares, split_secret
from medfed.encoding import Record, digest_of, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Name

__all__ = ["Escrow", "Holder", "SealedShare", "make_escrow", "open_escrow", "open_share", "share_digest"]


class Holder(Record):
    """Who gets a share: its index (from 1, the same at every owner) and the key shared with the owner."""

    name: Name
    index: int
    key: bytes

    def __repr__(self) -> str:
        return f"Holder(name={self.name!r}, index={self.index}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("name", self.name), ("index", self.index)]


class SealedShare(Record):
    """One holder's share, sealed, with the digest that a published share must match."""

    holder: Name
    sealed: Annotated[bytes, Meta(min_length=1, max_length=128)]
    digest: Digest


class Escrow(Record):
    """What the owner publishes."""

    ciphertext: bytes
    shares: tuple[SealedShare, ...]


def make_escrow(
    contents: bytes, threshold: int, holders: tuple[Holder, ...], context: bytes, entropy: Entropy
) -> Escrow:
    """Encrypt `contents` so that any `threshold` of `holders` can open it together.

    Raises:
        InvalidInput: fewer holders than the threshold, repeated indices, or a key of the wrong length.
    """
    key = entropy(32)
    shares = split_secret(key, threshold, [holder.index for holder in holders], entropy)
    sealed = tuple(
        SealedShare(
            holder.name,
            encrypt(holder.key, shares[holder.index], _share_context(context, holder.name), entropy),
            share_digest(context, holder.name, shares[holder.index]),
        )
        for holder in holders
    )
    return Escrow(encrypt(key, contents, context, entropy), sealed)


def open_share(key: bytes, share: SealedShare, context: bytes) -> bytes:
    """The holder's share (33 bytes), checked against its digest.

    Raises:
        InvalidInput: it does not decrypt, or it is not the share that the digest names.
    """
    opened = decrypt(key, share.sealed, _share_context(context, share.holder))
    if not equal(share_digest(context, share.holder, opened), share.digest):
        raise InvalidInput(f"share for {share.holder}: it does not match its digest")
    return opened


def open_escrow(ciphertext: bytes, shares: Mapping[int, bytes], threshold: int, context: bytes) -> bytes:
    """The contents, from shares by index.

    Raises:
        InvalidInput: too few shares, or their key does not open the ciphertext.
    """
    return decrypt(combine_shares(shares, threshold), ciphertext, context)


def share_digest(context: bytes, holder: Name, share: bytes) -> Digest:
    """What the owner publishes about a share: enough to recognise it, useless to find it."""
    return digest_of("medfed/share", context, holder, share)


def _share_context(context: bytes, holder: Name) -> bytes:
    return encode(("medfed/share-seal", context, holder))
