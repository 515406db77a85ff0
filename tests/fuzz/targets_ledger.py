"""Targets of the ledger: what travels, what is stored, what is exported."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from itertools import islice
from pathlib import Path

from tests.fuzz.cells import set_cell
from tests.fuzz.target import Target, quietly
from tests.support.ledger import FOUR, StudyWorld, World, embedded, make_genesis, make_terms, sealer

from medfed.encoding import decode, encode
from medfed.ledger.archive import export_blocks, import_ledger, is_archive, read_archive
from medfed.ledger.block import Block, Header, InclusionProof, Seal, is_sealed_by, prove_inclusion, verify_inclusion
from medfed.ledger.contracts.membership import ChangeAddress, ProposeRemoval, participants
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.studies import studies, study_record
from medfed.ledger.contracts.terms import Step
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.genesis import Genesis, genesis_state, verify_genesis
from medfed.ledger.merkle import verify_inclusion_path
from medfed.ledger.store import LedgerStore, reading
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.verify import verify_store

NAMES = FOUR[:3]


def same(again: bytes, data: bytes) -> None:
    """What was taken has one encoding only."""
    assert again == data, "taken, but it encodes to other bytes"


@cache
def ledger_bytes() -> tuple[bytes, tuple[Block, ...], Genesis]:
    """A ledger file with a few blocks and a study on it, its blocks, and its genesis."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        world = World.build(NAMES, make=embedded(path))
        study = StudyWorld(world, make_terms(NAMES, steps=(Step("training"),)))
        world.refuse("alpha", ProposeRemoval("nobody"))
        world.engine.submit(*(world.sign(name, ChangeAddress(f"host:{name}")) for name in NAMES))
        study.to_sealing()
        blocks, genesis = tuple(world.engine.blocks()), world.engine.genesis
        world.engine.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("VACUUM")
        return path.read_bytes(), blocks, genesis


@cache
def study_transactions() -> tuple[bytes, ...]:
    """The wire form of every kind of transaction that a study's story has."""
    world = World.build(NAMES)
    study = StudyWorld(world, make_terms(NAMES, steps=(Step("training"),)))
    study.to_running().to_agreeing().to_completed()
    return tuple(wire for block in world.engine.blocks() for wire in block.transactions)


@cache
def archive_bytes() -> bytes:
    _, blocks, genesis = ledger_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.medfed"
        export_blocks(genesis, blocks, path)
        return path.read_bytes()


def transaction(data: bytes, folder: Path) -> None:
    signed = SignedTransaction.from_bytes(data)
    same(signed.to_bytes(), data)
    signed.is_signed_by(bytes(32))
    assert len(signed.id) == 32


def header(data: bytes, folder: Path) -> None:
    found = decode(data, Header)
    same(encode(found), data)
    is_sealed_by(found, Seal(b"x" * 64), bytes(32))


def block(data: bytes, folder: Path) -> None:
    found = decode(data, Block)
    same(encode(found), data)
    prove_inclusion(found, len(found.transactions) - 1)
    for wire in found.transactions[:100]:
        quietly(SignedTransaction.from_bytes, wire)


def genesis(data: bytes, folder: Path) -> None:
    found = decode(data, Genesis)
    same(encode(found), data)
    verify_genesis(found)
    genesis_state(found)


def inclusion(data: bytes, folder: Path) -> None:
    """Only a transaction of the block is ever proven to be in it."""
    proof = decode(data, InclusionProof)
    same(encode(proof), data)
    found = verify_inclusion(proof, ledger_bytes()[1][1].header.id)
    # A block's id covers what was signed; the signature beside it is checked with the sender's key.
    assert found.id in {SignedTransaction.from_bytes(one.transaction).id for one in proofs()}


def proofs() -> Iterator[InclusionProof]:
    chosen = ledger_bytes()[1][1]
    return (prove_inclusion(chosen, index) for index in range(len(chosen.transactions)))


