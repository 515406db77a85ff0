"""A detector that agents have trained, asked blindly: the answer from a good service, FALSE from a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torchvision")
pytest.importorskip("PIL")

from tests.support.picture_study import PLACES, drawn_set, drawn_sets, picture_plan
from tests.support.study import STUDY, TestWorld

from medfed.demo.imaging_dealings import best_operating_point
from medfed.diagnosis.blind_record import service_record
from medfed.federation.model_file import decode_model
from medfed.federation.picture_table import picture_table
from medfed.hospital.blind_asking import ask_service, read_material
from medfed.hospital.blind_testing import BlindVerdict, serve_model, verdict_of
from medfed.identifiers import Digest, Name
from medfed.imaging.image_set import ImageSet
from medfed.ledger.contracts.blind_test import OfferBlindTests, blind_test
from medfed.ledger.contracts.registry import artefacts

pytestmark = [pytest.mark.torch, pytest.mark.slow]
CLINIC = "clinic"
HOUR_MS = 3600 * 1000


def trained(sets: dict[str, ImageSet]) -> tuple[TestWorld, Digest]:
    """Three hospitals whose study has ended, and a clinic that was not in it."""
    plan = picture_plan(rounds=3, epochs=6, learning_rate=3e-3, best_round=False)
    world = TestWorld.build(plan, others={CLINIC: "user"})
    world.tables = {name: picture_table(images) for name, images in sets.items()}
    for name in PLACES:
        world.restart(name)
    world.propose()
    assert world.run().phase == "completed"
    step_all(world)
    (model,) = {entry.artefact for entry in artefacts(world.engine.view()) if entry.study == STUDY}
    return world, model


def step_all(world: TestWorld) -> None:
    while sum(agent.step() for agent in world.agents.values()):
        pass


def ask(world: TestWorld, service: Name, model: Digest, operating: float, folder: Path, picture: Path) -> BlindVerdict:
    """The clinic's verdict on a service that is set to this operating point."""
    serve_model(world.agents[service].site.vault, model, operating)
    assert world.agents[service].send(OfferBlindTests(model, True)).accepted
    clinic = world.agents[CLINIC].site
    material = read_material(clinic.blobs, model, folder, picture, cleared=True)
    body = ask_service(
        clinic, world.engine.view(), service, model, material, count=24, threshold="0.75", phase_ms=HOUR_MS
    )
    step_all(world)
    found = blind_test(world.engine.view(), body.test)
    assert found is not None
    assert found.phase in ("passed", "failed")
    return verdict_of(world.engine.view(), clinic.vault, body.test)


def test_a_trained_detector_answers_blindly_and_one_that_is_set_too_strictly_gives_false(tmp_path: Path) -> None:
    sets = drawn_sets(tmp_path)
    world, model = trained(sets)
    released = decode_model(world.blobs.get(model))
    operating, share = best_operating_point(released, sets["north"])
    assert share > 0.8
    clinic = drawn_set(tmp_path / CLINIC, 40, 11, 0.5)
    (asked,) = drawn_set(tmp_path / "asked", 1, 12, 1.0).pictures
    picture = tmp_path / "asked" / asked.file
    good = ask(world, "north", model, operating, clinic.folder, picture)
    assert good.passed
    assert good.diagnosis == ("bar", "square")
    bad = ask(world, "west", model, 0.99, clinic.folder, picture)
    assert (bad.passed, bad.diagnosis, str(bad)) == (False, None, "FALSE")
    record = service_record(world.engine.view(), "north", model)
    assert record.accuracy is not None
    assert record.accuracy.share > 0.75
