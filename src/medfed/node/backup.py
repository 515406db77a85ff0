"""A site's backup: one encrypted file, made while its node runs, from which a lost machine is set up anew.

File: the length of the head (4 bytes, big endian), the head, then a tar archive as a `crypto.streams` ciphertext. The
head holds the keystore as it is, which the passphrase opens; the archive's key follows from the vault's key in it and
from a fresh salt. SQLite files are taken as one moment's snapshot. Left out is what the other hospitals have (the
replica, blobs), and above all CometBFT's record of votes: restored from an old copy, it would let a validator vote
twice. A restored node therefore begins without a vote: see `medfed.node.returning`.
"""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO, Final, Literal, cast

from msgspec import Meta

from medfed.crypto import Entropy, SiteKeys, hkdf_sha256, load_keystore, system_entropy
from medfed.crypto.private_file import create_private_file
from medfed.crypto.streams import decrypt_chunks, encrypt_chunks
from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.hospital.site_directory import VAULT_FILE, key_path, own_blobs, read_public
from medfed.hospital.vault import keep_lasting
from medfed.identifiers import Name, sha256
from medfed.ledger.engine import Clock
from medfed.ledger.genesis import Genesis
from medfed.ledger.store import LedgerStore, reading
from medfed.node.node_file import ledger_path, node_directory
from medfed.node.returning import mark_restored
from medfed.sqlite_errors import translated

__all__ = ["Backup", "restore_backup", "write_backup"]

_MAX_HEAD: Final = 1 << 20
_READ_BYTES: Final = 1 << 18
_NODE_KEY: Final = "node/cometbft/config/node_key.json"
_LEFT_OUT: Final = (".lock", ".log", ".log.1", "-wal", "-shm", "-journal", ".sock", ".new")
_SQLITE: Final = b"SQLite format 3\0"


class _Head(Record):
    name: Name
    keystore: Annotated[bytes, Meta(max_length=64 * 1024)]
    salt: Annotated[bytes, Meta(min_length=32, max_length=32)]
    made_ms: Annotated[int, Meta(ge=0, lt=2**53)]
    genesis: Genesis | None = None
    """Of the site's node, if it has one."""
    version: Literal[1] = 1


class Backup(Record):
    """What was written or restored."""

    name: Name
    files: int
    made_ms: int
    node: bool
    """Whether the site has a node."""
    left_out: tuple[str, ...] = ()
    """What is neither a file nor a directory, such as links: relative to the site."""


def write_backup(site: Path, passphrase: str, output: Path, clock: Clock, entropy: Entropy = system_entropy) -> Backup:
    """Write the backup of a site to a new file, mode 0600. It appears whole and synced, or not at all.

    Raises:
        InvalidInput: no site here, or a wrong passphrase. Refused: `file-exists`. Unavailable: a file cannot be read or
            written, or was changed while it was copied. Tampered: a database of the site is damaged.
    """
    read_public(site)
    keys = load_keystore(key_path(site), passphrase)
    genesis = None
    if ledger_path(site).exists():
        with reading(ledger_path(site)) as store:
            genesis = store.genesis
    found = _Found(site)
    with _translated(site), tempfile.TemporaryDirectory(prefix=".backup-", dir=site) as scratch:
        head = encode(_Head(keys.name, key_path(site).read_bytes(), entropy(32), clock(), genesis))
        with _new_file(output) as file:
            file.write(len(head).to_bytes(4, "big") + head)
            file.writelines(encrypt_chunks(_key(keys, head), found.archive(Path(scratch)), _context(head)))
    return Backup(keys.name, found.files, decode(head, _Head).made_ms, genesis is not None, tuple(found.left_out))


def restore_backup(backup: Path, site: Path, passphrase: str, clock: Clock, *, may_vote: bool = False) -> Backup:
    """Make a new site from a backup. The site appears whole, or not at all.

    `may_vote` lets its node vote at once, and so perhaps for another block than it has voted for before.

    Raises:
        InvalidInput: not a backup, a wrong passphrase, or bytes that were changed or cut. Refused: `site-exists`.
            Unavailable: it cannot be read, or the site not be written.
    """
    if site.exists():
        raise Refused("site-exists", f"{site}: exists already; a backup is restored into a new directory")
    with _translated(site):
        site.absolute().parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{site.name}-", dir=site.absolute().parent))
    try:
        with _translated(backup), backup.open("rb") as file:
            done = _restore(file, str(backup), place, passphrase)
        if done.node and not may_vote:
            mark_restored(place, clock())
        with _translated(site):
            place.rename(site)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return done


