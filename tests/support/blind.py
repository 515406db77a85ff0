"""A blind test driven by hand: a service that offers a registered model, a requester, and arbitrary codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.ledger import PHASE_MS, StudyWorld, World, make_terms

from medfed.encoding import encode
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.blind_test import (
    AnswerBlindTest,
    BlindTest,
    ExpireBlindTest,
    OfferBlindTests,
    OpenAnswers,
    OpenBlindTest,
    RevealCodes,
    blind_test,
    codes_commitment,
)
from medfed.ledger.contracts.registry import RegisterArtefact
from medfed.ledger.contracts.terms import Step

MODEL: Digest = sha256(b"a model that a study has made")
SALT = sha256(b"requester's salt")
OTHER_SALT = sha256(b"service's salt")


def with_model(world: World, model: Digest = MODEL) -> World:
    """Run a study to its end and let everybody of it register its model."""
    driven = StudyWorld(world, make_terms(steps=(Step("training", 1),))).to_running().to_agreeing().to_completed()
    world.accept("alpha", RegisterArtefact(model, "model", sha256(b"card"), driven.study))
    return world


@dataclass
class BlindWorld:
    """One test between `requester` and `service`."""

    world: World
    count: int = 11
    num: int = 7
    den: int = 10
    requester: Name = "beta"
    service: Name = "alpha"
    test: bytes = b"one blind test!!"

    @property
    def record(self) -> BlindTest:
        """Where it stands."""
        found = blind_test(self.world.view, self.test)
        assert found is not None
        return found

    @property
    def codes(self) -> tuple[Digest, ...]:
        """The requester's."""
        return tuple(sha256(encode(("code", self.test, position))) for position in range(self.count))

    def answers(self, wrong: Sequence[int] = ()) -> tuple[Digest, ...]:
        """The service's: as the requester's but at the positions that are wrong."""
        return tuple(sha256(code) if at in wrong else code for at, code in enumerate(self.codes))

    def opening(self) -> OpenBlindTest:
        cases = tuple(sha256(encode(("case", self.test, position))) for position in range(self.count))
        commitment = codes_commitment("requester", self.world.view.chain, self.test, self.requester, self.codes, SALT)
        return OpenBlindTest(self.test, self.service, MODEL, cases, b"keys", commitment, self.num, self.den, PHASE_MS)

    def answer(self, wrong: Sequence[int] = ()) -> AnswerBlindTest:
        chain = self.world.view.chain
        digest = codes_commitment("service", chain, self.test, self.service, self.answers(wrong), OTHER_SALT)
        return AnswerBlindTest(self.test, digest)

    def reveal(self) -> RevealCodes:
        return RevealCodes(self.test, self.codes, SALT)

    def open(self, wrong: Sequence[int] = ()) -> OpenAnswers:
        return OpenAnswers(self.test, self.answers(wrong), OTHER_SALT)

    def offered(self) -> BlindWorld:
        self.world.accept(self.service, OfferBlindTests(MODEL, True))
        return self

    def opened(self) -> BlindWorld:
        self.world.accept(self.requester, self.opening())
        return self

    def answered(self, wrong: Sequence[int] = ()) -> BlindWorld:
        self.opened().world.accept(self.service, self.answer(wrong))
        return self

    def revealed(self, wrong: Sequence[int] = ()) -> BlindWorld:
        self.answered(wrong).world.accept(self.requester, self.reveal())
        return self

    def decided(self, wrong: Sequence[int] = ()) -> BlindWorld:
        self.revealed(wrong).world.accept(self.service, self.open(wrong))
        return self

    def expired(self, who: Name = "user") -> BlindWorld:
        self.world.clock.now_ms = self.record.deadline_ms + 1
        self.world.accept(who, ExpireBlindTest(self.test))
        return self
