"""The confirm phase: every survivor signs the same survivors and puts its seeds in escrow, or the attempt is void.

Rules:
1. Only survivors confirm, each once, and only the survivors and blobs that the contract proposed.
2. An escrow comes with one sealed share for every holder, no more and no fewer.
3. A survivor that cannot get a blob reports whose; it may still confirm before the deadline, not the reverse.
4. Only when all survivors have confirmed does the round move to reveal; a votes round is charged then.
5. At the deadline the attempt is void with nothing revealed. The next attempt leaves out the silent (no accepted or
   late transaction of this attempt), those whose blob more than a third of the study roster reported, and the
   reporters of a hospital that stays at or below a third.
6. A next roster below the quorum, or no attempt left: the round ends unreleased and the study pauses.
7. A survivor that refuses the survivors voids the attempt without penalty, and the study pauses.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from medfed.crypto.escrow import SealedShare
from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Code, Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.labelling import charge_votes
from medfed.ledger.contracts.offices import is_masked
from medfed.ledger.contracts.rounds import (
    Round,
    close_unreleased,
    holders_of,
    need_round,
    put_round,
)
from medfed.ledger.contracts.studies import Study, eligible
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "ConfirmSurvivors",
    "Confirmation",
    "RefuseSurvivors",
    "ReportMissing",
    "confirmation",
    "need_unconfirmed",
    "void_attempt",
]

RoundNumber = Annotated[int, Meta(ge=0)]


class Confirmation(Record):
    """A survivor's escrow and the shares of its key."""

    escrow: bytes
    shares: tuple[SealedShare, ...]


class ConfirmSurvivors(Record, tag_field="type", tag="confirm-survivors"):
    """I have every survivor's blob; I sign exactly these survivors; here is my escrow."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    survivors: Digest
    escrow: Annotated[bytes, Meta(min_length=1, max_length=8192)]
    shares: Annotated[tuple[SealedShare, ...], Meta(max_length=50)]


class ReportMissing(Record, tag_field="type", tag="report-missing"):
    """I cannot get the blobs of these survivors, or they are not what their digest says."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    who: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=50)]


class RefuseSurvivors(Record, tag_field="type", tag="refuse-survivors"):
    """My vault forbids a release over these survivors."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    code: Code


_CONFIRMATIONS: Final[Table[Confirmation]] = Table("confirmation", Confirmation)


def confirmation(reader: Reader, study: StudyId, round_number: int, attempt: int, who: Name) -> Confirmation | None:
    """What `who` confirmed with."""
    return _CONFIRMATIONS.get(reader, study, round_number, attempt, who)


def apply_confirm_survivors(overlay: Overlay, call: Call, body: ConfirmSurvivors) -> None:
    """Rules 1 to 4."""
    study, record = need_unconfirmed(overlay, call, body.study, body.round, body.attempt)
    _check_masked(study)
    if body.survivors != record.survivors_digest:
        raise Refused("other-survivors", "the confirmation names other survivors or blobs")
    if tuple(share.holder for share in body.shares) != holders_of(study, call.sender):
        raise Refused("wrong-holders", "an escrow has one share for each holder, in order")
    entry = Confirmation(body.escrow, body.shares)
    _CONFIRMATIONS.put(overlay, entry, study.study, record.number, record.attempt, call.sender)
    record = replace(
        record,
        confirmed=tuple(sorted((*record.confirmed, call.sender))),
        reports=tuple(row for row in record.reports if row[0] != call.sender),
    )
    if record.confirmed == record.survivors:
        if record.kind == "votes":
            charge_votes(overlay, study, record.number, len(record.survivors))
        deadline = call.block.time_ms + study.terms.deadlines.reveal
        record = replace(record, phase="reveal", deadline_ms=deadline)
    put_round(overlay, record)


def apply_report_missing(overlay: Overlay, call: Call, body: ReportMissing) -> None:
    """Rule 3."""
    study, record = need_unconfirmed(overlay, call, body.study, body.round, body.attempt)
    _check_masked(study)
    if any(reporter == call.sender for reporter, _ in record.reports):
        raise Refused("already-reported", f"{call.sender} has reported in this attempt")
    if list(body.who) != sorted(set(body.who)) or call.sender in body.who:
        raise Refused("bad-report", "a report names other survivors, sorted, each once")
    if not set(body.who) <= set(record.survivors):
        raise Refused("bad-report", "a report names survivors")
    reports = (*record.reports, *((call.sender, name) for name in body.who))
    put_round(overlay, replace(record, reports=tuple(sorted(reports))))


def apply_refuse_survivors(overlay: Overlay, call: Call, body: RefuseSurvivors) -> None:
    """Rule 7."""
    study, record = need_unconfirmed(overlay, call, body.study, body.round, body.attempt)
    close_unreleased(overlay, study, record, "survivors-refused")


def close_confirm(overlay: Overlay, call: Call, study: Study, record: Round) -> None:
    """The deadline has passed without all confirmations: rules 5 and 6."""
    void_attempt(overlay, call, study, record, _left_out(study, record))


def void_attempt(overlay: Overlay, call: Call, study: Study, record: Round, out: set[Name]) -> None:
    """Rules 5 and 6: the next attempt, without `out`, or the end of the round."""
    still = eligible(overlay, study)
    roster = tuple(name for name in record.roster if name not in out and name in still)
    attempt = record.attempt + 1
    if len(roster) < study.terms.quorum or attempt >= study.terms.max_attempts:
        close_unreleased(overlay, study, record, "attempts-used")
        return
    deadline = call.block.time_ms + study.terms.deadlines.update
    put_round(
        overlay,
        Round(study.study, record.number, record.kind, "update", deadline, roster, attempt),
    )


def _left_out(study: Study, record: Round) -> set[Name]:
    counts = {name: sum(who == name for _, who in record.reports) for name in record.survivors}
    guilty = {name for name, count in counts.items() if 3 * count > len(study.roster)}
    unjust = {reporter for reporter, who in record.reports if who not in guilty}
    reporters = {reporter for reporter, _ in record.reports}
    heard = set(record.confirmed) | reporters | set(record.tardy)
    wrong_base = set(record.submitted) - set(record.survivors)
    silent = set(record.roster) - heard - wrong_base
    return silent | guilty | unjust


def _check_masked(study: Study) -> None:
    if not is_masked(study):
        raise Refused("other-protection", "in this study updates are not masked: `ConfirmCiphertext`, `ConfirmSealed`")


def need_unconfirmed(overlay: Overlay, call: Call, study: StudyId, number: int, attempt: int) -> tuple[Study, Round]:
    """The study and its round in confirmation, if the sender is a survivor that has not confirmed.

    Raises:
        Refused: as `need_round`; `not-a-survivor` or `already-confirmed`.
    """
    record, current = need_round(overlay, study, number, attempt, "confirm")
    if call.sender not in current.survivors:
        raise Refused("not-a-survivor", f"{call.sender} is not among the survivors")
    if call.sender in current.confirmed:
        raise Refused("already-confirmed", f"{call.sender} has confirmed in this attempt")
    return record, current
