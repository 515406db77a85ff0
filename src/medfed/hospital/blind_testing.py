"""Blind tests at a site: from a folder of diagnosed images to the answer or FALSE, and the service's part.

Everything that was drawn is in the vault before anything that depends on it leaves, and what is due is read off the
ledger: interrupted anywhere and asked again, either side sends the same. An image goes to one service at most once.
This module must never show a service's answer unless its test has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from medfed.blobs import BlobStore, awaiting_good_copy
from medfed.crypto import Entropy, SealingKey, hmac_sha256
from medfed.diagnosis.blind_sides import (
    BlindCase,
    Diagnosis,
    ServiceSecret,
    TestSecret,
    answer_of,
    choose_balanced,
    image_of,
    open_images,
    prepare_answer,
    prepare_test,
)
from medfed.encoding import Record
from medfed.errors import InvalidInput, Refused
from medfed.hospital.requests import request
from medfed.hospital.vault import Vault
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.blind_test import (
    AnswerBlindTest,
    BlindTest,
    OpenAnswers,
    OpenBlindTest,
    RevealCodes,
    blind_test,
    codes_commitment,
    is_offered,
    sealed_keys,
)
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import StateView

__all__ = [
    "BlindVerdict",
    "Diagnose",
    "ServedModel",
    "answer_test",
    "answers_to_open",
    "codes_to_reveal",
    "earlier_test_of",
    "open_blind_test",
    "serve_model",
    "served_model",
    "stop_blind_test",
    "verdict_of",
]

Diagnose = Callable[[Sequence[bytes]], Sequence[Diagnosis]]
"""A service's model: one diagnosis for every case, all treated alike."""
_MILLION: Final = 1_000_000
_LARGEST_CASE: Final = 64 << 20
_LARGEST_TEST: Final = 1 << 30
"""Bytes of all cases together: a service holds them at once."""
_IMAGE_KEY: Final = "blind-test/image-key"


class _Kept(Record):
    """A requester's test in its vault."""

    secret: TestSecret
    candidates: tuple[Diagnosis, ...]


class ServedModel(Record):
    """How a service answers with one of its models."""

    operating: Annotated[int, Meta(gt=0, lt=_MILLION)]
    """Millionths: the score from which a finding is said to be there."""


class BlindVerdict(NamedTuple):
    """What a person is shown: the diagnosis of x0, or FALSE and nothing else."""

    passed: bool
    diagnosis: Diagnosis | None

    def __str__(self) -> str:
        if not self.passed or self.diagnosis is None:
            return "FALSE"
        return ", ".join(self.diagnosis) or "no finding"


def open_blind_test(
    *,
    view: StateView,
    me: Name,
    vault: Vault,
    blobs: BlobStore,
    entropy: Entropy,
    service: Name,
    model: Digest,
    diagnosed: Sequence[tuple[BlindCase, Diagnosis]],
    undiagnosed: BlindCase,
    candidates: Sequence[Diagnosis],
    count: int,
    threshold: tuple[int, int],
    phase_ms: int,
) -> OpenBlindTest:
    """Choose, mix and encrypt, and leave the opening for the agent to send (`requests`).

    The blobs are written first and everything else in one commit: until then their keys are in memory only, so what a
    crash leaves behind can never be read, and no image counts as sent.

    Args:
        view: the ledger now.
        me: who asks.
        vault: of this site.
        blobs: where the encrypted images go.
        entropy: fresh bytes.
        service: who is asked.
        model: that it offers.
        diagnosed: images of known diagnosis, more than `count` where possible.
        undiagnosed: x0.
        candidates: every diagnosis that the service may give.
        count: m.
        threshold: num and den of M.
        phase_ms: how long each phase may last.

    Raises:
        Refused: `image-sent` where this service had x0 before; `not-offered`; and as `prepare_test`.
        InvalidInput: too few images that the service has not had, or a diagnosis that is no candidate.
    """
    receiver = participant(view, service)
    if receiver is None or receiver.status != "active" or not is_offered(view, service, model):
        raise Refused("not-offered", f"{service} does not offer this model for blind tests")
    sent = _Sent(vault, service, entropy)
    earlier = sent.test_of(undiagnosed)
    if earlier is not None:
        raise Refused("image-sent", f"{service} has had this image before, in test {earlier.hex()}: it might know it")
    fresh = [entry for entry in diagnosed if entry[0].data != undiagnosed.data and entry[0] not in sent]
    if not {diagnosis for _, diagnosis in fresh} <= set(candidates):
        raise InvalidInput("blind test: an image has a diagnosis that is not among the candidates")
    chosen = [fresh[at] for at in choose_balanced([diagnosis for _, diagnosis in fresh], count, entropy)]
    prepared = prepare_test(
        chain=view.chain,
        requester=me,
        service=service,
        service_key=receiver.sealing_key,
        model=model,
        diagnosed=chosen,
        undiagnosed=undiagnosed,
        threshold=threshold,
        phase_ms=phase_ms,
        entropy=entropy,
    )
    _put_all(blobs, prepared.blobs)
    with vault.transaction("blind-test"):
        vault.store(_requester_key(prepared.body.test), _Kept(prepared.secret, tuple(candidates)))
        for image in (undiagnosed, *(image for image, _ in chosen)):
            sent.add(image, prepared.body.test)
        request(vault, prepared.body)
    return prepared.body


def earlier_test_of(vault: Vault, service: Name, case: BlindCase) -> bytes | None:
    """The test in which a service had a case from this site, whether or not the test has reached the ledger."""
    return _Sent(vault, service, None).test_of(case)


