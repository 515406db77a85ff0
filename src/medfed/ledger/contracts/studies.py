"""A study from proposal to keys: who approves, enrols and shares pair secrets; and how it pauses, resumes and ends.

| phase | ends when | becomes |
|---|---|---|
| proposed | all invited answered, or `Advance` | enrolling with at least the quorum of approvals, else aborted |
| enrolling | all who approved enrolled, or `Advance` | sealing with at least the quorum, else aborted |
| sealing | all enrolled posted pair secrets, or `Advance` | confirming without the silent, else aborted |
| confirming | all sealed confirmed their keys, or `Advance` | running with the study roster, else aborted |
| running | a round cannot go on: paused; after the last round: agreeing, then completed | |
| paused | the quorum votes to resume; more than half vote to abort | running, aborted |

Rules:
1. A plan is proposed once, under a fresh id, with terms that hold together; only active hospitals are invited.
2. Only the invited approve or decline, each once, naming the digest of what was proposed. Nobody answers for another,
   and the proposer's own approval, where it is invited, counts as one among the quorum.
3. A hospital may withdraw after keying. Who missed two rounds says when it is back; who was removed cannot, nor vote.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import replace

from medfed.encoding import Record, digest_of
from medfed.errors import Refused
from medfed.identifiers import Code, Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.membership import is_active, participant
from medfed.ledger.contracts.proposals import check_terms
from medfed.ledger.contracts.terms import RoundKind, Terms
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "ApproveStudy",
    "DeclineStudy",
    "Enrolment",
    "PairSecrets",
    "ProposeStudy",
    "Rejoin",
    "SealedSecret",
    "Study",
    "StudyPhase",
    "WithdrawFromStudy",
    "eligible",
    "enrolment",
    "has_edge",
    "members",
    "pair_secrets",
    "proposal_digest",
    "studies",
    "study_record",
]

StudyPhase = Literal[
    "proposed", "enrolling", "sealing", "confirming", "awaiting-key", "running", "agreeing", "paused",
    "completed", "aborted",
]  # fmt: skip
HybridPublicKey = Annotated[bytes, Meta(min_length=1216, max_length=1216)]
SealedBytes = Annotated[bytes, Meta(min_length=1, max_length=2048)]
MISSES_BEFORE_REJOIN: Final = 2
REJECTIONS_BEFORE_PAUSE: Final = 3


class Study(Record):
    """Where a study stands. `roster` is the study roster once keying has closed."""

    study: StudyId
    proposer: Name
    terms: Terms
    digest: Digest
    """What hospitals approve: see `proposal_digest`."""
    phase: StudyPhase
    deadline_ms: int
    ends_ms: int
    approved: tuple[Name, ...] = ()
    declined: tuple[Name, ...] = ()
    enrolled: tuple[Name, ...] = ()
    sealed: tuple[Name, ...] = ()
    ready: tuple[Name, ...] = ()
    lost_edges: tuple[tuple[Name, Name], ...] = ()
    """Pairs (lower, higher) that share no secret."""
    roster: tuple[Name, ...] = ()
    withdrawn: tuple[Name, ...] = ()
    expelled: tuple[Name, ...] = ()
    """Whose escrow was proven wrong."""
    missed: tuple[tuple[Name, int], ...] = ()
    """Completed rounds in a row that a hospital was left out of; absent means none."""
    step: int = 0
    done_in_step: int = 0
    next_round: int = 0
    base: Digest | None = None
    """The agreed base of the next update; None while the last released survivors have not agreed."""
    previous_base: Digest | None = None
    base_round: int = -1
    base_voters: tuple[Name, ...] = ()
    base_votes: tuple[tuple[Name, Digest, bool, bool], ...] = ()
    """(voter, base, accepts the aggregate, wants to stop training)."""
    rejections: int = 0
    pause_code: str = ""
    pauses: int = 0
    resume_votes: tuple[Name, ...] = ()
    abort_votes: tuple[Name, ...] = ()


class Enrolment(Record):
    """What a hospital brings to a study."""

    examples: int
    schema: Digest
    cases_root: Digest
    study_key: HybridPublicKey


class SealedSecret(Record):
    """A pair secret sealed to one hospital's study key."""

    receiver: Name
    sealed: SealedBytes


class PairSecrets(Record):
    """All pair secrets that one hospital has posted."""

    secrets: tuple[SealedSecret, ...]


class ProposeStudy(Record, tag_field="type", tag="propose-study"):
    """Propose a study: the contract's terms and the whole plan behind them."""

    study: StudyId
    terms: Terms
    plan: Annotated[bytes, Meta(min_length=1, max_length=49_152)]


class ApproveStudy(Record, tag_field="type", tag="approve-study"):
    """Approve exactly what was proposed."""

    study: StudyId
    digest: Digest


