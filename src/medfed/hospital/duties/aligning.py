"""Taking part in a private set intersection: committing, publishing what is mine to blind, reporting, matching.

Nothing is published before everybody has committed, and a scalar is drawn once for an attempt and never used in
another. This module must never log an entry, and sends none but hashed, blinded and padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

from medfed.alignment.blinding import blind_list, check_list
from medfed.alignment.inputs import inputs_commitment, normalise, padded_length, prepare_list, run_domain
from medfed.alignment.intersection import holders_of_entries, sizes
from medfed.alignment.patients import PatientQuestion
from medfed.alignment.signature import SignatureQuestion
from medfed.crypto import ELEMENT_BYTES, commit, new_scalar
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.hospital.alignment_state import (
    AlignmentResult,
    AttemptSecret,
    KeptInputs,
    alignment_key,
    is_approved,
)
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.alignment import (
    Alignment,
    CommitInputs,
    DeclineAlignment,
    alignment_question,
    alignment_record,
    inputs_commitment_of,
    list_length,
    list_owner,
)
from medfed.ledger.contracts.alignment_blinding import (
    AdvanceAlignment,
    CompleteAlignment,
    PublishBlinded,
    ReportBlinded,
    blinded,
    publisher_of,
)
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["ALIGNMENT_DUTIES", "AlignmentDuty"]

_OPEN: Final = ("committing", "blinding", "matching")
_REPORT_AFTER: Final = 0.5
"""The part of a stage after which a blob that cannot be had is reported; one that is wrong is reported at once."""
RANK_DELAY_MS: Final = 2_000
START_GRACE_MS: Final = 1_000


class AlignmentDuty(Protocol):
    """One kind of duty in alignments; otherwise as `work.Duty`."""

    name: ClassVar[str]
    is_atomic: ClassVar[bool]

    def due(self, view: StateView, record: Alignment, me: Me) -> Sequence[Work]:
        """What is owed to an alignment now; pure."""
        ...

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Do it."""
        ...


class BadBlob(InvalidInput):
    """What somebody published is not a list of the right length."""


