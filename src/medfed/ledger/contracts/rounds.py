"""A round is one secure sum with a fixed roster: its record, and how it opens and closes.

| phase | what is awaited | then |
|---|---|---|
| update | `SubmitUpdate` of the whole roster, or the deadline with at least the quorum on the agreed base | confirm |
| confirm | `ConfirmSurvivors` of all survivors | reveal |
| confirm | the deadline | void: update again, attempt + 1, without the silent and the guilty |
| reveal | the seeds of all survivors, revealed or recovered from escrow | released |
| reveal | the limit | failed |

Where updates are encrypted or sealed, `ciphertexts` and `aggregates` say what comes instead of reveal.

Rules:
1. Rounds of a study are counted by one number, in the plan's order; one is open at a time.
2. The roster of attempt 0 is everybody eligible; below the quorum the study pauses, as where a budget is spent.
3. A released round moves the plan on by one; a failed or unreleased one does not, and the study pauses.
4. An attempt that reached reveal is never voided and never retried.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec.structs import replace

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.labelling import is_affordable, open_votes
from medfed.ledger.contracts.offices import await_key
from medfed.ledger.contracts.rewards import award_examples
from medfed.ledger.contracts.studies import (
    MISSES_BEFORE_REJOIN,
    Study,
    after_missed,
    after_released,
    capped_examples,
    current_kind,
    eligible,
    need_study,
    pause,
    put_study,
)
from medfed.ledger.contracts.terms import RoundKind
from medfed.ledger.state import Overlay, Reader, Table

__all__ = ["Round", "RoundPhase", "current_round", "escrow_threshold", "round_record"]

RoundPhase = Literal["update", "confirm", "reveal", "sum", "decrypt", "released", "failed", "unreleased", "skipped"]


class Round(Record):
    """Where a round stands. Name tuples are sorted."""

    study: StudyId
    number: int
    kind: RoundKind
    phase: RoundPhase
    deadline_ms: int
    roster: tuple[Name, ...]
    """Who is expected in this attempt."""
    attempt: int = 0
    submitted: tuple[Name, ...] = ()
    tardy: tuple[Name, ...] = ()
    """Submitted after the survivors were fixed: not in this attempt, expected in the next."""
    survivors: tuple[Name, ...] = ()
    survivors_digest: Digest | None = None
    confirmed: tuple[Name, ...] = ()
    reports: tuple[tuple[Name, Name], ...] = ()
    """(reporter, whose blob it cannot get)."""
    revealed: tuple[Name, ...] = ()
    """Whose seeds are known, by reveal or from escrow."""
    shares_due: bool = False


_ROUNDS: Final[Table[Round]] = Table("round", Round)


def round_record(reader: Reader, study: StudyId, number: int) -> Round | None:
    """The round of that number."""
    return _ROUNDS.get(reader, study, number)


def current_round(reader: Reader, study: Study) -> Round | None:
    """The last round that was opened, whatever its phase."""
    return _ROUNDS.get(reader, study.study, study.next_round - 1) if study.next_round else None


def escrow_threshold(study: Study, owner: Name) -> int:
    """How many shares open `owner`'s escrow: the quorum, but never more than there are holders.

    The owner keeps no share, so with a roster of exactly the quorum (as with three hospitals), or where an edge was
    lost, all holders together must do. A lost edge always has a colluder at one end, so what it costs is a colluder's
    share.
    """
    return min(study.terms.quorum, len(holders_of(study, owner)))


def holders_of(study: Study, owner: Name) -> tuple[Name, ...]:
    """Who gets a share of `owner`'s escrow: the whole study roster with which it has an edge, itself not."""
    return tuple(
        name for name in study.roster if name != owner and (min(name, owner), max(name, owner)) not in study.lost_edges
    )


