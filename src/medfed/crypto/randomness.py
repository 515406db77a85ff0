"""Where random bytes come from. Code that needs randomness is given an `Entropy`; it never reaches for one.

This module must never hand out seeded bytes to a real site: those are for simulations and tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from medfed.identifiers import sha256

__all__ = ["Entropy", "seeded_entropy", "system_entropy"]

Entropy = Callable[[int], bytes]
"""Called with a number of bytes, returns that many, each time fresh."""


def system_entropy(size: int) -> bytes:
    """`size` bytes from the operating system's generator."""
    return os.urandom(size)


def seeded_entropy(seed: bytes) -> Entropy:
    """A deterministic generator: one seed, one stream (AES-256-CTR under a hash of the seed).

    For simulations and tests only, never at a real site. Each call returns the stream's next bytes, so the
    order of the calls matters; not for use by several threads at once.
    """
    key = sha256(b"medfed/seeded-entropy\0" + seed)
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def draw(size: int) -> bytes:
        return stream.update(bytes(size))

    return draw