class CommitOwnInputs:
    """Commit to this attempt's list, decline, or leave it to a person, as the site's policy says."""

    name: ClassVar[str] = "commit-inputs"
    is_atomic: ClassVar[bool] = False

    def due(self, view: StateView, record: Alignment, me: Me) -> Sequence[Work]:
        """Due to whoever is expected and has not committed."""
        if record.phase != "committing" or me.name not in record.roster:
            return ()
        if inputs_commitment_of(view, record.alignment, record.attempt, me.name) is not None:
            return ()
        return (_work(self, record),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Scalar, order and list are in the vault before the commitment to them leaves."""
        record = alignment_record(view, work.study)
        if record is None or record.attempt != work.attempt:
            return ()
        inputs = site.vault.load(alignment_key(record.alignment, "inputs"), KeptInputs)
        if inputs is None:
            answer = self._decide(site, record)
            if answer == "ask":
                return ()
            found = _find_inputs(site, view, record) if answer == "join" else answer
            if isinstance(found, str):
                return (DeclineAlignment(record.alignment, found),)
            inputs = found
        secret, listed = self._draw(site, view, record, inputs)
        return (
            CommitInputs(
                record.alignment,
                record.attempt,
                record.question,
                inputs_commitment(inputs.salt, inputs.entries),
                commit(secret.salt, listed),
                secret.length,
            ),
        )

    def _decide(self, site: Site, record: Alignment) -> str:
        """`join`, `ask`, or the code of a refusal."""
        policy = site.consent.alignment
        if record.kind == "patients" and not policy.legal_basis:
            return "no-legal-basis"
        choice = policy.patients if record.kind == "patients" else policy.signatures
        if choice == "decline":
            return "policy"
        return "join" if choice == "approve" or is_approved(site.vault, record) else "ask"

    def _draw(self, site: Site, view: StateView, record: Alignment, inputs: KeptInputs) -> tuple[AttemptSecret, Digest]:
        """The secrets of this attempt and the digest of its list; drawn once, read back after a crash."""
        secret_key, list_key = (alignment_key(record.alignment, part) for part in ("secret", "list"))
        known = site.vault.load(secret_key, AttemptSecret)
        if known is not None and known.attempt == record.attempt:
            return known, sha256(site.vault.get(list_key) or b"")
        scalar, salt = new_scalar(site.entropy), site.entropy(32)
        length = padded_length(len(inputs.entries))
        domain = run_domain(view.chain, record.alignment, record.kind, record.question)
        prepared = prepare_list(inputs.entries, length, domain, scalar, site.entropy)
        secret = AttemptSecret(record.attempt, scalar, salt, prepared.positions, length)
        with site.vault.transaction("alignment-drawn"):
            site.vault.store(alignment_key(record.alignment, "inputs"), inputs)
            site.vault.store(secret_key, secret)
            site.vault.put(list_key, prepared.elements)
            site.vault.delete_under(alignment_key(record.alignment, "cleared"))
        return secret, sha256(prepared.elements)


class PublishOwnPart:
    """Publish the own list at stage 0, and then what the hospital before me in the ring has published, blinded."""

    name: ClassVar[str] = "publish-blinded"
    is_atomic: ClassVar[bool] = False

    def due(self, view: StateView, record: Alignment, me: Me) -> Sequence[Work]:
        """Due to the roster in every stage."""
        if record.phase != "blinding" or me.name not in record.roster or me.name in record.published:
            return ()
        return (_work(self, record),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The same bytes at every try: blinding draws nothing."""
        record = alignment_record(view, work.study)
        if record is None or record.attempt != work.attempt or record.stage != work.round:
            return ()
        secret = site.vault.load(alignment_key(record.alignment, "secret"), AttemptSecret)
        if secret is None or secret.attempt != record.attempt:
            return ()  # committed to before this vault was restored from a copy: its scalar is lost
        if record.stage == 0:
            own = site.vault.get(alignment_key(record.alignment, "list")) or b""
            return (PublishBlinded(record.alignment, record.attempt, 0, site.blobs.put(own), secret.salt),)
        owner = list_owner(record, record.stage, site.name)
        before = publisher_of(record, record.stage - 1, owner)
        length = list_length(record, owner)
        try:
            elements = _fetch(site, view, record, record.stage - 1, before, length)
            ours = blind_list(secret.scalar, elements, length)
        except InvalidInput:
            return _report(record, site.name, before)
        except Unavailable:
            return _report_late(site, record, before)
        return (PublishBlinded(record.alignment, record.attempt, record.stage, site.blobs.put(ours)),)


class SecondReports:
    """Look at what a reported hospital has published, and report it too if it is wrong."""

    name: ClassVar[str] = "second-report"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, record: Alignment, me: Me) -> Sequence[Work]:
        """Due to whoever has not reported a reported hospital."""
        if record.phase not in ("blinding", "matching") or me.name not in record.roster:
            return ()
        mine = {about for reporter, about in record.reports if reporter == me.name}
        reported = {about for _, about in record.reports} - mine - {me.name}
        return [_work(self, record, detail=about) for about in sorted(reported)]

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Looked at once for every stage."""
        record = alignment_record(view, work.study)
        if record is None or record.attempt != work.attempt:
            return ()
        about = work.detail
        cleared = alignment_key(record.alignment, "cleared", record.attempt, about, record.stage)
        if site.vault.get(cleared) is not None:
            return ()
        for stage in range(record.stage + 1):
            if blinded(view, record, stage, about) is None:
                continue
            length = list_length(record, list_owner(record, stage, about))
            try:
                check_list(_fetch(site, view, record, stage, about, length), length)
            except InvalidInput:
                return _report(record, site.name, about)
            except Unavailable:
                return _report_late(site, record, about)
        site.vault.put(cleared, b"")
        return ()


class MatchLists:
    """Look the own entries up in all fully blinded lists, keep what was found, and say the sizes."""

    name: ClassVar[str] = "complete-alignment"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, record: Alignment, me: Me) -> Sequence[Work]:
        """Due once to the whole roster, also when the others have completed it."""
        if record.phase not in ("matching", "completed") or me.name not in record.roster:
            return ()
        if any(name == me.name for name, _ in record.results):
            return ()
        return (_work(self, record),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The result is in the vault in the same commit as the transaction that says its sizes."""
        record = alignment_record(view, work.study)
        inputs = site.vault.load(alignment_key(work.study, "inputs"), KeptInputs)
        secret = site.vault.load(alignment_key(work.study, "secret"), AttemptSecret)
        if record is None or record.attempt != work.attempt or inputs is None or secret is None:
            return ()
        lists: dict[Name, bytes] = {}
        for owner in record.roster:
            last = publisher_of(record, record.stage, owner)
            length = list_length(record, owner)
            try:
                lists[owner] = _fetch(site, view, record, record.stage, last, length)
                check_list(lists[owner], length)
            except InvalidInput:
                return _report(record, site.name, last)
            except Unavailable:
                return _report_late(site, record, last)
        found = sizes(lists)
        holders = holders_of_entries(lists, site.name, secret.positions)
        shared = [(ids, names) for ids, names in zip(inputs.ids, holders, strict=True) if len(names) > 1]
        result = AlignmentResult(
            record.kind,
            record.study,
            record.question,
            record.roster,
            len(inputs.entries),
            tuple(ids for ids, _ in shared),
            tuple(names for _, names in shared),
            found,
        )
        site.vault.store(alignment_key(record.alignment, "result"), result)
        return (CompleteAlignment(record.alignment, record.attempt, found.digest),)


