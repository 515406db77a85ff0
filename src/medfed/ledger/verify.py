"""Checks a whole ledger, trusting only the genesis digest: links, seals, roots, signatures, every transition.

A ledger that was cut short is a valid shorter ledger; only somebody who has seen more can tell. So `verify_ledger`
takes a block that its caller has seen (`expected_tip`), and of a ledger file the other tables are compared with the
replay too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from medfed.encoding import Record
from medfed.errors import InvalidInput, Tampered
from medfed.identifiers import Digest, Height
from medfed.ledger.block import Block
from medfed.ledger.genesis import Genesis, verify_genesis
from medfed.ledger.state import State, Writes
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import Anchor
from medfed.ledger.transition import Receipt, Tip, apply_block, genesis_tip, tip_after

__all__ = ["Replay", "Verification", "check_genesis", "verify_ledger", "verify_store"]

Progress = Callable[[Height], None]


class Verification(Record):
    """What was checked."""

    chain: Digest
    blocks: int
    transactions: int
    refused: int
    """Transactions on the ledger that a contract refused."""
    tip: Tip


def verify_ledger(
    genesis: Genesis,
    blocks: Iterable[Block],
    expected_genesis: Digest | None = None,
    expected_tip: Anchor | None = None,
    progress: Progress | None = None,
) -> tuple[Verification, State]:
    """Replay `blocks` from `genesis` and check everything.

    Raises:
        Tampered: names the first height and transaction that is wrong.
    """
    check_genesis(genesis, expected_genesis)
    replay = Replay(genesis, expected_tip)
    for block in blocks:
        replay.apply(block)
        if progress is not None:
            progress(replay.tip.height)
    return replay.finish(), replay.state


def verify_store(
    path: Path,
    expected_genesis: Digest | None = None,
    expected_tip: Anchor | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Verify a ledger file: its blocks, and that its stored receipts, index and state are what they lead to.

    Other processes may go on writing to it: what is verified is the file of one moment.

    Raises:
        Tampered: something was changed. InvalidInput: not a ledger file. Unavailable: it cannot be read now.
    """
    store = LedgerStore.open(path, read_only=True)
    try:
        check_genesis(store.genesis, expected_genesis)
        with store.reading():
            return _verify_tables(store, Replay(store.genesis, expected_tip), progress)
    finally:
        store.close()


def _verify_tables(store: LedgerStore, replay: Replay, progress: Progress | None) -> Verification:
    index = store.index()
    for height, block, stored in store.rows(0):
        if height != replay.tip.height + 1:
            raise Tampered(f"block {replay.tip.height + 1}: it is missing; block {height} follows")
        _, receipts = replay.apply(block)
        _compare_receipts(height, stored, receipts)
        for receipt in receipts:
            if index.pop(receipt.transaction, None) != (height, receipt.index):
                raise Tampered(f"block {height}, transaction {receipt.index}: the index does not point to it")
        if progress is not None:
            progress(height)
    if index:
        raise Tampered(f"index: {len(index)} entries point to transactions that no block holds")
    _compare_state(store, replay)
    return replay.finish()


class Replay:
    """A replica that starts from the genesis and trusts nothing else."""

    def __init__(self, genesis: Genesis, expected_tip: Anchor | None) -> None:
        self.genesis = genesis
        self.state, self.tip = genesis_tip(genesis)
        self._expected = expected_tip
        self._transactions = 0
        self._refused = 0
        self._compare_seen()

    def apply(self, block: Block) -> tuple[Writes, list[Receipt]]:
        """Check and apply the next block; see `apply_block`."""
        writes, receipts = apply_block(self.genesis, self.state, self.tip, block)
        self.state, self.tip = self.state.with_writes(writes), tip_after(block.header)
        self._transactions += len(receipts)
        self._refused += sum(bool(receipt.code) for receipt in receipts)
        self._compare_seen()
        return writes, receipts

    def _compare_seen(self) -> None:
        expected = self._expected
        if expected is not None and expected.height == self.tip.height and expected.block != self.tip.block:
            raise Tampered(f"block {self.tip.height}: it is not the block that was seen at this height")

    def finish(self) -> Verification:
        """What was checked, if it reaches as far as the caller has seen."""
        if self._expected is not None and self.tip.height < self._expected.height:
            raise Tampered(
                f"block {self.tip.height + 1}: the ledger ends before it; block {self._expected.height} has been seen"
            )
        return Verification(self.genesis.digest, self.tip.height, self._transactions, self._refused, self.tip)


def check_genesis(genesis: Genesis, expected: Digest | None) -> None:
    """Check that a genesis is the expected one and that its founders prove their keys.

    Raises:
        Tampered: it is not, or they do not.
    """
    if expected is not None and genesis.digest != expected:
        raise Tampered(f"genesis: expected {expected.hex()}, found {genesis.digest.hex()}")
    try:
        verify_genesis(genesis)
    except InvalidInput as error:
        raise Tampered(str(error)) from None


def _compare_receipts(height: Height, stored: list[Receipt], replayed: list[Receipt]) -> None:
    """Their number is that of the block's transactions: the store has seen to it."""
    for index, (found, expected) in enumerate(zip(stored, replayed, strict=True)):
        if found != expected:
            raise Tampered(f"block {height}, transaction {index}: the stored receipt is not what the replay gives")


def _compare_state(store: LedgerStore, replay: Replay) -> None:
    stored, _ = store.load_state()
    mine, theirs = replay.state.items(), stored.items()
    for key in sorted(mine.keys() | theirs.keys()):
        if mine.get(key) != theirs.get(key):
            table = key.partition(b"/")[0].decode(errors="replace")
            raise Tampered(
                f"state at block {replay.tip.height}: an entry of table {table} is not what the blocks lead to"
            )
