"""Which duty is due to whom in every phase of a study, in each protection mode: these and no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.ciphertexts import AGGREGATOR, KEY_HOLDER, EncryptedStudyWorld, encrypted_terms
from tests.support.ledger import FOUR, OTHERS, StudyWorld, World, make_terms
from tests.support.sealed import SealedStudyWorld, sealed_terms

from medfed.hospital.agent import DUTIES
from medfed.hospital.work import Me
from medfed.identifiers import Name
from medfed.ledger.contracts.deadlines import due_at
from medfed.ledger.contracts.keying import KeysReady
from medfed.ledger.contracts.registry import RegisterArtefact
from medfed.ledger.contracts.rounds import current_round
from medfed.ledger.contracts.studies import WithdrawFromStudy
from medfed.ledger.contracts.terms import Step

Due = dict[str, tuple[Name, ...]]
REST = FOUR[1:]
ONE_ROUND = (Step("training"),)


def due(study: StudyWorld, late_ms: int = 0) -> Due:
    """The names to whom each duty is due; `late_ms` after the deadline of the phase, if given."""
    view, record = study.world.view, study.record
    now = study.world.clock()
    if late_ms:
        deadline = due_at(view, record)
        assert deadline is not None
        now = deadline + late_ms
    found: Due = {}
    for duty in DUTIES:
        names = [n for n in (*FOUR, *OTHERS) if duty.due(view, record, current_round(view, record), Me(n, now, 0))]
        if names:
            found[duty.name] = tuple(names)
    return found


def courses() -> Iterator[StudyWorld]:
    yield StudyWorld(World.build(), make_terms(steps=ONE_ROUND))
    yield EncryptedStudyWorld(World.build(), encrypted_terms(steps=ONE_ROUND))
    yield SealedStudyWorld(World.build(), sealed_terms(steps=ONE_ROUND))


def test_before_any_round_everybody_answers_enrols_and_nobody_twice() -> None:
    for study in courses():
        study.world.accept("organiser", study.proposal())
        assert due(study) == {"answer-proposal": FOUR}
        study.world.accept("alpha", study.approval())
        assert due(study) == {"answer-proposal": REST}
        for name in REST:
            study.world.accept(name, study.approval())
        assert due(study) == {"enrol": FOUR}
        study.world.accept("alpha", study.enrolment("alpha"))
        assert due(study) == {"enrol": REST}


def _updates(study: StudyWorld, submit: str, confirm: str) -> None:
    assert due(study) == {submit: FOUR}
    study.world.accept("alpha", study.update("alpha"))
    assert due(study) == {submit: REST}
    for name in REST:
        study.world.accept(name, study.update(name))
    assert due(study) == {confirm: FOUR}
    study.confirm_all(without=REST)
    assert due(study) == {confirm: REST}
    study.confirm_all(without=("alpha",))


def test_a_masked_round() -> None:
    study = StudyWorld(World.build(), make_terms(steps=ONE_ROUND)).to_sealing()
    assert due(study) == {"seal-pair-secrets": FOUR}
    study.world.accept("alpha", study.pair_secrets("alpha"))
    assert due(study) == {"seal-pair-secrets": REST}
    for name in REST:
        study.world.accept(name, study.pair_secrets(name))
    assert due(study) == {"keys-ready": FOUR}
    study.world.accept("alpha", KeysReady(study.study))
    assert due(study) == {"keys-ready": REST}
    for name in REST:
        study.world.accept(name, KeysReady(study.study))
    _updates(study, "submit-update", "confirm-survivors")
    assert due(study) == {"reveal-seeds": FOUR}
    study.reveal_all(without=["gamma"])
    assert due(study) == {"reveal-seeds": ("gamma",)}
    study.advance()
    assert due(study) == {"reveal-seeds": ("gamma",), "reveal-shares": ("alpha", "beta", "delta")}
    study.world.accept("alpha", study.shares("alpha", "gamma"))
    assert due(study)["reveal-shares"] == ("beta", "delta")


def test_an_encrypted_round() -> None:
    study = EncryptedStudyWorld(World.build(), encrypted_terms(steps=ONE_ROUND))
    study.to_sealing()
    assert due(study) == {"publish-encryption-key": (KEY_HOLDER,)}
    study.world.accept(KEY_HOLDER, study.key())
    _updates(study, "submit-encrypted-update", "confirm-ciphertext")
    assert due(study) == {"add-ciphertexts": (AGGREGATOR,)}
    study.world.accept(AGGREGATOR, study.sum())
    assert due(study) == {"note-release": FOUR, "open-sum": (KEY_HOLDER,)}
    study.world.accept(KEY_HOLDER, study.decryption())
    assert due(study) == {"attest": FOUR}


def test_a_sealed_round() -> None:
    study = SealedStudyWorld(World.build(), sealed_terms(steps=ONE_ROUND))
    study.to_sealing()
    assert due(study) == {"issue-session-keys": (AGGREGATOR,)}
    study.world.accept(AGGREGATOR, study.keys())
    _updates(study, "submit-sealed-update", "confirm-sealed")
    assert due(study) == {"aggregate-updates": (AGGREGATOR,)}
    study.world.accept(AGGREGATOR, study.publication())
    assert due(study) == {"dispute-aggregate": FOUR, "attest": FOUR}
    study.world.accept("alpha", study.attestation())
    assert due(study)["attest"] == REST


def test_a_dropout_owes_nothing_in_the_attempt_without_it_and_who_is_late_still_says_so() -> None:
    for study in courses():
        study.to_running()
        study.update_all(without=("gamma",))
        assert study.round.phase == "confirm"
        submit = next(name for name in due(study) if name.startswith("submit"))
        assert due(study)[submit] == ("gamma",), "late, while the others confirm"
        study.world.accept("gamma", study.update("gamma"))
        assert submit not in due(study)


def test_who_has_withdrawn_owes_nothing_more() -> None:
    for study in courses():
        study.to_running()
        study.world.accept("gamma", WithdrawFromStudy(study.study))
        study.run_round(without=("gamma",))
        assert all("gamma" not in names for names in due(study).values())


def test_agreement_is_owed_by_the_voters_and_then_the_model_is_registered() -> None:
    study = StudyWorld(World.build(), make_terms(steps=ONE_ROUND)).to_running().run_round()
    assert due(study) == {"attest": FOUR}
    for name in ("alpha", "beta", "delta"):
        study.world.accept(name, study.attestation())
    assert study.record.phase == "completed"
    found = due(study)
    assert found == {"attest": ("gamma",), "register-model": FOUR}
    state = study.record.base
    assert state is not None
    study.world.accept("gamma", study.attestation())
    assert due(study) == {"register-model": FOUR}
    study.world.accept("alpha", RegisterArtefact(state, "model", state, study.study))


@pytest.mark.parametrize("mode", range(3))
def test_a_passed_deadline_is_said_by_agents_in_turn(mode: int) -> None:
    study = list(courses())[mode]
    study.world.accept("organiser", study.proposal())
    assert due(study, 1).keys() == {"answer-proposal", "advance"}
    first = due(study, 1)["advance"]
    assert 0 < len(first) < len(FOUR)
    assert set(due(study, 60_000)["advance"]) >= set(FOUR)


def test_a_pause_leaves_only_what_the_roster_decides() -> None:
    study = StudyWorld(World.build(), make_terms(steps=ONE_ROUND)).to_running()
    study.update_all(without=("alpha", "beta"))
    assert study.record.phase == "paused"
    assert set(due(study)) <= {"resume"}
