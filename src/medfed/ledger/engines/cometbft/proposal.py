"""A MedFed block as the entries of a CometBFT block: first the header with its seal, then the transactions.

No entries at all are no MedFed block. Decoding checks the form only; what a block says is `apply_block`'s to check.
"""

from __future__ import annotations

from typing import Final

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.ledger.block import Block, Header, Seal

__all__ = ["HEADER_ROOM", "decode_entries", "encode_entries", "entry_size"]

_LABEL: Final = b"medfed/block/1\0"
HEADER_ROOM: Final = 1024
"""More than the first entry ever takes."""


class _Lead(Record):
    header: Header
    seal: Seal


def encode_entries(block: Block) -> tuple[bytes, ...]:
    """The entries of a block."""
    return (_LABEL + encode(_Lead(block.header, block.seal)), *block.transactions)


def decode_entries(entries: tuple[bytes, ...]) -> Block | None:
    """The block in the entries, or None where there are none.

    Raises:
        InvalidInput: the entries are something else.
    """
    if not entries:
        return None
    if len(entries) < 2:
        raise InvalidInput("a proposed block holds a header and no transaction")
    if not entries[0].startswith(_LABEL) or len(entries[0]) > HEADER_ROOM:
        raise InvalidInput("a proposed block does not begin with a header")
    lead = decode(entries[0][len(_LABEL) :], _Lead)
    return Block(lead.header, lead.seal, entries[1:])


def entry_size(wire: bytes) -> int:
    """The bytes that an entry takes in a CometBFT block: itself, its field's key and its length."""
    return len(wire) + 6