def _restore(file: BinaryIO, name: str, place: Path, passphrase: str) -> Backup:
    length = int.from_bytes(file.read(4), "big")
    head_bytes = file.read(length) if length <= _MAX_HEAD else b""
    try:
        head = decode(head_bytes, _Head)
    except InvalidInput:
        raise InvalidInput(f"{name}: not a backup of a site") from None
    create_private_file(key_path(place), head.keystore)
    keys = load_keystore(key_path(place), passphrase)
    stream = _Stream(decrypt_chunks(_key(keys, head_bytes), file, _context(head_bytes)))
    files = 0
    try:
        with tarfile.open(fileobj=cast(BinaryIO, io.BufferedReader(stream, _READ_BYTES)), mode="r|") as archive:
            for member in archive:
                _extract(archive, member, place)
                files += 1
        stream.finish()  # the last part must be there: only it shows that nothing was cut off
    except tarfile.TarError as error:
        raise InvalidInput(f"{name}: its archive is broken: {error}") from None
    if head.genesis is not None:
        LedgerStore.create(ledger_path(place), head.genesis, replicated=True).close()
    _make_private(place)
    return Backup(head.name, files, head.made_ms, head.genesis is not None)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    parts = PurePosixPath(member.name).parts
    source = archive.extractfile(member) if member.isreg() else None
    if source is None or not parts or parts[0] == "/" or ".." in parts:
        raise InvalidInput(f"backup: {member.name[:80]!r} is not a file of a site")
    path = place.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            shutil.copyfileobj(source, target, _READ_BYTES)
            os.fchmod(target.fileno(), member.mode & 0o777)
            target.flush()
            os.fsync(target.fileno())
    except FileExistsError:
        raise InvalidInput(f"backup: {member.name[:80]!r} is in it twice") from None


class _Found:
    """The files of a site that belong into its backup."""

    def __init__(self, site: Path) -> None:
        self.files = 0
        self.left_out: list[str] = []
        self._site = site
        self._skipped = {own_blobs(site).absolute(), key_path(site).absolute(), node_directory(site).absolute()}

    def archive(self, scratch: Path) -> Iterator[bytes]:
        """A tar archive of them, part by part."""
        for path in self._paths(self._site):
            yield from self._entry(path, scratch)
            self.files += 1
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _paths(self, directory: Path) -> Iterator[Path]:
        for path in sorted(directory.iterdir()):
            if path.absolute() in self._skipped or path.name.endswith(_LEFT_OUT) or path.name.startswith(".backup-"):
                continue
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                self.left_out.append(str(path.relative_to(self._site)))
            elif path.is_dir():
                yield from self._paths(path)
            else:
                yield path
        if directory == self._site and (directory / _NODE_KEY).exists():
            yield directory / _NODE_KEY

    def _entry(self, path: Path, scratch: Path) -> Iterator[bytes]:
        info = tarfile.TarInfo(str(path.relative_to(self._site)))
        with path.open("rb") as opened:
            is_database = opened.read(len(_SQLITE)) == _SQLITE
        source = _snapshot(path, scratch) if is_database else path
        with source.open("rb") as file:
            status = os.fstat(file.fileno())
            info.size, info.mtime, info.mode = status.st_size, status.st_mtime, stat.S_IMODE(path.stat().st_mode)
            yield info.tobuf(tarfile.PAX_FORMAT)
            left = info.size
            while left:
                part = file.read(min(left, _READ_BYTES))
                if not part:
                    raise Unavailable(f"{path}: became shorter while it was copied; try again")
                left -= len(part)
                yield part
            yield bytes(-info.size % tarfile.BLOCKSIZE)
        if is_database:
            source.unlink()


class _Stream(io.RawIOBase):
    """Decrypted chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def finish(self) -> None:
        """Decrypt to the end."""
        for _ in self._chunks:
            pass


def _snapshot(path: Path, scratch: Path) -> Path:
    """A copy of an SQLite file as of one moment, whatever others write meanwhile."""
    copy = scratch / "copy.db"
    with translated(path, "database"):
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            target = sqlite3.connect(copy)
            try:
                source.backup(target)
            finally:
                target.close()
        finally:
            source.close()
        if path.name == VAULT_FILE:
            keep_lasting(copy)
    return copy


def _key(keys: SiteKeys, head: bytes) -> bytes:
    return hkdf_sha256(keys.vault_key, b"medfed/backup", salt=sha256(head))


def _context(head: bytes) -> bytes:
    return encode(("medfed/backup", sha256(head)))


def _make_private(place: Path) -> None:
    """Directories that hold secrets let nobody else in, whatever the mask of this process is."""
    for directory in (place, key_path(place).parent, node_directory(place), (place / _NODE_KEY).parent):
        if directory.exists():
            directory.chmod(0o700)


@contextmanager
def _new_file(path: Path) -> Generator[BinaryIO]:
    """A new file that nobody else may read, and that appears under its name only when it is whole."""
    if path.exists():
        raise Refused("file-exists", f"{path}: a file of this name exists")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with _translated(path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except FileExistsError:
        raise Refused("file-exists", f"{path}: a file of this name exists") from None
    except OSError as error:
        raise Unavailable(f"{error.filename or path}: {error.strerror or error}") from None