def merkle_path(data: bytes, folder: Path) -> None:
    """The path of a leaf that is not in the tree leads nowhere, whatever is claimed."""
    index, size = int.from_bytes(data[:8], "big", signed=True), int.from_bytes(data[8:16], "big", signed=True)
    path = [data[at : at + 32] for at in range(48, len(data), 32)]
    verify_inclusion_path(data[16:48], index, size, path, b"\x55" * 32)
    raise AssertionError("a path to a root that nobody computed")


def archive(data: bytes, folder: Path) -> None:
    path, target = folder / "a.medfed", folder / "ledger.db"
    path.write_bytes(data)
    target.unlink(missing_ok=True)
    is_archive(path)
    try:
        found, blocks, _ = read_archive(path)
        for _ in zip(range(50), blocks, strict=False):
            pass
        tip = import_ledger(path, target)
        assert verify_store(target, found.digest).tip == tip
    except BaseException:
        assert sorted(one.name for one in folder.iterdir()) == ["a.medfed"], "a refused import left something behind"
        raise
    finally:
        target.unlink(missing_ok=True)


def ledger_file(data: bytes, folder: Path) -> None:
    """Everything that reads a ledger file."""
    path = folder / "ledger.db"
    write_alone(path, data)
    use_ledger(path)


def ledger_cells(data: bytes, folder: Path) -> None:
    """A sound SQLite file in which one cell is not what it was."""
    path = folder / "ledger.db"
    write_alone(path, ledger_bytes()[0])
    set_cell(path, data)
    use_ledger(path)


def use_ledger(path: Path) -> None:
    """Read it as commands do, verify it, and open it as an engine; each may refuse, and only the last one counts."""
    quietly(_look, path)
    quietly(verify_store, path)
    engine = EmbeddedEngine.open(path, lambda: 2**41, sealer("organiser"))
    try:
        engine.view()
        list(islice(engine.blocks(), 20))
    finally:
        engine.close()


def _look(path: Path) -> None:
    with reading(path) as store:
        quietly(_look_at_state, store)
        quietly(lambda: [(height, len(receipts)) for height, _, receipts in store.rows(0)])
        quietly(store.index)
        for one in ledger_bytes()[1]:
            quietly(store.block_id, one.header.height)
            for wire in one.transactions:
                quietly(store.receipt, SignedTransaction.from_bytes(wire).id)


def _look_at_state(store: LedgerStore) -> None:
    view = store.view()
    participants(view)
    artefacts(view)
    for identifier in studies(view):
        study_record(view, identifier)


def write_alone(path: Path, data: bytes) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(data)


def _headers() -> Sequence[bytes]:
    return [encode(one.header) for one in ledger_bytes()[1][:3]]


def cell_seeds() -> Sequence[bytes]:
    """See `cells.set_cell`."""
    return [bytes([table, column, row, kind]) + value for table in range(4) for column in range(2) for row in (0, 3)
            for kind, value in ((0, b""), (2, b"\x01"), (3, b"text"), (4, b"\x90"))]  # fmt: skip


def _merkle_seeds() -> Sequence[bytes]:
    return [(3).to_bytes(8, "big") + (7).to_bytes(8, "big") + b"\x01" * 32 * 4, bytes(48)]


TARGETS = (
    Target("ledger-transaction", transaction, lambda: _few(study_transactions()), "msgpack", 64),
    Target("ledger-header", header, _headers, "msgpack"),
    Target("ledger-block", block, lambda: [encode(one) for one in ledger_bytes()[1][:2]], "msgpack"),
    Target("ledger-genesis", genesis, lambda: [encode(make_genesis(NAMES))], "msgpack", cost=2),
    Target("ledger-inclusion-proof", inclusion, lambda: [encode(one) for one in proofs()], "msgpack"),
    Target("ledger-merkle-path", merkle_path, _merkle_seeds),
    Target("ledger-archive", archive, lambda: [archive_bytes()], cost=6, keep=False),
    Target("ledger-file", ledger_file, lambda: [ledger_bytes()[0]], cost=10, keep=False),
    Target("ledger-cells", ledger_cells, cell_seeds, cost=6),
)


def _few(wires: Sequence[bytes]) -> Sequence[bytes]:
    """One transaction of each kind of body."""
    return list({type(SignedTransaction.from_bytes(wire).transaction.body): wire for wire in wires}.values())
