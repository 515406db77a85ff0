"""A site's vault: what a hospital has promised, drawn and computed, encrypted and durable before anything leaves.

One SQLite file; every value is AES-256-GCM under the vault key and bound to its key. The outbox is in the same file, so
that a promise and the transaction that makes it are one commit. Keys of entries are not secret; values are.
A vault restored from a copy counts as corrupt: the agent notices, and sits out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from medfed.crypto import Cipher, Entropy
from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.sqlite_errors import translated

__all__ = ["Effect", "Vault", "keep_lasting"]

T = TypeVar("T")
Effect = Callable[[str], None]
"""Called just before and just after something becomes durable; a seam for fault simulation."""
APPLICATION_ID: Final = 0x4D465631
_BUSY_SECONDS: Final = 30.0
_LASTING: Final = ("probe", "privacy/", "blind-test/", "exchange/")
"""What outlasts studies: patients' privacy accounts, images that were sent before, keys of what is on offer."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (sequence INTEGER PRIMARY KEY, work TEXT NOT NULL, seen INTEGER NOT NULL,
                                   value BLOB NOT NULL);
"""


def no_effect(name: str) -> None:
    """The effect of a real site: none."""


class Vault:
    """One open vault. One process at a time; the agent's lock sees to that."""

    def __init__(self, path: Path | None, key: bytes, entropy: Entropy, effect: Effect = no_effect) -> None:
        """Open `path`, or make it; None keeps everything in memory (simulations).

        Raises:
            InvalidInput: not a vault, or another key. Unavailable: locked or not writable. Tampered: damaged.
        """
        self._path = path
        self._cipher = Cipher(key)
        self._entropy = entropy
        self._effect = effect
        self._depth = 0
        with self._translated():
            target = ":memory:" if path is None else str(path)
            # One thread uses a vault, but the last reference to one may be let go, and it be closed, in any.
            self._connection = sqlite3.connect(
                target, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
            )
            self._prepare()
        if path is not None:
            try:
                path.chmod(0o600)
            except OSError as error:
                raise Unavailable(f"{path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __del__(self) -> None:
        """A vault that is let go closes its file, so that short-lived worlds leave none open."""
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()

    @contextmanager
    def transaction(self, name: str) -> Generator[None]:
        """Everything inside becomes durable together, or not at all. Nested ones join the outermost."""
        if self._depth:
            yield
            return
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self._effect(f"before {name}")
                self._connection.execute("COMMIT")
                self._effect(f"after {name}")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def get(self, key: str) -> bytes | None:
        """The value under `key`, or None.

        Raises:
            Tampered: it does not decrypt.
        """
        with self._translated():
            row = self._connection.execute("SELECT value FROM entry WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._open(row[0], key)

    def put(self, key: str, value: bytes | memoryview) -> None:
        """Set `key`; durable when the transaction it is in ends."""
        sealed = self._cipher.encrypt(value, _context(key), self._entropy)
        with self.transaction(f"vault-put {key}"):
            self._connection.execute(
                "INSERT INTO entry VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, sealed)
            )

    def delete(self, key: str) -> None:
        """Remove `key`, if it is there."""
        with self.transaction(f"vault-delete {key}"):
            self._connection.execute("DELETE FROM entry WHERE key = ?", (key,))

    def delete_under(self, prefix: str) -> None:
        """Remove every key that starts with `prefix`."""
        with self.transaction(f"vault-delete {prefix}"):
            self._connection.execute("DELETE FROM entry WHERE substr(key, 1, ?) = ?", (len(prefix), prefix))

    def keys_under(self, prefix: str) -> list[str]:
        """Every key that starts with `prefix`, in order."""
        with self._translated():
            query = "SELECT key FROM entry WHERE substr(key, 1, ?) = ? ORDER BY key"
            return [row[0] for row in self._connection.execute(query, (len(prefix), prefix))]

    def load(self, key: str, kind: type[T]) -> T | None:
        """The record under `key`, or None."""
        data = self.get(key)
        return None if data is None else decode(data, kind)

    def store(self, key: str, record: Any) -> None:
        """Set `key` to a record."""
        self.put(key, encode(record))

    def outbox_rows(self) -> list[tuple[int, str, int, bytes]]:
        """(sequence, work, seen height, wire bytes) of what has not passed yet, in order."""
        with self._translated():
            rows = self._connection.execute("SELECT * FROM outbox ORDER BY sequence").fetchall()
        return [(row[0], row[1], row[2], self._open(row[3], f"outbox/{row[0]}")) for row in rows]

    def outbox_put(self, sequence: int, work: str, seen: int, wire: bytes) -> None:
        """Add or replace the transaction with this sequence."""
        sealed = self._cipher.encrypt(wire, _context(f"outbox/{sequence}"), self._entropy)
        with self.transaction(f"outbox-put {work}"):
            self._connection.execute(
                "INSERT OR REPLACE INTO outbox VALUES (?, ?, ?, ?)", (sequence, work, seen, sealed)
            )

    def outbox_delete_below(self, sequence: int) -> None:
        """Forget what has passed."""
        with self.transaction("outbox-prune"):
            self._connection.execute("DELETE FROM outbox WHERE sequence < ?", (sequence,))

    def _prepare(self) -> None:
        execute = self._connection.execute
        found: int = execute("PRAGMA application_id").fetchone()[0]
        has_tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
        if has_tables and found != APPLICATION_ID:
            raise InvalidInput(f"{self._path}: an SQLite file, but not a vault")
        if self._path is not None:
            execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = FULL")
        execute("PRAGMA secure_delete = ON")
        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._connection.executescript(_SCHEMA)
        self._check_key()

    def _check_key(self) -> None:
        probe = b"medfed vault"
        row = self._connection.execute("SELECT value FROM entry WHERE key = 'probe'").fetchone()
        if row is None:
            self.put("probe", probe)
            return
        try:
            self._open(row[0], "probe")
        except Tampered:
            raise InvalidInput(f"{self._path}: this vault belongs to another site's keys") from None

    def _open(self, sealed: object, key: str) -> bytes:
        if not isinstance(sealed, bytes):
            raise Tampered(f"{self._path}: vault entry {key} is not of the type that was written")
        try:
            return self._cipher.decrypt(sealed, _context(key))
        except InvalidInput:
            raise Tampered(f"{self._path}: vault entry {key} does not decrypt") from None

    def _translated(self) -> AbstractContextManager[None]:
        return translated(str(self._path), "vault")


def _context(key: str) -> bytes:
    return b"medfed/vault/1\0" + key.encode()


def keep_lasting(copy: Path) -> None:
    """Leave in the copy of a vault's file only what belongs into a backup, and nothing of the rest on the disk.

    Secrets of studies and alignments never do: they are there to be deleted. An agent that finds the rest gone knows
    that its vault was restored, and sits out.

    Raises:
        sqlite3.Error: it is not a vault, or cannot be written.
    """
    connection = sqlite3.connect(copy, isolation_level=None)
    try:
        found = [row[0] for row in connection.execute("SELECT key FROM entry")]
        others = [(key,) for key in found if not key.startswith(_LASTING)]
        connection.executemany("DELETE FROM entry WHERE key = ?", others)
        connection.execute("DELETE FROM outbox")
        connection.execute("VACUUM")
    finally:
        connection.close()
