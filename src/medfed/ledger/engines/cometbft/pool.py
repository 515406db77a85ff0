"""What may wait in CometBFT's pool, and what of it makes the next block.

Pure: state in, verdicts out. Nothing here decides what is valid; `transition` does, when a block is made and again when
it is checked. The point is that a pool holds no junk for long and that a block holds no gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engines.cometbft.proposal import entry_size
from medfed.ledger.genesis import Genesis
from medfed.ledger.state import State
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Inadmissible, Tip, begin_block, next_sequence, verify_admissible

__all__ = ["WINDOW", "check_new", "check_remaining", "choose"]

WINDOW: Final = 64
"""How far ahead of a sender's next sequence a transaction that has just arrived may be."""
Batch = tuple[SignedTransaction, ...]


def check_new(state: State, tip: Tip, genesis: Genesis, batch: Batch) -> None:
    """Check what has just arrived: is there anything in it that could enter a block soon?

    Raises:
        Inadmissible: there is not.
    """
    reason = Inadmissible("sequence", "none of the transactions is the next of its sender, or soon will be")
    for signed in batch:
        transaction = signed.transaction
        ahead = transaction.sequence - next_sequence(state, transaction.sender)
        if not 0 <= ahead < WINDOW or transaction.seen.height > tip.height + WINDOW:
            continue
        sender = participant(state, transaction.sender)
        if transaction.chain != genesis.digest:
            reason = Inadmissible("other-chain", "the transaction was signed for another ledger")
        elif sender is None or sender.status != "active":
            reason = Inadmissible("unknown-sender", f"{transaction.sender} is not an active participant")
        elif not signed.is_signed_by(sender.signing_key):
            reason = Inadmissible("bad-signature", f"the signature is not that of {transaction.sender}'s key")
        else:
            return
    raise reason


def check_remaining(state: State, tip: Tip, genesis: Genesis, batch: Batch) -> None:
    """Check what a block has left in the pool: is there anything in it that may enter the very next block?

    Raises:
        Inadmissible: there is not; whoever still wants it sends it again.
    """
    reason = Inadmissible("sequence", "all of the transactions have entered blocks")
    next_block = begin_block(state, tip)
    for signed in batch:
        if signed.transaction.sequence < next_sequence(state, signed.transaction.sender):
            continue
        try:
            verify_admissible(next_block, signed, genesis.digest)
        except Inadmissible as found:
            reason = found
            continue
        return
    raise reason


def choose(state: State, batches: Iterable[Batch], most_bytes: int) -> list[SignedTransaction]:
    """The candidates for a block, each once: in order of arrival, but each sender's by their sequences."""
    arrived: dict[Digest, SignedTransaction] = {}
    for batch in batches:
        for signed in batch:
            if signed.transaction.sequence >= next_sequence(state, signed.transaction.sender):
                arrived.setdefault(signed.id, signed)
    return _within(_ordered(list(arrived.values())), most_bytes)


def _ordered(arrived: Sequence[SignedTransaction]) -> list[SignedTransaction]:
    """Every sender keeps the places that it has, and fills them by its sequences."""
    queues: dict[Name, list[SignedTransaction]] = {}
    for signed in arrived:
        queues.setdefault(signed.transaction.sender, []).append(signed)
    for queue in queues.values():
        queue.sort(key=lambda signed: signed.transaction.sequence)
    turns = {sender: iter(queue) for sender, queue in queues.items()}
    return [next(turns[signed.transaction.sender]) for signed in arrived]


def _within(candidates: list[SignedTransaction], most_bytes: int) -> list[SignedTransaction]:
    size = 0
    for count, signed in enumerate(candidates):
        size += entry_size(signed.to_bytes())
        if size > most_bytes:
            return candidates[:count]
    return candidates
