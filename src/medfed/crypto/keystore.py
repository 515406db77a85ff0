"""A site's long-lived keys in one file, encrypted under a passphrase (Argon2id, AES-256-GCM).

File: canonical encoding of `_Stored`, then its SHA-256. The digest tells damage from a wrong passphrase.
That nobody exchanged the public part on purpose is known only once the file was opened with the passphrase.
A keystore is never overwritten, never readable by others, and its secrets are never printed.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta
from nacl.pwhash import argon2id

from medfed.crypto.authenticated import decrypt, encrypt
from medfed.crypto.commitments import equal
from medfed.crypto.derivation import hmac_sha256
from medfed.crypto.private_file import create_private_file, read_private_file
from medfed.crypto.randomness import Entropy, system_entropy
from medfed.crypto.sealing import PUBLIC_BYTES, SEALING_SEED_BYTES, SealingKey
from medfed.crypto.signing import SigningKey
from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, Tampered
from medfed.identifiers import DIGEST_BYTES, Name, check_name, sha256

__all__ = ["KeystoreCost", "PublicKeys", "SiteKeys", "load_keystore", "load_public", "save_keystore"]

_MAX_FILE: Final = 16 * 1024
_SALT: Final = 16
_Secret = Annotated[bytes, Meta(min_length=32, max_length=32)]


class PublicKeys(Record, frozen=True):
    """What others may know of a site's keys."""

    name: Name
    signing: Annotated[bytes, Meta(min_length=32, max_length=32)]
    sealing: Annotated[bytes, Meta(min_length=PUBLIC_BYTES, max_length=PUBLIC_BYTES)]


class SiteKeys(Record, frozen=True):
    """All long-lived secrets of one site. Its printed form shows the name only."""

    name: Name
    signing_seed: _Secret
    sealing_seed: Annotated[bytes, Meta(min_length=SEALING_SEED_BYTES, max_length=SEALING_SEED_BYTES)]
    vault_key: _Secret
    """Encrypts what the vault holds."""
    split_key: _Secret
    """Splits patients into training, validation and test, for good."""

    @classmethod
    def generate(cls, name: str, entropy: Entropy) -> SiteKeys:
        """New keys for the participant `name`.

        Raises:
            InvalidInput: the name is not a participant's name.
        """
        return cls(check_name(name), entropy(32), entropy(SEALING_SEED_BYTES), entropy(32), entropy(32))

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs this site's transactions."""
        return SigningKey.from_seed(self.signing_seed)

    @property
    def sealing_key(self) -> SealingKey:
        """The key that others seal to."""
        return SealingKey.from_bytes(self.sealing_seed)

    @property
    def public(self) -> PublicKeys:
        """The public part."""
        return PublicKeys(self.name, self.signing_key.public, self.sealing_key.public)

    def __repr__(self) -> str:
        return f"SiteKeys(name={self.name!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("name", self.name)]


class KeystoreCost(Record, frozen=True):
    """What one guess of the passphrase costs: Argon2id passes and bytes of memory."""

    passes: Annotated[int, Meta(ge=1, le=16)] = 3
    memory: Annotated[int, Meta(ge=8 * 1024, le=256 * 1024 * 1024)] = 64 * 1024 * 1024


class _Stored(Record, frozen=True):
    public: PublicKeys
    cost: KeystoreCost
    salt: Annotated[bytes, Meta(min_length=_SALT, max_length=_SALT)]
    check: _Secret
    """Right only under the right passphrase: tells a wrong one from a changed ciphertext."""
    ciphertext: Annotated[bytes, Meta(max_length=1024)]
    version: Literal[1] = 1

    def context(self) -> bytes:
        return encode(("medfed/keystore", self.version, self.public, self.cost, self.salt))


def save_keystore(
    path: Path,
    keys: SiteKeys,
    passphrase: str,
    cost: KeystoreCost | None = None,
    entropy: Entropy = system_entropy,
) -> None:
    """Write `keys` to a new file `path`, mode 0600, in a directory of mode 0700 that is created if need be.

    The file appears whole and synced, or not at all.

    Raises:
        InvalidInput: the passphrase is empty.
        Refused: "keystore-exists", or "keystore-mode" when others may enter the directory.
        Unavailable: the file system would not write.
    """
    cost = cost or KeystoreCost()
    salt = entropy(_SALT)
    key, check = _derive(passphrase, salt, cost)
    unsealed = _Stored(keys.public, cost, salt, check, b"")
    ciphertext = encrypt(key, encode(keys), unsealed.context(), entropy)
    data = encode(_Stored(keys.public, cost, salt, check, ciphertext))
    create_private_file(path, data + sha256(data))


def load_keystore(path: Path, passphrase: str) -> SiteKeys:
    """The keys in the file `path`.

    Raises:
        InvalidInput: no such file, or a wrong passphrase.
        Refused: "keystore-mode" when others may read the file or enter its directory; it names the fix.
        Tampered: the file is damaged or was changed.
        Unavailable: the file system would not read.
    """
    stored = _decode(path, read_private_file(path, _MAX_FILE))
    key, check = _derive(passphrase, stored.salt, stored.cost)
    if not equal(check, stored.check):
        raise InvalidInput(f"keystore {path}: wrong passphrase")
    try:
        keys = decode(decrypt(key, stored.ciphertext, stored.context()), SiteKeys)
    except InvalidInput:
        raise Tampered(f"keystore {path}: changed since it was written; restore it from a backup") from None
    if keys.public != stored.public:
        raise Tampered(f"keystore {path}: its public part belongs to other keys")
    return keys


def load_public(path: Path) -> PublicKeys:
    """The public part of the keystore `path`, without a passphrase; trust it as far as the file.

    Raises:
        InvalidInput: no such file.
        Tampered: the file is damaged.
        Unavailable: the file system would not read.
    """
    return _decode(path, read_private_file(path, _MAX_FILE, check_modes=False)).public


def _decode(path: Path, data: bytes) -> _Stored:
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if sha256(body) != digest:
        raise Tampered(f"keystore {path}: the file is damaged; restore it from a backup")
    try:
        return decode(body, _Stored)
    except InvalidInput as error:
        raise Tampered(f"keystore {path}: not a keystore of this version ({error})") from None


def _derive(passphrase: str, salt: bytes, cost: KeystoreCost) -> tuple[bytes, bytes]:
    if not passphrase:
        raise InvalidInput("keystore passphrase: expected at least one character")
    # The same passphrase typed on another keyboard may arrive composed differently.
    try:
        secret = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise InvalidInput("keystore passphrase: expected text; its bytes are not UTF-8") from None
    key = argon2id.kdf(32, secret, salt, opslimit=cost.passes, memlimit=cost.memory)
    return hmac_sha256(key, b"medfed/keystore/key"), hmac_sha256(key, b"medfed/keystore/check")
