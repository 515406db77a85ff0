"""`medfed ledger`: verification, reading, proofs, and moving a ledger as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medfed.cli.options import PATH, as_json, ledger_option, open_store
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput, Tampered

if TYPE_CHECKING:
    from medfed.identifiers import Digest
    from medfed.ledger.genesis import Genesis
    from medfed.ledger.state import State
    from medfed.ledger.store import LedgerStore
    from medfed.ledger.transaction import Anchor
    from medfed.ledger.verify import Verification


@click.group()
def ledger() -> None:
    """Verify, read and move a ledger."""


@ledger.command()
@click.argument("path", type=PATH)
@click.option("--genesis", metavar="DIGEST", help="The genesis digest that you know of; without it any genesis passes.")
@click.option("--seen", metavar="HEIGHT:ID", help="A block that you have seen: catches a ledger that was cut short.")
@click.option("--blobs", type=PATH, metavar="DIR", help="Compute every study's result again from these blobs.")
@click.option("--votes", type=PATH, metavar="FILE", help="A network's votes for the last block: medfed node prove.")
@as_json
def verify(
    path: Path, genesis: str | None, seen: str | None, blobs: Path | None, votes: Path | None, as_json: bool
) -> None:
    """Replay a ledger file or an exported ledger and check everything. Exits 5 where something was changed."""
    found, made, state = _verify(path, genesis, seen)
    signed = _count_votes(path, votes) if votes is not None else None
    recomputed = _recompute(made, state, found, blobs) if blobs is not None else {}
    if as_json:
        print_json({"verified": found, "recomputed": recomputed} | ({"votes": signed} if signed is not None else {}))
        return
    click.echo(f"verified  {found.blocks} blocks, {found.transactions} transactions ({found.refused} refused)")
    click.echo(f"genesis   {found.chain.hex()}\nhead      {found.tip.height}:{found.tip.block.hex()}")
    if signed is not None:
        click.echo(f"votes     {signed} validators have signed the head, more than two thirds")
    for study, phase in recomputed.items():
        click.echo(f"computed  study {study}: its agreed result follows from what was published ({phase})")
    if genesis is None:
        click.echo("note      no --genesis given: compare the genesis digest with the one you know", err=True)


@ledger.command()
@ledger_option
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="The newest blocks.")
@as_json
def log(ledger: Path, limit: int, as_json: bool) -> None:
    """List transactions: block, time, sender, what, and what became of it."""
    rows: list[dict[str, Any]] = []
    with open_store(ledger) as store:
        height = store.load_state()[1].height
        for number, block, receipts in store.rows(max(1, height - limit + 1)):
            for wire, receipt in zip(block.transactions, receipts, strict=True):
                rows.append(_row(number, block.header.time_ms, wire, receipt))
    if as_json:
        print_json(rows)
        return
    shown = [
        (str(r["height"]), _clock(r["time_ms"])[-8:], r["sender"], r["type"], r["code"] or "ok", r["id"].hex()[:10])
        for r in rows
    ]
    table("", ("block", "time (UTC)", "sender", "transaction", "outcome", "id"), shown, right=("block",))


@ledger.command()
@click.argument("height", type=click.IntRange(1))
@ledger_option
@as_json
def show(height: int, ledger: Path, as_json: bool) -> None:
    """Show one block in full."""
    from medfed.ledger.transaction import SignedTransaction

    with open_store(ledger) as store:
        number, block, receipts = next(iter(store.rows(height)), (0, None, None))
    if block is None or receipts is None or number != height:
        raise InvalidInput(f"block {height}: the ledger does not have it")
    bodies = [SignedTransaction.from_bytes(wire).transaction for wire in block.transactions]
    facts = {"id": block.header.id, "header": block.header, "seal": block.seal}
    if as_json:
        print_json(facts | {"transactions": bodies, "receipts": receipts})
        return
    header = block.header
    click.echo(f"block     {height}\nid        {header.id.hex()}\nprevious  {header.previous.hex()}")
    click.echo(f"time      {_clock(header.time_ms)} UTC\nsealed by {header.proposer}")
    click.echo(f"state     {header.state_digest.hex()}")
    for transaction, receipt in zip(bodies, receipts, strict=True):
        outcome = receipt.code or "accepted"
        click.echo(f"\n{receipt.transaction.hex()}\n  {transaction.sender} #{transaction.sequence}: {outcome}")
        _print_body(transaction.body)


@ledger.command()
@click.argument("transaction", metavar="TRANSACTION")
@ledger_option
@as_json
def proof(transaction: str, ledger: Path, as_json: bool) -> None:
    """Prove that a transaction is in a block; prints the proof and checks it."""
    from medfed.identifiers import parse_digest
    from medfed.ledger.block import prove_inclusion, verify_inclusion

    with open_store(ledger) as store:
        digest = parse_digest(transaction) if len(transaction) == 64 else _find(store, transaction)
        receipt = store.receipt(digest)
        if receipt is None or receipt.height is None:
            raise InvalidInput(f"transaction {transaction[:16]}: the ledger does not have it")
        block = next(iter(store.blocks(receipt.height)))
    made = prove_inclusion(block, receipt.index)
    verify_inclusion(made, block.header.id)
    if as_json:
        print_json(made)
        return
    click.echo(f"transaction {digest.hex()}\nblock       {receipt.height} {block.header.id.hex()}")
    click.echo(f"place       {made.index} of {made.size}\nroot        {made.header.transactions_root.hex()}")
    for step in made.path:
        click.echo(f"path        {step.hex()}")


@ledger.command()
@ledger_option
@click.argument("output", type=PATH)
def export(ledger: Path, output: Path) -> None:
    """Write the whole ledger to one new file, for auditors and for moving."""
    from medfed.ledger.archive import export_ledger

    with open_store(ledger) as store:
        tip = export_ledger(store, output)
    click.echo(f"{output}: {tip.height} blocks, head {tip.height}:{tip.block.hex()}")


@ledger.command("import")
@click.argument("archive", type=PATH)
@ledger_option
@click.option("--genesis", metavar="DIGEST", help="The genesis digest that you expect.")
def import_(archive: Path, ledger: Path, genesis: str | None) -> None:
    """Verify an exported ledger and make the ledger file FILE of it."""
    from medfed.identifiers import parse_digest
    from medfed.ledger.archive import import_ledger

    tip = import_ledger(archive, ledger, parse_digest(genesis) if genesis else None)
    click.echo(f"{ledger}: {tip.height} blocks, head {tip.height}:{tip.block.hex()}")


def _find(store: LedgerStore, text: str) -> Digest:
    found = [
        receipt.transaction
        for _, _, receipts in store.rows()
        for receipt in receipts
        if receipt.transaction.hex().startswith(text.lower())
    ]
    if len(found) != 1:
        raise InvalidInput(f"transaction {text[:64]!r}: {len(found)} transactions of the ledger begin so")
    return found[0]


def _verify(path: Path, genesis: str | None, seen: str | None) -> tuple[Verification, Genesis, State]:
    from medfed.identifiers import parse_digest
    from medfed.ledger.archive import is_archive, read_archive
    from medfed.ledger.verify import verify_ledger, verify_store

    expected, anchor = parse_digest(genesis) if genesis else None, _anchor(seen)
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file")
    with _progress() as progress:
        if is_archive(path):
            made, blocks, declared = read_archive(path)
            found, state = verify_ledger(made, blocks, expected, anchor, progress)
            if found.tip != declared:
                raise Tampered(f"block {found.tip.height + 1}: the file declares block {declared.height} as its last")
            return found, made, state
        found = verify_store(path, expected, anchor, progress)
    with open_store(path) as store:
        return found, store.genesis, store.load_state()[0]


def _count_votes(path: Path, votes: Path) -> int:
    from medfed.encoding import decode
    from medfed.input_file import read_input
    from medfed.ledger.archive import is_archive, read_archive
    from medfed.ledger.engines.cometbft.commit_proof import CommitProof, verify_commit

    proof = decode(read_input(votes, 1 << 20, str(votes)), CommitProof)
    if is_archive(path):
        made, blocks, _ = read_archive(path)
        return verify_commit(made, blocks, proof)
    with open_store(path) as store, store.reading():
        return verify_commit(store.genesis, store.blocks(), proof)


def _recompute(genesis: Genesis, state: State, found: Verification, directory: Path) -> dict[str, str]:
    from medfed.blobs import DirectoryBlobs
    from medfed.hospital.aggregation import recompute_state
    from medfed.ledger.contracts.studies import studies, study_record
    from medfed.ledger.engine import StateView

    if not directory.is_dir():
        raise InvalidInput(f"{directory}: no such directory")
    view = StateView(genesis, state, found.tip)
    checked: dict[str, str] = {}
    for identifier in studies(view):
        record = study_record(view, identifier)
        if record is None or record.base is None:
            continue
        if recompute_state(view, identifier, DirectoryBlobs(directory)).digest != record.base:
            raise Tampered(f"study {identifier.hex()}: the agreed result does not follow from what was published")
        checked[identifier.hex()] = record.phase
    return checked


def _anchor(seen: str | None) -> Anchor | None:
    from medfed.identifiers import parse_digest
    from medfed.ledger.transaction import Anchor

    if seen is None:
        return None
    height, _, block = seen.partition(":")
    if not (height.isascii() and height.isdigit() and len(height) <= 16):
        raise InvalidInput(f"--seen {seen[:80]!r}: expected HEIGHT:ID")
    return Anchor(int(height), parse_digest(block))


def _progress() -> Any:
    import sys
    from contextlib import nullcontext

    if not sys.stderr.isatty():
        return nullcontext(None)
    return _Bar()


class _Bar:
    """A line that counts verified blocks."""

    def __enter__(self) -> Any:
        def show(height: int) -> None:
            if height % 50 == 0:
                click.echo(f"\rverifying block {height}", err=True, nl=False)

        return show

    def __exit__(self, *_: object) -> None:
        click.echo("\r" + " " * 40 + "\r", err=True, nl=False)


def _row(height: int, time_ms: int, wire: bytes, receipt: Any) -> dict[str, Any]:
    from medfed.ledger.transaction import SignedTransaction

    transaction = SignedTransaction.from_bytes(wire).transaction
    kind = type(transaction.body).__struct_config__.tag
    facts: dict[str, Digest | Any] = {"height": height, "time_ms": time_ms, "sender": transaction.sender}
    return facts | {"type": kind, "code": receipt.code, "id": receipt.transaction}


def _print_body(body: Any) -> None:
    from medfed.cli.output import plain

    for field, value in plain(body).items():
        text = str(value)
        click.echo(f"    {field}: {text if len(text) <= 100 else text[:97] + '...'}")


def _clock(time_ms: int) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"  # a proposer may claim a time beyond the calendar's years
