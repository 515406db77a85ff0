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
from medfed.ledger.genesis import Genesis
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import Anchor
from medfed.ledger.transition import Tip, genesis_tip, tip_after
from medfed.ledger.verify import Replay, check_genesis

__all__ = ["export_blocks", "export_ledger", "import_ledger", "is_archive", "read_archive"]

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
    try:
        file = path.open("xb")
    except FileExistsError:
        raise Refused("file-exists", f"{path}: a file of this name exists") from None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None
    try:
        with file:
            return _write_all(file, genesis, blocks)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Unavailable(f"{path}: {error.strerror or error}") from None
        raise


def is_archive(path: Path) -> bool:
    """Whether a file begins like an exported ledger.

    Raises:
        Unavailable: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None


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


def import_ledger(
    archive: Path, path: Path, expected_genesis: Digest | None = None, expected_tip: Anchor | None = None
) -> Tip:
    """Verify an exported ledger and make a ledger file of it. Nothing is left behind if it is not valid.

    The tip that the file declares tells that it is whole, not that its exporter did not leave out the end; a block that
    the caller has seen (`expected_tip`) does.

    Raises:
        Tampered: it is not valid, or not the ledger that was expected. Refused: the ledger file exists.
    """
    genesis, blocks, declared = read_archive(archive)
    check_genesis(genesis, expected_genesis)
    store = LedgerStore.create(path, genesis)
    try:
        replay = Replay(genesis, expected_tip)
        with store.writing():
            for block in blocks:
                writes, receipts = replay.apply(block)
                store.append(block, writes, receipts)
            tip = replay.finish().tip
            if tip != declared:
                raise Tampered(f"block {tip.height + 1}: the file declares block {declared.height} as its last")
    except BaseException:
        store.close()
        for leftover in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            leftover.unlink(missing_ok=True)
        raise
    store.close()
    return tip


def _write_all(file: BinaryIO, genesis: Genesis, blocks: Iterable[Block]) -> Tip:
    tip = genesis_tip(genesis)[1]
    file.write(_MAGIC)
    _write(file, genesis)
    for block in blocks:
        _write(file, block)
        tip = tip_after(block.header)
    _write(file, tip)
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
