"""The update phase: masked updates by digest, on the agreed base, and who survives into confirmation.

Rules:
1. Each hospital of the attempt's roster submits once an attempt; the blob itself stays off the ledger.
2. An update names the base it started from. Only updates on the final base count; others stand recorded.
3. When the whole roster has submitted and the base is final, or at the deadline with at least the quorum on it, the
   hospitals on that base are the proposed survivors.
4. A hospital of the roster that submits after that is recorded as tardy and stays expected in the next attempt.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from medfed.encoding import Record, digest_of
from medfed.errors import Refused
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.agreement import dispute, vote
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.rounds import (
    Round,
    close_unreleased,
    current_round,
    need_round,
    put_round,
)
from medfed.ledger.contracts.studies import Study
from medfed.ledger.state import Overlay, Reader, Table

__all__ = ["Submission", "SubmitUpdate", "submission", "survivors_digest"]


class Submission(Record):
    """What a hospital submitted in one attempt."""

    base: Digest
    blob: Digest
    length: int
    seed_commitment: Digest
    """SHA-256 of the self seed."""


class SubmitUpdate(Record, tag_field="type", tag="submit-update"):
    """A masked update: the digest of its blob, its length in bytes, and the base it started from."""

    study: StudyId
    round: Annotated[int, Meta(ge=0)]
    attempt: Annotated[int, Meta(ge=0)]
    base: Digest
    accepts: bool
    """Whether the sender accepts the last aggregate; a rejecting sender's base is the old one."""
    blob: Digest
    length: Annotated[int, Meta(ge=4, le=2**40)]
    seed_commitment: Digest


_SUBMISSIONS: Final[Table[Submission]] = Table("submission", Submission)


def submission(reader: Reader, study: StudyId, round_number: int, attempt: int, who: Name) -> Submission | None:
    """What `who` submitted in that attempt."""
    return _SUBMISSIONS.get(reader, study, round_number, attempt, who)


def survivors_digest(study: StudyId, round_number: int, attempt: int, blobs: tuple[tuple[Name, Digest], ...]) -> Digest:
    """What all survivors sign: who they are and which blobs count."""
    return digest_of("medfed/survivors", study, round_number, attempt, blobs)


def apply_submit_update(overlay: Overlay, call: Call, body: SubmitUpdate) -> None:
    """Rules 1 to 4."""
    study, record = need_round(overlay, body.study, body.round, body.attempt, "update", "confirm")
    if call.sender not in record.roster:
        raise Refused("not-on-roster", f"{call.sender} is not expected in this attempt")
    if call.sender in record.submitted or call.sender in record.tardy:
        raise Refused("already-submitted", f"{call.sender} has submitted in this attempt")
    entry = Submission(body.base, body.blob, body.length, body.seed_commitment)
    _SUBMISSIONS.put(overlay, entry, study.study, record.number, record.attempt, call.sender)
    if record.phase == "confirm":
        put_round(overlay, replace(record, tardy=tuple(sorted((*record.tardy, call.sender)))))
        return
    put_round(overlay, replace(record, submitted=tuple(sorted((*record.submitted, call.sender)))))
    study = vote(overlay, call, study, body.base, body.accepts, stop=False)
    _propose_if_complete(overlay, call, study)


def close_update(overlay: Overlay, call: Call, study: Study, record: Round) -> None:
    """The deadline of the update phase has passed (rule 3)."""
    if study.base is None:
        dispute(overlay, study)
    elif len(_on_base(overlay, study, record)) >= study.terms.quorum:
        _propose(overlay, call, study, record)
    else:
        close_unreleased(overlay, study, record, "too-few-updates")


def _propose_if_complete(overlay: Overlay, call: Call, study: Study) -> None:
    record = current_round(overlay, study)
    if study.phase != "running" or record is None or record.phase != "update" or study.base is None:
        return
    if record.submitted == record.roster and len(_on_base(overlay, study, record)) >= study.terms.quorum:
        _propose(overlay, call, study, record)


def _propose(overlay: Overlay, call: Call, study: Study, record: Round) -> None:
    survivors = _on_base(overlay, study, record)
    digest = survivors_digest(
        study.study,
        record.number,
        record.attempt,
        tuple((name, _need(overlay, study, record, name).blob) for name in survivors),
    )
    proposed = replace(
        record,
        phase="confirm",
        survivors=survivors,
        survivors_digest=digest,
        deadline_ms=call.block.time_ms + study.terms.deadlines.confirm,
    )
    put_round(overlay, proposed)


def _on_base(overlay: Overlay, study: Study, record: Round) -> tuple[Name, ...]:
    return tuple(name for name in record.submitted if _need(overlay, study, record, name).base == study.base)


def _need(overlay: Overlay, study: Study, record: Round, name: Name) -> Submission:
    found = submission(overlay, study.study, record.number, record.attempt, name)
    if found is None:
        raise Refused("no-such-update", f"{name} has not submitted")
    return found
