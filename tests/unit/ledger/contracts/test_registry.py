"""Rules of `ledger.contracts.registry`: artefacts by digest, each with a card."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, STUDY, StudyWorld, World, make_terms

from medfed.identifiers import sha256
from medfed.ledger.contracts.registry import ArtefactKind, RegisterArtefact, WithdrawDataset, artefact, artefacts
from medfed.ledger.contracts.terms import Step

THING, CARD = sha256(b"thing"), sha256(b"card")
DATASET = RegisterArtefact(THING, "dataset", CARD)


@pytest.fixture
def world() -> World:
    return World.build()


def test_rule_1_the_first_to_register_fixes_kind_and_card(world: World) -> None:
    world.accept("alpha", DATASET)
    found = artefact(world.view, THING)
    assert found is not None
    assert (found.kind, found.card, found.registered_by, found.endorsers) == ("dataset", CARD, "alpha", ())
    assert artefact(world.view, CARD) is None


def test_rule_2_the_same_card_endorses_and_another_is_refused(world: World) -> None:
    world.accept("alpha", DATASET)
    world.accept("gamma", DATASET)
    world.accept("beta", DATASET)
    found = artefact(world.view, THING)
    assert found is not None
    assert (found.registered_by, found.endorsers) == ("alpha", ("beta", "gamma"))
    assert world.refuse("delta", replace(DATASET, card=sha256(b"another"))) == "other-card"
    assert world.refuse("delta", replace(DATASET, kind="vocabulary")) == "other-card"


def test_rule_2_nobody_registers_or_endorses_twice(world: World) -> None:
    world.accept("alpha", DATASET)
    assert world.refuse("alpha", DATASET) == "already-registered"
    world.accept("beta", DATASET)
    assert world.refuse("beta", DATASET) == "already-registered"


def test_rule_3_a_model_comes_from_a_completed_study_by_its_roster(world: World) -> None:
    study = StudyWorld(world, make_terms(steps=(Step("training"),)))
    model = RegisterArtefact(THING, "model", CARD, STUDY)
    assert world.refuse("alpha", model) == "no-completed-study"
    study.to_running().to_agreeing()
    assert world.refuse("alpha", model) == "no-completed-study"
    study.to_completed()
    assert world.refuse("alpha", replace(model, study=None)) == "no-completed-study"
    assert world.refuse("organiser", model) == "not-in-study"
    world.accept("alpha", model)
    for name in FOUR[1:]:
        world.accept(name, model)
    (found,) = artefacts(world.view)
    assert (found.study, found.endorsers) == (STUDY, FOUR[1:])


@pytest.mark.parametrize("kind", ["dataset", "vocabulary", "case-library"])
def test_rule_3_only_a_model_names_a_study(world: World, kind: ArtefactKind) -> None:
    body = RegisterArtefact(THING, kind, CARD, STUDY)
    assert world.refuse("alpha", body) == "study-not-for-this"


def test_rule_4_who_registered_a_dataset_withdraws_it_once(world: World) -> None:
    world.accept("alpha", DATASET)
    world.accept("beta", DATASET)
    assert world.refuse("beta", WithdrawDataset(THING)) == "not-yours"
    world.accept("alpha", WithdrawDataset(THING))
    found = artefact(world.view, THING)
    assert found is not None
    assert found.withdrawn
    assert found.endorsers == ("beta",)
    assert world.refuse("alpha", WithdrawDataset(THING)) == "already-withdrawn"


def test_rule_4_nothing_but_a_dataset_is_withdrawn(world: World) -> None:
    assert world.refuse("alpha", WithdrawDataset(THING)) == "no-such-dataset"
    world.accept("alpha", RegisterArtefact(THING, "vocabulary", CARD))
    assert world.refuse("alpha", WithdrawDataset(THING)) == "no-such-dataset"


def test_rule_4_a_withdrawn_dataset_stays_withdrawn_when_it_is_endorsed(world: World) -> None:
    world.accept("alpha", DATASET, WithdrawDataset(THING))
    assert world.refuse("alpha", DATASET) == "already-registered"
    world.accept("beta", DATASET)
    found = artefact(world.view, THING)
    assert found is not None
    assert found.withdrawn


def test_artefacts_are_listed_by_digest(world: World) -> None:
    digests = [sha256(bytes([n])) for n in range(5)]
    for digest in digests:
        world.accept("alpha", RegisterArtefact(digest, "dataset", CARD))
    assert [entry.artefact for entry in artefacts(world.view)] == sorted(digests)
