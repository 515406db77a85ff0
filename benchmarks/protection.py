"""The protection modes side by side: time, bytes and memory for one vector of every hospital, all in one run.

`python -m benchmarks.protection [--elements 1000000] [--hospitals 4] [--repeats 3]` prints the modes, beside a floor of
one SHA-256 over the same bytes, and the encryption schemes among which those of the homomorphic mode were chosen;
`--heart` prints the heart study's metrics under every mode instead. Another mode is one more function in `MODES`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np
from benchmarks.ckks import CkksParty
from numpy.typing import NDArray

from medfed.crypto import system_entropy
from medfed.demo.heart import PROTECTIONS, heart_plan, heart_tables
from medfed.homomorphic import (
    PARAMETERS,
    EnvelopeReader,
    Layout,
    NativeCipher,
    WorkerCipher,
    add_ciphertexts,
    decrypt_sum,
    encrypt_vector,
    seal_envelope,
)
from medfed.secure_sum import encode_update, mask_update, unmask_sum
from medfed.secure_sum.sealed import Slot, open_update, seal_update, update_commitment
from medfed.simulation.api import simulate

Vectors = list[NDArray[np.uint32]]
KEY: Final = bytes(32)


class Mode(NamedTuple):
    """What one mode does: a hospital's share, what adds, and what makes the sum known."""

    name: str
    protect: Callable[[int], Iterator[bytes]]
    """A hospital's blob, part by part, as it goes to the blob store."""
    add: Callable[[list[bytes]], Any]
    open: Callable[[Any], NDArray[np.uint32]]


def masked(vectors: Vectors) -> Mode:
    """Pairwise masks; adding and unmasking are one step."""
    count, length = len(vectors), vectors[0].size
    selves = [system_entropy(32) for _ in vectors]
    pairs = {(i, j): system_entropy(32) for i in range(count) for j in range(i + 1, count)}

    def protect(at: int) -> Iterator[bytes]:
        seeds = [(pairs[min(at, j), max(at, j)], 1 if j > at else -1) for j in range(count) if j != at]
        yield encode_update(mask_update(vectors[at], selves[at], seeds))  # type: ignore[misc]

    def add(blobs: list[bytes]) -> NDArray[np.uint32]:
        return unmask_sum([io.BytesIO(blob) for blob in blobs], selves, [], length)

    return Mode("masked", protect, add, lambda total: total)


def homomorphic(vectors: Vectors, cipher: Any, name: str) -> Mode:
    """Ciphertexts in envelopes; `cipher` is the library in this process or in its own."""
    layout, keys = Layout(len(vectors), vectors[0].size), cipher.generate()
    seeds = {at: system_entropy(32) for at in range(len(vectors))}

    def protect(at: int) -> Iterator[bytes]:
        batches: Iterator[bytes] = encrypt_vector(cipher, keys.public, layout, vectors[at], at, seeds[at])
        return seal_envelope(KEY, b"", layout, batches, system_entropy)

    def add(blobs: list[bytes]) -> bytes:
        data = bytearray()
        for batch in add_ciphertexts(layout, [EnvelopeReader(io.BytesIO(b), KEY, b"", layout) for b in blobs]):
            data += batch
        return bytes(data)

    def opened(total: bytes) -> NDArray[np.uint32]:
        return decrypt_sum(cipher, keys.secret, layout, io.BytesIO(total), seeds)

    return Mode(name, protect, add, opened)


def sealed(vectors: Vectors) -> Mode:
    """Under session keys; the aggregator opens and adds in one step."""
    length = vectors[0].size
    places = [Slot(bytes(32), bytes(16), f"hospital-{at}", 0, 0) for at in range(len(vectors))]
    salts = [system_entropy(32) for _ in vectors]

    def protect(at: int) -> Iterator[bytes]:
        return seal_update(KEY, places[at], salts[at], vectors[at])

    def add(blobs: list[bytes]) -> NDArray[np.uint32]:
        total = np.zeros(length, dtype=np.uint32)
        for at, blob in enumerate(blobs):
            commitment = update_commitment(KEY, places[at], salts[at])
            np.add(total, open_update(KEY, places[at], io.BytesIO(blob), commitment, length), out=total)
        return total

    return Mode("sealed", protect, add, lambda total: total)


MODES: Final[tuple[Callable[[Vectors], Mode], ...]] = (
    masked,
    sealed,
    lambda vectors: homomorphic(vectors, NativeCipher(PARAMETERS), "homomorphic"),
    lambda vectors: homomorphic(vectors, WorkerCipher(), "homomorphic, library in its own process"),
)


