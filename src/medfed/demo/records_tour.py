"""`medfed demo records`: import, align, train, diagnose, correct, follow up and re-train, by agents as processes.

Every number is read from the ledger, a vault or an answer. The doctor's part is played: the decision is what the
hospital wrote down in the end, and the course is taken to be good.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from medfed.alignment.patients import PatientQuestion
from medfed.alignment.signature import SignatureQuestion
from medfed.crypto import SiteKeys, system_entropy
from medfed.demo.agents import AgentProcesses
from medfed.demo.place import prepare_directory
from medfed.demo.records_place import (
    SITES,
    RecordsPlace,
    held_back_cases,
    make_sites,
    open_records_place,
    split_tables,
)
from medfed.demo.story import Story
from medfed.diagnosis.answer import Answer
from medfed.diagnosis.decisions import Decided, Decisions, FollowedUp, Retained
from medfed.diagnosis.question import Asked, Question
from medfed.errors import Refused, Unavailable
from medfed.federation.model_file import Model, decode_model
from medfed.federation.outcome_study import outcome_plan
from medfed.federation.plan import Aligned, Plan
from medfed.hospital.alignment_state import AlignmentResult, load_result
from medfed.hospital.consultation import ask, follow_up, open_decisions
from medfed.hospital.site_directory import wall_clock
from medfed.hospital.site_library import LIBRARY_FILE
from medfed.hospital.vault import Vault
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.alignment import Alignment, AlignmentKind, OpenAlignment, alignment_record
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.studies import Study, enrolment, study_record
from medfed.ledger.transaction import Body, Transaction, sign
from medfed.ledger.transition import anchor_of, next_sequence
from medfed.models.settings import LocalTraining
from medfed.records.case import Case
from medfed.records.coding import Coding
from medfed.records.library import Library
from medfed.records.vocabulary import Vocabulary
from medfed.simulation.world import propose_study

__all__ = ["run_records_demo"]

_LIMIT: Final = 600.0
_SECOND: Final = 1_000
_USER: Final = "doctor"
_ROUNDS: Final = 6
_ADMISSION: Final = ("urn:medfed:local:eicu", "apacheadmissiondx")


@dataclass
class Tour:
    """The demo under way: where it is, how it is told, and what came out of it."""

    place: RecordsPlace
    story: Story
    agents: AgentProcesses
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Desk:
    """Where the doctor asks: one site's library and log, and the released model."""

    library: Library
    decisions: Decisions
    words: Vocabulary
    model: Model

    def ask(self, question: Question) -> Answer:
        """Ask now."""
        return ask(
            self.library, self.decisions, question, self.words,
            model=self.model, time=_now(), user=_USER, entropy=system_entropy,
        )  # fmt: skip


