"""What time and votes decide: `Advance` past a deadline, and how a paused study goes on or ends.

Rules:
1. Nothing happens by itself. Past a phase's deadline, by block time, anyone may send `Advance`; before it is refused.
2. Past the study's own deadline `Advance` ends the study, whatever its phase.
3. A paused study goes on when the quorum of its roster has voted to resume; resuming always opens a new round.
4. It ends when more than half of its roster has voted to abort; so may a study that runs.
   Who was removed or has withdrawn has no vote and does not count.
5. A vote is cast once a pause; who voted to resume may still vote to abort.
"""

from __future__ import annotations

from msgspec.structs import replace

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Code, StudyId
from medfed.ledger.contracts.aggregates import close_aggregation
from medfed.ledger.contracts.agreement import dispute
from medfed.ledger.contracts.ciphertexts import close_decrypt, close_sum
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.keying import close_enrolment, close_keying, close_sealing
from medfed.ledger.contracts.offices import close_awaiting_key, is_sealed
from medfed.ledger.contracts.reveals import close_reveal
from medfed.ledger.contracts.rounds import current_round, open_round, put_round
from medfed.ledger.contracts.studies import (
    Study,
    abort,
    close_approval,
    need_study,
    put_study,
    voters,
    with_name,
)
from medfed.ledger.contracts.survivors import close_confirm
from medfed.ledger.contracts.updates import close_update
from medfed.ledger.state import Overlay, Reader

__all__ = ["AbortStudy", "Advance", "ResumeStudy", "due_at", "voters"]


class Advance(Record, tag_field="type", tag="advance"):
    """The deadline of the phase that the study is in has passed."""

    study: StudyId


class AbortStudy(Record, tag_field="type", tag="abort-study"):
    """Vote to end a study unfinished."""

    study: StudyId
    code: Code


class ResumeStudy(Record, tag_field="type", tag="resume-study"):
    """Vote to go on after a pause."""

    study: StudyId


def due_at(reader: Reader, study: Study) -> int | None:
    """The block time from which `Advance` is accepted, or None where nothing can be awaited."""
    if study.phase in ("completed", "aborted"):
        return None
    if study.phase == "paused":
        return study.ends_ms
    if study.phase == "running":
        record = current_round(reader, study)
        return study.ends_ms if record is None else min(record.deadline_ms, study.ends_ms)
    return min(study.deadline_ms, study.ends_ms)


def apply_advance(overlay: Overlay, call: Call, body: Advance) -> None:
    """Rules 1 and 2."""
    study = need_study(overlay, body.study)
    due = due_at(overlay, study)
    if due is None:
        raise Refused("wrong-phase", f"the study is {study.phase}")
    if call.block.time_ms <= due:
        raise Refused("too-early", f"the deadline passes in {due - call.block.time_ms} ms of block time")
    if call.block.time_ms > study.ends_ms:
        _end(overlay, study, "study-deadline")
    elif study.phase == "running":
        _advance_round(overlay, call, study)
    else:
        _advance_phase(overlay, call, study)


def apply_resume_study(overlay: Overlay, call: Call, body: ResumeStudy) -> None:
    """Rules 3 and 5."""
    study = need_study(overlay, body.study, "paused")
    _check_voter(study, call, study.resume_votes)
    study = replace(study, resume_votes=with_name(study.resume_votes, call.sender))
    if len(voters(study).intersection(study.resume_votes)) < study.terms.quorum:
        put_study(overlay, study)
        return
    open_round(overlay, call, replace(study, phase="running", pause_code="", resume_votes=(), abort_votes=()))


def apply_abort_study(overlay: Overlay, call: Call, body: AbortStudy) -> None:
    """Rules 4 and 5."""
    study = need_study(overlay, body.study, "awaiting-key", "running", "agreeing", "paused")
    _check_voter(study, call, study.abort_votes)
    study = replace(study, abort_votes=with_name(study.abort_votes, call.sender))
    put_study(overlay, study)
    still = voters(study)
    if 2 * len(still.intersection(study.abort_votes)) > len(still):
        _end(overlay, study, "voted")


def _advance_phase(overlay: Overlay, call: Call, study: Study) -> None:
    if study.phase == "proposed":
        close_approval(overlay, call, study)
    elif study.phase == "enrolling":
        close_enrolment(overlay, call, study)
    elif study.phase == "sealing":
        close_sealing(overlay, call, study)
    elif study.phase == "confirming":
        close_keying(overlay, call, study)
    elif study.phase == "awaiting-key":
        close_awaiting_key(overlay, study)
    else:
        dispute(overlay, study)


def _advance_round(overlay: Overlay, call: Call, study: Study) -> None:
    record = current_round(overlay, study)
    if record is None:
        raise Refused("wrong-phase", "no round is open")
    if record.phase == "update":
        close_update(overlay, call, study, record)
    elif record.phase == "confirm":
        close_confirm(overlay, call, study, record)
    elif record.phase == "sum" and is_sealed(study):
        close_aggregation(overlay, study, record)
    elif record.phase == "sum":
        close_sum(overlay, study, record)
    elif record.phase == "decrypt":
        close_decrypt(overlay, study, record)
    else:
        close_reveal(overlay, call, study, record)


def _end(overlay: Overlay, study: Study, code: str) -> None:
    record = current_round(overlay, study)
    if record is not None and record.phase in ("update", "confirm", "sum"):
        put_round(overlay, replace(record, phase="unreleased"))
    elif record is not None and record.phase in ("reveal", "decrypt"):
        put_round(overlay, replace(record, phase="failed"))
    abort(overlay, study, code)


def _check_voter(study: Study, call: Call, votes: tuple[str, ...]) -> None:
    if call.sender not in voters(study):
        raise Refused("not-in-study", f"{call.sender} is not on the study roster, was removed from it or has withdrawn")
    if call.sender in votes:
        raise Refused("already-voted", f"{call.sender} has voted already")
