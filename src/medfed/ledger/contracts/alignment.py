"""Opening a private set intersection and committing to it: who takes part, with which lists, in which order.

| phase | what is awaited | then |
|---|---|---|
| committing | everybody's `CommitInputs` or `DeclineAlignment`, or the deadline | blinding with who committed |
| blinding | `PublishBlinded` of the whole roster for the stage, or the deadline | the next stage |
| matching | `CompleteAlignment`: more than half of the roster name the same sizes | completed |

The roster is a ring. At stage 0 everybody publishes its own list; at stage s the list whose owner stands s places
before, blinded once more. After as many stages as there are hospitals every list is blinded by all of them. What may
happen in the last two phases is in `alignment_blinding`.

Rules:
1. An alignment is opened once, under a fresh id, for one study, among active hospitals, with the question that all of
   them ask. For one study one run of a kind is open or completed; where the study stands on the ledger, only those whom
   it invites are aligned.
2. Everybody commits to its list before any list is published: to the blinded list of this attempt, and to the inputs
   behind it, which are the same in every attempt. A list is no longer than the bound; who has enrolled in the study is
   held to 1.2 times its examples, or 16 entries.
3. Only the invited decline. One hospital that declines ends an alignment of patients, for which everybody needs a legal
   basis; otherwise it goes on without it. Fewer hospitals than the least number: the alignment ends.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import replace

from medfed.encoding import Record, digest_of
from medfed.errors import Refused
from medfed.identifiers import Code, Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.membership import participant
from medfed.ledger.contracts.studies import enrolment, study_record, with_name
from medfed.ledger.contracts.terms import Duration
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "Alignment",
    "AlignmentKind",
    "CommitInputs",
    "DeclineAlignment",
    "InputsCommitment",
    "OpenAlignment",
    "alignment_question",
    "alignment_record",
    "alignments",
    "inputs_commitment_of",
    "list_length",
    "list_owner",
    "question_digest",
]

AlignmentId = StudyId
"""16 bytes chosen at random by whoever opens it."""
AlignmentKind = Literal["signatures", "patients"]
AlignmentPhase = Literal["committing", "blinding", "matching", "completed", "ended"]
LEAST_LENGTH: Final = 16
_Length = Annotated[int, Meta(ge=1, le=1_200_000)]
Attempt = Annotated[int, Meta(ge=0, le=50)]


class Alignment(Record):
    """Where an alignment stands. Name tuples are sorted."""

    alignment: AlignmentId
    study: StudyId
    kind: AlignmentKind
    opener: Name
    question: Digest
    """What a hospital decides on: see `question_digest`."""
    bound: int
    least: int
    invited: tuple[Name, ...]
    commit_ms: int
    stage_ms: int
    phase: AlignmentPhase
    deadline_ms: int
    roster: tuple[Name, ...]
    """Who is expected: in `committing` whoever may still commit, then whoever has."""
    attempt: int = 0
    stage: int = 0
    declined: tuple[Name, ...] = ()
    lengths: tuple[tuple[Name, int], ...] = ()
    """How long the list of each hospital of this attempt is."""
    published: tuple[Name, ...] = ()
    """Who has published in this stage."""
    reports: tuple[tuple[Name, Name], ...] = ()
    """(reporter, whose blob is wrong or cannot be had)."""
    results: tuple[tuple[Name, Digest], ...] = ()
    outcome: Digest | None = None
    """The sizes that were agreed."""
    code: str = ""
    """Why it ended."""


class InputsCommitment(Record):
    """What a hospital committed to in one attempt."""

    inputs: Digest
    elements: Digest
    length: int


class OpenAlignment(Record, tag_field="type", tag="open-alignment"):
    """Ask hospitals to intersect their lists for a study."""

    alignment: AlignmentId
    study: StudyId
    kind: AlignmentKind
    question: Annotated[bytes, Meta(min_length=1, max_length=49_152)]
    bound: _Length
    """The most entries of a list, padding included."""
    least: Annotated[int, Meta(ge=2, le=50)]
    invited: Annotated[tuple[Name, ...], Meta(min_length=2, max_length=50)]
    commit_ms: Duration = 24 * 3600 * 1000
    stage_ms: Duration = 3600 * 1000


class DeclineAlignment(Record, tag_field="type", tag="decline-alignment"):
    """Take no part, with a reason code."""

    alignment: AlignmentId
    code: Code


class CommitInputs(Record, tag_field="type", tag="commit-inputs"):
    """Take part with inputs that are fixed from now on."""

    alignment: AlignmentId
    attempt: Attempt
    question: Digest
    inputs: Digest
    """Salted digest of the entries, the same in every attempt."""
    elements: Digest
    """Salted digest of the digest of this attempt's own blinded list."""
    length: _Length


