"""Blind tests at a site: from a folder of diagnosed images to the answer or FALSE, and the service's part.

Everything that was drawn is in the vault before anything that depends on it leaves, and what is due is read off the
ledger: interrupted anywhere and asked again, either side sends the same. An image goes to one service at most once.
This module must never show a service's answer unless its test has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from medfed.blobs import BlobStore
from medfed.crypto import Entropy, SealingKey
from medfed.diagnosis.blind_sides import (
    BlindImage,
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
from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.hospital.vault import Vault
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.blind_test import (
    AnswerBlindTest,
    BlindTest,
    ExpireBlindTest,
    OpenAnswers,
    OpenBlindTest,
    RevealCodes,
    blind_test,
    blind_tests,
    codes_commitment,
    is_offered,
    sealed_keys,
)
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["BlindVerdict", "Diagnose", "open_blind_test", "requester_due", "service_due", "verdict_of"]

Diagnose = Callable[[Sequence[bytes]], Sequence[Diagnosis]]
"""A service's model: one diagnosis for every PNG, all treated alike."""
_UNDECIDED: Final = ("open", "answered", "revealed")


class _Kept(Record):
    """A requester's test in its vault."""

    secret: TestSecret
    candidates: tuple[Diagnosis, ...]


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
    diagnosed: Sequence[tuple[BlindImage, Diagnosis]],
    undiagnosed: BlindImage,
    candidates: Sequence[Diagnosis],
    count: int,
    threshold: tuple[int, int],
    phase_ms: int,
) -> OpenBlindTest:
    """Choose, mix and encrypt; blobs and vault are written, and the body is to be sent.

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
    if vault.get(_sent_key(service, undiagnosed)) is not None:
        raise Refused("image-sent", f"{service} has had this image before: it might know it again")
    known = set(candidates)
    fresh = [entry for entry in diagnosed if vault.get(_sent_key(service, entry[0])) is None]
    if any(diagnosis not in known for _, diagnosis in fresh):
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
    with vault.transaction("blind-test"):
        vault.store(_requester_key(prepared.body.test), _Kept(prepared.secret, tuple(candidates)))
        for image in (undiagnosed, *(image for image, _ in chosen)):
            vault.put(_sent_key(service, image), prepared.body.test)
    for blob in prepared.blobs:
        blobs.put(blob)
    return prepared.body


def requester_due(view: StateView, me: Name, vault: Vault) -> list[Body]:
    """What a requester owes now: revealing what was answered, and ending what nobody goes on with."""
    due: list[Body] = []
    for test in blind_tests(view):
        if test.requester != me or test.phase not in _UNDECIDED:
            continue
        kept = vault.load(_requester_key(test.test), _Kept)
        if view.tip.time_ms > test.deadline_ms:
            due.append(ExpireBlindTest(test.test))
        elif test.phase == "answered" and kept is not None:
            due.append(RevealCodes(test.test, kept.secret.codes, kept.secret.salt))
    return due


def service_due(
    view: StateView,
    me: Name,
    vault: Vault,
    blobs: BlobStore,
    key: SealingKey,
    entropy: Entropy,
    diagnose: Diagnose,
) -> list[Body]:
    """What a service owes now: an answer to each open test, and opening what was revealed.

    A test whose images are not here yet, or do not decrypt, is left out: it expires unless they come.

    Raises:
        InvalidInput: `diagnose` did not give one diagnosis for each image.
    """
    due: list[Body] = []
    for test in blind_tests(view):
        if test.service != me or view.tip.time_ms > test.deadline_ms:
            continue
        if test.phase == "open":
            secret = vault.load(_service_key(test.test), ServiceSecret)
            secret = secret or _answered(view, test, vault, blobs, key, entropy, diagnose)
            if secret is not None:
                digest = codes_commitment("service", view.chain, test.test, me, secret.codes, secret.salt)
                due.append(AnswerBlindTest(test.test, digest))
        elif test.phase == "revealed":
            secret = vault.load(_service_key(test.test), ServiceSecret)
            if secret is not None:
                due.append(OpenAnswers(test.test, secret.codes, secret.salt))
    return due


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


def _answered(
    view: StateView,
    test: BlindTest,
    vault: Vault,
    blobs: BlobStore,
    key: SealingKey,
    entropy: Entropy,
    diagnose: Diagnose,
) -> ServiceSecret | None:
    try:
        encrypted = [blobs.get(case) for case in test.cases]
        keys = open_images(key, view.chain, test, sealed_keys(view, test.test) or b"", encrypted)
        images = [image_of(keys, view.chain, test.test, at, blob) for at, blob in enumerate(encrypted)]
    except (Unavailable, InvalidInput):
        return None
    answered = prepare_answer(keys, view.chain, test, diagnose(images), entropy)
    with vault.transaction("blind-answer"):
        vault.store(_service_key(test.test), answered.secret)
    return answered.secret


def _requester_key(test: bytes) -> str:
    return f"blind-test/asked/{test.hex()}"


def _service_key(test: bytes) -> str:
    return f"blind-test/answered/{test.hex()}"


def _sent_key(service: Name, image: BlindImage) -> str:
    """Names an image by its pixels' digest; the vault's keys are not secret, but never leave the site."""
    return f"blind-test/sent/{service}/{sha256(image.png).hex()}"