class AdvanceAlignmentDeadline:
    """Say that a deadline has passed; ranks take turns so that not all say it at once."""

    name: ClassVar[str] = "advance-alignment"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, record: Alignment, me: Me) -> Sequence[Work]:
        """Due to the invited once a deadline has passed and their turn has come."""
        if record.phase not in _OPEN or me.name not in record.invited:
            return ()
        rank = (record.invited.index(me.name) - record.attempt) % len(record.invited)
        turn = max(record.deadline_ms, me.started_ms + START_GRACE_MS) + RANK_DELAY_MS * rank
        if me.now_ms <= turn:
            return ()
        return (_work(self, record, detail=f"{record.deadline_ms}"),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Say so; refused as too early, it is said again."""
        return (AdvanceAlignment(work.study),)


ALIGNMENT_DUTIES: Final[tuple[AlignmentDuty, ...]] = (
    CommitOwnInputs(),
    PublishOwnPart(),
    SecondReports(),
    MatchLists(),
    AdvanceAlignmentDeadline(),
)


def _work(duty: AlignmentDuty, record: Alignment, detail: str = "") -> Work:
    """Rounds are stages here."""
    return Work(duty.name, record.alignment, record.stage, record.attempt, detail or record.phase)


def _find_inputs(site: Site, view: StateView, record: Alignment) -> KeptInputs | str:
    """This site's entries, or the code of a refusal.

    Raises:
        InvalidInput: the library or the file of identifiers is not there or not in order.
    """
    question = alignment_question(view, record.alignment)
    if site.entries is None or question is None:
        return "no-library"
    try:
        (SignatureQuestion if record.kind == "signatures" else PatientQuestion).decode(question)
    except InvalidInput:
        return "invalid-question"
    rows = site.entries(record.kind, question)  # what is wrong at this site is for its people to mend, not to decline
    entries = normalise(tuple(rows))
    if padded_length(len(entries)) > record.bound:
        return "list-too-long"
    return KeptInputs(site.entropy(32), entries, tuple(tuple(rows[entry]) for entry in entries))


def _fetch(site: Site, view: StateView, record: Alignment, stage: int, publisher: Name, length: int) -> bytes:
    """The blob of a stage. Its length is looked at before it is read.

    Raises:
        InvalidInput: it is not of that length. Unavailable: it cannot be had.
    """
    blob = blinded(view, record, stage, publisher)
    if blob is None:
        raise Unavailable(f"alignment: {publisher} has published nothing for stage {stage}")
    try:
        size = site.blobs.size(blob)
        if size != length * ELEMENT_BYTES:
            raise BadBlob(f"alignment: expected {length} elements of {publisher}, found {size} bytes")
        return site.blobs.get(blob)
    except Tampered:
        raise Unavailable(f"alignment: what is here of {publisher}'s blob is not that blob") from None


def _report_late(site: Site, record: Alignment, about: Name) -> Sequence[Body]:
    if site.clock() < record.deadline_ms - int(record.stage_ms * _REPORT_AFTER):
        raise Unavailable(f"alignment: waiting for the list that {about} has published")
    return _report(record, site.name, about)


def _report(record: Alignment, me: Name, about: Name) -> Sequence[Body]:
    if record.phase == "completed" or (me, about) in record.reports:
        raise Unavailable(f"alignment: the list that {about} has published is wrong or cannot be had")
    return (ReportBlinded(record.alignment, record.attempt, about),)
