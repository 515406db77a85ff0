"""Targets of encrypted sums: ciphertexts, keys, envelopes, requests to the encrypting process. No library runs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tests.fuzz.target import Target

from medfed.crypto import seeded_entropy
from medfed.encoding import decode, encode
from medfed.homomorphic import PARAMETERS, EnvelopeReader, Layout, add_ciphertexts, seal_envelope
from medfed.homomorphic.packing import pack, pack_key, unpack, unpack_key
from medfed.homomorphic.worker import Answer, Request

LAYOUT = Layout(3, 4_032)
KEY = bytes(range(32))


def _ciphertext() -> bytes:
    shape = (1, 2, PARAMETERS.degree)
    return pack(PARAMETERS, np.random.default_rng(0).integers(0, PARAMETERS.modulus, shape, dtype=np.uint64))


def _envelope() -> bytes:
    return b"".join(seal_envelope(KEY, b"", LAYOUT, iter([_ciphertext()]), seeded_entropy(b"nonce")))


def read_ciphertexts(data: bytes, folder: Path) -> None:
    found = unpack(PARAMETERS, data)
    assert pack(PARAMETERS, found) == data
    assert b"".join(add_ciphertexts(LAYOUT, [io.BytesIO(data)])) == data


def read_key(data: bytes, folder: Path) -> None:
    assert pack_key(unpack_key(PARAMETERS, data, 2)) == data


def read_envelope(data: bytes, folder: Path) -> None:
    reader = EnvelopeReader(io.BytesIO(data), KEY, b"", LAYOUT)
    while reader.read(10_000):
        pass


def read_request(data: bytes, folder: Path) -> None:
    assert encode(decode(data, Request)) == data


def read_answer(data: bytes, folder: Path) -> None:
    assert encode(decode(data, Answer)) == data


def _ciphertexts() -> Sequence[bytes]:
    return (_ciphertext(),)


def _keys() -> Sequence[bytes]:
    rng = np.random.default_rng(1)
    primes = (PARAMETERS.modulus, PARAMETERS.special)
    return (pack_key(np.stack([rng.integers(0, p, (2, PARAMETERS.degree), dtype=np.uint64) for p in primes], axis=1)),)


def _requests() -> Sequence[bytes]:
    return tuple(
        encode(request)
        for request in (
            Request("generate", PARAMETERS),
            Request("encrypt-zeros", PARAMETERS, b"key", b"", 16),
            Request("decrypt", PARAMETERS, b"key", b"data"),
        )
    )


def _answers() -> Sequence[bytes]:
    return encode(Answer((b"one", b"two"))), encode(Answer((), "invalid", "no key"))


TARGETS = (
    Target("ciphertexts", read_ciphertexts, _ciphertexts, cost=4, keep=False),
    Target("encryption-key", read_key, _keys, cost=4, keep=False),
    Target("ciphertext-envelope", read_envelope, lambda: (_envelope(),), cost=4, keep=False),
    Target("encryption-request", read_request, _requests, "msgpack"),
    Target("encryption-answer", read_answer, _answers, "msgpack"),
)
