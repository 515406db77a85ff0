"""The ledger's state: one immutable map from byte keys to canonical bytes, read through typed tables.

A transaction works on an `Overlay`: accepted, its writes are merged; refused, they are dropped. Nothing here knows what
the tables mean, and nothing here touches a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Generic, Protocol, TypeVar, get_origin

import msgspec

from medfed.encoding import encode
from medfed.errors import Tampered
from medfed.identifiers import Digest, sha256

__all__ = ["Overlay", "Reader", "State", "Table", "Writes", "writes_digest"]

T = TypeVar("T")
V = TypeVar("V")
Writes = Mapping[bytes, bytes | None]
"""Key → new value; None is a tombstone."""
_FOLD: Final = 1024
_KEPT: Final = 256
"""Decoded records that a table keeps: the rules of one transaction, and the agents of one process, read the same."""


class Reader(Protocol):
    """What can be read: a state, or an overlay over one."""

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All entries whose key starts with `prefix`, in key order."""
        ...


class State:
    """An immutable map. `with_writes` shares what did not change, so keeping an old state costs little.

    Keys are held by what comes before their first slash, the table: a listing walks its table and nothing else.
    """

    __slots__ = ("_count", "_large", "_recent")

    def __init__(self, entries: Mapping[bytes, bytes] | None = None) -> None:
        self._large: Mapping[bytes, Mapping[bytes, bytes]] = _by_table(entries or {})
        self._recent: Mapping[bytes, Writes] = {}
        self._count = 0

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        table = key.partition(b"/")[0]
        recent = self._recent.get(table)
        if recent is not None and key in recent:
            return recent[key]
        large = self._large.get(table)
        return None if large is None else large.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All entries whose key starts with `prefix`, in key order. Walks the whole table: for listings."""
        table, slash, _ = prefix.partition(b"/")
        if slash:
            yield from _scan(self._large.get(table, {}), self._recent.get(table, {}), prefix)
        else:
            yield from _scan(self.items(), {}, prefix)

    def with_writes(self, writes: Writes) -> State:
        """The state after `writes`."""
        if not writes:
            return self
        changed = _by_table(writes)
        recent = {**self._recent, **{table: {**self._recent.get(table, {}), **new} for table, new in changed.items()}}
        made = State()
        made._count = self._count + len(writes)
        if made._count < _FOLD:
            made._large, made._recent = self._large, recent
        else:
            folded = {table: _merged(self._large.get(table, {}), new) for table, new in recent.items()}
            made._large, made._count = {**self._large, **folded}, 0
        return made

    def items(self) -> dict[bytes, bytes]:
        """A plain copy of the whole map."""
        whole: dict[bytes, bytes] = {}
        for table in {**self._large, **self._recent}:
            whole.update(_merged(self._large.get(table, {}), self._recent.get(table, {})))
        return whole


class Overlay:
    """Pending writes over a reader. Never shared between transactions."""

    __slots__ = ("_under", "writes")

    def __init__(self, under: Reader) -> None:
        self._under = under
        self.writes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, pending writes first."""
        if key in self.writes:
            return self.writes[key]
        return self._under.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All entries under `prefix`, pending writes included, in key order."""
        yield from _scan(dict(self._under.scan(prefix)), self.writes, prefix)

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key`."""
        self.writes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove `key`."""
        self.writes[key] = None

    def merge(self, inner: Overlay) -> None:
        """Take over the writes of an overlay that was laid over this one."""
        self.writes.update(inner.writes)


class Table(Generic[V]):
    """A typed view of the keys that start with one prefix. A key is a tuple of names, digests and integers."""

    __slots__ = ("_prefix", "_read", "name")

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        self._prefix = name.encode() + b"/"
        read: Callable[[bytes], Any] = msgspec.msgpack.Decoder(kind, strict=True).decode
        # The same bytes are the same record, and records are frozen; a dictionary is not, so each reader gets its own.
        self._read = read if get_origin(kind) is dict else lru_cache(maxsize=_KEPT)(read)

    def key(self, *parts: str | bytes | int) -> bytes:
        """The state key of `parts`."""
        return self._prefix + encode(parts)

    def get(self, reader: Reader, *parts: str | bytes | int) -> V | None:
        """The record under `parts`, or None."""
        data = reader.get(self.key(*parts))
        return None if data is None else self._decode(data)

    def put(self, overlay: Overlay, value: V, *parts: str | bytes | int) -> None:
        """Set the record under `parts`."""
        overlay.put(self.key(*parts), encode(value))

    def delete(self, overlay: Overlay, *parts: str | bytes | int) -> None:
        """Remove the record under `parts`."""
        overlay.delete(self.key(*parts))

    def rows(self, reader: Reader) -> list[tuple[tuple[Any, ...], V]]:
        """Every (key parts, record), in key order. Walks the table: for listings and small tables."""
        cut = len(self._prefix)
        return [
            (tuple(msgspec.msgpack.decode(key[cut:])), self._decode(data)) for key, data in reader.scan(self._prefix)
        ]

    def _decode(self, data: bytes) -> V:
        try:
            return self._read(data)
        except msgspec.DecodeError as error:
            raise Tampered(f"state table {self.name}: a stored record does not decode ({error})") from None


def writes_digest(writes: Writes) -> Digest:
    """SHA-256 of a block's writes, sorted by key, tombstones included."""
    return sha256(encode(sorted(writes.items())))


def _by_table(entries: Mapping[bytes, T]) -> dict[bytes, dict[bytes, T]]:
    found: dict[bytes, dict[bytes, T]] = {}
    for key, value in entries.items():
        found.setdefault(key.partition(b"/")[0], {})[key] = value
    return found


def _merged(large: Mapping[bytes, bytes], recent: Writes) -> dict[bytes, bytes]:
    merged = dict(large)
    for key, value in recent.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _scan(under: Mapping[bytes, bytes], over: Writes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    found: dict[bytes, bytes | None] = {k: v for k, v in under.items() if k.startswith(prefix)}
    found.update((k, v) for k, v in over.items() if k.startswith(prefix))
    for key in sorted(found):
        value = found[key]
        if value is not None:
            yield key, value
