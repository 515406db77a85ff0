"""What every blob store must do, run on each of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from medfed.blobs import BlobStore, DirectoryBlobs, MemoryBlobs
from medfed.blobs.remote import RemoteBlobs
from medfed.errors import InvalidInput, Unavailable
from medfed.identifiers import sha256

LARGE = np.random.default_rng(1).bytes(300_001)
ABSENT = sha256(b"never put")


def _memory(_: Path) -> BlobStore:
    return MemoryBlobs()


def _directory(path: Path) -> BlobStore:
    return DirectoryBlobs(path / "blobs")


def _remote(kind: str) -> Callable[[Path], BlobStore]:
    def make(path: Path) -> BlobStore:
        pytest.importorskip("fsspec")
        place = path / "store" if kind == "file" else f"/{path.name}-{uuid4().hex}"
        return RemoteBlobs(f"{kind}://{place}", path / "partial")

    return make


@pytest.fixture(
    params=[_memory, _directory, _remote("memory"), _remote("file")],
    ids=["memory", "directory", "fsspec memory", "fsspec file"],
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    make: Callable[[Path], BlobStore] = request.param
    return make(tmp_path)


@pytest.mark.parametrize("data", [b"", b"x", LARGE], ids=["empty", "one byte", "large"])
def test_what_is_put_comes_back_by_its_digest(store: BlobStore, data: bytes) -> None:
    digest = store.put(data)
    assert digest == sha256(data)
    assert store.get(digest) == data
    assert store.has(digest)
    assert store.size(digest) == len(data)
    with store.open_stream(digest) as stream:
        assert stream.read() == data


def test_a_memoryview_and_a_changing_buffer_are_copied(store: BlobStore) -> None:
    buffer = bytearray(b"first")
    digest = store.put(memoryview(buffer))
    buffer[:] = b"other"
    assert store.get(digest) == b"first"


def test_a_stream_is_read_in_any_pieces(store: BlobStore) -> None:
    digest = store.put(LARGE)
    for size in (1 << 20, 65_536, 1000):
        with store.open_stream(digest) as stream:
            pieces = []
            while piece := stream.read(size):
                pieces.append(piece)
            assert b"".join(pieces) == LARGE


def test_a_stream_may_be_left_before_its_end(store: BlobStore) -> None:
    stream = store.open_stream(store.put(LARGE))
    assert isinstance(stream, io.IOBase)
    assert stream.read(10) == LARGE[:10]
    stream.close()


def test_putting_twice_is_harmless(store: BlobStore) -> None:
    assert store.put(b"x") == store.put(b"x")
    assert list(store.digests()) == [sha256(b"x")]


def test_an_absent_blob_is_unavailable(store: BlobStore) -> None:
    assert not store.has(ABSENT)
    for ask in (store.get, store.size, store.open_stream):
        with pytest.raises(Unavailable, match=ABSENT.hex()[:12]):
            ask(ABSENT)


def test_a_deleted_blob_is_gone_and_deleting_again_is_harmless(store: BlobStore) -> None:
    digest = store.put(b"x")
    kept = store.put(b"y")
    store.delete(digest)
    store.delete(digest)
    assert not store.has(digest)
    assert list(store.digests()) == [kept]
    assert store.put(b"x") == digest
    assert store.get(digest) == b"x"


def test_digests_are_listed_in_order(store: BlobStore) -> None:
    expected = sorted(store.put(bytes([i, j])) for i in range(20) for j in range(10))
    assert list(store.digests()) == expected


def test_something_that_is_no_digest_is_refused(store: BlobStore) -> None:
    with pytest.raises(InvalidInput, match="32 bytes, found 3"):
        store.get(b"abc")


def test_threads_may_put_and_get_at_once(store: BlobStore) -> None:

    def work(number: int) -> None:
        for i in range(15):
            digest = store.put(b"shared %d" % i)
            own = store.put(b"own %d %d" % (number, i))
            assert store.get(digest) == b"shared %d" % i
            assert store.get(own) == b"own %d %d" % (number, i)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, number) for number in range(4)]:
            done.result()
    assert len(list(store.digests())) == 15 + 4 * 15
