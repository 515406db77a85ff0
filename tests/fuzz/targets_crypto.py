"""Targets of the cryptography and of the secure sum: keys, sealed texts, shares, masked vectors, names."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from tests.fuzz.target import Target

from medfed.crypto import (
    KeystoreCost,
    SealingKey,
    SigningKey,
    SiteKeys,
    is_valid_signature,
    load_keystore,
    load_public,
    save_keystore,
    seal,
    seeded_entropy,
)
from medfed.crypto.authenticated import decrypt, encrypt
from medfed.crypto.escrow import Escrow, Holder, SealedShare, make_escrow, open_escrow, open_share
from medfed.crypto.sharing import combine_shares
from medfed.encoding import decode, encode
from medfed.identifiers import check_name, parse_digest, parse_study_id, sha256
from medfed.secure_sum.fixed_point import decode_sum, implausible_entries
from medfed.secure_sum.keying import open_pair_secret, seal_pair_secret
from medfed.secure_sum.manifest import Entry, Manifest
from medfed.secure_sum.masking import decode_update, encode_update, unmask_sum

PASSPHRASE = "correct horse"
CHEAP = KeystoreCost(passes=1, memory=8 * 1024)
CHAIN, STUDY = bytes(32), bytes(16)
HOLDERS = tuple(Holder(name, at, sha256(name.encode())) for at, name in enumerate(("alpha", "beta", "gamma"), 1))
MANIFEST = Manifest((Entry("a", "fixed", 3, 5.0), Entry("b", "count", 2, 1000), Entry("c", "noisy", 1, 100)))


@cache
def keys() -> SiteKeys:
    return SiteKeys.generate("north", seeded_entropy(b"fuzzed keys"))


@cache
def sealing_key() -> SealingKey:
    return keys().sealing_key


@cache
def keystore_bytes() -> bytes:
    """Without its checksum, which the target computes anew: a mutation must not end there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys" / "site.key"
        save_keystore(path, keys(), PASSPHRASE, CHEAP, seeded_entropy(b"salt"))
        return path.read_bytes()[:-32]


@cache
def escrow() -> Escrow:
    return make_escrow(b"the seeds", 2, HOLDERS, b"context", seeded_entropy(b"escrow"))


def digest(data: bytes, folder: Path) -> None:
    found = parse_digest(data.decode("utf-8", "surrogateescape"))
    assert len(found) == 32


def study_id(data: bytes, folder: Path) -> None:
    assert len(parse_study_id(data.decode("utf-8", "surrogateescape"))) == 16


def name(data: bytes, folder: Path) -> None:
    text = check_name(data.decode("utf-8", "surrogateescape"))
    assert len(text) <= 40
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def sealing_seeds(data: bytes, folder: Path) -> None:
    assert SealingKey.from_bytes(data).to_bytes() == data


def sealed(data: bytes, folder: Path) -> None:
    """Nothing but what was sealed opens."""
    assert sealing_key().open(data, b"info") == b"plaintext"


def public_key(data: bytes, folder: Path) -> None:
    seal(data, b"plaintext", b"info")


def signature(data: bytes, folder: Path) -> None:
    """Key, signature, message: no bytes raise; whether they fit is a truth value."""
    assert is_valid_signature(data[:32], data[96:], data[32:96]) in (True, False)


def signing_seed(data: bytes, folder: Path) -> None:
    key = SigningKey.from_seed(data)
    assert is_valid_signature(key.public, b"m", key.sign(b"m"))


def pair_secret(data: bytes, folder: Path) -> None:
    found = open_pair_secret(sealing_key(), data, chain=CHAIN, study=STUDY, sender="alpha", receiver="beta")
    assert found == b"\x07" * 32


def keystore(data: bytes, folder: Path) -> None:
    """Whole, and as if the checksum had been made for these bytes. An expensive passphrase check is left out."""
    path = folder / "keys" / "site.key"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(data + sha256(data))
    path.chmod(0o600)
    assert load_public(path) is not None
    if msgspec.msgpack.decode(data)["cost"] == msgspec.to_builtins(CHEAP):
        assert load_keystore(path, PASSPHRASE) == keys()