def serve_model(vault: Vault, model: Digest, operating: float) -> None:
    """Keep how a service answers with a model; the agent asks for it at each test.

    Raises:
        InvalidInput: an operating point outside 0 to 1.
    """
    if not 0 < operating < 1:
        raise InvalidInput(f"operating point {operating:g}: expected a number between 0 and 1")
    vault.store(_served_key(model), ServedModel(round(operating * _MILLION)))


def served_model(vault: Vault, model: Digest) -> ServedModel:
    """How the service answers with a model: as was said when it was offered, else from one half."""
    return vault.load(_served_key(model), ServedModel) or ServedModel(_MILLION // 2)


def codes_to_reveal(test: BlindTest, vault: Vault) -> RevealCodes | None:
    """The requester's opening; None where the test is not from this vault, or its person has stopped it."""
    kept = vault.load(_requester_key(test.test), _Kept)
    if kept is None or vault.get(_stopped_key(test.test)) is not None:
        return None
    return RevealCodes(test.test, kept.secret.codes, kept.secret.salt)


def stop_blind_test(view: StateView, vault: Vault, test: bytes) -> None:
    """Reveal nothing more in a test that this site has opened: it expires, recorded against who was awaited.

    Raises:
        InvalidInput: not this site's. Refused: `too-late` once the codes are revealed.
    """
    found = blind_test(view, test)
    if found is None or vault.get(_requester_key(test)) is None:
        raise InvalidInput(f"blind test {test.hex()}: this site has opened none of this id")
    if found.phase not in ("open", "answered"):
        raise Refused("too-late", f"the blind test is {found.phase}: there is nothing left to stop")
    vault.put(_stopped_key(test), b"")


def answer_test(
    view: StateView,
    test: BlindTest,
    vault: Vault,
    blobs: BlobStore,
    key: SealingKey,
    entropy: Entropy,
    diagnose: Diagnose,
) -> AnswerBlindTest:
    """The service's commitment to a diagnosis of every case. Asked again, it is the same.

    Raises:
        Unavailable: a case is not here yet.
        InvalidInput: the keys do not open, a case does not decrypt or is none, or not one diagnosis came for each.
    """
    secret = vault.load(_service_key(test.test), ServiceSecret)
    if secret is None:
        with awaiting_good_copy("a case"):
            _check_sizes([blobs.size(case) for case in test.cases])
            encrypted = [blobs.get(case) for case in test.cases]
        keys = open_images(key, view.chain, test, sealed_keys(view, test.test) or b"", encrypted)
        cases = [image_of(keys, view.chain, test.test, at, blob) for at, blob in enumerate(encrypted)]
        secret = prepare_answer(keys, view.chain, test, diagnose(cases), entropy).secret
        vault.store(_service_key(test.test), secret)
    digest = codes_commitment("service", view.chain, test.test, test.service, secret.codes, secret.salt)
    return AnswerBlindTest(test.test, digest)


def answers_to_open(test: BlindTest, vault: Vault) -> OpenAnswers | None:
    """The service's opening; None where this vault has answered no such test."""
    secret = vault.load(_service_key(test.test), ServiceSecret)
    return None if secret is None else OpenAnswers(test.test, secret.codes, secret.salt)


def verdict_of(view: StateView, vault: Vault, test: bytes) -> BlindVerdict:
    """The answer, or FALSE.

    Raises:
        InvalidInput: no such test, no verdict yet, or not this site's.
    """
    found, kept = blind_test(view, test), vault.load(_requester_key(test), _Kept)
    if found is None or kept is None:
        raise InvalidInput(f"blind test {test.hex()}: this site has opened none of this id")
    diagnosis = answer_of(found, kept.secret, view.chain, kept.candidates)
    return BlindVerdict(diagnosis is not None, diagnosis)


def _put_all(blobs: BlobStore, cases: Sequence[bytes]) -> None:
    _check_sizes([len(case) for case in cases])
    for case in cases:
        blobs.put(case)


def _check_sizes(sizes: Sequence[int]) -> None:
    if max(sizes) > _LARGEST_CASE or sum(sizes) > _LARGEST_TEST:
        raise InvalidInput("blind test: its cases are larger than a service takes; fewer, or smaller ones")


def _requester_key(test: bytes) -> str:
    return f"blind-test/asked/{test.hex()}"


def _service_key(test: bytes) -> str:
    return f"blind-test/answered/{test.hex()}"


class _Sent:
    """Which images a service has had. The vault's keys are not encrypted, so they name images under a secret key."""

    def __init__(self, vault: Vault, service: Name, entropy: Entropy | None) -> None:
        """`entropy` draws the key where there is none yet; without it nothing was sent yet."""
        self._vault = vault
        self._service = service
        key = vault.get(_IMAGE_KEY)
        if key is None and entropy is not None:
            key = entropy(32)
            vault.put(_IMAGE_KEY, key)
        self._key = key or b""

    def __contains__(self, image: object) -> bool:
        return isinstance(image, BlindCase) and self.test_of(image) is not None

    def test_of(self, image: BlindCase) -> bytes | None:
        """The test that an image was sent in."""
        return self._vault.get(self._name(image))

    def add(self, image: BlindCase, test: bytes) -> None:
        """The image goes out in that test."""
        self._vault.put(self._name(image), test)

    def _name(self, image: BlindCase) -> str:
        return f"blind-test/sent/{self._service}/{hmac_sha256(self._key, image.data).hex()}"


def _served_key(model: Digest) -> str:
    return f"blind-test/served/{model.hex()}"


def _stopped_key(test: bytes) -> str:
    return f"blind-test/stopped/{test.hex()}"
