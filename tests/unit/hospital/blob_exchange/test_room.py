"""Room for blobs: what comes is bounded, and only what nobody needs any more goes, the oldest first."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfed.blobs import DirectoryBlobs
from medfed.errors import Unavailable
from medfed.hospital.blob_exchange.room import BlobRoom
from medfed.identifiers import Digest, sha256

MANY = 1 << 30


@pytest.fixture
def local(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


def kept(local: DirectoryBlobs, *sizes: int) -> list[Digest]:
    return [local.put(bytes([number]) * size) for number, size in enumerate(sizes)]


def test_without_a_limit_all_may_come_and_nothing_goes(local: DirectoryBlobs) -> None:
    blobs = kept(local, 100, 200)
    assert BlobRoom(local, 0, lambda: blobs).find(MANY, wanted=MANY) == MANY
    assert all(local.has(blob) for blob in blobs)


def test_what_is_left_of_the_limit_may_come(local: DirectoryBlobs) -> None:
    kept(local, 100, 200)
    room = BlobRoom(local, 1_000, tuple)
    assert room.find(MANY) == 700
    assert room.find(50) == 50
    assert room.find(MANY, wanted=700) == 700


def test_the_last_byte_of_the_limit_may_come_and_one_more_may_not(local: DirectoryBlobs) -> None:
    kept(local, 999)
    assert BlobRoom(local, 1_000, tuple).find(MANY) == 1
    with pytest.raises(Unavailable, match=r"`blobs_limit_mib` in node.toml"):
        BlobRoom(local, 1_000, tuple).find(MANY, wanted=2)
    with pytest.raises(Unavailable, match="the limit of 0 MiB"):
        BlobRoom(local, 999, tuple).find(MANY)


def test_what_nobody_needs_goes_the_oldest_first_until_there_is_room(local: DirectoryBlobs) -> None:
    first, second, third, needed = kept(local, 100, 100, 100, 100)
    room = BlobRoom(local, 400, lambda: (first, second, third))
    assert room.find(MANY) == 100
    assert [local.has(blob) for blob in (first, second, third, needed)] == [False, True, True, True]
    assert room.find(MANY, wanted=101) == 200
    assert [local.has(blob) for blob in (first, second, third, needed)] == [False, False, True, True]


def test_exactly_as_much_goes_as_is_lacking(local: DirectoryBlobs) -> None:
    first, second = kept(local, 100, 100)
    assert BlobRoom(local, 200, lambda: (first, second)).find(MANY, wanted=100) == 100
    assert [local.has(blob) for blob in (first, second)] == [False, True]


def test_what_is_not_here_frees_nothing(local: DirectoryBlobs) -> None:
    (needed,) = kept(local, 100)
    with pytest.raises(Unavailable):
        BlobRoom(local, 100, lambda: (sha256(b"elsewhere"),)).find(MANY)
    assert local.has(needed)