_ALIGNMENTS: Final[Table[Alignment]] = Table("alignment", Alignment)
_QUESTIONS: Final[Table[bytes]] = Table("alignment-question", bytes)
_COMMITMENTS: Final[Table[InputsCommitment]] = Table("alignment-inputs", InputsCommitment)
_RUNS: Final[Table[AlignmentId]] = Table("alignment-of", AlignmentId)
_INDEX: Final[Table[tuple[AlignmentId, ...]]] = Table("alignments", tuple[AlignmentId, ...])


def alignment_record(reader: Reader, alignment: AlignmentId) -> Alignment | None:
    """The alignment of that id."""
    return _ALIGNMENTS.get(reader, alignment)


def alignments(reader: Reader) -> tuple[AlignmentId, ...]:
    """All alignments in the order in which they were opened."""
    return _INDEX.get(reader) or ()


def alignment_of_study(reader: Reader, study: StudyId, kind: AlignmentKind) -> Alignment | None:
    """The last alignment of a kind that was opened for a study."""
    found = _RUNS.get(reader, study, kind)
    return None if found is None else alignment_record(reader, found)


def alignment_question(reader: Reader, alignment: AlignmentId) -> bytes | None:
    """The canonical bytes of what is asked."""
    return _QUESTIONS.get(reader, alignment)


def question_digest(kind: AlignmentKind, question: bytes) -> Digest:
    """What a commitment names: the kind and every byte of the question."""
    return digest_of("medfed/alignment-question", kind, question)


def inputs_commitment_of(reader: Reader, alignment: AlignmentId, attempt: int, who: Name) -> InputsCommitment | None:
    """What `who` committed to in that attempt."""
    return _COMMITMENTS.get(reader, alignment, attempt, who)


def list_owner(record: Alignment, stage: int, who: Name) -> Name:
    """Whose list `who` publishes at `stage`: the owner stands so many places before it in the ring."""
    return record.roster[(record.roster.index(who) - stage) % len(record.roster)]


def list_length(record: Alignment, owner: Name) -> int:
    """How many elements the list of `owner` has in this attempt; 0 where it has none."""
    return next((length for name, length in record.lengths if name == owner), 0)


def apply_open_alignment(overlay: Overlay, call: Call, body: OpenAlignment) -> None:
    """Rule 1."""
    if alignment_record(overlay, body.alignment) is not None:
        raise Refused("alignment-exists", "this alignment id is in use")
    opener = participant(overlay, call.sender)
    if opener is None or opener.role not in ("organiser", "hospital", "aggregator"):
        raise Refused("wrong-role", "alignments are opened by organisers, aggregators and hospitals")
    _check_invited(overlay, body)
    earlier = alignment_of_study(overlay, body.study, body.kind)
    if earlier is not None and earlier.phase != "ended":
        raise Refused("one-run", f"an alignment of {body.kind} is {earlier.phase} for this study")
    record = Alignment(
        body.alignment,
        body.study,
        body.kind,
        call.sender,
        question_digest(body.kind, body.question),
        body.bound,
        body.least,
        body.invited,
        body.commit_ms,
        body.stage_ms,
        "committing",
        call.block.time_ms + body.commit_ms,
        body.invited,
    )
    put_alignment(overlay, record)
    _QUESTIONS.put(overlay, body.question, body.alignment)
    _RUNS.put(overlay, body.alignment, body.study, body.kind)
    _INDEX.put(overlay, (*alignments(overlay), body.alignment))


def apply_decline_alignment(overlay: Overlay, call: Call, body: DeclineAlignment) -> None:
    """Rule 3."""
    record = need_alignment(overlay, body.alignment, "committing")
    _check_uncommitted(overlay, record, call)
    record = replace(
        record,
        declined=with_name(record.declined, call.sender),
        roster=tuple(name for name in record.roster if name != call.sender),
    )
    if record.kind == "patients":
        end_alignment(overlay, record, body.code)
    else:
        close_committing(overlay, call, record, late=False)


