"""`medfed demo imaging`: the first system whole, on real pictures, by agents as processes.

Hospitals train a detector under session keys; a clinic that did not train asks two services blindly, gets an answer
from one and FALSE from the other, and asks a hospital for its pictures. Every number is read from the ledger, a vault
or the model. What people decide is played.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from medfed.crypto import system_entropy
from medfed.demo.agents import AgentProcesses
from medfed.demo.imaging_dealings import GOOD_SERVICE, ask_blindly, best_operating_point, request_pictures
from medfed.demo.imaging_place import (
    AGGREGATOR,
    CLINIC,
    HOSPITALS,
    cells_plan,
    import_pictures,
    open_imaging_place,
)
from medfed.demo.imaging_report import draw_findings, report_sections
from medfed.demo.imaging_tour_state import Tour
from medfed.demo.place import prepare_directory
from medfed.demo.story import Story
from medfed.demo.tamper import tamper_with_copy
from medfed.encoding import encode
from medfed.errors import Unavailable
from medfed.federation.model_file import save_model
from medfed.federation.picture_boxes import boxes_by_picture
from medfed.federation.study import initial_state
from medfed.hospital.aggregation import recompute_state
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.rewards import points
from medfed.ledger.contracts.studies import ProposeStudy, Study, study_record
from medfed.ledger.transaction import IssueSessionKeys, SubmitUpdate
from medfed.ledger.verify import verify_store
from medfed.simulation.api import LedgerHandle, SimulatedStudy
from medfed.simulation.report import write_report

__all__ = ["run_imaging_demo"]

_STUDY_SECONDS: Final = 3600.0
_LEARNERS: Final = len(HOSPITALS)
CAUTION: Final = "Public pictures, shown to explain how MedFed works. Not for the care of patients."


def run_imaging_demo(output: Path, *, rounds: int | None = None, quiet: bool = False) -> dict[str, Any]:
    """Run the demo in the new directory `output`; returns its facts.

    Args:
        output: an earlier demo there is replaced.
        rounds: of training, in place of the plan's.
        quiet: tell nothing.

    Raises:
        Unavailable: torch, torchvision or Pillow is not installed, or something took too long. Refused: the directory
            is somebody else's.
    """
    _need_libraries()
    for name, value in _threads().items():
        os.environ.setdefault(name, value)
    story = Story(quiet=quiet)
    started = time.perf_counter()
    prepare_directory(output, resume=False)
    place = open_imaging_place(output, cells_plan(rounds))
    tour = Tour(place, story, AgentProcesses(place), system_entropy(16))
    try:
        _introduce(tour)
        _propose(tour)
        tour.agents.start((*HOSPITALS, CLINIC, AGGREGATOR))
        study = _train(tour, started)
        _show_updates(tour)
        _judge(tour, study)
        ask_blindly(tour, study.model)
        request_pictures(tour)
        tour.agents.stop()
        _check(tour, study, started)
    finally:
        tour.agents.stop()
        place.engine.close()
    return tour.facts


def _need_libraries() -> None:
    lacking = [name for name in ("torch", "torchvision", "PIL") if find_spec(name) is None]
    if lacking:
        raise Unavailable(f"the imaging demo needs {', '.join(lacking)}: install medfed[imaging,torch]")


def _threads() -> dict[str, str]:
    """Three hospitals learn at once on one machine: each gets its share of the cores. Torch reads it when it starts."""
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // _LEARNERS))}


def _introduce(tour: Tour) -> None:
    place, story = tour.place, tour.story
    story.title("They register their keys on one ledger")
    for founder in place.engine.genesis.founders:
        story.say(f"{founder.name:11} {founder.role:11} signs with {founder.signing_key.hex()[:32]}…")
    story.title("Each imports its own pictures of blood cells")
    import_pictures(place)
    for name in (*HOSPITALS, CLINIC):
        images = place.images(name)
        counts = ", ".join(f"{count} {label}" for label, count in images.counts().items())
        story.say(f"{name:11} {len(images.pictures):3} pictures: {counts}")
        tour.facts.setdefault("pictures", {})[name] = images.counts() | {"pictures": len(images.pictures)}
    story.say(f"The {CLINIC} does not train.")


def _propose(tour: Tour) -> None:
    tour.story.plan(tour.place.plan)
    plan = tour.place.plan
    tour.send(AGGREGATOR, ProposeStudy(tour.study, plan.terms(initial_state(plan).digest), encode(plan)))
    tour.story.say(f"proposed by the {AGGREGATOR}; digest {plan.digest.hex()[:32]}…")


def _train(tour: Tour, started: float) -> SimulatedStudy:
    place = tour.place
    ended = tour.agents.wait("the study", lambda: _trained(tour), _STUDY_SECONDS)
    if ended.phase != "completed":
        raise Unavailable(f"the study ended {ended.phase} ({ended.pause_code}); see the logs in {place.root}")
    tables = dict(place.tables())
    return SimulatedStudy(
        plan=place.plan,
        study=ended,
        state=recompute_state(place.engine.view(), tour.study, place.blobs),
        ledger=LedgerHandle(place.engine),
        blobs=place.blobs,
        tables=tables,
        prepared=place.prepared(tables),
        seconds=time.perf_counter() - started,
    )


def _trained(tour: Tour) -> Study | None:
    """The study, once it has ended and every hospital has registered what came of it."""
    view = tour.place.engine.view()
    study = study_record(view, tour.study)
    if study is None or study.phase == "aborted":
        raise Unavailable(f"the study was aborted: {study.pause_code if study else 'it is not on the ledger'}")
    tour.story.progress(study, tour.place.plan)
    registered = [entry for entry in artefacts(view) if entry.study == tour.study]
    return study if study.phase == "completed" and registered else None


def _show_updates(tour: Tour) -> None:
    """What the ledger has of one round: digests, and keys that only their hospital opens."""
    story = tour.story
    story.title("The aggregator issues session keys; every update is encrypted under one")
    last: dict[str, SubmitUpdate] = {}
    rounds: Counter[str] = Counter()
    for transaction in tour.place.transactions():
        body = transaction.body
        if isinstance(body, IssueSessionKeys):
            for key in body.keys:
                story.say(f"to {key.receiver:6} a session key, sealed to it: {key.sealed.hex()[:32]}…")
        elif isinstance(body, SubmitUpdate):
            rounds[transaction.sender] += 1
            if body.round == tour.place.plan.training.rounds:
                last[transaction.sender] = body
    story.say(f"in round {tour.place.plan.training.rounds}, of encrypted update and of its key:")
    for name, body in sorted(last.items()):
        story.say(f"{name:6} {body.length:,} bytes, digest {body.blob.hex()[:24]}…, {body.seed_commitment.hex()[:16]}…")
    tour.facts["updates"] = dict(rounds)


def _judge(tour: Tour, study: SimulatedStudy) -> None:
    place, story = tour.place, tour.story
    story.trained(study)
    examples = study.state.test.examples if study.state.test is not None else 0
    story.say(f"on {examples} test pictures that no training saw:")
    for name, value in study.metrics().items():
        story.say(f"  {name:14} {value.value:.3f}")
    tour.facts |= {"study": tour.study, "model": study.model.digest, "metrics": study.metrics()}
    save_model(place.root / "cells.safetensors", study.model)
    images = place.images(CLINIC)
    own = place.images(GOOD_SERVICE)
    tour.operating, share = best_operating_point(study.model, own)
    story.say(
        f"{GOOD_SERVICE} believes boxes from a score of {tour.operating:g}: right on {share:.0%} of its own pictures"
    )
    found = boxes_by_picture(study.model, images, tour.operating)
    tour.drawn = draw_findings(place.root / "boxes", images, found, study.plan)
    story.say(f"{len(tour.drawn)} of the {CLINIC}'s pictures with boxes are in {place.root / 'boxes'}")


def _check(tour: Tour, study: SimulatedStudy, started: float) -> None:
    place, story = tour.place, tour.story
    view = study.ledger.view
    story.title("Points, and what anyone can check")
    earned = {name: points(view, name) for name in (*HOSPITALS, CLINIC)}
    story.say(", ".join(f"{name} {count}" for name, count in earned.items()))
    verified = verify_store(place.ledger, place.engine.genesis.digest)
    story.say(
        f"verified     {verified.blocks} blocks, {verified.transactions} transactions, {verified.refused} refused"
    )
    story.say(f"medfed ledger verify {place.ledger} --blobs {place.ledger}.blobs \\")
    story.say(f"  --genesis {place.engine.genesis.digest.hex()}")
    tampering = tamper_with_copy(place.ledger, max(1, view.tip.height // 2))
    story.say(f"one bit changed in a copy, and verification says:\n    {tampering or 'NOTHING'}")
    report = place.root / "report.html"
    write_report(study, report, caution=CAUTION, compared=False, more=report_sections(tour))
    story.title("Results")
    for what, file in (("report", report), ("model", place.root / "cells.safetensors")):
        story.say(f"{what:12} {file}")
    seconds = round(time.perf_counter() - started, 1)
    story.say(f"{seconds} seconds in all")
    genesis = place.engine.genesis.digest
    tour.facts |= {"points": earned, "verified": verified, "genesis": genesis, "tampering": tampering}
    tour.facts |= {"report": str(report), "seconds": seconds}
