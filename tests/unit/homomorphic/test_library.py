from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput, Unavailable
from medfed.homomorphic import PARAMETERS, NativeCipher, is_available
from medfed.homomorphic.packing import pack_key


def test_importing_the_package_loads_no_native_library() -> None:
    code = "import sys, medfed.homomorphic; print(*sorted({'tenseal', 'zstandard'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_where_tenseal_is_absent_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tenseal" else found(name))
    assert not is_available()
    with pytest.raises(Unavailable, match=r"^homomorphic protection needs TenSEAL: pip install 'medfed\[he\]'$"):
        NativeCipher(PARAMETERS)


needs_tenseal = pytest.mark.skipif(not is_available(), reason="needs TenSEAL")


@needs_tenseal
def test_a_public_key_that_is_not_one_is_refused() -> None:
    cipher = NativeCipher(PARAMETERS)
    for wrong in (b"", bytes(10), b"\xff" * 131072):
        with pytest.raises(InvalidInput, match="encryption key"):
            cipher.encrypt_zeros(wrong, 1)


@needs_tenseal
def test_every_key_pair_is_another_and_only_its_own_secret_opens() -> None:
    cipher = NativeCipher(PARAMETERS)
    one, other = cipher.generate(), cipher.generate()
    assert one.public != other.public
    assert one.secret != other.secret
    zeros = cipher.encrypt_zeros(one.public, 2)
    assert not cipher.decrypt(one.secret, zeros).any()
    assert cipher.decrypt(other.secret, zeros).mean() > 2**30


@needs_tenseal
def test_hostile_public_keys_of_valid_residues_crash_nothing() -> None:
    cipher = NativeCipher(PARAMETERS)
    rng = np.random.default_rng(3)
    for key in _hostile_keys(rng):
        zeros = cipher.encrypt_zeros(pack_key(key), 1)
        assert (zeros < PARAMETERS.modulus).all()


def _hostile_keys(rng: np.random.Generator) -> list[Any]:
    shape = (2, 2, PARAMETERS.degree)
    primes = np.array([PARAMETERS.modulus, PARAMETERS.special], dtype=np.uint64)[None, :, None]
    noise = rng.integers(0, 2**62, shape, dtype=np.uint64)
    return [np.zeros(shape, dtype=np.uint64), np.ones(shape, dtype=np.uint64), noise % primes]
