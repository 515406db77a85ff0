"""A delivery from file to file, every way in which it can be wrong, and what an arbiter makes of each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from msgspec.structs import replace

from medfed.blobs import DirectoryBlobs, MemoryBlobs
from medfed.crypto import SealingKey, seeded_entropy
from medfed.errors import InvalidInput, Unavailable
from medfed.hospital.data_exchange import (
    commit_file,
    deliver_file,
    judge_delivery,
    receive_delivery,
    seal_for_arbiter,
)
from medfed.identifiers import sha256
from medfed.ledger.contracts.exchange import DataRequest, Delivery, content_key_digest
from medfed.ledger.contracts.offered_data import ExchangeTerms, OfferedDataset

CHAIN = sha256(b"chain")
BETA = SealingKey.generate(seeded_entropy(b"beta"))
GAMMA = SealingKey.generate(seeded_entropy(b"gamma"))
AUDITOR = SealingKey.generate(seeded_entropy(b"auditor"))
REQUEST = DataRequest(b"one data request", "beta", "alpha", sha256(b"dataset"), "research", "granted", 0)


class Exchange:
    """alpha's file, its offer and its delivery to beta."""

    def __init__(self, folder: Path, size: int = 2_500_000) -> None:
        self.folder = folder
        self.source = folder / "images.tar"
        self.source.write_bytes(np.random.default_rng(1).bytes(size))
        self.blobs = MemoryBlobs()
        self.entropy = seeded_entropy(b"exchange")
        self.committed = commit_file(self.source, self.entropy)
        terms = ExchangeTerms("auditor", ("research",), 1000)
        self.offer = OfferedDataset(REQUEST.dataset, "alpha", self.committed.commitment, size, "images", terms)
        self.deliver()

    def deliver(self, receiver: SealingKey = BETA) -> None:
        body, self.key = deliver_file(
            self.source, self.committed.salt, CHAIN, REQUEST, receiver.public, self.blobs, self.entropy
        )
        self.delivery = Delivery(body.blob, body.length, body.sealed, body.key_digest)

    def received(self, own: SealingKey = BETA, request: DataRequest = REQUEST) -> str:
        target = self.folder / "received"
        target.unlink(missing_ok=True)
        outcome = receive_delivery(self.delivery, self.offer, CHAIN, request, own, self.blobs, target)
        assert target.exists() == (outcome == "good")
        assert [path.name for path in self.folder.iterdir() if path.name.startswith(".")] == []
        return outcome

    def judged(self, claim: Literal["key", "data"], key: bytes | None = None) -> str:
        request = replace(REQUEST, claim=claim)
        sealed = seal_for_arbiter(key or self.key, CHAIN, request, "auditor", AUDITOR.public)
        decision = judge_delivery(sealed, self.delivery, self.offer, CHAIN, request, AUDITOR, BETA.public, self.blobs)
        if decision.fault == "nobody":
            self.delivery = replace(self.delivery, sealed=decision.sealed)
        return decision.fault


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(tmp_path)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 32, 1 << 20, 2_500_000])
def test_a_delivery_arrives_as_it_was(tmp_path: Path, size: int) -> None:
    exchange = Exchange(tmp_path, size)
    assert exchange.received() == "good"
    assert (tmp_path / "received").read_bytes() == exchange.source.read_bytes()
    assert exchange.source.read_bytes()[:64] not in exchange.blobs.get(exchange.delivery.blob) or not size


