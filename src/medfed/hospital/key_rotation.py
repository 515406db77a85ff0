"""Changing a site's keys: the new ones lie beside the old until the ledger knows them, and then take their place.

1. `prepare_rotation` writes the new keys, durably, and returns what the ledger must be asked for.
2. When the ledger has it, `settle_keys` renames the new file over the old one. Whoever opens the site next calls it.

Interrupted anywhere, the site has the keys that the ledger knows, or both. The vault's key and the key that splits
patients never change: they protect what is here already. This module must never remove keys that the ledger
still knows.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from medfed.crypto import Entropy, KeystoreCost, PublicKeys, load_keystore, load_public, save_keystore, system_entropy
from medfed.crypto.sealing import SEALING_SEED_BYTES
from medfed.errors import InvalidInput, Unavailable
from medfed.hospital.site_directory import key_path, next_key_path
from medfed.identifiers import Digest
from medfed.ledger.contracts.membership import RotateKeys, key_proof_message, participant
from medfed.ledger.state import Reader

__all__ = ["has_other_keys", "prepare_rotation", "settle_keys"]


def prepare_rotation(
    directory: Path,
    passphrase: str,
    chain: Digest,
    *,
    sealing: bool,
    entropy: Entropy = system_entropy,
    cost: KeystoreCost | None = None,
) -> RotateKeys:
    """New keys for a site, and the transaction body that asks for them; asked again, the same ones.

    Without `sealing` the sealing key stays, so what others have sealed to it can still be opened.

    Raises:
        InvalidInput: no site here, or a wrong passphrase. Others: as the keystore says.
    """
    old = load_keystore(key_path(directory), passphrase)
    path = next_key_path(directory)
    if path.exists():
        new = load_keystore(path, passphrase)
    else:
        sealing_seed = entropy(SEALING_SEED_BYTES) if sealing else old.sealing_seed
        new = replace(old, signing_seed=entropy(32), sealing_seed=sealing_seed)
        save_keystore(path, new, passphrase, cost, entropy)
    message = key_proof_message(chain, new.name, new.public.signing, new.public.sealing)
    return RotateKeys(new.public.signing, new.public.sealing, new.signing_key.sign(message))


def settle_keys(directory: Path, reader: Reader) -> bool:
    """Put the new keys in the old ones' place if the ledger knows them by now; whether it was done here.

    Raises:
        Unavailable: the file system would not do it.
    """
    path = next_key_path(directory)
    if not _knows_next(directory, reader):
        return False
    try:
        path.replace(key_path(directory))
    except FileNotFoundError:
        return False  # the site's other process has done it
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None
    return True


def has_other_keys(directory: Path, reader: Reader, mine: PublicKeys) -> bool:
    """Whether a process that works with the keys `mine` must begin anew with others, which the ledger knows."""
    return _knows_next(directory, reader) or load_public(key_path(directory)) != mine


def _knows_next(directory: Path, reader: Reader) -> bool:
    path = next_key_path(directory)
    if not path.exists():
        return False
    try:
        new = load_public(path)
    except InvalidInput:
        return False  # the site's other process has just put it in place
    known = participant(reader, new.name)
    return known is not None and known.signing_key == new.signing
