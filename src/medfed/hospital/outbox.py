"""The outbox: signed transactions on their way to the ledger, durable, resent as the same bytes until they have passed.

Nothing is signed twice under one sequence, but for two cases in which the first can never enter a block: its `seen` has
gone stale, or it has the signature of a key that this site no longer has, because the ledger knows the next one. Then
it is signed anew with the same body and the same sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from medfed.hospital.site import Site
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Anchor, Body, SignedTransaction, Transaction, sign
from medfed.ledger.transition import SEEN_WINDOW, next_sequence

__all__ = ["Outbox"]

WINDOW: Final = 64
"""Most transactions on their way at once."""


class Outbox:
    """The waiting transactions of one site, over its vault."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._key = site.keys.signing_key
        self._waiting: dict[int, tuple[str, SignedTransaction]] = {
            sequence: (work, SignedTransaction.from_bytes(wire)) for sequence, work, _, wire in site.vault.outbox_rows()
        }
        self._of_other_key = {
            sequence for sequence, (_, signed) in self._waiting.items() if not signed.is_signed_by(self._key.public)
        }

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> list[SignedTransaction]:
        """What has not passed yet, by sequence."""
        return [signed for _, (_, signed) in sorted(self._waiting.items())]

    @property
    def entries(self) -> list[tuple[str, SignedTransaction]]:
        """The same with their works."""
        return [entry for _, entry in sorted(self._waiting.items())]

    @property
    def works(self) -> set[str]:
        """The keys of the works whose transactions are on their way."""
        return {work for work, _ in self._waiting.values()}

    @property
    def has_room(self) -> bool:
        """Whether one more work may be started."""
        return len(self._waiting) < WINDOW // 2

    def unknown(self, view: StateView) -> int:
        """How many of this participant's transactions the ledger has that this vault did not send."""
        reached = next_sequence(view, self._site.name)
        known = max(self._site.vault.load("passed", int) or 0, max(self._waiting, default=-1) + 1)
        return max(0, reached - known)

    def prune(self, view: StateView) -> list[tuple[str, SignedTransaction]]:
        """Forget what the ledger has passed; returns it."""
        reached = next_sequence(view, self._site.name)
        passed = [self._waiting.pop(sequence) for sequence in sorted(self._waiting) if sequence < reached]
        if passed or reached != (self._site.vault.load("passed", int) or 0):
            with self._site.vault.transaction("outbox-passed"):
                self._site.vault.outbox_delete_below(reached)
                self._site.vault.store("passed", reached)
        return passed

    def add(self, view: StateView, work: str, bodies: Sequence[Body]) -> None:
        """Sign and keep; inside the vault transaction of the work itself, so that both are durable together.

        The caller takes them up with `reload` if that transaction fails.
        """
        sequence = max(next_sequence(view, self._site.name), max(self._waiting, default=-1) + 1)
        for offset, body in enumerate(bodies):
            self._put(view, sequence + offset, work, body)

    def reload(self) -> None:
        """Read back what is durable, after a transaction that failed."""
        self._waiting = {
            sequence: (work, SignedTransaction.from_bytes(wire))
            for sequence, work, _, wire in self._site.vault.outbox_rows()
        }

    def renew(self, view: StateView) -> None:
        """Sign anew what can never enter a block as it is, under the same sequences."""
        for sequence, (work, signed) in sorted(self._waiting.items()):
            stale = view.tip.height - signed.transaction.seen.height >= SEEN_WINDOW
            if stale or (sequence in self._of_other_key and self._is_mine(view)):
                self._put(view, sequence, work, signed.transaction.body)
                self._of_other_key.discard(sequence)

    def _is_mine(self, view: StateView) -> bool:
        known = participant(view, self._site.name)
        return known is not None and known.signing_key == self._key.public

    def _put(self, view: StateView, sequence: int, work: str, body: Body) -> None:
        anchor = Anchor(view.tip.height, view.tip.block)
        transaction = Transaction(view.chain, self._site.name, sequence, anchor, body)
        signed = sign(transaction, self._key)
        self._site.vault.outbox_put(sequence, work, anchor.height, signed.to_bytes())
        self._waiting[sequence] = (work, signed)
