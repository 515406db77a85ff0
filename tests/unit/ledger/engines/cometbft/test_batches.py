"""Entries of the pool: whole, bounded, and new bytes for every attempt."""

from __future__ import annotations

import pytest
from tests.support.ledger import World

from medfed.errors import InvalidInput
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.engines.cometbft.batches import MAX_BATCH_BYTES, decode_batch, encode_batches
from medfed.ledger.transaction import SignedTransaction


def many(count: int, size: int = 10) -> list[SignedTransaction]:
    world = World.build()
    return [world.sign("alpha", ChangeAddress("h" * size + f":{n}"), ahead=n) for n in range(count)]


def test_what_goes_in_comes_out_in_its_order() -> None:
    transactions = many(2_500, 180)
    batches = encode_batches(transactions)
    assert len(batches) > 2
    assert all(len(batch) <= MAX_BATCH_BYTES for batch in batches)
    assert [signed for batch in batches for signed in decode_batch(batch)] == transactions


def test_nothing_makes_no_entry() -> None:
    assert encode_batches([]) == []


def test_another_attempt_has_other_bytes_and_the_same_transactions() -> None:
    transactions = many(2)
    first, second = encode_batches(transactions, 0), encode_batches(transactions, 1)
    assert first != second
    assert decode_batch(first[0]) == decode_batch(second[0])


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[1:], lambda b: b"", bytes.upper])
def test_a_damaged_entry_is_refused(change: object) -> None:
    (entry,) = encode_batches(many(1))
    with pytest.raises(InvalidInput):
        decode_batch(change(entry))  # type: ignore[operator]
