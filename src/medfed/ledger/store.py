"""The ledger's file: genesis, blocks, receipts and state in SQLite, changed only in one durable commit a batch.

WAL journal with `synchronous=FULL`: what a commit returned is on the disk. Several processes of one machine may share
the file. The state table is a cache of what the blocks lead to; `verify` compares it with a replay.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, Refused, Tampered
from medfed.identifiers import Digest, Height
from medfed.ledger.block import Block, Header, Seal
from medfed.ledger.engine import StateView
from medfed.ledger.genesis import Genesis, genesis_state
from medfed.ledger.state import State, Writes
from medfed.ledger.transition import Receipt, Tip, genesis_tip, tip_after
from medfed.sqlite_errors import translated

__all__ = ["APPLICATION_ID", "LedgerStore", "reading"]

APPLICATION_ID: Final = 0x4D464C31
_SCHEMA: Final = """
CREATE TABLE genesis (bytes BLOB NOT NULL);
CREATE TABLE block (height INTEGER PRIMARY KEY, id BLOB NOT NULL, header BLOB NOT NULL, seal BLOB NOT NULL,
                    transactions BLOB NOT NULL, receipts BLOB NOT NULL);
CREATE TABLE located (id BLOB PRIMARY KEY, height INTEGER NOT NULL, place INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_BUSY_SECONDS: Final = 30.0
_FILE: Final = "ledger file"


class LedgerStore:
    """One open ledger file."""

    def __init__(self, connection: sqlite3.Connection, path: Path, genesis: Genesis) -> None:
        self._connection = connection
        self.path = path
        self.genesis = genesis

    @staticmethod
    def create(path: Path, genesis: Genesis, *, replicated: bool = False) -> LedgerStore:
        """Create the file with nothing but its genesis. A replicated one takes blocks from consensus alone.

        Raises:
            Refused: the file exists. Unavailable: the directory cannot be written.
        """
        if path.exists():
            raise Refused("ledger-exists", f"{path}: a file of this name exists; a ledger is never overwritten")
        with translated(path, _FILE):
            connection = _connect(path, "rwc")
            _make_durable(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {int(replicated)}")
            with _transaction(connection):
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO genesis VALUES (?)", (encode(genesis),))
                state, _ = genesis_state(genesis)
                connection.executemany("INSERT INTO state VALUES (?, ?)", state.items().items())
        return LedgerStore(connection, path, genesis)

    @staticmethod
    def open(path: Path, *, read_only: bool = False) -> LedgerStore:
        """Open an existing file.

        Raises:
            InvalidInput: missing, or not a MedFed ledger. Tampered: damaged. Unavailable: locked or unreadable.
        """
        if not path.is_file():
            raise InvalidInput(f"{path}: no ledger file here")
        with translated(path, _FILE):
            connection = _connect(path, "ro" if read_only else "rw")
            try:
                genesis = _read_genesis(connection, path)
                if not read_only:
                    _make_durable(connection)
            except BaseException:
                connection.close()
                raise
        return LedgerStore(connection, path, genesis)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __del__(self) -> None:
        """A store that is let go closes its file."""
        self._connection.close()

    @contextmanager
    def writing(self) -> Generator[None]:
        """Hold the file's write lock; commit at the end, roll back on any error."""
        with translated(self.path, _FILE), _transaction(self._connection):
            yield

    @contextmanager
    def reading(self) -> Generator[None]:
        """Read everything inside as it is at one moment, whatever other processes commit meanwhile."""
        with translated(self.path, _FILE), _reading(self._connection):
            yield

    @property
    def replicated(self) -> bool:
        """Whether only consensus adds blocks to this file: then no process may order transactions by itself."""
        with translated(self.path, _FILE):
            return bool(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def data_version(self) -> int:
        """A number that changes when another process has committed."""
        with translated(self.path, _FILE):
            return self._connection.execute("PRAGMA data_version").fetchone()[0]

    def load_state(self) -> tuple[State, Tip]:
        """The stored state and tip, as they were last committed."""
        with self.reading():
            rows = self._connection.execute("SELECT key, value FROM state")
            state = State({_stored_bytes(key, self.path): _stored_bytes(value, self.path) for key, value in rows})
            return state, self.tip()

    def tip(self) -> Tip:
        """The stored tip alone, as it was last committed."""
        with translated(self.path, _FILE):
            row = self._connection.execute("SELECT header FROM block ORDER BY height DESC LIMIT 1").fetchone()
        if row is None:
            return genesis_tip(self.genesis)[1]
        return tip_after(_decode_stored(row[0], Header, f"{self.path}: the last header"))

    def view(self) -> StateView:
        """The stored state as a view: what reading commands show. `verify_store` is what checks it."""
        state, tip = self.load_state()
        return StateView(self.genesis, state, tip)

    def append(self, block: Block, writes: Writes, receipts: list[Receipt]) -> None:
        """Add a block and what it changed; only inside `writing`."""
        header = block.header
        execute = self._connection.execute
        execute(
            "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?)",
            (
                header.height,
                header.id,
                encode(header),
                encode(block.seal),
                encode(block.transactions),
                encode(receipts),
            ),
        )
        self._connection.executemany(
            "INSERT INTO located VALUES (?, ?, ?)",
            [(receipt.transaction, header.height, receipt.index) for receipt in receipts],
        )
        self._connection.executemany(
            "INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [(key, value) for key, value in writes.items() if value is not None],
        )
        gone = [(key,) for key, value in writes.items() if value is None]
        self._connection.executemany("DELETE FROM state WHERE key = ?", gone)

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        """Stored blocks from `start` on, in order of their stored height."""
        for _, block, _ in self.rows(start):
            yield block

    def rows(self, start: Height = 1) -> Iterator[tuple[Height, Block, list[Receipt]]]:
        """Stored height, block and receipts, exactly as they are in the file.

        Raises:
            Tampered: a row does not decode; the message names its height.
        """
        height = start
        while True:
            with translated(self.path, _FILE):
                batch = self._connection.execute(
                    "SELECT height, id, header, seal, transactions, receipts FROM block"
                    " WHERE height >= ? ORDER BY height LIMIT 256",
                    (height,),
                ).fetchall()
            for row in batch:
                yield _row(row)
            if len(batch) < 256:
                return
            height = batch[-1][0] + 1

    def block_id(self, height: Height) -> Digest | None:
        """The stored id of the block at `height`; 0 is the genesis."""
        if height == 0:
            return self.genesis.digest
        with translated(self.path, _FILE):
            row = self._connection.execute("SELECT id FROM block WHERE height = ?", (height,)).fetchone()
        return None if row is None else row[0]

    def index(self) -> dict[Digest, tuple[Height, int]]:
        """Where each transaction is, by its id: height and place."""
        with translated(self.path, _FILE):
            rows = self._connection.execute("SELECT id, height, place FROM located")
            return {row[0]: (row[1], row[2]) for row in rows}

    def receipt(self, transaction: Digest) -> Receipt | None:
        """The receipt of a transaction that is on the ledger."""
        with translated(self.path, _FILE):
            row = self._connection.execute(
                "SELECT b.height, l.place, b.receipts FROM located l JOIN block b USING (height) WHERE l.id = ?",
                (transaction,),
            ).fetchone()
        if row is None:
            return None
        receipts = cast("list[Receipt]", _decode_stored(row[2], list[Receipt], f"block {row[0]}: receipts"))
        place = row[1]
        if not isinstance(place, int) or not 0 <= place < len(receipts) or receipts[place].transaction != transaction:
            raise Tampered(f"block {row[0]}: the index points to transaction {place}, which is another or none")
        return receipts[place]


def _row(row: tuple[Any, ...]) -> tuple[Height, Block, list[Receipt]]:
    where = f"block {row[0]}"
    header = _decode_stored(row[2], Header, f"{where}: header")
    if header.id != row[1]:
        raise Tampered(f"{where}: the stored id is not that of its header")
    seal = _decode_stored(row[3], Seal, f"{where}: seal")
    transactions: tuple[bytes, ...] = _decode_stored(row[4], tuple[bytes, ...], f"{where}: transactions")
    receipts: list[Receipt] = _decode_stored(row[5], list[Receipt], f"{where}: receipts")
    if len(receipts) != len(transactions):
        raise Tampered(f"{where}: {len(receipts)} receipts for {len(transactions)} transactions")
    return row[0], Block(header, seal, transactions), receipts


def _stored_bytes(data: object, path: Path) -> bytes:
    """What the state table holds; SQLite keeps whatever type somebody else wrote."""
    if not isinstance(data, bytes):
        raise Tampered(f"{path}: the state table holds another type than bytes")
    return data


def _decode_stored(data: object, kind: Any, where: str) -> Any:
    if not isinstance(data, bytes):
        raise Tampered(f"{where}: stored as another type than bytes")
    try:
        return decode(data, kind)
    except InvalidInput as error:
        raise Tampered(f"{where}: {error}") from None


def _read_genesis(connection: sqlite3.Connection, path: Path) -> Genesis:
    """Before anything is set: a file that is not ours must stay as it is."""
    found: int = connection.execute("PRAGMA application_id").fetchone()[0]
    if found != APPLICATION_ID:
        raise InvalidInput(f"{path}: an SQLite file, but not a MedFed ledger")
    row = connection.execute("SELECT bytes FROM genesis").fetchone()
    if row is None:
        raise Tampered(f"{path}: the genesis is missing")
    return _decode_stored(row[0], Genesis, f"{path}: genesis")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


@contextmanager
def reading(path: Path) -> Generator[LedgerStore]:
    """A ledger file opened to be read, and closed again.

    Raises:
        InvalidInput, Tampered, Unavailable: as `LedgerStore.open`.
    """
    store = LedgerStore.open(path, read_only=True)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _reading(connection: sqlite3.Connection) -> Generator[None]:
    """Several reads of one moment; inside a write transaction they are that already."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
