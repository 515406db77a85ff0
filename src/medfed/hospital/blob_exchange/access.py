"""Who may have which blob: what the ledger's accepted transactions say that it is for.

The first accepted transaction that names a blob decides, so nobody gains access by naming it again elsewhere. A blob
that no transaction names is nobody's but its owner's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from medfed.identifiers import Digest, Height, Name, StudyId
from medfed.ledger.block import Block
from medfed.ledger.contracts.aggregates import PublishAggregate
from medfed.ledger.contracts.alignment import alignment_record
from medfed.ledger.contracts.alignment_blinding import PublishBlinded
from medfed.ledger.contracts.blind_test import OpenBlindTest, blind_test
from medfed.ledger.contracts.ciphertexts import PublishCiphertextSum, PublishDecryption
from medfed.ledger.contracts.exchange import DeliverData, data_request
from medfed.ledger.contracts.membership import is_active, participant
from medfed.ledger.contracts.offered_data import offered_dataset
from medfed.ledger.contracts.offices import PublishEncryptionKey, offices
from medfed.ledger.contracts.registry import RegisterArtefact, artefacts
from medfed.ledger.contracts.rounds import round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.state import Reader
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt

__all__ = ["BlobIndex", "Rows"]

_Use = tuple[str, bytes] | None
"""A study, an alignment, a blind test or a data request, by its identifier; None: for all."""


class _Named(NamedTuple):
    """Who named a blob first, and for what."""

    use: _Use
    sender: Name
    attempt: tuple[int, int] | None
    """Round and attempt, of an update."""


_NAMED: Final[Mapping[type, tuple[str, ...]]] = {
    SubmitUpdate: ("blob",),
    PublishEncryptionKey: ("key",),
    PublishCiphertextSum: ("sum",),
    PublishDecryption: ("total",),
    PublishAggregate: ("total",),
    PublishBlinded: ("blob",),
    RegisterArtefact: ("artefact", "card"),
    OpenBlindTest: ("cases",),
    DeliverData: ("blob",),
}
Rows = Iterable[tuple[Height, Block, list[Receipt]]]


class BlobIndex:
    """What each blob on the ledger is for. Follows the blocks; safe to use from several threads."""

    def __init__(self, rows: Callable[[Height], Rows]) -> None:
        """`rows` gives the stored blocks with their receipts from a height on (`LedgerStore.rows`)."""
        self._rows = rows
        self._next: Height = 1
        self._for: dict[Digest, _Named] = {}
        """In the order of the ledger."""
        self._lock = threading.Lock()

    def may_read(self, reader: Reader, who: Name, blob: Digest) -> bool:
        """Whether the active participant `who` may have a blob.

        A study's blobs are for who was invited or is in it, its proposer, its aggregators, and auditors; an
        alignment's for who was invited, and nobody else; a blind test's for its two sides; a delivery's for owner,
        requester and arbiter; what was registered for all is for all.
        """
        asking = participant(reader, who)
        if asking is None or asking.status != "active" or not self._is_known(blob):
            return False
        use = self._for[blob].use
        if use is None:
            return True
        if use[0] == "alignment":
            alignment = alignment_record(reader, use[1])
            return alignment is not None and who in alignment.invited
        if use[0] == "blind-test":
            test = blind_test(reader, use[1])
            return test is not None and who in (test.requester, test.service)
        if use[0] == "data-request":
            return who in _dealing(reader, use[1])
        return asking.role == "auditor" or who in _concerned(reader, use[1])

    def open_blobs_of(self, reader: Reader, who: Name) -> list[Digest]:
        """What `who` has named and others may still need: of studies and alignments that are open, and for all."""
        return [blob for blob, named in self._all() if named.sender == who and not _is_over(reader, named)]

    def spent(self, reader: Reader) -> list[Digest]:
        """Blobs that nobody has to fetch any more, the oldest first: of a void attempt, and of what has ended.

        A study has ended only when it was aborted, or every active hospital of it has registered its model: who comes
        late computes it from the updates. Models, cards and what else was registered stay.
        """
        return [blob for blob, named in self._all() if _is_over(reader, named)]

    def _all(self) -> list[tuple[Digest, _Named]]:
        with self._lock:
            self._follow()
            return list(self._for.items())

    def _is_known(self, blob: Digest) -> bool:
        with self._lock:
            if blob not in self._for:
                self._follow()
            return blob in self._for

    def _follow(self) -> None:
        for height, block, receipts in self._rows(self._next):
            self._observe(block, receipts)
            self._next = height + 1

    def _observe(self, block: Block, receipts: list[Receipt]) -> None:
        for wire, receipt in zip(block.transactions, receipts, strict=True):
            if not receipt.accepted:
                continue
            transaction = SignedTransaction.from_bytes(wire).transaction
            body: Any = transaction.body
            attempt = (body.round, body.attempt) if isinstance(body, SubmitUpdate) else None
            for field in next((names for kind, names in _NAMED.items() if isinstance(body, kind)), ()):
                named: Digest | tuple[Digest, ...] = getattr(body, field)
                for blob in named if isinstance(named, tuple) else (named,):
                    self._for.setdefault(blob, _Named(_use_of(body), transaction.sender, attempt))


def _use_of(body: Any) -> _Use:
    if isinstance(body, RegisterArtefact):
        return None
    if isinstance(body, OpenBlindTest):
        return ("blind-test", body.test)
    if isinstance(body, DeliverData):
        return ("data-request", body.request)
    return ("alignment", body.alignment) if isinstance(body, PublishBlinded) else ("study", body.study)


def _is_over(reader: Reader, named: _Named) -> bool:
    if named.use is None:
        return False
    kind, identifier = named.use
    if kind == "alignment":
        alignment = alignment_record(reader, identifier)
        return alignment is not None and alignment.phase == "ended"
    if kind == "blind-test":
        test = blind_test(reader, identifier)
        return test is not None and test.phase in ("passed", "failed", "expired")
    if kind == "data-request":
        request = data_request(reader, identifier)
        # Where nobody is at fault, the arbiter has just handed over the key that opens it.
        return request is not None and request.phase in ("accepted", "decided") and request.fault != "nobody"
    return _is_study_over(reader, identifier, named)


def _is_study_over(reader: Reader, identifier: StudyId, named: _Named) -> bool:
    study = study_record(reader, identifier)
    if study is None:
        return False
    if named.attempt is not None:
        found = round_record(reader, identifier, named.attempt[0])
        if found is not None and found.attempt > named.attempt[1]:
            return True
    if study.phase == "completed":
        return _all_have_registered(reader, study)
    return study.phase == "aborted"


def _all_have_registered(reader: Reader, study: Study) -> bool:
    active = {name for name in study.roster if is_active(reader, name)}
    models = (entry for entry in artefacts(reader) if entry.study == study.study)
    return any(active <= {entry.registered_by, *entry.endorsers} for entry in models)


def _dealing(reader: Reader, identifier: bytes) -> frozenset[Name]:
    request = data_request(reader, identifier)
    dataset = offered_dataset(reader, request.dataset) if request is not None else None
    if request is None or dataset is None:
        return frozenset()
    return frozenset((request.owner, request.requester, dataset.terms.arbiter))


def _concerned(reader: Reader, study: StudyId) -> frozenset[Name]:
    record = study_record(reader, study)
    if record is None:
        return frozenset()
    holders = offices(reader, record)
    names = {record.proposer, *record.terms.invited, *record.roster}
    return frozenset(names.union(holders.holders if holders is not None else ()))
