"""Fetching from peers: only what has the digest is kept, cut downloads go on, and liars are passed by."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from medfed.blobs import DirectoryBlobs
from medfed.errors import Tampered, Unavailable
from medfed.hospital.blob_exchange.peer_blobs import PeerBlobs
from medfed.identifiers import Digest, sha256

DATA = bytes(range(256)) * 40


class Holder:
    """A peer that gives some bytes, all of them or only so many at a time."""

    def __init__(self, data: bytes | None, at_once: int = 1 << 30) -> None:
        self.data = data
        self.at_once = at_once
        self.asked: list[int] = []

    def fetch(self, blob: Digest, sink: BinaryIO, start: int, most: int) -> None:
        self.asked.append(start)
        if self.data is None:
            raise Unavailable("not here")
        part = self.data[start : start + self.at_once]
        if start + len(part) > most:
            raise Tampered("too much")
        sink.write(part)
        if start + len(part) < len(self.data):
            raise Unavailable("cut")


def blobs(tmp_path: Path, *peers: Holder, most: int = 1 << 20) -> PeerBlobs:
    return PeerBlobs(DirectoryBlobs(tmp_path / "blobs"), lambda _: list(peers), most, ())


@pytest.mark.parametrize("data", [DATA, b"", b"x"])
def test_what_is_not_here_is_fetched_once_and_kept(tmp_path: Path, data: bytes) -> None:
    holder = Holder(data)
    store = blobs(tmp_path, Holder(None), holder)
    digest = sha256(data)
    assert not store.has(digest)
    assert store.size(digest) == len(data)
    assert store.get(digest) == data
    with store.open_stream(digest) as stream:
        assert stream.read() == data
    assert holder.asked == [0]
    assert list(store.digests()) == [digest]
    assert list((tmp_path / "blobs" / "partial").iterdir()) == []


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    holder = Holder(DATA, at_once=3000)
    store = blobs(tmp_path, holder)
    for _ in range(3):
        with pytest.raises(Unavailable, match="cut"):
            store.get(sha256(DATA))
    assert store.get(sha256(DATA)) == DATA
    assert holder.asked == [0, 3000, 6000, 9000]


def test_another_peer_goes_on_where_the_first_has_stopped(tmp_path: Path) -> None:
    second = Holder(DATA)
    assert blobs(tmp_path, Holder(DATA, at_once=5000), second).get(sha256(DATA)) == DATA
    assert second.asked == [5000]


def test_a_liar_is_passed_by_and_leaves_nothing(tmp_path: Path) -> None:
    store = blobs(tmp_path, Holder(b"lies"), Holder(DATA))
    assert store.get(sha256(DATA)) == DATA
    assert list(store.digests()) == [sha256(DATA)]
    alone = blobs(tmp_path / "alone", Holder(b"lies"))
    with pytest.raises(Unavailable, match="something else"):
        alone.get(sha256(DATA))
    assert list(alone.digests()) == []
    assert list((tmp_path / "alone" / "blobs" / "partial").iterdir()) == []


def test_a_damaged_copy_is_replaced(tmp_path: Path) -> None:
    store = blobs(tmp_path, Holder(DATA))
    digest = store.put(DATA)
    path = tmp_path / "blobs" / digest.hex()[:2] / digest.hex()[2:]
    path.write_bytes(DATA[:-1] + b"?")
    assert store.get(digest) == DATA
    assert path.read_bytes() == DATA


def test_a_damaged_copy_that_was_streamed_is_replaced_the_next_time(tmp_path: Path) -> None:
    store = blobs(tmp_path, Holder(DATA))
    digest = store.put(DATA)
    (tmp_path / "blobs" / digest.hex()[:2] / digest.hex()[2:]).write_bytes(DATA[:-1] + b"?")
    with store.open_stream(digest) as stream, pytest.raises(Tampered):
        stream.read()
    with store.open_stream(digest) as stream:
        assert stream.read() == DATA


def test_nobody_to_ask_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there are none"):
        blobs(tmp_path).get(bytes(32))


def test_a_peer_that_is_a_block_behind_is_asked_again_before_anybody_is_told(tmp_path: Path) -> None:
    holder = Holder(None)

    def peers(_: Digest) -> list[Holder]:
        holder.data = DATA if holder.asked else None
        return [holder]

    assert PeerBlobs(DirectoryBlobs(tmp_path / "blobs"), peers, 1 << 20, (0.0,)).get(sha256(DATA)) == DATA  # type: ignore[arg-type]
    assert holder.asked == [0, 0]