class DeclineStudy(Record, tag_field="type", tag="decline-study"):
    """Decline, with a reason code."""

    study: StudyId
    code: Code


class WithdrawFromStudy(Record, tag_field="type", tag="withdraw-from-study"):
    """Take no part in later rounds."""

    study: StudyId


class Rejoin(Record, tag_field="type", tag="rejoin"):
    """Be expected again after two missed rounds."""

    study: StudyId


_STUDIES: Final[Table[Study]] = Table("study", Study)
_PLANS: Final[Table[bytes]] = Table("plan", bytes)
_ENROLMENTS: Final[Table[Enrolment]] = Table("enrolment", Enrolment)
_SECRETS: Final[Table[PairSecrets]] = Table("pair-secrets", PairSecrets)
_INDEX: Final[Table[tuple[StudyId, ...]]] = Table("studies", tuple[StudyId, ...])


def study_record(reader: Reader, study: StudyId) -> Study | None:
    """The study of that id."""
    return _STUDIES.get(reader, study)


def studies(reader: Reader) -> tuple[StudyId, ...]:
    """All studies in the order in which they were proposed."""
    return _INDEX.get(reader) or ()


def proposed_plan(reader: Reader, study: StudyId) -> bytes | None:
    """The canonical bytes of a study's plan."""
    return _PLANS.get(reader, study)


def enrolment(reader: Reader, study: StudyId, who: Name) -> Enrolment | None:
    """What `who` enrolled with."""
    return _ENROLMENTS.get(reader, study, who)


def pair_secrets(reader: Reader, study: StudyId, sender: Name) -> PairSecrets | None:
    """The sealed pair secrets that `sender` has posted."""
    return _SECRETS.get(reader, study, sender)


def proposal_digest(study: StudyId, terms: Terms, plan: bytes) -> Digest:
    """What an approval names: it covers the id, the terms and every byte of the plan."""
    return digest_of("medfed/proposal", study, terms, plan)


def has_edge(study: Study, one: Name, other: Name) -> bool:
    """Whether two hospitals of the study roster share a pair secret."""
    return (min(one, other), max(one, other)) not in study.lost_edges


def missed_rounds(study: Study, who: Name) -> int:
    """Completed rounds in a row that `who` was left out of."""
    return next((count for name, count in study.missed if name == who), 0)


def eligible(reader: Reader, study: Study) -> tuple[Name, ...]:
    """Who is expected in the next round: the members less who withdrew, left or missed two rounds."""
    return tuple(
        name
        for name in members(study)
        if name not in study.withdrawn and is_active(reader, name) and missed_rounds(study, name) < MISSES_BEFORE_REJOIN
    )


def members(study: Study) -> tuple[Name, ...]:
    """The study roster less who was removed for a bad escrow."""
    return tuple(name for name in study.roster if name not in study.expelled)


def voters(study: Study) -> frozenset[Name]:
    """Who decides on pauses: the study roster less who was removed or has withdrawn."""
    return frozenset(members(study)).difference(study.withdrawn)


def capped_examples(reader: Reader, study: Study, who: Name) -> int:
    """The enrolled number of examples as it counts in weights."""
    record = _ENROLMENTS.get(reader, study.study, who)
    return 0 if record is None else min(record.examples, study.terms.max_examples)


def need_study(reader: Reader, study: StudyId, *phases: StudyPhase) -> Study:
    """The study, if it exists and is in one of `phases`.

    Raises:
        Refused: `no-such-study` or `wrong-phase`.
    """
    record = _STUDIES.get(reader, study)
    if record is None:
        raise Refused("no-such-study", f"no study {study.hex()}")
    if phases and record.phase not in phases:
        raise Refused("wrong-phase", f"the study is {record.phase}, not {' or '.join(phases)}")
    return record


def put_enrolment(overlay: Overlay, study: StudyId, who: Name, record: Enrolment) -> None:
    """Store what `who` brings."""
    _ENROLMENTS.put(overlay, record, study, who)


def put_pair_secrets(overlay: Overlay, study: StudyId, sender: Name, record: PairSecrets) -> None:
    """Store the sealed pair secrets of `sender`."""
    _SECRETS.put(overlay, record, study, sender)


def put_study(overlay: Overlay, study: Study) -> None:
    """Store a changed study."""
    _STUDIES.put(overlay, study, study.study)


