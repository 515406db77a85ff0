"""What a secure sum costs a hospital and whoever aggregates, against floors (memory, bare keystream) and peers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from benchmarks.ckks import CkksParty
from benchmarks.flower import FlowerClients
from benchmarks.harness import Section, Target, Timing, alternately, in_child, spread
from benchmarks.results import say
from numpy.typing import NDArray

from medfed.crypto.keystream import Keystream
from medfed.secure_sum import encode_update, encode_vector, mask_update, unmask_sum
from medfed.secure_sum.manifest import Entry, Manifest
from medfed.secure_sum.masking import CHUNK_ELEMENTS

NANO: Final = 1e-9
CASES: Final = ((1_000_000, 4, 12.0), (10_000_000, 10, 16.0))
"""Elements, hospitals, and the most nanoseconds an element at the client."""
Vector = NDArray[np.uint32]


def report(*, quick: bool) -> list[Section]:
    """The client at both sizes, the aggregate, and memory."""
    cases = CASES[:1] if quick else CASES
    clients = [_client(size, hospitals, bar, quick=quick) for size, hospitals, bar in cases]
    return [*clients, _aggregate(4, quick=quick), _memory()]


def masked_bytes(values: NDArray[np.float32], hospitals: int) -> memoryview:
    """A hospital's whole share of a secure sum: fixed point, all masks, and the bytes to send."""
    manifest = Manifest((Entry("update", "fixed", values.size, 16.0),))
    vector, _ = encode_vector(manifest, {"update": values}, (1, hospitals), hospitals)
    pairs = [(os.urandom(32), 1 if other % 2 else -1) for other in range(hospitals - 1)]
    return encode_update(mask_update(vector, os.urandom(32), pairs, in_place=True))


def _client(size: int, hospitals: int, bar: float, *, quick: bool) -> Section:
    say(f"secure sum: the client, {size:,} elements, {hospitals} hospitals")
    values = np.random.default_rng(0).normal(0, 0.1, size).astype(np.float32)
    tasks: dict[str, Callable[[], object]] = {
        "memory floor": _memory_floor(size, hospitals),
        "bare keystream": _bare_keystream(size, hospitals),
        "MedFed": lambda: masked_bytes(values, hospitals),
    }
    wire = {"MedFed": len(masked_bytes(values, hospitals))}
    missing: list[str] = []
    for name, peer in (("Flower SecAgg+", _flower), ("TenSEAL CKKS", _ckks)):
        try:
            task = peer(values, hospitals)
        except ImportError:
            missing.append(f"{name} is not installed: left out.")
        else:
            wire[name] = sum(map(len, task()))
            tasks[name] = task
    passes = (3 if quick else 7) if size <= 1_000_000 else 3
    found = alternately(passes, tasks)
    rows = [_client_row(name, timing, found, size, wire.get(name)) for name, timing in found.items()]
    nanoseconds = found["MedFed"].minimum / size / NANO
    shown = f"{size // 1_000_000}M elements, {hospitals} hospitals"
    note = (
        f"Quantising, {hospitals} masks (one of its own, {hospitals - 1} of pairs) and the bytes to send. The floor "
        f"adds a vector in memory once a mask; the keystream is {hospitals} streams of AES-256-CTR into one chunk. "
        "Flower: the whole of its client's stage 2 but training. CKKS: encrypting and serialising. " + " ".join(missing)
    )
    return Section(
        f"Client: {shown}",
        note.strip(),
        ("", "ns an element", "of MedFed's", "of the floor", "bytes an element"),
        rows,
        [
            Target(f"client, {shown}", nanoseconds, bar, "ns an element"),
            Target(f"wire, {shown}", wire["MedFed"] / size, 4.0, "bytes an element"),
        ],
    )