def encrypted(data: bytes, folder: Path) -> None:
    assert decrypt(bytes(32), data, b"context") == b"plaintext"


def escrow_share(data: bytes, folder: Path) -> None:
    share = decode(data, SealedShare)
    assert encode(share) == data
    assert len(open_share(HOLDERS[0].key, share, b"context")) == 33


def shares(data: bytes, folder: Path) -> None:
    """33-byte shares with their index, one after the other: combined, and then tried on an escrow."""
    found = {int.from_bytes(data[at : at + 3], "big"): data[at + 3 : at + 36] for at in range(0, len(data), 36)}
    assert len(combine_shares(found, 2)) == 32
    assert open_escrow(escrow().ciphertext, found, 2, b"context") == b"the seeds"


def update(data: bytes, folder: Path) -> None:
    assert bytes(encode_update(decode_update(data))) == data


def sums(data: bytes, folder: Path) -> None:
    """A sum by its manifest: `weight` as two numbers, then the vector."""
    weight = int.from_bytes(data[:4], "big", signed=True), int.from_bytes(data[4:8], "big", signed=True)
    total = decode_update(data[8:])
    decoded = decode_sum(MANIFEST, total, weight, 3)
    assert all(np.isfinite(values).all() for values in decoded.values())
    implausible_entries(MANIFEST, decoded, weight, 3)


def unmasking(data: bytes, folder: Path) -> None:
    """Masked blobs as streams of any length, taken together."""
    path = folder / "update"
    path.write_bytes(data)
    with path.open("rb") as file:
        unmask_sum([file, np.zeros(5, np.uint32)], [bytes(32), b"\x01" * 32], [], 5)


def manifest(data: bytes, folder: Path) -> None:
    found = decode(data, Manifest)
    assert encode(found) == data
    assert found.length >= 0


def _opened() -> Sequence[bytes]:
    opened = {one.index: open_share(one.key, share, b"context")
              for one, share in zip(HOLDERS, escrow().shares, strict=True)}  # fmt: skip
    return [b"".join(index.to_bytes(3, "big") + share for index, share in opened.items())]


def _pair_seed() -> Sequence[bytes]:
    return [seal_pair_secret(keys().sealing_key.public, b"\x07" * 32,
                             chain=CHAIN, study=STUDY, sender="alpha", receiver="beta")]  # fmt: skip


def _signature_seed() -> Sequence[bytes]:
    key = keys().signing_key
    return [key.public + key.sign(b"message") + b"message"]


TARGETS = (
    Target("digest", digest, lambda: [sha256(b"x").hex().encode(), sha256(b"x").hex().upper().encode()], "text"),
    Target("study-id", study_id, lambda: [bytes(16).hex().encode()], "text"),
    Target("name", name, lambda: [b"north", b"a" * 40, b"a-1"], "text"),
    Target("sealing-seeds", sealing_seeds, lambda: [keys().sealing_seed]),
    Target("sealed", sealed, lambda: [seal(keys().sealing_key.public, b"plaintext", b"info")], keep=False),
    Target("sealing-public-key", public_key, lambda: [keys().sealing_key.public]),
    Target("signature", signature, _signature_seed),
    Target("signing-seed", signing_seed, lambda: [keys().signing_seed]),
    Target("pair-secret", pair_secret, _pair_seed, keep=False),
    Target("keystore", keystore, lambda: [keystore_bytes()], "msgpack"),
    Target("encrypted", encrypted, lambda: [encrypt(bytes(32), b"plaintext", b"context", seeded_entropy(b"nonce"))]),
    Target("escrow-share", escrow_share, lambda: [encode(escrow().shares[0])], "msgpack"),
    Target("shares", shares, _opened),
    Target("masked-update", update, lambda: [np.arange(50, dtype="<u4").tobytes()]),
    Target("decoded-sum", sums, lambda: [(2).to_bytes(4, "big") + (3).to_bytes(4, "big") + _vector()]),
    Target("unmasking", unmasking, lambda: [np.arange(5, dtype="<u4").tobytes()], cost=2),
    Target("manifest", manifest, lambda: [encode(MANIFEST)], "msgpack"),
)


def _vector() -> bytes:
    return np.arange(MANIFEST.length, dtype="<u4").tobytes()