def dropped_of(study: Study, record: Round, owner: Name) -> tuple[Name, ...]:
    """Whose pair seeds with `owner` must be known: the roster's non-survivors with which it has an edge."""
    return tuple(
        name
        for name in record.roster
        if name not in record.survivors and (min(name, owner), max(name, owner)) not in study.lost_edges
    )


def put_round(overlay: Overlay, record: Round) -> None:
    """Store a changed round."""
    _ROUNDS.put(overlay, record, record.study, record.number)


def need_round(reader: Reader, study: StudyId, number: int, attempt: int, *phases: RoundPhase) -> tuple[Study, Round]:
    """The running study and its current round, if `number` and `attempt` are the current ones.

    Raises:
        Refused: `no-such-study`, `wrong-phase`, `wrong-round` or `wrong-attempt`.
    """
    record = need_study(reader, study, "running")
    current = current_round(reader, record)
    if current is None or current.number != number:
        raise Refused("wrong-round", f"round {number} is not the current one")
    if current.attempt != attempt:
        raise Refused("wrong-attempt", f"round {number} is at attempt {current.attempt}, not {attempt}")
    if current.phase not in phases:
        raise Refused("wrong-phase", f"round {number} is in {current.phase}, not {' or '.join(phases)}")
    return record, current


def open_round(overlay: Overlay, call: Call, study: Study) -> None:
    """Rules 1 and 2; after the plan's last round the study waits for what is not agreed yet, or is completed."""
    kind = current_kind(study)
    deadline = call.block.time_ms + study.terms.deadlines.update
    if kind is None:
        phase = "agreeing" if study.base is None else "completed"  # agreed before a pause, e.g. for three rejections
        put_study(overlay, replace(study, phase=phase, deadline_ms=deadline))
        return
    if await_key(overlay, call, study):
        return
    roster = eligible(overlay, study)
    if len(roster) < study.terms.quorum:
        pause(overlay, study, "too-few-hospitals")
        return
    if kind == "votes" and not is_affordable(overlay, study):
        pause(overlay, study, "budget-spent")
        return
    number = study.next_round
    put_study(overlay, replace(study, next_round=number + 1))
    put_round(overlay, Round(study.study, number, kind, "update", deadline, roster))
    if kind == "votes":
        open_votes(overlay, study, number)


def close_released(
    overlay: Overlay, call: Call, study: Study, record: Round, left_out: frozenset[Name] = frozenset()
) -> None:
    """All seeds of the survivors are known: the sum is public. Rewards, misses, and the next round (rule 3).

    `left_out` are survivors whose update the sum does not hold: they earn nothing for it.
    """
    put_round(overlay, replace(record, phase="released"))
    if record.kind == "training":
        for name in (name for name in record.survivors if name not in left_out):
            examples = capped_examples(overlay, study, name)
            award_examples(overlay, study.terms.rewards, name, study.study, record.number, examples)
    study = after_missed(after_released(study), record.survivors)
    study = replace(
        study,
        base=None,
        previous_base=study.base,
        base_round=record.number,
        base_voters=record.survivors,
        base_votes=(),
    )
    open_round(overlay, call, study)


def close_unreleased(overlay: Overlay, study: Study, record: Round, code: str) -> None:
    """The round ends with nothing revealed; the study pauses (rule 3)."""
    put_round(overlay, replace(record, phase="unreleased"))
    pause(overlay, study, code)


def close_failed(overlay: Overlay, study: Study, record: Round, code: str) -> None:
    """Seeds are out but the sum cannot be completed; it counts as released over U (rules 3 and 4).

    Whose seeds are missing is expected again only after it says `Rejoin`, so that it cannot fail all rounds in silence.
    """
    put_round(overlay, replace(record, phase="failed"))
    absent = [name for name in record.survivors if name not in record.revealed]
    kept = tuple(row for row in study.missed if row[0] not in absent)
    missed = tuple(sorted((*kept, *((name, MISSES_BEFORE_REJOIN) for name in absent))))
    pause(overlay, replace(study, missed=missed), code)
