"""Files that only their owner may read: created once, whole and synced; read only when nobody else could.

This module must never overwrite a file or relax a mode.
"""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from medfed.errors import InvalidInput, Refused, Tampered, Unavailable

__all__ = ["create_private_file", "read_private_file", "sync_directory"]


def create_private_file(path: Path, data: bytes) -> None:
    """Create `path` with `data`, mode 0600; its directory is created with mode 0700 if it is absent.

    Raises:
        Refused: "keystore-exists", or "keystore-mode" for a directory that others may enter.
        Unavailable: the file system would not write.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_mode(path.parent, "700")
        if path.exists():
            raise _exists(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.new")
        temporary.unlink(missing_ok=True)
        try:
            _write_synced(temporary, data)
            # A link, unlike a rename, fails where another process has just created the file.
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror}") from error


def read_private_file(path: Path, limit: int, *, check_modes: bool = True) -> bytes:
    """The bytes of `path`, at most `limit`.

    Raises:
        InvalidInput: there is no such file.
        Refused: "keystore-mode" for a file or directory that others may use.
        Tampered: the file is longer than `limit`.
        Unavailable: the file system would not read.
    """
    try:
        if check_modes:
            _check_mode(path, "600")
            _check_mode(path.parent, "700")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InvalidInput(f"{path}: no such file") from None
    except OSError as error:
        raise Unavailable(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise Tampered(f"{path}: expected at most {limit} bytes")
    return data


def _check_mode(path: Path, wanted: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Refused("keystore-mode", f"{path}: mode {mode:03o} lets others in; run: chmod {wanted} {path}")


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Have on the disk which files are in a directory, so that a new or renamed one outlasts a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exists(path: Path) -> Refused:
    return Refused("keystore-exists", f"{path}: already exists and is never overwritten")
