from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput, Unavailable
from medfed.homomorphic import PARAMETERS, NativeCipher, WorkerCipher, is_available
from medfed.homomorphic.worker import serve

pytestmark = pytest.mark.skipif(not is_available(), reason="needs TenSEAL")


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerCipher]:
    with WorkerCipher() as cipher:
        yield cipher


def _process(worker: WorkerCipher) -> int:
    child: Any = worker._child
    return child.pid


def test_the_worker_gives_what_the_library_gives(worker: WorkerCipher) -> None:
    keys = worker.generate()
    native = NativeCipher(PARAMETERS)
    zeros = worker.encrypt_zeros(keys.public, 3)
    assert zeros.shape == (3, 2, PARAMETERS.degree)
    assert not native.decrypt(keys.secret, zeros).any()
    assert not worker.decrypt(keys.secret, native.encrypt_zeros(keys.public, 3)).any()


def test_the_parent_never_loads_the_library() -> None:
    import subprocess

    code = (
        "import sys\nfrom medfed.homomorphic import WorkerCipher\n"
        "with WorkerCipher() as cipher:\n    cipher.encrypt_zeros(cipher.generate().public, 1)\n"
        "print(*sorted({'tenseal', 'zstandard'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_the_library_refuses_is_the_callers_to_fix_and_the_worker_goes_on(worker: WorkerCipher) -> None:
    with pytest.raises(InvalidInput, match="encryption key"):
        worker.encrypt_zeros(b"no key", 1)
    before = _process(worker)
    keys = worker.generate()
    with pytest.raises(InvalidInput, match="nobody has encrypted"):
        worker.decrypt(keys.secret, np.zeros((1, 2, PARAMETERS.degree), dtype=np.uint64))
    assert _process(worker) == before


def test_a_worker_that_is_killed_is_reported_and_replaced(worker: WorkerCipher) -> None:
    worker.generate()
    dead = _process(worker)
    os.kill(dead, signal.SIGSEGV)
    with pytest.raises(Unavailable, match="ended without an answer"):
        worker.generate()
    worker.generate()
    assert _process(worker) != dead


def test_a_worker_that_is_too_slow_is_ended() -> None:
    with WorkerCipher(timeout=0.01) as cipher, pytest.raises(Unavailable, match=r"no answer in 0\.01 s"):
        cipher.generate()


def test_a_worker_that_needs_too_much_memory_is_ended_and_the_parent_goes_on() -> None:
    with WorkerCipher(memory=64 << 20) as cipher, pytest.raises(Unavailable):
        cipher.generate()  # it cannot even load the library
    with WorkerCipher(memory=512 << 20) as cipher:
        keys = cipher.generate()
        with pytest.raises(Unavailable, match="ended without an answer"):
            cipher.encrypt_zeros(keys.public, 4096)  # 256 MiB, packed once more
        assert cipher.encrypt_zeros(keys.public, 1).any()


def test_the_worker_is_given_no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFED_PASSPHRASE", "a secret")
    with WorkerCipher() as cipher:
        cipher.generate()
        assert b"MEDFED_PASSPHRASE" not in Path(f"/proc/{_process(cipher)}/environ").read_bytes()


@pytest.mark.parametrize("frame", [b"", b"\0" * 7, b"\xff" * 8, (100).to_bytes(8, "big") + b"short"])
def test_the_worker_ends_when_its_parent_ends_or_makes_no_sense(frame: bytes) -> None:
    sink = io.BytesIO()
    serve(io.BytesIO(frame), sink)
    assert sink.getvalue() == b""


def test_a_request_that_is_no_record_is_answered_as_invalid() -> None:
    sink = io.BytesIO()
    serve(io.BytesIO((5).to_bytes(8, "big") + b"\xc1abcd"), sink)
    assert b"invalid" in sink.getvalue()
