"""Opens what a hospital exports: .json, .ndjson, either of them gzipped, and .zip of these, as bounded streams of
bytes.

Nothing is unpacked to disk. Whatever grows past its bounds is refused in the middle: a zip bomb by its ratio, a line by
its length.
"""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from medfed.errors import InvalidInput, Unavailable

__all__ = ["CHUNK", "LONGEST_LINE", "Stream", "open_streams", "split_lines"]

CHUNK: Final = 1 << 20
LONGEST_LINE: Final = 16 << 20
_HIGHEST_RATIO: Final = 200
_FREE: Final = 16 << 20
_LARGEST: Final = 1 << 38
_MOST_MEMBERS: Final = 100_000
_LINES: Final = (".ndjson", ".jsonl")


class Stream(NamedTuple):
    """One document or one file of lines. `label` is `` or the number of a zip's member, never a name."""

    label: str
    is_lines: bool
    chunks: Iterator[bytes]


def open_streams(path: Path) -> Iterator[Stream]:
    """The streams of one file.

    Raises:
        InvalidInput: not such a file. Unavailable: it cannot be read. Iterating the chunks raises InvalidInput where
        the file is damaged or grows past its bounds.
    """
    name = path.name.lower()
    try:
        if name.endswith(".zip"):
            yield from _members(path)
            return
        with path.open("rb") as file:
            packed = name.endswith(".gz")
            inner = name.removesuffix(".gz")
            if not inner.endswith((*_LINES, ".json")):
                raise InvalidInput("file: expected .json, .ndjson, .jsonl, one of them with .gz, or .zip")
            yield Stream("", inner.endswith(_LINES), _unpack(file) if packed else _plain(file))
    except FileNotFoundError:
        raise InvalidInput("file: does not exist") from None
    except OSError as error:
        raise Unavailable(f"file: cannot be read: {error.strerror}") from None


def split_lines(chunks: Iterable[bytes], longest: int = LONGEST_LINE) -> Iterator[bytes | None]:
    """The lines that are not blank; None stands for one longer than `longest` bytes, which is skipped unread."""
    held, skipping = bytearray(), False
    for chunk in chunks:
        at = 0
        while (end := chunk.find(b"\n", at)) >= 0:
            if skipping:
                skipping = False
                yield None
            else:
                held += chunk[at:end]
                if len(held) > longest:
                    yield None
                elif held.strip():
                    yield bytes(held)
            held.clear()
            at = end + 1
        if not skipping:
            held += chunk[at:]
            if len(held) > longest:
                skipping = True
                held.clear()
    if skipping:
        yield None
    elif held.strip():
        yield bytes(held)


def _plain(file: BinaryIO) -> Iterator[bytes]:
    first = file.read(CHUNK)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInput("file: UTF-16; FHIR is exchanged in UTF-8")
    yield first.removeprefix(b"\xef\xbb\xbf")
    while chunk := file.read(CHUNK):
        yield chunk


class _Growth:
    """How much was unpacked from how much, over all members of a file: many small bombs are one bomb."""

    def __init__(self, size: int = _LARGEST) -> None:
        """`size` of the file: members may claim more together, where they share their bytes."""
        self.packed = 0
        self.unpacked = 0
        self._size = size

    def add(self, packed: int, unpacked: int) -> None:
        """Count what was read.

        Raises:
            InvalidInput: the file has grown past its bounds.
        """
        self.packed = min(self.packed + packed, self._size)
        self.unpacked += unpacked
        if self.unpacked > _LARGEST or (self.unpacked > _FREE and self.unpacked > self.packed * _HIGHEST_RATIO):
            raise InvalidInput(f"file: unpacks to more than {_HIGHEST_RATIO} times its size; refused")


def _unpack(file: BinaryIO) -> Iterator[bytes]:
    """Gunzip, member after member, within the ratio."""
    growth, first = _Growth(), True
    machine, started = zlib.decompressobj(wbits=31), False
    data = b""
    try:
        # Short reads: what follows a member is copied, and a file may be nothing but tiny members.
        while data or (data := file.read(CHUNK // 64)):
            started = True
            chunk = machine.decompress(data, CHUNK)
            growth.add(len(data) - len(machine.unconsumed_tail) - len(machine.unused_data), len(chunk))
            data = machine.unconsumed_tail
            if machine.eof:
                data = machine.unused_data
                machine, started = zlib.decompressobj(wbits=31), False
            if chunk:
                yield chunk.removeprefix(b"\xef\xbb\xbf") if first else chunk
                first = False
        if started:
            raise InvalidInput("file: ends in the middle")
    except zlib.error:
        raise InvalidInput("file: not gzip, or damaged") from None


def _members(path: Path) -> Iterator[Stream]:
    try:
        with _opened_zip(path) as archive:
            members = [member for member in archive.infolist() if not member.filename.endswith("/")]
            if len(members) > _MOST_MEMBERS:
                raise InvalidInput(f"zip: more than {_MOST_MEMBERS} members")
            growth = _Growth(path.stat().st_size)
            for number, member in enumerate(members, 1):
                name = member.filename.lower()
                if name.endswith((*_LINES, ".json")):
                    yield Stream(f"member {number}", name.endswith(_LINES), _member(archive, member, growth))
                else:
                    yield Stream(f"member {number}", False, _refuse_member())
    except zipfile.BadZipFile:
        raise InvalidInput("file: not a zip, or damaged") from None


def _opened_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (ValueError, RuntimeError):
        raise InvalidInput("file: not a zip, or damaged, or of a version that is not supported") from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise InvalidInput("file: not a zip, or damaged") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, growth: _Growth) -> Iterator[bytes]:
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput("zip member: encrypted, or packed in a way that is not supported")
    first = True
    growth.add(member.compress_size, 0)
    try:
        with archive.open(member) as file:
            while chunk := file.read(CHUNK):
                growth.add(0, len(chunk))
                yield chunk.removeprefix(b"\xef\xbb\xbf") if first else chunk
                first = False
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        raise InvalidInput("zip member: damaged") from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise InvalidInput("zip member: damaged; it claims to lie outside the file") from None


def _refuse_member() -> Iterator[bytes]:
    raise InvalidInput("zip member: expected .json, .ndjson or .jsonl")
    yield b""
