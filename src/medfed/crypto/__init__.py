"""Cryptography under thin names: signing, sealing, keystreams, sharing, commitments, group elements, keystore.

No protocol: nothing here chooses what to protect or when; `secure_sum` and the agents do. Randomness is passed in.
"""

from medfed.crypto.authenticated import ENCRYPTION_OVERHEAD, Cipher, decrypt, encrypt
from medfed.crypto.commitments import SALT_BYTES, commit, equal, is_commitment_to
from medfed.crypto.derivation import hkdf_sha256, hmac_sha256
from medfed.crypto.group import (
    ELEMENT_BYTES,
    SCALAR_BYTES,
    hash_to_element,
    is_element,
    multiply,
    multiply_each,
    new_scalar,
    random_element,
)
from medfed.crypto.keystore import (
    KeystoreCost,
    PublicKeys,
    SiteKeys,
    load_keystore,
    load_public,
    save_keystore,
)
from medfed.crypto.keystream import Keystream, fill_keystream
from medfed.crypto.randomness import Entropy, seeded_entropy, system_entropy
from medfed.crypto.sealing import PUBLIC_BYTES, SEAL_OVERHEAD, SealingKey, seal
from medfed.crypto.sharing import SHARE_BYTES, combine_shares, split_secret
from medfed.crypto.signing import SigningKey, is_valid_signature

__all__ = [
    "ELEMENT_BYTES",
    "ENCRYPTION_OVERHEAD",
    "PUBLIC_BYTES",
    "SALT_BYTES",
    "SCALAR_BYTES",
    "SEAL_OVERHEAD",
    "SHARE_BYTES",
    "Cipher",
    "Entropy",
    "KeystoreCost",
    "Keystream",
    "PublicKeys",
    "SealingKey",
    "SigningKey",
    "SiteKeys",
    "combine_shares",
    "commit",
    "decrypt",
    "encrypt",
    "equal",
    "fill_keystream",
    "hash_to_element",
    "hkdf_sha256",
    "hmac_sha256",
    "is_commitment_to",
    "is_element",
    "is_valid_signature",
    "load_keystore",
    "load_public",
    "multiply",
    "multiply_each",
    "new_scalar",
    "random_element",
    "save_keystore",
    "seal",
    "seeded_entropy",
    "split_secret",
    "system_entropy",
]
