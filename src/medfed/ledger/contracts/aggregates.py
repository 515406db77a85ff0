"""Rounds of sealed updates: session keys from the aggregator, and what it makes of the updates that it opens.

| phase | what is awaited | then |
|---|---|---|
| awaiting-key, of the study | `IssueSessionKeys` of the aggregator | running with a new round |
| update, of the round | as in a masked round: the ledger gets digests | confirm |
| confirm | `ConfirmSealed` of all survivors | sum |
| confirm | the deadline | void: update again, attempt + 1, without the silent |
| sum | `PublishAggregate` of the aggregator: final | released |
| sum | `ReportUpdates` of the aggregator | void: attempt + 1, without those whose updates are bad |
| sum | the deadline | the study pauses |

Rules:
1. Only the aggregator issues session keys, one sealed to each hospital of the study roster, once for each time that it
   comes to office. Its successor issues new ones (`offices`).
2. Only survivors confirm, each once, and only the survivors and blobs that the contract proposed.
3. Only when all survivors, at least the quorum, have confirmed may the aggregator publish, once, over exactly them.
4. It names by code whose update does not count, no more than the plan's strategy leaves out, and whose was shortened.
   Who was left out earns nothing in that round, and keeps its word on the outcome.
5. An update that it cannot open, or that no honest hospital could have sent, it reports by code; the attempt is void.
6. A survivor that can tell from its own numbers that the aggregate is wrong may dispute it, once, while the next round
   runs; the study pauses for people to look.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, UnsetType
from msgspec.structs import replace

from medfed.encoding import Record, digest_of
from medfed.errors import Refused
from medfed.identifiers import Code, Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.offices import install_key, is_sealed, need_offices
from medfed.ledger.contracts.rounds import (
    Round,
    close_released,
    close_unreleased,
    current_round,
    need_round,
    open_round,
    put_round,
)
from medfed.ledger.contracts.studies import SealedSecret, Study, need_study, pause
from medfed.ledger.contracts.survivors import need_unconfirmed, void_attempt
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "Aggregate",
    "ConfirmSealed",
    "DisputeAggregate",
    "IssueSessionKeys",
    "PublishAggregate",
    "ReportUpdates",
    "SessionKeys",
    "Verdict",
    "aggregate",
    "disputes",
    "session_keys",
]

RoundNumber = Annotated[int, Meta(ge=0)]
Length = Annotated[int, Meta(ge=4, le=2**40)]


class SessionKeys(Record):
    """The session keys in use, sealed."""

    aggregator: Name
    keys: tuple[SealedSecret, ...]


class Verdict(Record):
    """Why a hospital's update does not count."""

    hospital: Name
    code: Code


class IssueSessionKeys(Record, tag_field="type", tag="issue-session-keys"):
    """One session key for each hospital of the study roster, sealed to its study key."""

    study: StudyId
    keys: Annotated[tuple[SealedSecret, ...], Meta(min_length=1, max_length=50)]


class ConfirmSealed(Record, tag_field="type", tag="confirm-sealed"):
    """I sign exactly these survivors."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    survivors: Digest


class PublishAggregate(Record, tag_field="type", tag="publish-aggregate"):
    """What I made of the survivors' updates, a blob; whose was left out and why, and whose was shortened."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    survivors: Digest
    total: Digest
    length: Length
    left_out: Annotated[tuple[Verdict, ...], Meta(max_length=50)] = ()
    shortened: Annotated[tuple[Name, ...], Meta(max_length=50)] = ()