def run_records_demo(data: Path, output: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Run the demo with the eICU tables in `data`, in the new directory `output`; returns its facts.

    Raises:
        InvalidInput: not the eICU tables. Refused: the directory is somebody else's. Unavailable: it took too long.
    """
    story = Story(quiet=quiet)
    started = time.perf_counter()
    prepare_directory(output, resume=False)
    place = open_records_place(output)
    tour = Tour(place, story, AgentProcesses(place))
    try:
        story.title("Four hospital groups import their records")
        stays = split_tables(data, tour.place)
        words = make_sites(tour.place)
        for name in SITES:
            story.say(f"{name:6} {stays[name]:4} stays")
        story.say(f"vocabulary: {len(words.attributes)} attributes, {len(words.diagnoses)} diagnoses")
        tour.facts |= {"stays": stays, "vocabulary": words.digest}
        tour.agents.start(SITES)
        aligned = _align(tour)
        model = _train(tour, words, aligned, "first")
        _consult(tour, words, model)
        _train(tour, words, Aligned(patients=aligned.patients), "again")
    finally:
        tour.agents.stop()
        tour.place.engine.close()
    tour.facts["seconds"] = round(time.perf_counter() - started, 1)
    story.say(f"{tour.facts['seconds']} seconds in all; everything is in {output}")
    return tour.facts


def _align(tour: Tour) -> Aligned:
    """Patients and signatures, both for one study that is not proposed yet."""
    tour.story.title("They find who and what they share, without showing the rest")
    study = system_entropy(16)
    question = SignatureQuestion(kinds=("measurement",), key_concepts=(_ADMISSION,), age_bands=(40.0, 65.0, 80.0))
    asked: dict[AlignmentKind, bytes] = {"patients": PatientQuestion().encode(), "signatures": question.encode()}
    identifiers: dict[AlignmentKind, StudyId] = {}
    for kind, content in asked.items():
        identifiers[kind] = system_entropy(16)
        deadline = 120 * _SECOND
        _send(tour.place, OpenAlignment(identifiers[kind], study, kind, content, 5_000, 2, SITES, deadline, deadline))
    for kind, identifier in identifiers.items():
        tour.agents.wait(f"alignment of {kind}", partial(_aligned, tour, identifier), _LIMIT)
        results = {name: _result(tour, name, identifier) for name in SITES}
        shared = sum(count for _, count in results[SITES[0]].sizes.by_holders)
        tour.story.say(f"{kind}: {shared} are at more than one site")
        for name, found in results.items():
            tour.story.say(f"{name:6} {len(found.ids):4} of its {found.entries} {kind}")
        tour.facts[kind] = {
            "alignment": identifier,
            "shared": shared,
            "sites": {name: [len(found.ids), found.entries] for name, found in results.items()},
        }
    return Aligned(identifiers["signatures"].hex(), identifiers["patients"].hex())


def _train(tour: Tour, words: Vocabulary, aligned: Aligned, which: str) -> Model:
    plan = outcome_plan(
        words,
        SITES,
        title=f"Outcomes of stays in intensive care, {which}",
        rounds=_ROUNDS,
        hidden=(32,),
        hide=0.0,
        local=LocalTraining(epochs=2, optimizer="adam", learning_rate=0.01, batch_size=32),
        aligned=aligned,
    )
    tour.story.title("They train together" if which == "first" else "They train again, with the new case")
    study = system_entropy(16)
    propose_study(tour.place.engine, tour.place.organiser, plan, study)
    ended = tour.agents.wait(f"study {which}", partial(_trained, tour, study), _LIMIT)
    view = tour.place.engine.view()
    brought = {name: enrolment(view, study, name) for name in SITES}
    examples = {name: found.examples for name, found in brought.items() if found is not None}
    digest = next(entry.artefact for entry in artefacts(view) if entry.study == study)
    model = decode_model(tour.place.blobs.get(digest))
    tour.story.say(f"{ended.phase} after {ended.next_round} rounds; cases: "
                   f"{', '.join(f'{name} {count}' for name, count in examples.items())}")  # fmt: skip
    tour.facts[which] = {"study": study, "plan": plan.digest, "model": digest, "examples": examples}
    _check(plan, ended)
    return model


def _consult(tour: Tour, words: Vocabulary, model: Model) -> None:
    """The doctor asks, confirms or corrects, and follows up; a case is found then and not before."""
    tour.story.title("A doctor asks about patients whom no site has seen")
    site = tour.place.site(SITES[0])
    with closing(Library(site / LIBRARY_FILE, system_entropy)) as library, closing(open_decisions(site)) as decisions:
        desk = Desk(library, decisions, words, model)
        rows = [_one_patient(tour, desk, case) for case in held_back_cases(tour.place, words)]
        entries, _ = decisions.verify()
    corrected = sum(not row["agrees"] for row in rows)
    tour.story.say(f"{len(rows) - corrected} confirmed, {corrected} corrected; all followed up, and new cases now")
    tour.facts["consultation"] = {"patients": rows, "log_entries": entries}


def _one_patient(tour: Tour, desk: Desk, case: Case) -> dict[str, Any]:
    question, truth = _question(case), case.outcome.diagnoses[0]
    first = desk.ask(question)
    for row in first.diagnoses[:2]:
        tour.story.say(f"{row.combined:4.0%}  {row.diagnosis.words}")
    agrees = bool(first.diagnoses) and first.diagnoses[0].diagnosis.key == truth.key
    tour.story.say(f"the doctor {'confirms' if agrees else 'corrects'}: {truth.words}")
    decided = Decided(
        "confirm" if agrees else "adjust", "agrees" if agrees else "clinical-picture", (Coding(*truth.key),)
    )
    desk.decisions.decide(first.answer, decided, user=_USER, time=_now())
    before = desk.ask(question)
    now = _now()
    followed = FollowedUp("improved", now)
    entry = follow_up(desk.library, desk.decisions, first.answer, followed, user=_USER, time=now)
    after = desk.ask(question)
    new = entry.event.case if isinstance(entry.event, Retained) else ""
    tour.story.say(f"followed up; asked again, the most similar case is {after.cases[0].case if after.cases else '-'}")
    return {
        "case": new,
        "agrees": agrees,
        "found_before": any(one.case == new for one in before.cases),
        "found_after": bool(after.cases) and after.cases[0].case == new,
        "warnings": [code for code, _ in first.warnings],
    }


def _question(case: Case) -> Question:
    features = tuple(
        Asked(
            feature.concept.code,
            feature.concept.system,
            feature.kind,
            feature.status,
            feature.value.code if isinstance(feature.value, Coding) else feature.value,
            feature.unit,
        )
        for feature in case.features
    )
    return Question(case.patient, features, case.age, case.sex)


def _now() -> int:
    return wall_clock() // _SECOND


def _send(place: RecordsPlace, body: Body) -> None:
    view, keys = place.engine.view(), place.organiser
    transaction = Transaction(view.chain, keys.name, next_sequence(view, keys.name), anchor_of(view.tip), body)
    (receipt,) = place.engine.submit(sign(transaction, keys.signing_key))
    if receipt.code or receipt.height is None:
        raise Refused(receipt.code or "no-block", receipt.message)


def _aligned(tour: Tour, identifier: StudyId) -> Alignment | None:
    record = alignment_record(tour.place.engine.view(), identifier)
    if record is None or record.phase == "ended":
        raise Unavailable(f"the alignment ended: {record.code if record else 'it is not on the ledger'}")
    return record if record.phase == "completed" and len(record.results) == len(record.roster) else None


def _trained(tour: Tour, identifier: StudyId) -> Study | None:
    view = tour.place.engine.view()
    study = study_record(view, identifier)
    if study is None or study.phase == "aborted":
        raise Unavailable(f"the study was aborted: {study.pause_code if study else 'it is not on the ledger'}")
    is_registered = any(entry.study == identifier for entry in artefacts(view))
    return study if study.phase == "completed" and is_registered else None


def _result(tour: Tour, name: Name, identifier: StudyId) -> AlignmentResult:
    keys: SiteKeys = tour.place.consortium.keys[name]
    vault = Vault(tour.place.site(name) / "vault.db", keys.vault_key, system_entropy)
    with closing(vault):
        found = load_result(vault, identifier)
    if found is None:
        raise Unavailable(f"{name}: the alignment has no result here")
    return found


def _check(plan: Plan, ended: Study) -> None:
    if ended.phase != "completed":
        raise Unavailable(f"{plan.purpose.title}: the study ended {ended.phase}")
