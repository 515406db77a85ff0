"""What the single-machine engines share: turning submitted transactions into as many blocks as they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from medfed.crypto import SigningKey
from medfed.errors import InvalidInput, Refused
from medfed.identifiers import Digest
from medfed.ledger.block import Block, seal_block
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import Clock, Sealer
from medfed.ledger.genesis import Genesis
from medfed.ledger.state import State, Writes
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt, Tip, prepare_block, tip_after

__all__ = ["Orderer", "check_bytes", "check_sealers", "checked_now"]

_FULL: Final = ("block-full", "quota")
_LAST_MS: Final = 2**53 - 1
Append = Callable[[Block, Writes, list[Receipt]], None]


class Orderer:
    """Makes blocks for one proposer, or for several in turn by height (a simulation has all their keys).

    Pure but for the clock: the caller keeps state, tip and storage.
    """

    def __init__(self, genesis: Genesis, sealers: Sequence[Sealer], clock: Clock) -> None:
        self._genesis = genesis
        self._sealers = tuple(sealers)
        self._clock = clock
        signs = genesis.policy.seal == "signature"
        keys = [SigningKey.from_seed(sealer.signing_seed) for sealer in sealers]
        self._keys = [key if signs else None for key in keys]
        self._public = [key.public for key in keys]

    def order(
        self, state: State, tip: Tip, transactions: list[SignedTransaction], append: Append
    ) -> tuple[State, Tip, dict[Digest, Receipt]]:
        """Put `transactions` into blocks and hand each block to `append`; returns the new state, tip and receipts.

        Raises:
            Refused: `cannot-seal`: every sealer has left or has other keys by now. InvalidInput: the clock is off, or a
            transaction is not what its bytes say: nobody could read its block any more.
        """
        check_bytes(transactions)
        receipts: dict[Digest, Receipt] = {}
        waiting = list({signed.id: signed for signed in transactions}.values())
        while waiting:
            turn = self._turn(state, tip)
            if turn is None and receipts:
                break  # the blocks before are good; what is left waits for somebody who can seal
            if turn is None:
                raise Refused("cannot-seal", "no sealer of this engine is active with the key that it seals with")
            name = self._sealers[turn].name
            header, taken, writes, made = prepare_block(self._genesis, state, tip, waiting, self._now(), name)
            receipts.update((receipt.transaction, receipt) for receipt in made)
            if not taken:
                break
            seal = seal_block(header, self._keys[turn], self._genesis.policy.difficulty)
            append(Block(header, seal, taken), writes, [receipt for receipt in made if receipt.height is not None])
            state, tip = state.with_writes(writes), tip_after(header)
            if not any(receipt.code in _FULL and receipt.height is None for receipt in made):
                break
            waiting = [signed for signed in waiting if receipts[signed.id].height is None]
        return state, tip, receipts

    def _turn(self, state: State, tip: Tip) -> int | None:
        """Whose turn it is among those whose seal the ledger would take; keys change, and participants leave."""
        count = len(self._sealers)
        turns = ((tip.height + offset) % count for offset in range(count))
        return next((turn for turn in turns if self._can_seal(state, turn)), None)

    def _can_seal(self, state: State, turn: int) -> bool:
        found = participant(state, self._sealers[turn].name)
        return found is not None and found.status == "active" and found.signing_key == self._public[turn]

    def _now(self) -> int:
        return checked_now(self._clock)


def check_bytes(transactions: Sequence[SignedTransaction]) -> None:
    """Check that every transaction is what its bytes say: nobody could read its block otherwise.

    Raises:
        InvalidInput: one is not.
    """
    for signed in transactions:
        if SignedTransaction.from_bytes(signed.to_bytes()) != signed:
            raise InvalidInput(f"transaction {signed.id.hex()}: it is not what its bytes say")


def checked_now(clock: Clock) -> int:
    """What the clock says.

    Raises:
        InvalidInput: it is out of range, so that nobody could read a block with this time.
    """
    now = clock()
    if not 0 <= now <= _LAST_MS:
        raise InvalidInput(f"clock: expected milliseconds from 0 to {_LAST_MS}, found {now}")
    return now


def check_sealers(genesis: Genesis, state: State, sealers: Sequence[Sealer]) -> None:
    """Check that every sealer is a participant and has the key that the ledger knows.

    Raises:
        InvalidInput: one has not, so that its blocks would be refused.
    """
    if not sealers:
        raise InvalidInput("an engine that makes blocks needs a sealer")
    for sealer in sealers:
        _check_sealer(genesis, state, sealer)


def _check_sealer(genesis: Genesis, state: State, sealer: Sealer) -> None:
    found = participant(state, sealer.name)
    if found is None or found.status != "active":
        raise InvalidInput(f"{sealer.name} is not an active participant of {genesis.consortium} and cannot seal blocks")
    if found.signing_key != SigningKey.from_seed(sealer.signing_seed).public:
        raise InvalidInput(f"the key of {sealer.name} is not the one that the ledger knows")