class ReportUpdates(Record, tag_field="type", tag="report-updates"):
    """The updates of these survivors do not open, or no honest hospital could have sent them."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    who: Annotated[tuple[Verdict, ...], Meta(min_length=1, max_length=50)]


class DisputeAggregate(Record, tag_field="type", tag="dispute-aggregate"):
    """The last aggregate cannot have my update in it as it says."""

    study: StudyId
    round: RoundNumber
    code: Code


class Aggregate(Record):
    """What the aggregator published."""

    aggregator: Name
    total: Digest
    length: int
    left_out: tuple[Verdict, ...] = ()
    shortened: tuple[Name, ...] = ()


_SESSION_KEYS: Final[Table[SessionKeys]] = Table("session-keys", SessionKeys)
_AGGREGATES: Final[Table[Aggregate]] = Table("aggregate", Aggregate)
_DISPUTES: Final[Table[tuple[Verdict, ...]]] = Table("aggregate-disputes", tuple[Verdict, ...])


def session_keys(reader: Reader, study: StudyId) -> SessionKeys | None:
    """The session keys in use."""
    return _SESSION_KEYS.get(reader, study)


def aggregate(reader: Reader, study: StudyId, round_number: int, attempt: int) -> Aggregate | None:
    """What the aggregator published."""
    return _AGGREGATES.get(reader, study, round_number, attempt)


def disputes(reader: Reader, study: StudyId, round_number: int) -> tuple[Verdict, ...]:
    """Who disputes the aggregate of a round, and why."""
    return _DISPUTES.get(reader, study, round_number) or ()


def apply_issue_session_keys(overlay: Overlay, call: Call, body: IssueSessionKeys) -> None:
    """Rule 1."""
    study = need_study(overlay, body.study, "awaiting-key")
    _check_sealed(study)
    found = need_offices(overlay, study)
    if call.sender not in found.aggregators:
        raise Refused("not-an-aggregator", f"{call.sender} is not the aggregator of the study")
    if tuple(entry.receiver for entry in body.keys) != study.roster:
        raise Refused("wrong-receivers", "session keys go to every hospital of the study roster, in order")
    _SESSION_KEYS.put(overlay, SessionKeys(call.sender, body.keys), study.study)
    open_round(overlay, call, install_key(overlay, study, digest_of("medfed/session-keys", body)))


def apply_confirm_sealed(overlay: Overlay, call: Call, body: ConfirmSealed) -> None:
    """Rules 2 and 3."""
    study, record = need_unconfirmed(overlay, call, body.study, body.round, body.attempt)
    _check_sealed(study)
    if body.survivors != record.survivors_digest:
        raise Refused("other-survivors", "the confirmation names other survivors or blobs")
    record = replace(record, confirmed=tuple(sorted((*record.confirmed, call.sender))))
    if record.confirmed == record.survivors:
        deadline = call.block.time_ms + study.terms.deadlines.reveal
        record = replace(record, phase="sum", deadline_ms=deadline)
    put_round(overlay, record)


def apply_publish_aggregate(overlay: Overlay, call: Call, body: PublishAggregate) -> None:
    """Rules 3 and 4."""
    study, record = _need_aggregator(overlay, call, body.study, body.round, body.attempt)
    if body.survivors != record.survivors_digest:
        raise Refused("other-survivors", "the aggregate is over other survivors or blobs")
    left_out = tuple(verdict.hospital for verdict in body.left_out)
    for names in (left_out, body.shortened):
        _check_survivors(record, names)
    if len(left_out) > _most_left_out(study):
        raise Refused("too-many-left-out", f"the plan lets the aggregator leave out {_most_left_out(study)} at most")
    entry = Aggregate(call.sender, body.total, body.length, body.left_out, body.shortened)
    _AGGREGATES.put(overlay, entry, study.study, record.number, record.attempt)
    close_released(overlay, call, study, record, left_out=frozenset(left_out))


def apply_report_updates(overlay: Overlay, call: Call, body: ReportUpdates) -> None:
    """Rule 5."""
    study, record = _need_aggregator(overlay, call, body.study, body.round, body.attempt)
    names = tuple(verdict.hospital for verdict in body.who)
    _check_survivors(record, names)
    reports = tuple((call.sender, name) for name in names)
    void_attempt(overlay, call, study, replace(record, reports=reports), set(names))


def apply_dispute_aggregate(overlay: Overlay, call: Call, body: DisputeAggregate) -> None:
    """Rule 6."""
    study = need_study(overlay, body.study, "running", "agreeing")
    _check_sealed(study)
    if body.round != study.base_round:
        raise Refused("wrong-round", f"round {study.base_round} is the last that was released")
    if call.sender not in study.base_voters:
        raise Refused("not-a-survivor", f"{call.sender} was not a survivor of round {body.round}")
    known = disputes(overlay, study.study, body.round)
    if any(verdict.hospital == call.sender for verdict in known):
        raise Refused("already-disputed", f"{call.sender} has disputed this aggregate")
    _DISPUTES.put(overlay, (*known, Verdict(call.sender, body.code)), study.study, body.round)
    record = current_round(overlay, study)
    if study.phase == "running" and record is not None:
        close_unreleased(overlay, study, record, "aggregate-disputed")
    else:
        pause(overlay, study, "aggregate-disputed")


def close_aggregation(overlay: Overlay, study: Study, record: Round) -> None:
    """The deadline has passed without an aggregate: nothing was published."""
    close_unreleased(overlay, study, record, "no-aggregate")


def _need_aggregator(overlay: Overlay, call: Call, study: StudyId, number: int, attempt: int) -> tuple[Study, Round]:
    record, current = need_round(overlay, study, number, attempt, "sum")
    _check_sealed(record)
    if call.sender not in need_offices(overlay, record).aggregators:
        raise Refused("not-an-aggregator", f"{call.sender} is not the aggregator of the study")
    return record, current


def _check_survivors(record: Round, names: tuple[Name, ...]) -> None:
    if list(names) != sorted(set(names)) or not set(names) <= set(record.survivors):
        raise Refused("bad-report", "survivors are named, sorted, each once")


def _check_sealed(study: Study) -> None:
    if not is_sealed(study):
        raise Refused("other-protection", "the plan protects updates in another way")


def _most_left_out(study: Study) -> int:
    return 0 if isinstance(study.terms.sealed, UnsetType) else study.terms.sealed.most_left_out
