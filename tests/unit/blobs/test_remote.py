"""A store that is reached by fsspec: damaged and half-written blobs, wrong URLs, and a store that does not answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from medfed.blobs.remote import RemoteBlobs
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.hospital.site_directory import open_own_blobs, own_blobs
from medfed.identifiers import sha256

pytest.importorskip("fsspec")
DATA = bytes(range(256)) * 1000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(place: Path, tmp_path: Path) -> RemoteBlobs:
    return RemoteBlobs(f"file://{place}", tmp_path / "partial")


def test_a_blob_lies_there_as_in_a_directory(store: RemoteBlobs, place: Path) -> None:
    name = store.put(DATA).hex()
    assert (place / name[:2] / name[2:]).read_bytes() == DATA


def test_a_file_is_kept_only_if_it_is_the_blob(store: RemoteBlobs, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(DATA)
    assert not store.put_file(file, sha256(b"another"))
    assert list(store.digests()) == []
    assert store.put_file(file, sha256(DATA))
    assert store.get(sha256(DATA)) == DATA


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"x", lambda data: data[:-1], lambda _: b""])
def test_a_damaged_blob_is_never_handed_out(store: RemoteBlobs, place: Path, damage: Any) -> None:
    digest = store.put(DATA)
    (place / digest.hex()[:2] / digest.hex()[2:]).write_bytes(damage(DATA))
    with pytest.raises(Tampered, match="its bytes have changed in file://"):
        store.get(digest)
    with pytest.raises(Tampered), store.open_stream(digest) as stream:
        while stream.read(1 << 16):
            pass
    store.put(DATA)
    assert store.get(digest) == DATA


def test_what_breaks_in_the_middle_leaves_nothing(
    store: RemoteBlobs, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts() -> Any:
        yield b"half"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        store.put_parts(parts())
    kept = store._write

    def breaks(digest: bytes, source: Any) -> None:
        class Cut:
            def read(self, size: int) -> bytes:
                if source.tell():
                    raise OSError(5, "Input/output error")
                return source.read(1000)

        kept(digest, Cut())  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_write", breaks)
    with pytest.raises(Unavailable, match="cannot be written: Input/output error"):
        store.put(DATA)
    assert list(store.digests()) == []
    assert not store.has(sha256(DATA))
    assert list((tmp_path / "partial").iterdir()) == []


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/place", "s3://bucket?token=secret", "bucket", "s3:/bucket", "s3://a b"]
)
def test_a_url_holds_a_place_and_no_credentials(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="without credentials") as caught:
        RemoteBlobs(url, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_kind_of_store_that_is_not_installed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="nosuchkind://x cannot be opened"):
        RemoteBlobs("nosuchkind://x", tmp_path)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(InvalidInput, match=r"install medfed\[remote\]"):
        RemoteBlobs("memory://x", tmp_path)


def test_a_store_that_fails_in_its_own_way_is_unavailable(store: RemoteBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    class StrangeError(Exception):
        pass

    def fails(*_: Any) -> None:
        raise StrangeError("with patient 7 in it")

    monkeypatch.setattr(store._files, "info", fails)
    with pytest.raises(Unavailable, match=r"cannot be read: StrangeError$"):
        store.size(sha256(DATA))


def test_a_sites_blobs_are_where_its_site_file_says(tmp_path: Path, place: Path) -> None:
    (tmp_path / "site.toml").write_text(f'blobs = "file://{place}"\n')
    digest = open_own_blobs(tmp_path).put(DATA)
    assert RemoteBlobs(f"file://{place}", tmp_path / "other").get(digest) == DATA
    assert own_blobs(tmp_path) == tmp_path / "blobs"
    (tmp_path / "site.toml").write_text("")
    assert not open_own_blobs(tmp_path).has(digest)