def apply_propose_study(overlay: Overlay, call: Call, body: ProposeStudy) -> None:
    """Rule 1."""
    if study_record(overlay, body.study) is not None:
        raise Refused("study-exists", "this study id is in use")
    proposer = participant(overlay, call.sender)
    if proposer is None or proposer.role not in ("organiser", "hospital", "aggregator"):
        raise Refused("wrong-role", "studies are proposed by organisers, aggregators and hospitals")
    check_terms(overlay, body.terms, body.plan)
    now, terms = call.block.time_ms, body.terms
    record = Study(
        study=body.study,
        proposer=call.sender,
        terms=terms,
        digest=proposal_digest(body.study, terms, body.plan),
        phase="proposed",
        deadline_ms=now + terms.deadlines.approval,
        ends_ms=now + terms.deadlines.study,
    )
    put_study(overlay, record)
    _PLANS.put(overlay, body.plan, body.study)
    _INDEX.put(overlay, (*studies(overlay), body.study))


def apply_approve_study(overlay: Overlay, call: Call, body: ApproveStudy) -> None:
    """Rule 2."""
    study = _need_unanswered(overlay, call, body.study)
    if body.digest != study.digest:
        raise Refused("other-plan", "the approval names another plan than the one proposed")
    study = replace(study, approved=with_name(study.approved, call.sender))
    put_study(overlay, study)
    if len(study.approved) + len(study.declined) == len(study.terms.invited):
        close_approval(overlay, call, study)


def apply_decline_study(overlay: Overlay, call: Call, body: DeclineStudy) -> None:
    """Rule 2."""
    study = _need_unanswered(overlay, call, body.study)
    study = replace(study, declined=with_name(study.declined, call.sender))
    put_study(overlay, study)
    if len(study.approved) + len(study.declined) == len(study.terms.invited):
        close_approval(overlay, call, study)


def apply_withdraw_from_study(overlay: Overlay, call: Call, body: WithdrawFromStudy) -> None:
    """A hospital may always stop taking part; a round that runs goes on as if it had fallen silent."""
    study = need_study(overlay, body.study, "awaiting-key", "running", "agreeing", "paused")
    if call.sender not in study.roster or call.sender in study.withdrawn:
        raise Refused("not-in-study", f"{call.sender} is not in the study")
    put_study(overlay, replace(study, withdrawn=with_name(study.withdrawn, call.sender)))


def apply_rejoin(overlay: Overlay, call: Call, body: Rejoin) -> None:
    """Who missed two rounds says that it is back."""
    study = need_study(overlay, body.study, "running", "paused")
    if call.sender not in members(study) or call.sender in study.withdrawn:
        raise Refused("not-in-study", f"{call.sender} is not in the study")
    if missed_rounds(study, call.sender) < MISSES_BEFORE_REJOIN:
        raise Refused("not-away", f"{call.sender} is expected in the next round anyway")
    missed = tuple(row for row in study.missed if row[0] != call.sender)
    put_study(overlay, replace(study, missed=missed))


def close_approval(overlay: Overlay, call: Call, study: Study) -> None:
    """All have answered, or the deadline has passed."""
    if len(study.approved) < study.terms.quorum:
        abort(overlay, study, "too-few-approvals")
        return
    deadline = call.block.time_ms + study.terms.deadlines.enrolment
    put_study(overlay, replace(study, phase="enrolling", deadline_ms=deadline))


def abort(overlay: Overlay, study: Study, code: str) -> None:
    """End a study unfinished."""
    put_study(overlay, replace(study, phase="aborted", pause_code=code))


def pause(overlay: Overlay, study: Study, code: str) -> None:
    """Stop opening rounds until the roster decides."""
    paused = replace(study, phase="paused", pause_code=code, pauses=study.pauses + 1, resume_votes=(), abort_votes=())
    put_study(overlay, paused)


def current_kind(study: Study) -> RoundKind | None:
    """The kind of the next round by the plan's steps, or None after the last."""
    if study.step >= len(study.terms.steps):
        return None
    return study.terms.steps[study.step].kind


def after_released(study: Study) -> Study:
    """The study moved on by one round of its current step."""
    done = study.done_in_step + 1
    if done >= study.terms.steps[study.step].count:
        return replace(study, step=study.step + 1, done_in_step=0)
    return replace(study, done_in_step=done)


def after_missed(study: Study, survivors: Iterable[Name]) -> Study:
    """Who was left out of a completed round has missed one more; who counted starts anew."""
    present = set(survivors)
    missed = tuple((name, missed_rounds(study, name) + 1) for name in study.roster if name not in present)
    return replace(study, missed=missed)


def _need_unanswered(overlay: Overlay, call: Call, study: StudyId) -> Study:
    record = need_study(overlay, study, "proposed")
    if call.sender not in record.terms.invited:
        raise Refused("not-invited", f"{call.sender} is not invited to this study")
    if call.sender in record.approved or call.sender in record.declined:
        raise Refused("already-answered", f"{call.sender} has answered")
    return record


def with_name(names: tuple[Name, ...], name: Name) -> tuple[Name, ...]:
    """`names` and `name`, sorted."""
    return tuple(sorted((*names, name)))
