"""What a contract may know besides the state: the block it runs in and who sends. Never the wall clock."""

from __future__ import annotations

from medfed.encoding import Record
from medfed.identifiers import Digest, Height, Name

__all__ = ["BlockContext", "Call"]


class BlockContext(Record):
    """The block a transaction is applied in."""

    chain: Digest
    height: Height
    time_ms: int
    proposer: Name
    rules: int


class Call(Record):
    """Who calls a contract, in which block."""

    sender: Name
    block: BlockContext
