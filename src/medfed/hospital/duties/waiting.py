"""What keeps a study from waiting for ever: advancing past deadlines, resuming after pauses, coming back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.ledger.contracts.deadlines import Advance, ResumeStudy, due_at, voters
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import (
    MISSES_BEFORE_REJOIN,
    Rejoin,
    Study,
    eligible,
    missed_rounds,
)
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["BY_PERSON", "AdvanceDeadline", "RejoinStudy", "ResumePaused"]

RANK_DELAY_MS: Final = 2_000
START_GRACE_MS: Final = 1_000
"""After a start an agent first does its own late duties; only then may it call a deadline on others."""
BY_PERSON: Final = (
    "survivors-refused",
    "three-rejections",
    "no-encryption-key",
    "no-ciphertext-sum",
    "no-decryption",
    "sums-differ",
    "sum-refused",
    "no-session-keys",
    "no-aggregate",
    "aggregate-disputed",
)
"""Pauses that a person must look at."""


class AdvanceDeadline:
    """Say that a deadline has passed; ranks take turns so that not all say it at once."""

    name: ClassVar[str] = "advance"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to the study's hospitals once a deadline has passed and their turn has come."""
        members = study.roster or study.terms.invited
        due = due_at(view, study)
        if me.name not in members or due is None:
            return ()
        rank = (members.index(me.name) - study.next_round) % len(members)
        turn = max(due, me.started_ms + START_GRACE_MS) + RANK_DELAY_MS * rank
        if me.now_ms <= turn:
            return ()
        return (Work(self.name, study.study, study.next_round, current.attempt if current else 0, f"{due}"),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Say so; refused as too early, it is said again."""
        return (Advance(work.study),)


class ResumePaused:
    """Vote to go on after a pause that needs no person, while the policy allows it."""

    name: ClassVar[str] = "resume"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due once a pause, when enough hospitals are there to go on."""
        if study.phase != "paused" or me.name not in voters(study) or me.name in study.resume_votes:
            return ()
        if study.pause_code in BY_PERSON or len(eligible(view, study)) < study.terms.quorum:
            return ()
        return (Work(self.name, study.study, study.next_round, detail=f"{study.pauses}"),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing where the site's policy leaves it to a person."""
        policy = site.consent
        if policy.resume != "auto" or int(work.detail) > policy.most_resumes:
            return ()
        return (ResumeStudy(work.study),)


class RejoinStudy:
    """Be expected again after two missed rounds."""

    name: ClassVar[str] = "rejoin"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to a hospital that is back."""
        away = study.phase in ("running", "paused") and me.name in study.roster and me.name not in study.withdrawn
        if not away or me.name in study.expelled or missed_rounds(study, me.name) < MISSES_BEFORE_REJOIN:
            return ()
        return (Work(self.name, study.study, study.next_round),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Say so."""
        return (Rejoin(work.study),)
