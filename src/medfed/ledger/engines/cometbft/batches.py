"""What travels in CometBFT's pool: transactions that were submitted together, as one entry.

A block holds single transactions; the pool holds batches, so that what one caller submits at once reaches the proposer
at once. `attempt` makes the bytes differ when a batch has to be spread again: the pools remember bytes that they have
seen. Nothing here is checked against a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.ledger.transaction import MAX_TRANSACTION_BYTES, SignedTransaction

__all__ = ["MAX_BATCH_BYTES", "decode_batch", "encode_batches"]

MAX_BATCH_BYTES: Final = 512 * 1024
_MAX_TRANSACTIONS: Final = 1_000
_LABEL: Final = b"medfed/batch/1\0"
_ROOM: Final = MAX_BATCH_BYTES - 1024
Wire = Annotated[bytes, Meta(min_length=65, max_length=MAX_TRANSACTION_BYTES)]


class Batch(Record):
    """One entry of the pool."""

    transactions: Annotated[tuple[Wire, ...], Meta(min_length=1, max_length=_MAX_TRANSACTIONS)]
    attempt: Annotated[int, Meta(ge=0, lt=2**31)] = 0


def encode_batches(transactions: Sequence[SignedTransaction], attempt: int = 0) -> list[bytes]:
    """As many entries as the transactions need, in their order."""
    batches: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for signed in transactions:
        wire = signed.to_bytes()
        cost = len(wire) + 8
        if waiting and (size + cost > _ROOM or len(waiting) == _MAX_TRANSACTIONS):
            batches.append(_LABEL + encode(Batch(tuple(waiting), attempt)))
            waiting, size = [], 0
        waiting.append(wire)
        size += cost
    if waiting:
        batches.append(_LABEL + encode(Batch(tuple(waiting), attempt)))
    return batches


def decode_batch(data: bytes) -> tuple[SignedTransaction, ...]:
    """The transactions of one entry; their signatures are not checked here.

    Raises:
        InvalidInput: too large, not a batch, or one of its transactions is malformed.
    """
    if len(data) > MAX_BATCH_BYTES:
        raise InvalidInput(f"batch of {len(data)} bytes: at most {MAX_BATCH_BYTES} are allowed")
    if not data.startswith(_LABEL):
        raise InvalidInput("pool entry: not a batch of transactions")
    batch = decode(data[len(_LABEL) :], Batch)
    return tuple(SignedTransaction.from_bytes(wire) for wire in batch.transactions)
