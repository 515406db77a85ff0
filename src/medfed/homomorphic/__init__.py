"""Ciphertext sums: hospitals encrypt, an aggregator adds what it cannot read, a key holder opens the total only.

Pure: keys, layouts and vectors in, bytes and values out. This package never sees the ledger, a vault or a clock. It
needs `medfed[he]` (TenSEAL) for keys, encryption and decryption, not for adding.
"""

from medfed.homomorphic.envelope import EnvelopeReader, envelope_size, seal_envelope
from medfed.homomorphic.layout import Layout
from medfed.homomorphic.library import Cipher, KeyPair, NativeCipher, is_available, need_library
from medfed.homomorphic.parameters import PARAMETERS, Parameters
from medfed.homomorphic.security import CLASSICAL_128, QUANTUM_128, verify_security
from medfed.homomorphic.sums import add_ciphertexts, decrypt_sum, encrypt_vector
from medfed.homomorphic.worker import WorkerCipher

__all__ = [
    "CLASSICAL_128",
    "PARAMETERS",
    "QUANTUM_128",
    "Cipher",
    "EnvelopeReader",
    "KeyPair",
    "Layout",
    "NativeCipher",
    "Parameters",
    "WorkerCipher",
    "add_ciphertexts",
    "decrypt_sum",
    "encrypt_vector",
    "envelope_size",
    "is_available",
    "need_library",
    "seal_envelope",
    "verify_security",
]
