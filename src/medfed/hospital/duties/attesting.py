"""Attesting the last outcome, asking to stop, and registering the finished model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from medfed.encoding import encode
from medfed.errors import Unavailable
from medfed.federation.model_file import encode_model, model_of
from medfed.federation.plan import Labelling
from medfed.hospital.aggregation import plan_of
from medfed.hospital.computing import compute_student
from medfed.hospital.progress import load_progress, study_key
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.ledger.contracts.agreement import Attest
from medfed.ledger.contracts.registry import RegisterArtefact, artefacts
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import Study, current_kind, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["AttestOutcome", "RegisterModel"]


class AttestOutcome:
    """Name the state that the last round led to, where no update carries it."""

    name: ClassVar[str] = "attest"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to the last survivors when the study agrees, or when training is left that might be stopped."""
        if me.name not in study.base_voters or any(row[0] == me.name for row in study.base_votes):
            return ()
        stoppable = study.phase == "running" and study.base is None and current_kind(study) == "training"
        if study.phase not in ("agreeing", "completed") and not stoppable:
            return ()
        return (Work(self.name, study.study, study.base_round, detail=study.phase),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """While training is left, only to stop it."""
        study = study_record(view, work.study)
        if study is None:
            return ()
        progress = load_progress(site, study.study, plan_of(view, study.study))
        if progress.absorbed <= study.base_round:
            raise Unavailable(f"round {study.base_round}: it is not followed yet")
        if study.phase == "running" and not progress.stop:
            return ()
        base = site.state_of(study.study, progress).digest
        return (Attest(study.study, study.base_round, base, progress.accepted, study.phase == "running"),)


class RegisterModel:
    """Keep the released model and its card as blobs, and register or endorse it."""

    name: ClassVar[str] = "register-model"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due once to every hospital of a completed study."""
        if study.phase != "completed" or me.name not in study.roster:
            return ()
        for entry in artefacts(view):
            if entry.study == study.study and (entry.registered_by == me.name or me.name in entry.endorsers):
                return ()
        return (Work(self.name, study.study),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The same bytes at every hospital, so that registering again is endorsing."""
        study = study_record(view, work.study)
        if study is None:
            return ()
        plan = plan_of(view, study.study)
        progress = load_progress(site, study.study, plan)
        if progress.absorbed < study.next_round:
            raise Unavailable(f"study {study.study.hex()}: not all rounds are followed yet")
        state = site.state_of(study.study, progress)
        if state.digest != study.base:
            raise Unavailable(f"study {study.study.hex()}: the agreed outcome is not the one computed here")
        is_labelling = isinstance(plan.labelling, Labelling)
        model = compute_student(site, study.study, plan, state) if is_labelling else model_of(plan, state)
        digest = site.blobs.put(encode_model(model))
        card = site.blobs.put(encode(model.card))
        site.vault.put(study_key(study.study, "model"), digest)
        return (RegisterArtefact(digest, "model", card, study.study),)
