from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.homomorphic import PARAMETERS
from medfed.homomorphic.packing import pack, pack_key, unpack, unpack_key


def _ciphertexts(count: int, seed: int = 0) -> Any:
    shape = (count, 2, PARAMETERS.degree)
    return np.random.default_rng(seed).integers(0, PARAMETERS.modulus, shape, dtype=np.uint64)


@pytest.mark.parametrize("count", [1, 3])
def test_packed_ciphertexts_unpack_to_themselves(count: int) -> None:
    found = _ciphertexts(count)
    data = pack(PARAMETERS, found)
    assert len(data) == count * PARAMETERS.ciphertext_bytes
    np.testing.assert_array_equal(unpack(PARAMETERS, data), found)


def test_a_coefficient_is_little_endian() -> None:
    found = np.zeros((1, 2, PARAMETERS.degree), dtype=np.uint64)
    found[0, 0, 1] = 0x0102030405
    assert pack(PARAMETERS, found)[6:12] == bytes([5, 4, 3, 2, 1, 0])


def test_a_coefficient_that_is_not_below_the_modulus_is_refused_so_that_bytes_are_canonical() -> None:
    data = bytearray(pack(PARAMETERS, _ciphertexts(1)))
    data[:6] = PARAMETERS.modulus.to_bytes(6, "little")
    with pytest.raises(InvalidInput, match="not below the modulus"):
        unpack(PARAMETERS, bytes(data))
    data[:6] = (PARAMETERS.modulus - 1).to_bytes(6, "little")
    assert unpack(PARAMETERS, bytes(data))[0, 0, 0] == PARAMETERS.modulus - 1


@pytest.mark.parametrize("change", [-1, 1, -PARAMETERS.ciphertext_bytes])
def test_parts_of_ciphertexts_are_refused(change: int) -> None:
    data = pack(PARAMETERS, _ciphertexts(1)) + b"\0"
    with pytest.raises(InvalidInput, match="expected whole ones"):
        unpack(PARAMETERS, data[: PARAMETERS.ciphertext_bytes + change])


def test_a_key_is_residues_below_their_primes_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    primes = [PARAMETERS.modulus, PARAMETERS.special]
    key = np.stack([rng.integers(0, prime, (2, PARAMETERS.degree), dtype=np.uint64) for prime in primes], axis=1)
    data = pack_key(key)
    np.testing.assert_array_equal(unpack_key(PARAMETERS, data, 2), key)
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(InvalidInput, match="expected 131072 bytes"):
            unpack_key(PARAMETERS, wrong, 2)
    for at, prime in enumerate(primes):
        spoilt = key.copy()
        spoilt[1, at, 7] = prime
        with pytest.raises(InvalidInput, match="not below its prime"):
            unpack_key(PARAMETERS, pack_key(spoilt), 2)
