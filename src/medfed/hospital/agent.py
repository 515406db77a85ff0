"""A hospital's agent: looks at the ledger and at its vault and does what is due. It keeps no other state.

Kill it anywhere, start it again, and it goes on. One step: check that history only grew, follow the rounds that closed,
do each due work in one vault transaction with its outbox entries, and send the outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from medfed.encoding import encode
from medfed.errors import InvalidInput, MedFedError, Refused, Tampered, Unavailable
from medfed.hospital.alignment_state import forget_alignment
from medfed.hospital.dealings import Dealings
from medfed.hospital.duties.adding import AddCiphertexts
from medfed.hospital.duties.aggregating import AggregateUpdates, IssueKeys
from medfed.hospital.duties.aligning import ALIGNMENT_DUTIES
from medfed.hospital.duties.attesting import AttestOutcome, RegisterModel
from medfed.hospital.duties.confirming import ConfirmProposedSurvivors
from medfed.hospital.duties.encrypting import ConfirmEncrypted, NoteEncryptedRelease, SubmitEncryptedUpdate
from medfed.hospital.duties.joining import AnswerProposal, EnrolInStudy
from medfed.hospital.duties.keying import ConfirmKeys, SealSecrets
from medfed.hospital.duties.opening import OpenSum, PublishKey
from medfed.hospital.duties.revealing import RevealOwedShares, RevealOwnSeeds
from medfed.hospital.duties.sealing import ConfirmSealedSurvivors, DisputeWrongAggregate, SubmitSealedUpdate
from medfed.hospital.duties.updating import SubmitMaskedUpdate
from medfed.hospital.duties.waiting import AdvanceDeadline, RejoinStudy, ResumePaused
from medfed.hospital.outbox import Outbox
from medfed.hospital.progress import follow, forget_study_keys
from medfed.hospital.requests import REQUESTS, decode_request, forget_request
from medfed.hospital.site import Site
from medfed.hospital.work import Duty, Me, Performer, Work
from medfed.identifiers import StudyId, sha256
from medfed.ledger.contracts.alignment import Alignment, alignment_record, alignments
from medfed.ledger.contracts.offices import offices
from medfed.ledger.contracts.rounds import current_round
from medfed.ledger.contracts.studies import Study, studies, study_record
from medfed.ledger.engine import Engine, StateView
from medfed.ledger.transaction import Anchor, Body, SignedTransaction
from medfed.ledger.transition import Receipt

__all__ = ["DUTIES", "Agent"]

log: Final = logging.getLogger("medfed.hospital")

DUTIES: Final[tuple[Duty, ...]] = (
    AnswerProposal(),
    EnrolInStudy(),
    SealSecrets(),
    ConfirmKeys(),
    RejoinStudy(),
    SubmitMaskedUpdate(),
    ConfirmProposedSurvivors(),
    SubmitEncryptedUpdate(),
    ConfirmEncrypted(),
    NoteEncryptedRelease(),
    SubmitSealedUpdate(),
    ConfirmSealedSurvivors(),
    DisputeWrongAggregate(),
    IssueKeys(),
    AggregateUpdates(),
    PublishKey(),
    AddCiphertexts(),
    OpenSum(),
    RevealOwnSeeds(),
    RevealOwedShares(),
    AttestOutcome(),
    RegisterModel(),
    ResumePaused(),
    AdvanceDeadline(),
)
_AFTER_THE_END: Final[tuple[Duty, ...]] = (AttestOutcome(), RegisterModel())
_RETRY_MS: Final = 500
_MOST_PROBLEMS: Final = 64
_NEEDS_MEMORY: Final = (
    "submit-update",
    "confirm-survivors",
    "reveal-seeds",
    "submit-encrypted-update",
    "confirm-ciphertext",
    "open-sum",
    "submit-sealed-update",
    "confirm-sealed",
)
"""Duties that a vault must not do in a round of which it may have forgotten something."""


class Agent:
    """One hospital's agent over one engine."""

    def __init__(self, site: Site, engine: Engine) -> None:
        self.site = site
        self.engine = engine
        self._outbox = Outbox(site)
        self._not_before: dict[str, int] = {}
        self._wanted: set[str] = set()
        """What was due in this step, by key; whatever else is known of works is old."""
        self._dealings = Dealings(site.vault)
        self._forgotten: set[StudyId] = set()
        """Alignments of which nothing secret is left."""
        self.hand_over: Callable[[StateView], int] = lambda _: 0
        """Gives this site's blobs to others, where nobody can call it (`Relaying.push`)."""
        self.problems: dict[str, str] = {}
        """What keeps a work from being done, by work key; for status pages and logs."""

    def step(self) -> int:
        """Do what is due and send it; returns how many transactions became final.

        Raises:
            Tampered: the ledger's history contradicts what this vault has seen. Stop.
        """
        waiting = self.prepare()
        if not waiting:
            return 0
        return self.settle(self.engine.submit(*waiting))

    def prepare(self) -> list[SignedTransaction]:
        """Everything of a step but the sending: what is returned is durable and must now be submitted."""
        view = self.engine.view()
        self._take_note(view)
        self.site.worker.tend()
        self._outbox.renew(view)
        self._take_requests(view)
        self._wanted.clear()
        for identifier in studies(view):
            self._serve(view, identifier)
        for identifier in alignments(view):
            self._serve_alignment(view, identifier)
        for duty, work in self._dealings.works(view, self._me()):
            self._do(view, duty, work)
        self._forget_old_notes()
        return self._outbox.waiting

    def settle(self, receipts: Sequence[Receipt]) -> int:
        """Take note of what became of the outbox."""
        by_id = {signed.id: (work, signed) for work, signed in self._outbox.entries}
        final = 0
        for receipt in receipts:
            work, _ = by_id.get(receipt.transaction, ("", None))
            if receipt.height is not None:
                final += 1
            if receipt.code:
                self._refused(work, receipt)
        return final

    def send(self, body: Body) -> Receipt:
        """Sign what a person asks for and send it now, after what waits already; nothing else is done.

        Asked again before it has passed, the same transaction is sent again.

        Raises:
            Tampered: as in `step`.
        """
        view = self.engine.view()
        self._take_note(view)
        self._outbox.renew(view)
        work = f"sent/{sha256(encode(body)).hex()}"
        if work not in self._outbox.works:
            try:
                with self.site.vault.transaction("sent"):
                    forget_request(self.site.vault, body)
                    self._outbox.add(view, work, (body,))
            except BaseException:
                self._outbox.reload()
                raise
        mine = next(signed for found, signed in self._outbox.entries if found == work)
        receipts = self.engine.submit(*self._outbox.waiting)
        self.settle(receipts)
        return next(receipt for receipt in receipts if receipt.transaction == mine.id)

    def _serve(self, view: StateView, identifier: StudyId) -> None:
        study = study_record(view, identifier)
        if study is None or not self._concerns_me(view, study):
            return
        if study.phase in ("completed", "aborted") and self._is_settled(view, study):
            return
        self._follow(view, study)
        current = current_round(view, study)
        sits_out = self.site.vault.load(f"sit-out/{identifier.hex()}", int)
        me = self._me()
        for duty in DUTIES:
            if sits_out is not None and study.next_round - 1 <= sits_out and duty.name in _NEEDS_MEMORY:
                continue
            for work in duty.due(view, study, current, me):
                self._do(view, duty, work)

    def _serve_alignment(self, view: StateView, identifier: StudyId) -> None:
        record = alignment_record(view, identifier)
        if record is None or self.site.name not in record.invited or self._is_over(record):
            return
        me = self._me()
        for duty in ALIGNMENT_DUTIES:
            for work in duty.due(view, record, me):
                self._do(view, duty, work)

    def _is_over(self, record: Alignment) -> bool:
        """Whether nothing more is due to this agent in an alignment; its secrets are then deleted."""
        mine = self.site.name in record.roster
        has_said = any(name == self.site.name for name, _ in record.results)
        if record.phase != "ended" and mine and not (record.phase == "completed" and has_said):
            return False
        if record.alignment not in self._forgotten:
            forget_alignment(self.site.vault, record.alignment)
            self._forgotten.add(record.alignment)
        return record.phase in ("completed", "ended")

    def _follow(self, view: StateView, study: Study) -> None:
        """Office holders learn no model, so they follow nothing."""
        if self.site.name not in (study.roster or study.terms.invited):
            return
        key = f"follow/{study.study.hex()}"
        try:
            follow(self.site, view, study)
        except (Unavailable, InvalidInput, Refused) as error:
            self._problem(key, error)
        else:
            self.problems.pop(key, None)

    def _forget_old_notes(self) -> None:
        """What is no longer due needs no waiting; of problems the latest stay for people to read."""
        for key in [key for key in self._not_before if key not in self._wanted]:
            del self._not_before[key]
        for key in list(self.problems)[:-_MOST_PROBLEMS]:
            del self.problems[key]

    def _do(self, view: StateView, duty: Performer, work: Work) -> None:
        key = work.key
        self._wanted.add(key)
        if key in self._outbox.works or not self._outbox.has_room:
            return
        waits = self._not_before.get(key, 0) - self.site.clock()
        if 0 < waits <= _RETRY_MS:  # after a clock was set back, nothing waits for the old time
            return
        try:
            if duty.is_atomic:
                with self.site.vault.transaction(f"work {duty.name}"):
                    self._outbox.add(view, key, duty.perform(work, self.site, view))
            else:
                bodies = duty.perform(work, self.site, view)
                with self.site.vault.transaction(f"work {duty.name}"):
                    self._outbox.add(view, key, bodies)
        except (Unavailable, InvalidInput, Refused) as error:
            self._outbox.reload()
            self._problem(key, error)
            self._not_before[key] = self.site.clock() + _RETRY_MS
        except BaseException:
            self._outbox.reload()
            raise
        else:
            self.problems.pop(key, None)

    def _me(self) -> Me:
        return Me(self.site.name, self.site.clock(), self.site.started_ms)

    def _take_requests(self, view: StateView) -> None:
        """Sign what a person has asked for through another process (`requests.request`)."""
        for key in self.site.vault.keys_under(REQUESTS):
            try:
                with self.site.vault.transaction("request-taken"):
                    self._take_request(view, key)
            except BaseException:  # what did not become durable must never be sent
                self._outbox.reload()
                raise

    def _take_request(self, view: StateView, key: str) -> None:
        try:
            body = decode_request(self.site.vault.get(key) or b"")
        except InvalidInput as error:  # left by another version of the program
            self._problem(key, error)
        else:
            self._outbox.add(view, key, (body,))
        self.site.vault.delete(key)

    def _take_note(self, view: StateView) -> None:
        """Check what the ledger has come to since the last look, and remember it: one commit for all of it."""
        seen, tip = self.site.vault.load("seen", Anchor), Anchor(view.tip.height, view.tip.block)
        if seen == tip:
            return
        try:
            with self.site.vault.transaction("seen"):
                self._check_history(view, seen)
                self.site.vault.store("seen", tip)
                self._check_own_history(view)
                self._outbox.prune(view)
        except BaseException:
            self._outbox.reload()
            raise

    def _check_own_history(self, view: StateView) -> None:
        """A vault that is behind its own transactions was restored from a copy, or is not the only one with its keys.

        What it has signed in the rounds that are open it does not know, so it sits them out.
        """
        unknown = self._outbox.unknown(view)
        if not unknown:
            return
        log.warning(
            "%s: the ledger holds %d of its transactions that this vault did not send: the vault was restored from a "
            "copy, or a second agent uses the same keys; it sits out the open rounds",
            self.site.name,
            unknown,
        )
        for identifier in studies(view):
            study = study_record(view, identifier)
            if study is not None and study.phase in ("running", "paused", "agreeing"):
                self.site.vault.store(f"sit-out/{identifier.hex()}", study.next_round - 1)

    def _concerns_me(self, view: StateView, study: Study) -> bool:
        found = offices(view, study)
        return self.site.name in (study.roster or study.terms.invited) or (
            found is not None and self.site.name in found.holders
        )

    def _is_settled(self, view: StateView, study: Study) -> bool:
        """Whether nothing more can be due to this agent in a study that has ended."""
        if study.phase == "completed" and any(duty.due(view, study, None, self._me()) for duty in _AFTER_THE_END):
            return False
        done = f"study/{study.study.hex()}/forgotten"
        if self.site.vault.get(done) is None:
            with self.site.vault.transaction("study-ended"):
                forget_study_keys(self.site, study.study)
                self.site.vault.put(done, b"")
        return True

    def _check_history(self, view: StateView, seen: Anchor | None) -> None:
        """The ledger only grows; a view that does not extend the last block seen is `Tampered`."""
        if seen is not None and (view.tip.height < seen.height or self.engine.block_id(seen.height) != seen.block):
            raise Tampered(f"block {seen.height}: the ledger no longer holds the block that {self.site.name} has seen")

    def _refused(self, work: str, receipt: Receipt) -> None:
        self._not_before[work] = self.site.clock() + _RETRY_MS
        level = logging.DEBUG if receipt.code in ("too-early", "wrong-attempt", "wrong-phase") else logging.INFO
        log.log(level, "refused", extra={"site": self.site.name, "work": work, "code": receipt.code})

    def _problem(self, key: str, error: MedFedError) -> None:
        if self.problems.get(key) != str(error):
            log.info("waiting", extra={"site": self.site.name, "work": key, "reason": str(error)})
        self.problems[key] = str(error)
