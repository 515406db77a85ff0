"""Which learning state everybody starts from: agreed by naming its digest, never by trusting one computation.

Rules:
1. The voters on a round's outcome are its survivors, each once, by the base of their next update or by `Attest`.
2. A base named by more than half of the voters is final.
3. When more than half of the voters name the final base and reject the aggregate, that is a rejection; three in a row
   pause the study. The base of a rejecting majority is the old model's.
4. When more than half of the voters name the final base and ask to stop, what is left of the training is skipped.
5. After the last round, agreement completes the study; the rest of the voters may still attest.
6. Without a majority at the deadline the outcome is disputed and the study pauses; a resumed study votes anew.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.rewards import award
from medfed.ledger.contracts.rounds import close_unreleased, current_round, open_round, put_round
from medfed.ledger.contracts.studies import (
    REJECTIONS_BEFORE_PAUSE,
    Study,
    current_kind,
    need_study,
    pause,
    put_study,
    study_record,
)
from medfed.ledger.state import Overlay

__all__ = ["Attest"]


class Attest(Record, tag_field="type", tag="attest"):
    """Name the outcome of the last released round: when there is no further update to carry it, or to stop early."""

    study: StudyId
    round: Annotated[int, Meta(ge=-1)]
    base: Digest
    accepts: bool
    stop: bool


def apply_attest(overlay: Overlay, call: Call, body: Attest) -> None:
    """Rules 1 to 5."""
    study = need_study(overlay, body.study, "running", "agreeing", "completed")
    if body.round != study.base_round:
        raise Refused("wrong-round", f"round {study.base_round} is the last that was released")
    if call.sender not in study.base_voters:
        raise Refused("not-a-voter", f"{call.sender} was not a survivor of round {body.round}")
    if _has_voted(study, call.sender):
        raise Refused("already-voted", f"{call.sender} has attested already")
    if body.stop and (study.phase != "running" or current_kind(study) != "training"):
        raise Refused("nothing-to-stop", "no training is left to stop")
    if study.phase == "running" and not body.stop:
        raise Refused("carried-by-update", "in a running study the next update names the base")
    study = vote(overlay, call, study, body.base, body.accepts, body.stop)
    if study.phase == "agreeing" and study.base is not None:
        put_study(overlay, replace(study, phase="completed"))


def vote(overlay: Overlay, call: Call, study: Study, base: Digest, accepts: bool, stop: bool) -> Study:
    """Count `call.sender`'s word on the last outcome, if it is a voter's first; returns the study as it is then."""
    if call.sender not in study.base_voters or _has_voted(study, call.sender):
        return study
    study = replace(study, base_votes=(*study.base_votes, (call.sender, base, accepts, stop)))
    backers = [row for row in study.base_votes if row[1] == base]
    majority = len(study.base_voters) // 2 + 1
    if study.base is not None:
        put_study(overlay, study)
        if base == study.base:
            _award(overlay, study, call.sender)
            if stop and sum(row[3] for row in backers) == majority:  # a hospital that went on made the base final first
                _skip_training(overlay, call, study)
        return study_record(overlay, study.study) or study
    if len(backers) < majority:
        put_study(overlay, study)
        return study
    return _settle(overlay, call, study, base, backers, majority)


def dispute(overlay: Overlay, study: Study) -> None:
    """Rule 6."""
    study = replace(study, base_votes=())
    record = current_round(overlay, study)
    if record is not None and record.phase == "update":
        close_unreleased(overlay, study, record, "disputed")
    else:
        pause(overlay, study, "disputed")


def _settle(
    overlay: Overlay,
    call: Call,
    study: Study,
    base: Digest,
    backers: list[tuple[Name, Digest, bool, bool]],
    majority: int,
) -> Study:
    rejected = sum(not accepts for _, _, accepts, _ in backers) >= majority
    stopped = sum(stop for _, _, _, stop in backers) >= majority
    study = replace(study, base=base, rejections=study.rejections + 1 if rejected else 0)
    put_study(overlay, study)
    for name, _, _, _ in backers:
        _award(overlay, study, name)
    if study.rejections >= REJECTIONS_BEFORE_PAUSE:
        _pause_after_rejections(overlay, study)
    elif stopped:
        _skip_training(overlay, call, study)
    return study_record(overlay, study.study) or study


def _pause_after_rejections(overlay: Overlay, study: Study) -> None:
    study = replace(study, rejections=0)
    record = current_round(overlay, study)
    if record is not None and record.phase == "update":
        close_unreleased(overlay, study, record, "three-rejections")
    else:
        pause(overlay, study, "three-rejections")


def _skip_training(overlay: Overlay, call: Call, study: Study) -> None:
    record = current_round(overlay, study)
    if record is None or record.phase != "update" or record.kind != "training":
        return
    put_round(overlay, replace(record, phase="skipped"))
    open_round(overlay, call, replace(study, step=study.step + 1, done_in_step=0))


def _has_voted(study: Study, who: Name) -> bool:
    return any(row[0] == who for row in study.base_votes)


def _award(overlay: Overlay, study: Study, who: Name) -> None:
    award(overlay, who, study.study, study.base_round, "agreement", study.terms.rewards.agreement)
