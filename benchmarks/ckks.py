"""TenSEAL's CKKS as a peer: homomorphic encryption that adds real numbers; absent, it is left out.

The parameters are the smallest usual ones that add with about 20 bits after the point: ring degree 8,192, moduli of 60
and 40 bits and a special one of 60, scale 2^40, 128-bit security; 4,096 numbers a ciphertext.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLOTS = 4096


class CkksParty:
    """One context with all keys.

    Raises:
        ImportError: TenSEAL is not installed.
    """

    def __init__(self) -> None:
        self._tenseal: Any = import_module("tenseal")
        kind = self._tenseal.SCHEME_TYPE.CKKS
        self._context = self._tenseal.context(kind, 8192, coeff_mod_bit_sizes=[60, 40, 60], n_threads=1)
        self._context.global_scale = 2**40

    def encrypt(self, values: NDArray[np.float32]) -> list[bytes]:
        """A hospital's share: ciphertexts as bytes, `SLOTS` numbers each."""
        pieces = (values[at : at + SLOTS] for at in range(0, values.size, SLOTS))
        return [self._tenseal.ckks_vector(self._context, piece.tolist()).serialize() for piece in pieces]

    def aggregate(self, sent: list[list[bytes]]) -> NDArray[np.float64]:
        """Read, add and decrypt everybody's ciphertexts."""
        sums: list[float] = []
        for ciphertexts in zip(*sent, strict=True):
            total, *rest = (self._tenseal.ckks_vector_from(self._context, data) for data in ciphertexts)
            for other in rest:
                total += other
            sums.extend(total.decrypt())
        return np.array(sums)
