"""What the ledger says of a study, for people: its blocks, its rounds, what each hospital sent, and its points.

Everything is read off the ledger; this module must never take another's word for a figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from medfed.identifiers import Name
from medfed.ledger.block import Block
from medfed.ledger.contracts.rewards import points
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.verify import Verification
from medfed.simulation.report.timeline_chart import Column

__all__ = ["LedgerFacts", "Sent", "read_ledger"]

_KIND_OF: Final = {
    "propose-study": "joining",
    "approve-study": "joining",
    "decline-study": "joining",
    "enrol": "joining",
    "seal-pair-secrets": "joining",
    "keys-ready": "joining",
    "submit-update": "update",
    "confirm-survivors": "confirm",
    "reveal-seeds": "reveal",
    "reveal-shares": "reveal",
    "attest": "agree",
    "register-artefact": "agree",
}


@dataclass
class Sent:
    """What one participant handed out."""

    transactions: int = 0
    ledger_bytes: int = 0
    updates: int = 0
    update_bytes: int = 0

    @property
    def total(self) -> int:
        """All its bytes."""
        return self.ledger_bytes + self.update_bytes


@dataclass(frozen=True)
class LedgerFacts:
    """A ledger and one study on it."""

    consortium: Name
    verification: Verification
    """Of a replay from the genesis, made for this report."""
    ended_ms: int
    columns: Sequence[Column]
    rounds: Sequence[Round]
    sent: dict[Name, Sent] = field(default_factory=dict[Name, Sent])
    points: dict[Name, int] = field(default_factory=dict[Name, int])


def read_ledger(view: StateView, blocks: Iterable[Block], study: Study, verification: Verification) -> LedgerFacts:
    """Read everything that a report shows; `blocks` from the first on."""
    columns: list[Column] = []
    sent: dict[Name, Sent] = {}
    start: int | None = None
    for block in blocks:
        time_ms = block.header.time_ms
        start = time_ms if start is None else start
        counts: Counter[str] = Counter()
        for wire in block.transactions:
            counts[_count(SignedTransaction.from_bytes(wire), wire, sent)] += 1
        columns.append(Column(block.header.height, (time_ms - start) / 1000, dict(counts)))
    rounds = [round_record(view, study.study, number) for number in range(study.next_round)]
    return LedgerFacts(
        consortium=view.genesis.consortium,
        verification=verification,
        ended_ms=view.tip.time_ms,
        columns=columns,
        rounds=[record for record in rounds if record is not None],
        sent=dict(sorted(sent.items())),
        points={name: points(view, name) for name in sorted(study.terms.invited)},
    )


def _count(signed: SignedTransaction, wire: bytes, sent: dict[Name, Sent]) -> str:
    body = signed.transaction.body
    one = sent.setdefault(signed.transaction.sender, Sent())
    one.transactions += 1
    one.ledger_bytes += len(wire)
    if isinstance(body, SubmitUpdate):
        one.updates += 1
        one.update_bytes += body.length
    return _KIND_OF.get(str(body.__struct_config__.tag), "other")
