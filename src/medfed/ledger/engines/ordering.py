"""What the single-machine engines share: turning submitted transactions into as many blocks as they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from medfed.crypto import SigningKey
from medfed.errors import InvalidInput
from medfed.identifiers import Digest
from medfed.ledger.block import Block, seal_block
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import Clock, Sealer
from medfed.ledger.genesis import Genesis
from medfed.ledger.state import State, Writes
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt, Tip, prepare_block, tip_after

__all__ = ["Orderer", "check_sealer"]

_FULL: Final = ("block-full", "quota")
Append = Callable[[Block, Writes, list[Receipt]], None]


class Orderer:
    """Makes blocks for one proposer. Pure but for the clock: the caller keeps state, tip and storage."""

    def __init__(self, genesis: Genesis, sealer: Sealer, clock: Clock) -> None:
        self._genesis = genesis
        self._sealer = sealer
        self._clock = clock
        signs = genesis.policy.seal == "signature"
        self._key = SigningKey.from_seed(sealer.signing_seed) if signs else None

    def order(
        self, state: State, tip: Tip, transactions: list[SignedTransaction], append: Append
    ) -> tuple[State, Tip, dict[Digest, Receipt]]:
        """Put `transactions` into blocks and hand each block to `append`; returns the new state, tip and receipts."""
        receipts: dict[Digest, Receipt] = {}
        waiting = list({signed.id: signed for signed in transactions}.values())
        while waiting:
            header, taken, writes, made = prepare_block(
                self._genesis, state, tip, waiting, self._clock(), self._sealer.name
            )
            receipts.update((receipt.transaction, receipt) for receipt in made)
            if not taken:
                break
            seal = seal_block(header, self._key, self._genesis.policy.difficulty)
            append(Block(header, seal, taken), writes, [receipt for receipt in made if receipt.height is not None])
            state, tip = state.with_writes(writes), tip_after(header)
            if not any(receipt.code in _FULL and receipt.height is None for receipt in made):
                break
            waiting = [signed for signed in waiting if receipts[signed.id].height is None]
        return state, tip, receipts


def check_sealer(genesis: Genesis, state: State, sealer: Sealer) -> None:
    """Check that the sealer is a participant and has the key that the ledger knows.

    Raises:
        InvalidInput: it does not, so that its blocks would be refused.
    """
    found = participant(state, sealer.name)
    if found is None or found.status != "active":
        raise InvalidInput(f"{sealer.name} is not an active participant of {genesis.consortium} and cannot seal blocks")
    if found.signing_key != SigningKey.from_seed(sealer.signing_seed).public:
        raise InvalidInput(f"the key of {sealer.name} is not the one that the ledger knows")
