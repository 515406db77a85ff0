"""A hospital's folder of diagnosed images and a service, over a real ledger: to the answer, or to FALSE."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from tests.support.blind import MODEL, with_model
from tests.support.ledger import PHASE_MS, World, key_of

from medfed.blobs import MemoryBlobs
from medfed.crypto import SiteKeys, seeded_entropy
from medfed.diagnosis.blind_record import service_record
from medfed.diagnosis.blind_sides import BlindCase, Diagnosis
from medfed.errors import InvalidInput, Refused, Tampered, Unavailable
from medfed.federation.plan import Plan
from medfed.federation.tables import Table
from medfed.hospital.blind_testing import open_blind_test, stop_blind_test, verdict_of
from medfed.hospital.consent import APPROVE_ALL
from medfed.hospital.dealings import Dealings
from medfed.hospital.requests import REQUESTS
from medfed.hospital.site import Site
from medfed.hospital.vault import Vault
from medfed.hospital.work import Me
from medfed.ledger.contracts.blind_test import OfferBlindTests, OpenBlindTest
from medfed.ledger.contracts.membership import RotateKeys, key_proof_message
from medfed.ledger.transaction import Body

LABELS: tuple[Diagnosis, ...] = (("benign",), ("malignant",), ("normal",))
KEYS = {name: SiteKeys.generate(name, seeded_entropy(name.encode())) for name in ("alpha", "beta")}
SERVICE_KEY = KEYS["alpha"].sealing_key


def no_table(plan: Plan) -> Table:
    raise InvalidInput("no table here")


def _image(name: object) -> BlindCase:
    return BlindCase(f"png of {name}".encode(), "40x30 RGB")


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
        self.folder = [(image, _truth(image.data)) for image in pngs]
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

    def site(self, name: str, wrong: int = 0) -> Site:
        vault, keys = self.vaults[name], KEYS[name]
        clock = self.world.clock
        return Site(
            keys, vault, self.blobs, no_table, APPROVE_ALL, clock, self.entropy, clock(),
            diagnose=lambda model: lambda images: self.diagnose(images, wrong),
        )  # fmt: skip

    def due(self, name: str, wrong: int = 0) -> list[Body]:
        """What a side owes now, through its duties."""
        view, me = self.world.view, Me(name, self.world.clock() + 10_000, 0)
        works = Dealings(self.vaults[name]).works(view, me)
        return [body for duty, work in works for body in duty.perform(work, self.site(name, wrong), view)]

    def step(self, wrong: int = 0) -> int:
        """Both do what is due."""
        done = 0
        for name in ("beta", "alpha"):
            for body in self.due(name, wrong):
                self.world.accept(name, body)
                done += 1
        return done


def test_a_good_service_gives_an_answer_and_gets_a_record() -> None:
    story = Story()
    body = story.open()
    while story.step():
        pass
    verdict = verdict_of(story.world.view, story.vaults["beta"], body.test)
    assert verdict.passed
    assert verdict.diagnosis == _truth(_image("x0").data)
    assert str(verdict) == _truth(_image("x0").data)[0]
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
    first = story.due("alpha", wrong=0)
    assert first == story.due("alpha", wrong=9) != []
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
    with pytest.raises(Unavailable):
        story.step()
    with pytest.raises(InvalidInput, match="no verdict"):
        verdict_of(story.world.view, story.vaults["beta"], body.test)
    story.world.clock.now_ms += 2 * PHASE_MS
    story.world.accept("gamma", OfferBlindTests(MODEL, True))  # time passes with a block
    assert story.due("alpha") == story.due("beta")
    assert story.world.accept("beta", *story.due("beta")) is None
    assert story.step() == 0
    assert str(verdict_of(story.world.view, story.vaults["beta"], body.test)) == "FALSE"


def test_a_case_that_is_damaged_at_the_service_is_waited_for_and_nobody_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One bad sector must not stop a service's agent, nor stand against the requester."""
    story = Story()
    body = story.open()
    with monkeypatch.context() as patch:
        patch.setattr(story.blobs, "get", _damaged)
        with pytest.raises(Unavailable, match="waiting for a good copy"):
            story.due("alpha")
    assert story.vaults["alpha"].get(f"blind-test/unreadable/{body.test.hex()}") is None
    while story.step():
        pass
    assert verdict_of(story.world.view, story.vaults["beta"], body.test).passed


def _damaged(digest: bytes) -> bytes:
    raise Tampered(f"blob {digest.hex()[:12]}: the bytes do not match the digest")


def test_a_site_reads_only_verdicts_of_its_own_tests_and_asks_only_who_offers() -> None:
    story = Story()
    body = story.open()
    with pytest.raises(InvalidInput, match="none of this id"):
        verdict_of(story.world.view, story.vaults["alpha"], body.test)
    story.world.accept("alpha", OfferBlindTests(MODEL, False))
    with pytest.raises(Refused) as refusal:
        story.open("x1")
    assert refusal.value.code == "not-offered"


def test_a_test_that_its_person_stops_reveals_nothing_and_counts_against_the_requester() -> None:
    story = Story()
    body = story.open()
    for answer in story.due("alpha"):
        story.world.accept("alpha", answer)
    stop_blind_test(story.world.view, story.vaults["beta"], body.test)
    assert story.due("beta") == []
    with pytest.raises(InvalidInput, match="none of this id"):
        stop_blind_test(story.world.view, story.vaults["alpha"], body.test)
    story.world.clock.now_ms += 2 * PHASE_MS
    assert story.step() >= 1
    assert service_record(story.world.view, "alpha", MODEL).rows[0].counts.unrevealed == 1


def test_cases_that_are_none_are_looked_at_once_and_nothing_is_answered() -> None:
    story = Story()
    body = story.open()
    story.blobs.put(b"x")
    asked = len(story.asked)
    story.diagnose = lambda images, wrong=0: [LABELS[0]]  # type: ignore[method-assign]
    with pytest.raises(Refused) as refusal:
        story.due("alpha")
    assert refusal.value.code == "unreadable"
    assert story.due("alpha") == []
    assert len(story.asked) == asked
    assert story.vaults["alpha"].get(f"blind-test/answered/{body.test.hex()}") is None


def test_what_is_opened_is_left_for_the_agent_in_the_commit_that_keeps_its_secrets() -> None:
    story = Story()
    assert story.vaults["beta"].keys_under(REQUESTS) == []
    story.open()
    assert len(story.vaults["beta"].keys_under(REQUESTS)) == 1


def test_no_name_of_a_sent_image_in_the_vault_is_a_digest_of_it() -> None:
    story = Story()
    story.open()
    names = " ".join(story.vaults["beta"].keys_under("blind-test/sent/"))
    assert names
    assert not any(hashlib.sha256(image.data).hexdigest() in names for image, _ in story.folder)
