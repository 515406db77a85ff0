"""Answering a proposed study, and enrolling in it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar, Final

from medfed.crypto import SealingKey
from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.federation.picture_rules import lacks_torch
from medfed.federation.plan import Labelling, Plan, TrainingNoise
from medfed.federation.plan_rules import verify_plan
from medfed.federation.prepared import cases_root, schema_digest
from medfed.homomorphic import is_available
from medfed.hospital.aggregation import plan_of
from medfed.hospital.code_consent import NOT_LISTED, check_code, code_refusal
from medfed.hospital.consent import Decision, decide
from medfed.hospital.enrolled import can_enrol, charge_patients
from medfed.hospital.initial_model import compute_initial
from medfed.hospital.progress import study_key
from medfed.hospital.site import Site
from medfed.hospital.voting import enrol_teachers, reason_to_decline
from medfed.hospital.work import Me, Work
from medfed.ledger.contracts.keying import Enrol
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import ApproveStudy, DeclineStudy, Study, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["AnswerProposal", "EnrolInStudy"]

log: Final = logging.getLogger("medfed.hospital")


class PrivateStudyKey(Record):
    """The key that pair secrets are sealed to, until they are opened; and the salt of the case list, for good."""

    sealing_seed: bytes


class AnswerProposal:
    """Approve, decline, or leave it to a person, as the site's policy says."""

    name: ClassVar[str] = "answer-proposal"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to an invited hospital that has not answered."""
        answered = me.name in study.approved or me.name in study.declined
        if study.phase != "proposed" or me.name not in study.terms.invited or answered:
            return ()
        return (Work(self.name, study.study),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing where a person must say."""
        study = study_record(view, work.study)
        if study is None:
            return ()
        try:
            plan = plan_of(view, study.study)
            if lacks_torch(plan):
                return (DeclineStudy(study.study, "no-torch"),)
            verify_plan(plan)
        except InvalidInput:
            return (DeclineStudy(study.study, "invalid-plan"),)
        refusal = code_refusal(site.consent, plan)
        if refusal is not None:  # an unlisted digest is for a person to look at
            return () if refusal == NOT_LISTED else (DeclineStudy(study.study, refusal),)
        if plan.terms(compute_initial(site, study.study, plan).digest) != study.terms:
            return (DeclineStudy(study.study, "terms-differ"),)
        decision = decide(site.consent, study.proposer, plan)
        if decision.answer == "ask":
            return ()
        return (self._answer(site, study, plan, decision),)

    def _answer(self, site: Site, study: Study, plan: Plan, decision: Decision) -> Body:
        if decision.answer == "decline":
            return DeclineStudy(study.study, decision.code)
        if site.prepared(plan).examples < plan.participation.min_examples:
            return DeclineStudy(study.study, "too-few-examples")
        if plan.protection.mode == "homomorphic" and not is_available():
            return DeclineStudy(study.study, "no-encryption-library")
        if isinstance(plan.labelling, Labelling):
            reason = reason_to_decline(site, plan, study.study)
            if reason is not None:
                return DeclineStudy(study.study, reason)
        if _charges_patients(plan) and not can_enrol(site, plan, study.study, site.prepared(plan)):
            return DeclineStudy(study.study, "privacy-cap")
        return ApproveStudy(study.study, study.digest)


class EnrolInStudy:
    """Enrol with a fresh study key and the salted root of the case list."""

    name: ClassVar[str] = "enrol"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to a hospital that has approved."""
        if study.phase != "enrolling" or me.name not in study.approved or me.name in study.enrolled:
            return ()
        return (Work(self.name, study.study),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The study key goes to the vault in the same commit as the enrolment."""
        plan = plan_of(view, work.study)
        check_code(site.consent, plan)
        prepared = site.prepared(plan)
        examples = prepared.examples
        if isinstance(plan.labelling, Labelling):
            enrol_teachers(site, plan, work.study)
        if _charges_patients(plan):
            charge_patients(site, plan, work.study, prepared)
        if isinstance(plan.labelling, Labelling) or isinstance(plan.noise, TrainingNoise):
            examples = plan.participation.min_examples  # an exact number would tell of a patient, beside the budget
        key = SealingKey.generate(site.entropy)
        salt = site.entropy(32)
        site.vault.store(study_key(work.study, "private"), PrivateStudyKey(key.to_bytes()))
        site.vault.put(study_key(work.study, "cases-salt"), salt)
        return (Enrol(work.study, examples, schema_digest(plan), cases_root(prepared, salt), key.public),)


def _charges_patients(plan: Plan) -> bool:
    return isinstance(plan.noise, TrainingNoise) and plan.noise.unit == "patient"