def _client_row(name: str, timing: Timing, found: dict[str, Timing], size: int, wire: int | None) -> tuple[str, ...]:
    return (
        name,
        spread(timing, size * NANO),
        f"{timing.minimum / found['MedFed'].minimum:.2f}",
        f"{timing.minimum / found['memory floor'].minimum:.2f}",
        f"{wire / size:.2f}" if wire else "",
    )


def _memory_floor(size: int, streams: int) -> Callable[[], object]:
    total, other = np.zeros(size, dtype=np.uint32), np.ones(size, dtype=np.uint32)

    def add() -> None:
        for _ in range(streams):
            np.add(total, other, out=total)

    return add


def _bare_keystream(size: int, streams: int) -> Callable[[], object]:
    chunk = np.empty(min(size, CHUNK_ELEMENTS), dtype=np.uint32)

    def fill() -> None:
        for _ in range(streams):
            stream = Keystream(os.urandom(32))
            for at in range(0, size, chunk.size):
                stream.fill(chunk[: min(chunk.size, size - at)])

    return fill


def _flower(values: NDArray[np.float32], hospitals: int) -> Callable[[], list[bytes]]:
    return FlowerClients(hospitals, values).masked


def _ckks(values: NDArray[np.float32], hospitals: int) -> Callable[[], list[bytes]]:
    party = CkksParty()
    return lambda: party.encrypt(values)


def _aggregate(hospitals: int, *, quick: bool) -> Section:
    size = 1_000_000
    say(f"secure sum: the aggregate, {size:,} elements, {hospitals} hospitals")
    values = np.random.default_rng(0).normal(0, 0.1, size).astype(np.float32)
    updates = [np.random.default_rng(i).integers(0, 1 << 32, size, dtype=np.uint32) for i in range(hospitals)]
    seeds = [os.urandom(32) for _ in updates]
    tasks: dict[str, Callable[[], object]] = {"MedFed": lambda: unmask_sum(updates, seeds, [], size)}
    missing: list[str] = []
    try:
        tasks["Flower SecAgg+"] = FlowerClients(hospitals, values).server_step()
    except ImportError:
        missing.append("Flower is not installed: left out.")
    try:
        party = CkksParty()
    except ImportError:
        missing.append("TenSEAL is not installed: left out.")
    else:
        sent = [party.encrypt(values)] * hospitals
        tasks["TenSEAL CKKS"] = lambda: party.aggregate(sent)
    found = alternately(3 if quick else 7, tasks)
    own = found["MedFed"].minimum
    rows = [(name, spread(timing, 1e-3), f"{timing.minimum / own:.2f}") for name, timing in found.items()]
    return Section(
        "Aggregate: 1M elements, 4 hospitals",
        "Adding the updates and taking off the private masks, nobody having dropped out. Every hospital does this. "
        "Flower: its server's arithmetic. CKKS: reading, adding and decrypting. " + " ".join(missing),
        ("", "ms", "of MedFed's"),
        rows,
        [Target("aggregate, 1M elements, 4 hospitals", own * 1e3, 12.0, "ms")],
    )


def _memory() -> Section:
    say("secure sum: memory")
    found = in_child("benchmarks.secure_sum_memory", 4_000_000, 10)
    names = {
        "client": "quantise and mask, in place",
        "aggregate": "aggregate from streams",
        "duty": "an agent: mask, the vault's encrypted copy, the blob",
        "agent": "an agent: the same with local training before it",
    }
    rows = [(names[name], f"{vectors:.2f}") for name, vectors in found.items()]
    return Section(
        "Memory beside the model and the updates themselves",
        "Peak of traced allocations in a process of its own, in vectors of the size of an update: 16 MB, the agents' 4 "
        "MB with everything on disk.",
        ("", "vectors at the peak"),
        rows,
        [Target(f"memory: {names[name]}", found[name], 3.0, "vectors") for name in ("client", "aggregate", "duty")],
    )


def streamed(updates: list[bytes]) -> Iterator[Any]:
    """Each update as a stream, opened when its turn comes."""
    import io

    for data in updates:
        yield io.BytesIO(data)
