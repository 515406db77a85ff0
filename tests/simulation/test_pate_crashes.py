"""A hospital in a labelling study that dies between any two durable effects: charged once, released once, goes on."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.labelling import labelling_plan, public_csv, rows
from tests.support.study import STUDY, TestWorld

from medfed.blobs import MemoryBlobs
from medfed.federation.tables import table_from
from medfed.hospital.aggregation import recompute_state
from medfed.hospital.enrolled import charges
from medfed.hospital.progress import study_key, vector_key
from medfed.identifiers import Name
from medfed.ledger.contracts.labelling import spent
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.studies import study_record
from medfed.ledger.verify import verify_ledger

FOUR: tuple[Name, ...] = ("alpha", "beta", "delta", "gamma")
VICTIM: Name = "beta"


class Crash(BaseException):
    """The process dies here."""


class Bomb:
    """Goes off at the n-th effect, once."""

    def __init__(self) -> None:
        self.fuse: int | None = None
        self.count = 0

    def __call__(self, name: str) -> None:
        self.count += 1
        if self.count == self.fuse:
            raise Crash(name)


def _world(bomb: Bomb) -> TestWorld:
    blobs = MemoryBlobs()
    blobs.put(public_csv())
    plan = labelling_plan(FOUR, teachers=13)
    world = TestWorld.build(plan, effect=lambda name: bomb if name == VICTIM else lambda _: None, blobs=blobs)
    for name in FOUR:
        world.tables[name] = table_from(rows(name, 120))
        world.restart(name)
    return world


def _run(fuse: int | None) -> tuple[TestWorld, Bomb, set[bytes]]:
    """Run to the end; also every vector that the victim's vault ever held, by content."""
    bomb = Bomb()
    world = _world(bomb)
    bomb.count, bomb.fuse = 0, fuse
    world.propose()
    vectors: set[bytes] = set()
    for _ in range(3_000):
        study = study_record(world.engine.view(), STUDY)
        assert study is not None
        done = 0
        for name in FOUR:
            try:
                done += world.agents[name].step()
            except Crash:
                world.restart(name)
                done += 1
        held = world.vaults[VICTIM].get(vector_key(STUDY))
        if held is not None:
            vectors.add(held)
        if done:
            continue
        if study.phase in ("completed", "aborted"):
            break
        world.idle(None)
    assert study.phase == "completed", (study.phase, study.pause_code, world.agents[VICTIM].problems)
    return world, bomb, vectors


@pytest.mark.slow
def test_a_hospital_that_is_killed_at_any_effect_goes_on_and_nothing_is_released_or_charged_twice() -> None:
    _, bomb, _ = _run(None)
    assert bomb.count > 60
    for fuse in range(1, bomb.count + 1, 2):
        world, _, vectors = _run(fuse)
        view = world.engine.view()
        study = study_record(view, STUDY)
        assert study is not None
        assert study.pauses == 0, f"crash at effect {fuse}"
        assert spent(view, study).histograms == (40,), f"crash at effect {fuse}"
        # One noisy vector a round: the noise of a round is never drawn a second time once the first is durable.
        assert len(vectors) <= 2, f"crash at effect {fuse}"
        (charge,) = charges(world.agents[VICTIM].site)
        assert charge.charge.epsilon == world.plan.labelling.epsilon  # type: ignore[union-attr]
        assert recompute_state(view, STUDY, world.blobs).digest == study.base
        verify_ledger(world.engine.genesis, world.engine.blocks(), world.engine.genesis.digest)


def test_every_hospital_registers_the_student_and_forgets_its_vectors() -> None:
    world, _, _ = _run(None)
    (entry,) = artefacts(world.engine.view())
    assert {entry.registered_by, *entry.endorsers} == set(FOUR)
    for name in FOUR:
        assert world.vaults[name].get(vector_key(STUDY)) is None
        assert world.vaults[name].get(study_key(STUDY, "model")) == entry.artefact
        assert world.agents[name].site.votes == {}
    labels = recompute_state(world.engine.view(), STUDY, world.blobs).votes
    assert labels is not None
    assert np.mean(np.array(labels.labels) >= 0) == 1
