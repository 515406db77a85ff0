"""A hospital's folder of diagnosed images and a service, over a real ledger: to the answer, or to FALSE."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from tests.support.blind import MODEL, with_model
from tests.support.ledger import PHASE_MS, World, key_of

from medfed.blobs import MemoryBlobs
from medfed.crypto import SealingKey, seeded_entropy
from medfed.diagnosis.blind_record import service_record
from medfed.diagnosis.blind_sides import BlindImage, Diagnosis
from medfed.errors import InvalidInput, Refused
from medfed.hospital.blind_testing import open_blind_test, requester_due, service_due, verdict_of
from medfed.hospital.vault import Vault
from medfed.ledger.contracts.blind_test import OfferBlindTests, OpenBlindTest
from medfed.ledger.contracts.membership import RotateKeys, key_proof_message

LABELS: tuple[Diagnosis, ...] = (("benign",), ("malignant",), ("normal",))
SERVICE_KEY = SealingKey.generate(seeded_entropy(b"service"))


def _image(name: object) -> BlindImage:
    return BlindImage(f"png of {name}".encode(), "40x30 RGB")


def _truth(png: bytes) -> Diagnosis:
    return LABELS[hashlib.sha256(png).digest()[0] % 3]


class Story:
    """beta asks, alpha answers."""

    def __init__(self) -> None:
        self.world = with_model(World.build())
        view = self.world.view
        signing = key_of("alpha", 1)
        proof = signing.sign(key_proof_message(view.chain, "alpha", signing.public, SERVICE_KEY.public))
        self.world.accept("alpha", RotateKeys(signing.public, SERVICE_KEY.public, proof))
        self.world.generations["alpha"] = 1
        self.world.accept("alpha", OfferBlindTests(MODEL, True))
        self.blobs = MemoryBlobs()
        self.entropy = seeded_entropy(b"story")
        self.vaults = {name: Vault(None, bytes(32), self.entropy) for name in ("alpha", "beta")}
        pngs = [_image(number) for number in range(150)]
        self.folder = [(image, _truth(image.png)) for image in pngs]
        self.asked = list[bytes]()

    def open(self, name: object = "x0", count: int = 30) -> OpenBlindTest:
        body = open_blind_test(
            view=self.world.view,
            me="beta",
            vault=self.vaults["beta"],
            blobs=self.blobs,
            entropy=self.entropy,
            service="alpha",
            model=MODEL,
            diagnosed=self.folder,
            undiagnosed=_image(name),
            candidates=LABELS,
            count=count,
            threshold=(7, 10),
            phase_ms=PHASE_MS,
        )
        self.world.accept("beta", body)
        return body

    def diagnose(self, images: Sequence[bytes], wrong: int = 0) -> list[Diagnosis]:
        self.asked += images
        return [LABELS[(LABELS.index(_truth(p)) + (at < wrong)) % 3] for at, p in enumerate(images)]

    def step(self, wrong: int = 0) -> int:
        """Both do what is due."""
        done = 0
        for body in requester_due(self.world.view, "beta", self.vaults["beta"]):
            self.world.accept("beta", body)
            done += 1
        for body in service_due(
            self.world.view,
            "alpha",
            self.vaults["alpha"],
            self.blobs,
            SERVICE_KEY,
            self.entropy,
            lambda images: self.diagnose(images, wrong),
        ):
            self.world.accept("alpha", body)
            done += 1
        return done


def test_a_good_service_gives_an_answer_and_gets_a_record() -> None:
    story = Story()
    body = story.open()
    while story.step():
        pass
    verdict = verdict_of(story.world.view, story.vaults["beta"], body.test)
    assert verdict.passed
    assert verdict.diagnosis == _truth(_image("x0").png)
    assert str(verdict) == _truth(_image("x0").png)[0]
    record = service_record(story.world.view, "alpha", MODEL)
    assert record.requesters == 1
    assert record.accuracy is not None
    assert record.accuracy.share >= 29 / 30
    assert record.accuracy.low > 0.8


def test_a_bad_service_gives_false_and_nothing_else() -> None:
    story = Story()
    body = story.open()
    while story.step(wrong=15):
        pass
    verdict = verdict_of(story.world.view, story.vaults["beta"], body.test)
    assert (verdict.passed, verdict.diagnosis, str(verdict)) == (False, None, "FALSE")
    row = service_record(story.world.view, "alpha", MODEL).rows[0]
    assert (row.requester, row.counts.failed) == ("beta", 1)


def test_a_service_asked_again_after_a_crash_commits_to_the_same_answer_though_its_model_would_say_another() -> None:
    story = Story()
    story.open()
    vault = story.vaults["alpha"]

    def due(wrong: int) -> object:
        return service_due(
            story.world.view, "alpha", vault, story.blobs, SERVICE_KEY, story.entropy,
            lambda images: story.diagnose(images, wrong),
        )  # fmt: skip

    assert due(0) == due(9)
    assert len(story.asked) == 31


def test_an_image_goes_to_one_service_at_most_once() -> None:
    story = Story()
    story.open("x0", 60)
    with pytest.raises(Refused) as refusal:
        story.open("x0", 60)
    assert refusal.value.code == "image-sent"
    story.open("x1", 60)
    while story.step():
        pass
    assert len(set(story.asked)) == len(story.asked) == 122
    with pytest.raises(InvalidInput, match="are needed"):
        story.open("x2", 60)


def test_images_that_never_came_let_the_test_expire_without_a_verdict() -> None:
    story = Story()
    body = story.open()
    story.blobs.delete(body.cases[0])
    assert story.step() == 0
    with pytest.raises(InvalidInput, match="no verdict"):
        verdict_of(story.world.view, story.vaults["beta"], body.test)
    story.world.clock.now_ms += 2 * PHASE_MS
    story.world.accept("gamma", OfferBlindTests(MODEL, True))  # time passes with a block
    assert story.step() == 1
    assert str(verdict_of(story.world.view, story.vaults["beta"], body.test)) == "FALSE"


def test_a_site_reads_only_verdicts_of_its_own_tests_and_asks_only_who_offers() -> None:
    story = Story()
    body = story.open()
    with pytest.raises(InvalidInput, match="none of this id"):
        verdict_of(story.world.view, story.vaults["alpha"], body.test)
    story.world.accept("alpha", OfferBlindTests(MODEL, False))
    with pytest.raises(Refused) as refusal:
        story.open("x1")
    assert refusal.value.code == "not-offered"