def test_what_counts_as_received_is_on_the_disk_under_its_name(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vault says that it was received right afterwards, and a power failure must not prove it wrong."""
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    assert exchange.received() == "good"
    assert [Path(path).name for path in synced][-1] == exchange.folder.name


def test_an_owner_who_delivers_other_data_is_found_out_by_requester_and_arbiter(exchange: Exchange) -> None:
    exchange.source.write_bytes(np.random.default_rng(2).bytes(2_500_000))
    exchange.deliver()
    assert exchange.received() == "data"
    assert exchange.judged("data") == "owner"


def test_a_shorter_or_longer_delivery_is_found_out(exchange: Exchange) -> None:
    for size in (2_499_999, 2_500_001, 10):
        exchange.source.write_bytes(np.random.default_rng(1).bytes(size))
        exchange.deliver()
        assert exchange.received() == "data"
        assert exchange.judged("data") == "owner"


def test_a_blob_changed_on_its_way_is_found_out(exchange: Exchange) -> None:
    blob = bytearray(exchange.blobs.get(exchange.delivery.blob))
    blob[1_500_000] ^= 1
    exchange.delivery = replace(exchange.delivery, blob=exchange.blobs.put(bytes(blob)))
    assert exchange.received() == "data"


def test_a_requester_who_disputes_a_good_delivery_is_at_fault(exchange: Exchange) -> None:
    assert exchange.received() == "good"
    assert exchange.judged("data") == "requester"


def test_a_key_sealed_to_somebody_else_is_noticed_and_the_arbiter_hands_the_right_one_over(exchange: Exchange) -> None:
    exchange.deliver(receiver=GAMMA)
    assert exchange.received() == "key"
    assert exchange.judged("key") == "nobody"
    assert exchange.received() == "good"


def test_the_wrong_receiver_cannot_open_a_delivery_nor_can_it_be_opened_for_another_request(exchange: Exchange) -> None:
    assert exchange.received(own=GAMMA) == "key"
    assert exchange.received(request=replace(REQUEST, request=b"another request!")) == "key"
    assert exchange.received(request=replace(REQUEST, requester="gamma")) == "key"


def test_an_owner_who_commits_to_another_key_or_shows_the_arbiter_another_is_at_fault(exchange: Exchange) -> None:
    good = exchange.delivery
    exchange.delivery = replace(good, key_digest=content_key_digest(bytes(32)))
    assert exchange.received() == "key"
    assert exchange.judged("key") == "owner"
    exchange.delivery = good
    assert exchange.judged("data", key=bytes(32)) == "owner"


def test_a_blob_that_is_not_here_decides_nothing(exchange: Exchange) -> None:
    exchange.blobs.delete(exchange.delivery.blob)
    with pytest.raises(Unavailable):
        exchange.received()
    with pytest.raises(Unavailable):
        exchange.judged("data")


def test_nothing_is_written_over_and_a_missing_source_is_said(exchange: Exchange, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_text("mine")
    with pytest.raises(InvalidInput, match="exists"):
        receive_delivery(exchange.delivery, exchange.offer, CHAIN, REQUEST, BETA, exchange.blobs, target)
    assert target.read_text() == "mine"
    with pytest.raises(InvalidInput, match="cannot be read"):
        commit_file(tmp_path / "absent", exchange.entropy)


def test_parts_that_fail_leave_no_blob_behind(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")

    def failing() -> object:
        yield b"part"
        raise InvalidInput("it broke")

    with pytest.raises(InvalidInput):
        blobs.put_parts(failing())  # type: ignore[arg-type]
    assert list(blobs.digests()) == []
    assert list((tmp_path / "blobs" / "new").iterdir()) == []
    digest = blobs.put_parts([b"a", b"b"])
    assert blobs.get(digest) == b"ab"
    assert digest == sha256(b"ab")


_LARGE = """
import resource, sys
from pathlib import Path
from medfed.blobs import DirectoryBlobs
from medfed.crypto import SealingKey, system_entropy
from medfed.hospital.blob_exchange.peer_blobs import PeerBlobs
from medfed.hospital.data_exchange import commit_file, deliver_file, receive_delivery
from medfed.ledger.contracts.exchange import DataRequest, Delivery
from medfed.ledger.contracts.offered_data import ExchangeTerms, OfferedDataset

class Owner:
    def fetch(self, blob, sink, start, most):
        with there.open_stream(blob) as source:
            while part := source.read(1 << 18):
                sink.write(part)

folder, size = Path(sys.argv[1]), int(sys.argv[2])
with (folder / "source").open("wb") as file:
    file.truncate(size)
key = SealingKey.generate(system_entropy)
there = DirectoryBlobs(folder / "there")
here = PeerBlobs(DirectoryBlobs(folder / "here"), lambda digest: [Owner()])
request = DataRequest(bytes(16), "beta", "alpha", bytes(32), "research", "granted", 0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = commit_file(folder / "source", system_entropy)
body, _ = deliver_file(folder / "source", made.salt, bytes(32), request, key.public, there, system_entropy)
offer = OfferedDataset(bytes(32), "alpha", made.commitment, size, "images", ExchangeTerms("c", ("research",), 1))
given = Delivery(body.blob, body.length, body.sealed, body.key_digest)
assert receive_delivery(given, offer, bytes(32), request, key, here, folder / "got") == "good"
assert (folder / "got").stat().st_size == size
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_much_is_committed_delivered_fetched_from_a_peer_and_received_in_constant_memory(tmp_path: Path) -> None:
    """`python -m benchmarks.exchange` does it with a gigabyte, by the commands that people use."""
    done = subprocess.run(
        [sys.executable, "-c", _LARGE, str(tmp_path), str(10**8)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 24 * 1024  # KiB
