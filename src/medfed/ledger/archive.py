"""A whole ledger as one file, for auditors and for moving: genesis, blocks, and the tip they must lead to.

Format: `MEDFED-LEDGER-1\\n`, then length-prefixed (8 bytes, big endian) canonical records: the genesis, every block,
and last the tip. An import verifies everything before it leaves a ledger behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, Refused, Tampered, Unavailable
from medfed.identifiers import Digest
from medfed.ledger.block import Block
from medfed.ledger.genesis import Genesis, verify_genesis
from medfed.ledger.store import LedgerStore
from medfed.ledger.transition import Tip, apply_block, genesis_tip, tip_after

__all__ = ["export_blocks", "export_ledger", "import_ledger", "read_archive"]

_MAGIC: Final = b"MEDFED-LEDGER-1\n"
_MAX_RECORD: Final = 1 << 30
T = TypeVar("T")


def export_ledger(store: LedgerStore, path: Path) -> Tip:
    """Write a ledger file's whole ledger to a new file and return its tip.

    Raises:
        Refused: the file exists.
    """
    return export_blocks(store.genesis, store.blocks(), path)


def export_blocks(genesis: Genesis, blocks: Iterable[Block], path: Path) -> Tip:
    """Write a ledger from its genesis and all its blocks to a new file and return its tip.

    Raises:
        Refused: the file exists. Unavailable: it cannot be written.
    """
    tip = genesis_tip(genesis)[1]
    try:
        with path.open("xb") as file:
            file.write(_MAGIC)
            _write(file, genesis)
            for block in blocks:
                _write(file, block)
                tip = tip_after(block.header)
            _write(file, tip)
    except FileExistsError:
        raise Refused("file-exists", f"{path}: a file of this name exists") from None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None
    return tip


def read_archive(path: Path) -> tuple[Genesis, Iterator[Block], Tip]:
    """The genesis, the blocks (read as they are iterated) and the declared tip of an exported ledger.

    Raises:
        InvalidInput: not an exported ledger. Tampered: cut short or damaged.
    """
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise InvalidInput(f"{path}: not an exported MedFed ledger")
        offsets = list(_offsets(file, path))
        if len(offsets) < 2:
            raise Tampered(f"{path}: cut short")
        genesis = _read(file, offsets[0], Genesis, f"{path}: genesis")
        tip = _read(file, offsets[-1], Tip, f"{path}: the last record is not a tip, the file was cut short")
    return genesis, _blocks(path, offsets[1:-1]), tip


def import_ledger(archive: Path, path: Path, expected_genesis: Digest | None = None) -> Tip:
    """Verify an exported ledger and make a ledger file of it. Nothing is left behind if it is not valid.

    Raises:
        Tampered: it is not valid, or not the ledger that was expected. Refused: the ledger file exists.
    """
    genesis, blocks, declared = read_archive(archive)
    if expected_genesis is not None and genesis.digest != expected_genesis:
        raise Tampered(f"genesis: expected {expected_genesis.hex()}, found {genesis.digest.hex()}")
    try:
        verify_genesis(genesis)
    except InvalidInput as error:
        raise Tampered(str(error)) from None
    store = LedgerStore.create(path, genesis)
    state, tip = genesis_tip(genesis)
    try:
        with store.writing():
            for block in blocks:
                writes, receipts = apply_block(genesis, state, tip, block)
                store.append(block, writes, receipts)
                state, tip = state.with_writes(writes), tip_after(block.header)
            if tip != declared:
                raise Tampered(f"block {tip.height + 1}: the file declares block {declared.height} as its last")
    except BaseException:
        store.close()
        for leftover in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            leftover.unlink(missing_ok=True)
        raise
    store.close()
    return tip


def _write(file: BinaryIO, record: Any) -> None:
    data = encode(record)
    file.write(len(data).to_bytes(8, "big"))
    file.write(data)


def _offsets(file: BinaryIO, path: Path) -> Iterator[tuple[int, int]]:
    while prefix := file.read(8):
        length = int.from_bytes(prefix, "big")
        start = file.tell()
        if len(prefix) < 8 or length > _MAX_RECORD:
            raise Tampered(f"{path}: cut short or damaged at byte {start - len(prefix)}")
        file.seek(length - 1, 1)
        if length == 0 or not file.read(1):
            raise Tampered(f"{path}: cut short or damaged at byte {start}")
        yield start, length


def _read(file: BinaryIO, place: tuple[int, int], kind: type[T], where: str) -> T:
    file.seek(place[0])
    try:
        return decode(file.read(place[1]), kind)
    except InvalidInput as error:
        raise Tampered(f"{where} ({error})") from None


def _blocks(path: Path, places: list[tuple[int, int]]) -> Iterator[Block]:
    with path.open("rb") as file:
        for number, place in enumerate(places, start=1):
            yield _read(file, place, Block, f"block {number}")
