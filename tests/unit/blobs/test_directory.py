from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medfed.blobs import DirectoryBlobs
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.identifiers import sha256

LARGE = bytes(range(256)) * 1000


@pytest.fixture
def store(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "site" / "blobs")


def _file_of(store: DirectoryBlobs, digest: bytes) -> Path:
    return store.path / digest.hex()[:2] / digest.hex()[2:]


def test_a_blob_is_a_file_named_by_its_digest_for_its_owner_alone(store: DirectoryBlobs) -> None:
    path = _file_of(store, store.put(b"x"))
    assert path.read_bytes() == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_blobs_are_there_after_reopening(store: DirectoryBlobs) -> None:
    digest = store.put(b"x")
    assert DirectoryBlobs(store.path).get(digest) == b"x"


def _read_in_pieces(store: DirectoryBlobs, digest: bytes, got: list[bytes] | None = None) -> None:
    with store.open_stream(digest) as stream:
        while data := stream.read(1000):
            if got is not None:
                got.append(data)


@pytest.mark.parametrize("change", ["flip", "truncate", "lengthen", "empty"])
def test_changed_bytes_are_tampering_whole_or_streamed(store: DirectoryBlobs, change: str) -> None:
    digest = store.put(LARGE)
    changed = {
        "flip": LARGE[:100] + b"\0" + LARGE[101:],
        "truncate": LARGE[:-1],
        "lengthen": LARGE + b"\0",
        "empty": b"",
    }[change]
    _file_of(store, digest).write_bytes(changed)
    with pytest.raises(Tampered, match=digest.hex()[:12]):
        store.get(digest)
    with pytest.raises(Tampered, match=digest.hex()[:12]):
        _read_in_pieces(store, digest)


def test_a_damaged_stream_never_hands_out_its_last_byte(store: DirectoryBlobs) -> None:
    digest = store.put(LARGE)
    _file_of(store, digest).write_bytes(b"\xff" + LARGE[1:])
    got: list[bytes] = []
    with pytest.raises(Tampered):
        _read_in_pieces(store, digest, got)
    assert sum(map(len, got)) < len(LARGE)


def test_putting_a_damaged_blob_again_repairs_it(store: DirectoryBlobs) -> None:
    digest = store.put(LARGE)
    _file_of(store, digest).write_bytes(b"\0" * len(LARGE))
    store.put(LARGE)
    assert store.get(digest) == LARGE


def test_other_files_are_not_taken_for_blobs(store: DirectoryBlobs) -> None:
    digest = store.put(b"x")
    (store.path / "README").write_text("hello")
    (store.path / "zz").mkdir()
    (store.path / "ab").mkdir(exist_ok=True)
    (store.path / "ab" / "short").write_text("hello")
    assert list(store.digests()) == [digest]


def test_a_dead_writers_file_is_removed_and_a_living_ones_kept(store: DirectoryBlobs) -> None:
    stale = store.path / "new" / "stale"
    stale.write_bytes(b"half")
    living = store.path / "new" / "living"
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        DirectoryBlobs(store.path)
        assert not stale.exists()
        assert living.exists()
    DirectoryBlobs(store.path)
    assert not living.exists()


def test_a_failed_write_leaves_no_file(store: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="the disk is full"):
            store.put(b"x" * 5000)
    assert list(store.digests()) == []
    assert list((store.path / "new").iterdir()) == []
    assert store.get(store.put(b"x" * 5000)) == b"x" * 5000


def test_a_file_the_system_finds_too_large_is_unavailable(tmp_path: Path) -> None:
    """A real short write, in a process of its own because the limit is the process's."""
    script = """
import sys, pathlib
from medfed.blobs import DirectoryBlobs
from medfed.errors import Unavailable
store = DirectoryBlobs(pathlib.Path(sys.argv[1]))
try:
    store.put(bytes(100_000))
except Unavailable as error:
    print(error)
print(len(list(store.digests())), len(list((store.path / "new").iterdir())))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "blobs")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "larger than the system allows" in done.stdout
    assert done.stdout.endswith("0 0\n")


@pytest.mark.parametrize(
    ("code", "sentence"), [(errno.EROFS, "file system is read-only"), (errno.EACCES, "may not write")]
)
def test_a_read_only_directory_is_named_as_such(
    store: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str
) -> None:
    def denied(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(InvalidInput, match=sentence):
        store.put(b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_directory_without_write_permission_is_invalid_input(store: DirectoryBlobs) -> None:
    (store.path / "new").chmod(0o500)
    store.path.chmod(0o500)
    try:
        with pytest.raises(InvalidInput, match="may not write"):
            store.put(b"x")
    finally:
        store.path.chmod(0o700)
        (store.path / "new").chmod(0o700)


def test_a_path_through_a_file_is_invalid_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput, match=r"not a directory|something else"):
        DirectoryBlobs(tmp_path / "file")
    with pytest.raises(InvalidInput, match="not a directory"):
        DirectoryBlobs(tmp_path / "file" / "blobs")


def test_several_processes_share_one_directory(tmp_path: Path) -> None:
    script = """
import sys, pathlib
from medfed.blobs import DirectoryBlobs
for i in range(40):
    store = DirectoryBlobs(pathlib.Path(sys.argv[1]))  # opening again cleans up while others write
    for text in (f"shared {i}", f"own {sys.argv[2]} {i}"):
        assert store.get(store.put(text.encode() * 500)) == text.encode() * 500
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "blobs"), str(number)]) for number in range(3)
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    store = DirectoryBlobs(tmp_path / "blobs")
    digests = list(store.digests())
    assert len(digests) == 40 + 3 * 40
    assert all(sha256(store.get(digest)) == digest for digest in digests)
    assert list((store.path / "new").iterdir()) == []


def test_a_killed_writer_leaves_no_half_blob(tmp_path: Path) -> None:
    """Killed between writing and renaming: the blob is absent, and the next start clears the remains."""
    script = """
import os, sys, pathlib, signal
from medfed.blobs import DirectoryBlobs
store = DirectoryBlobs(pathlib.Path(sys.argv[1]))
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
store.put(bytes(100_000))
"""
    folder = tmp_path / "blobs"
    DirectoryBlobs(folder).put(b"other")
    digest = sha256(bytes(100_000))
    (folder / digest.hex()[:2]).mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert done.returncode == -9
    assert len(list((folder / "new").iterdir())) == 1
    store = DirectoryBlobs(folder)
    assert list((folder / "new").iterdir()) == []
    assert not store.has(digest)
    assert list(store.digests()) == [sha256(b"other")]