def measure(mode: Mode, vectors: Vectors, repeats: int) -> tuple[str, ...]:
    """One row: the least wall-clock time of each step, bytes an element, and a hospital's peak memory."""
    length = vectors[0].size
    protecting = [least(lambda at=at: stored(mode.protect(at)), repeats) for at in range(len(vectors))]
    blobs = [b"".join(mode.protect(at)) for at in range(len(vectors))]
    adding, total = least(lambda: mode.add(blobs), repeats)
    opening, found = least(lambda: mode.open(total), repeats)
    if not np.array_equal(found, sum(vectors[1:], start=vectors[0])):
        raise SystemExit(f"{mode.name}: the total is wrong")
    tracemalloc.start()
    stored(mode.protect(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    client = min(seconds for seconds, _ in protecting)
    return (
        mode.name,
        f"{client / length * 1e6:.3f}",
        f"{len(blobs[0]) / length:.2f}",
        f"{1e3 * adding:.0f}",
        f"{1e3 * opening:.0f}" if mode.name not in ("masked", "sealed") else "",
        f"{peak / (4 * length):.1f}",
    )


def stored(parts: Iterator[bytes]) -> bytes:
    """What a blob store does with the parts, without the disk: their digest."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.digest()


def heart() -> list[tuple[str, ...]]:
    """The heart study's figures under every mode: they must not differ."""
    found = {mode: simulate(heart_plan(mode), heart_tables(), progress=False).metrics() for mode in PROTECTIONS}
    return [(name, *(f"{found[mode][name].value:.3f}" for mode in PROTECTIONS)) for name in found["masked"]]


def schemes(count: int) -> Iterator[tuple[str, ...]]:
    """What TenSEAL's own vectors cost, for `count` numbers of one hospital."""
    tenseal: Any = import_module("tenseal")
    values = np.random.default_rng(0).integers(0, 2**32, count, dtype=np.uint32)
    for degree, bits in ((4096, [36, 36, 37]), (8192, [60, 60])):
        plain = _prime(38, degree)
        context = tenseal.context(tenseal.SCHEME_TYPE.BFV, degree, plain, coeff_mod_bit_sizes=bits, n_threads=1)
        pieces = [values[at : at + degree].tolist() for at in range(0, count, degree)]
        seconds, sent = least(
            lambda pieces=pieces, context=context: [tenseal.bfv_vector(context, p).serialize() for p in pieces], 2
        )
        yield _scheme(f"BFV in slots, degree {degree}, moduli {bits}", seconds, sent, count)
    party = CkksParty()
    seconds, sent = least(lambda: party.encrypt(values.astype(np.float32)), 2)
    yield _scheme("CKKS, degree 8192, moduli [60, 40, 60]; not exact", seconds, sent, count)
    cipher = NativeCipher(PARAMETERS)
    keys, layout = cipher.generate(), Layout(4, count)
    seconds, sent = least(lambda: list(encrypt_vector(cipher, keys.public, layout, values, 0, KEY)), 2)
    yield _scheme("chosen: BFV in coefficients, degree 4096, moduli [48, 53]", seconds, sent, count)


def least(task: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The least wall-clock seconds, and what the task gave the last time."""
    best, found = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        found = task()
        best = min(best, time.perf_counter() - start)
    return best, found


def _scheme(name: str, seconds: float, sent: list[bytes], count: int) -> tuple[str, ...]:
    return name, f"{seconds / count * 1e6:.3f}", f"{sum(map(len, sent)) / count:.2f}"


def _prime(bits: int, degree: int) -> int:
    found = (1 << bits) // (2 * degree) * (2 * degree) + 1 - 2 * degree
    while not all(pow(base, found - 1, found) == 1 for base in (2, 3, 5, 7, 11, 13)):
        found -= 2 * degree
    return found


def _print(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("|" + "|".join(" --- " for _ in header) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--hospitals", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--heart", action="store_true", help="the heart study under every mode")
    chosen = parser.parse_args()
    if chosen.heart:
        _print(("metric", *PROTECTIONS), heart())
        return
    rng = np.random.default_rng(0)
    vectors = [rng.integers(0, 2**32, chosen.elements, dtype=np.uint32) for _ in range(chosen.hospitals)]
    floor, _ = least(lambda: hashlib.sha256(vectors[0]).digest(), 2 * chosen.repeats)
    print(f"floor: one SHA-256 over a vector, {floor / chosen.elements * 1e6:.4f} µs an element\n")
    header = ("mode", "client µs an element", "bytes an element", "add ms", "open ms", "client memory, vectors")
    _print(header, [measure(make(vectors), vectors, chosen.repeats) for make in MODES])
    _print(("scheme", "µs an element", "bytes an element"), list(schemes(min(chosen.elements, 262_144))))


if __name__ == "__main__":
    main()
