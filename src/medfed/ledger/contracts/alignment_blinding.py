"""Blinding and matching: everybody's list goes once around the ring, and everybody says what sizes it found.

Rules:
1. At stage 0 the blob is the one committed to. A blob is published once in an alignment: nobody passes on another's.
2. A stage ends when the whole roster has published its part of it.
3. A hospital that cannot get a blob, or finds it not to be a list of its owner's length, reports who published it. Who
   is reported by more than half of the others is guilty: a new attempt begins at once, without it.
4. At the deadline of a stage a new attempt begins without those who have not published, whatever they reported. Fewer
   hospitals than the least number: the alignment ends.
5. A new attempt begins with new commitments, because scalars are never used twice.
6. When more than half of the roster name the same sizes, the alignment is completed; the rest may still say so. At the
   deadline without such a majority it ends as disputed.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from medfed.crypto import is_commitment_to
from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.alignment import (
    Alignment,
    AlignmentId,
    Attempt,
    check_on_roster,
    close_committing,
    end_alignment,
    inputs_commitment_of,
    need_alignment,
    need_attempt,
    put_alignment,
)
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.membership import is_active
from medfed.ledger.contracts.studies import with_name
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "AdvanceAlignment",
    "CompleteAlignment",
    "PublishBlinded",
    "ReportBlinded",
    "blinded",
    "publisher_of",
]

_OPEN: Final = ("committing", "blinding", "matching")
_Stage = Annotated[int, Meta(ge=0, lt=50)]
_Salt = Annotated[bytes, Meta(min_length=32, max_length=32)]


class PublishBlinded(Record, tag_field="type", tag="publish-blinded"):
    """The list that is mine to blind in this stage, as a blob."""

    alignment: AlignmentId
    attempt: Attempt
    stage: _Stage
    blob: Digest
    salt: _Salt | None = None
    """Opens the commitment at stage 0; absent later."""


class ReportBlinded(Record, tag_field="type", tag="report-blinded"):
    """What this hospital published in some stage of the attempt is no list of the right length, or cannot be had."""

    alignment: AlignmentId
    attempt: Attempt
    about: Name


class CompleteAlignment(Record, tag_field="type", tag="complete-alignment"):
    """The sizes of the intersections that I found, by digest."""

    alignment: AlignmentId
    attempt: Attempt
    sizes: Digest


class AdvanceAlignment(Record, tag_field="type", tag="advance-alignment"):
    """The deadline of the phase or stage has passed."""

    alignment: AlignmentId


_BLOBS: Final[Table[Digest]] = Table("alignment-blob", Digest)
_SEEN: Final[Table[Name]] = Table("alignment-seen", Name)


def publisher_of(record: Alignment, stage: int, owner: Name) -> Name:
    """Who publishes the list of `owner` at `stage`."""
    return record.roster[(record.roster.index(owner) + stage) % len(record.roster)]


def blinded(reader: Reader, record: Alignment, stage: int, publisher: Name) -> Digest | None:
    """The blob that `publisher` published at `stage` of the present attempt."""
    return _BLOBS.get(reader, record.alignment, record.attempt, stage, publisher)


def apply_publish_blinded(overlay: Overlay, call: Call, body: PublishBlinded) -> None:
    """Rules 1 and 2."""
    record = need_attempt(overlay, body.alignment, body.attempt, "blinding")
    check_on_roster(record, call)
    if body.stage != record.stage:
        raise Refused("wrong-stage", f"the attempt is at stage {record.stage}, not {body.stage}")
    if call.sender in record.published:
        raise Refused("already-published", f"{call.sender} has published in this stage")
    if record.stage == 0:
        committed = inputs_commitment_of(overlay, record.alignment, record.attempt, call.sender)
        salt = body.salt or b""
        if committed is None or not is_commitment_to(committed.elements, salt, body.blob):
            raise Refused("other-inputs", "the list is not the one that was committed to")
    elif body.salt is not None:
        raise Refused("no-salt", "only the own list opens a commitment")
    if _SEEN.get(overlay, record.alignment, body.blob) is not None:
        raise Refused("replayed-list", "this blob was published in this alignment before")
    _SEEN.put(overlay, call.sender, record.alignment, body.blob)
    _BLOBS.put(overlay, body.blob, record.alignment, record.attempt, record.stage, call.sender)
    record = replace(record, published=with_name(record.published, call.sender))
    put_alignment(overlay, record)
    if record.published == record.roster:
        _next_stage(overlay, call, record)


def apply_report_blinded(overlay: Overlay, call: Call, body: ReportBlinded) -> None:
    """Rule 3."""
    record = need_attempt(overlay, body.alignment, body.attempt, "blinding", "matching")
    check_on_roster(record, call)
    if body.about not in record.roster or body.about == call.sender:
        raise Refused("bad-report", "a report names another hospital of the roster")
    if record.stage == 0 and body.about not in record.published:
        raise Refused("bad-report", f"{body.about} has published nothing yet")
    if (call.sender, body.about) in record.reports:
        raise Refused("already-reported", f"{call.sender} has reported {body.about} in this attempt")
    record = replace(record, reports=tuple(sorted((*record.reports, (call.sender, body.about)))))
    guilty = _guilty(record)
    if guilty:
        _new_attempt(overlay, call, record, guilty)
    else:
        put_alignment(overlay, record)


def apply_complete_alignment(overlay: Overlay, call: Call, body: CompleteAlignment) -> None:
    """Rule 6."""
    record = need_attempt(overlay, body.alignment, body.attempt, "matching", "completed")
    check_on_roster(record, call)
    if any(name == call.sender for name, _ in record.results):
        raise Refused("already-completed", f"{call.sender} has said what it found")
    record = replace(record, results=tuple(sorted((*record.results, (call.sender, body.sizes)))))
    backers = sum(sizes == body.sizes for _, sizes in record.results)
    if record.phase == "matching" and 2 * backers > len(record.roster):
        record = replace(record, phase="completed", outcome=body.sizes)
    put_alignment(overlay, record)


def apply_advance_alignment(overlay: Overlay, call: Call, body: AdvanceAlignment) -> None:
    """Rules 4 and 6."""
    record = need_alignment(overlay, body.alignment, *_OPEN)
    if call.block.time_ms <= record.deadline_ms:
        left = record.deadline_ms - call.block.time_ms
        raise Refused("too-early", f"the deadline passes in {left} ms of block time")
    if record.phase == "committing":
        close_committing(overlay, call, record, late=True)
    elif record.phase == "blinding":
        _new_attempt(overlay, call, record, set(record.roster) - set(record.published))
    else:
        end_alignment(overlay, record, "disputed")


def _next_stage(overlay: Overlay, call: Call, record: Alignment) -> None:
    last = record.stage + 1 == len(record.roster)
    deadline = call.block.time_ms + record.stage_ms
    if last:
        put_alignment(overlay, replace(record, phase="matching", deadline_ms=deadline))
    else:
        put_alignment(overlay, replace(record, stage=record.stage + 1, published=(), deadline_ms=deadline))


def _new_attempt(overlay: Overlay, call: Call, record: Alignment, without: set[Name]) -> None:
    roster = tuple(name for name in record.roster if name not in without and is_active(overlay, name))
    if len(roster) < record.least:
        end_alignment(overlay, replace(record, roster=roster), "too-few-hospitals")
        return
    fresh = replace(
        record,
        phase="committing",
        deadline_ms=call.block.time_ms + record.commit_ms,
        roster=roster,
        attempt=record.attempt + 1,
        stage=0,
        lengths=(),
        published=(),
        reports=(),
        results=(),
    )
    put_alignment(overlay, fresh)


def _guilty(record: Alignment) -> set[Name]:
    others = len(record.roster) - 1
    return {name for name in record.roster if 2 * sum(about == name for _, about in record.reports) > others}