def apply_commit_inputs(overlay: Overlay, call: Call, body: CommitInputs) -> None:
    """Rule 2."""
    record = need_attempt(overlay, body.alignment, body.attempt, "committing")
    _check_uncommitted(overlay, record, call)
    if body.question != record.question:
        raise Refused("other-question", "the commitment names another question than the one asked")
    if body.length > record.bound:
        raise Refused("list-too-long", f"a list has at most {record.bound} entries")
    enrolled = enrolment(overlay, record.study, call.sender)
    if enrolled is not None and body.length > max(LEAST_LENGTH, enrolled.examples * 6 // 5):
        raise Refused("list-too-long", "a list has at most 1.2 times the examples enrolled with")
    if body.attempt:
        first = _first_commitment(overlay, record, call.sender)
        if first is not None and first.inputs != body.inputs:
            raise Refused("inputs-changed", "the inputs are not those of the attempt before")
    entry = InputsCommitment(body.inputs, body.elements, body.length)
    _COMMITMENTS.put(overlay, entry, record.alignment, record.attempt, call.sender)
    lengths = tuple(sorted((*record.lengths, (call.sender, body.length))))
    close_committing(overlay, call, replace(record, lengths=lengths), late=False)


def close_committing(overlay: Overlay, call: Call, record: Alignment, *, late: bool) -> None:
    """Everybody has answered, or it is late."""
    committed = tuple(name for name, _ in record.lengths)
    if not late and committed != record.roster and len(record.roster) >= record.least:
        put_alignment(overlay, record)
        return
    if len(committed) < record.least:
        end_alignment(overlay, record, "too-few-hospitals")
        return
    deadline = call.block.time_ms + record.stage_ms
    put_alignment(overlay, replace(record, phase="blinding", roster=committed, deadline_ms=deadline))


def end_alignment(overlay: Overlay, record: Alignment, code: str) -> None:
    """End it unfinished; a new one may be opened for the study."""
    put_alignment(overlay, replace(record, phase="ended", code=code))


def _first_commitment(reader: Reader, record: Alignment, who: Name) -> InputsCommitment | None:
    found = (inputs_commitment_of(reader, record.alignment, attempt, who) for attempt in range(record.attempt))
    return next((commitment for commitment in found if commitment is not None), None)


def _check_invited(overlay: Overlay, body: OpenAlignment) -> None:
    if list(body.invited) != sorted(set(body.invited)):
        raise Refused("bad-terms", "the invited must be sorted and different")
    if body.least > len(body.invited):
        raise Refused("bad-terms", f"at least {body.least} hospitals are wanted and {len(body.invited)} invited")
    for name in body.invited:
        found = participant(overlay, name)
        if found is None or found.status != "active" or found.role != "hospital":
            raise Refused("not-a-hospital", f"{name} is not an active hospital")
    study = study_record(overlay, body.study)
    if study is None:
        return
    if study.phase in ("completed", "aborted"):
        raise Refused("wrong-phase", f"the study is {study.phase}")
    if not set(body.invited) <= set(study.terms.invited):
        raise Refused("not-invited", "only hospitals that the study invites are aligned for it")


def _check_uncommitted(overlay: Overlay, record: Alignment, call: Call) -> None:
    check_on_roster(record, call)
    if inputs_commitment_of(overlay, record.alignment, record.attempt, call.sender) is not None:
        raise Refused("already-committed", f"{call.sender} has committed in this attempt")


def check_on_roster(record: Alignment, call: Call) -> None:
    """Refuse, as `not-on-roster`, whoever is not expected in this attempt."""
    if call.sender not in record.roster:
        raise Refused("not-on-roster", f"{call.sender} is not expected in this attempt")


def need_alignment(reader: Reader, alignment: AlignmentId, *phases: str) -> Alignment:
    """The alignment, if it is in one of `phases`.

    Raises:
        Refused: `no-such-alignment` or `wrong-phase`.
    """
    record = alignment_record(reader, alignment)
    if record is None:
        raise Refused("no-such-alignment", f"no alignment {alignment.hex()}")
    if record.phase not in phases:
        raise Refused("wrong-phase", f"the alignment is {record.phase}, not {' or '.join(phases)}")
    return record


def need_attempt(reader: Reader, alignment: AlignmentId, attempt: int, *phases: str) -> Alignment:
    """The same, if `attempt` is the present one.

    Raises:
        Refused: as `need_alignment`, and `wrong-attempt`.
    """
    record = need_alignment(reader, alignment, *phases)
    if attempt != record.attempt:
        raise Refused("wrong-attempt", f"the alignment is at attempt {record.attempt}, not {attempt}")
    return record


def put_alignment(overlay: Overlay, record: Alignment) -> None:
    """Store a changed alignment."""
    _ALIGNMENTS.put(overlay, record, record.alignment)
