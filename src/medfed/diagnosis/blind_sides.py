"""The two sides of a blind test: mixing diagnosed images with an undiagnosed one, answering, and reading the verdict.

A diagnosis is a sorted tuple of labels: one class, or the set of finding classes, empty for none. The service is sent
pixels of one kind under a key of this test, in a uniformly random order, and a code for every position is made from
what each side says. This module must never tell the service's side which position is x0, nor give an answer after a
failed test. (The requester holds the key and could compute it: FALSE binds the product and the audit trail, and is no
cryptographic lock.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Annotated, Final, NamedTuple, TypeVar

from msgspec import Meta

from medfed.crypto import Entropy, SealingKey, decrypt, encrypt, equal, hmac_sha256, seal
from medfed.diagnosis.blind_odds import guess_passes
from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, Refused, Tampered
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.blind_test import BlindTest, OpenBlindTest, codes_commitment

__all__ = [
    "Answered",
    "BlindCase",
    "Diagnosis",
    "Prepared",
    "ServiceSecret",
    "TestSecret",
    "answer_of",
    "candidate_sets",
    "choose_balanced",
    "diagnosis_code",
    "open_images",
    "prepare_answer",
    "prepare_test",
]

T = TypeVar("T")
Diagnosis = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=80)], ...], Meta(max_length=64)]
GUESS_LIMIT: Final = 0.01
_LARGEST_SETS: Final = 12
_LENGTH_BYTES: Final = 8


class BlindCase(NamedTuple):
    """An image, or a row of a table, that may be in a test."""

    data: bytes
    """Re-encoded pixels without metadata, as `imaging.encode_png` makes them; or the features of a row of a table."""
    kind: str
    """Size and mode, such as `640x480 RGB`: what tells images apart before one looks at them."""


class TestKeys(Record):
    """What only requester and service have."""

    code_key: bytes
    image_key: bytes


class TestSecret(Record):
    """What the requester keeps in its vault until the verdict."""

    __test__ = False

    keys: TestKeys
    salt: bytes
    undiagnosed: int
    """The position of x0."""
    labels: tuple[Diagnosis, ...]
    """By position, the invented one included."""
    codes: tuple[Digest, ...]


class ServiceSecret(Record):
    """What the service keeps in its vault until it opens."""

    salt: bytes
    codes: tuple[Digest, ...]


class Prepared(NamedTuple):
    """A test that is ready to be opened."""

    body: OpenBlindTest
    secret: TestSecret
    blobs: tuple[bytes, ...]
    """By position; their digests are in the body."""


class Answered(NamedTuple):
    """A service's answer: the digest goes on the ledger, the rest into its vault."""

    digest: Digest
    secret: ServiceSecret


def diagnosis_code(key: bytes, chain: Digest, test: bytes, position: int, diagnosis: Diagnosis) -> Digest:
    """The code of a diagnosis at one position of one test: equal for equal diagnoses, and telling nothing else."""
    return hmac_sha256(key, encode(("medfed/blind", chain, test, position, tuple(sorted(diagnosis)))))


def choose_balanced(diagnoses: Sequence[Diagnosis], count: int, entropy: Entropy) -> list[int]:
    """Which of the diagnosed images to send: `count` of them, the diagnoses as equally often as they allow.

    Raises:
        InvalidInput: there are fewer.
    """
    if len(diagnoses) < count:
        raise InvalidInput(f"blind test: {count} diagnosed images are needed, {len(diagnoses)} are there")
    by_label: dict[Diagnosis, list[int]] = {}
    for index in _shuffled(range(len(diagnoses)), entropy):
        by_label.setdefault(tuple(sorted(diagnoses[index])), []).append(index)
    chosen: list[int] = []
    while len(chosen) < count:
        for label in _shuffled(sorted(by_label), entropy):
            if by_label[label] and len(chosen) < count:
                chosen.append(by_label[label].pop())
    return chosen


def prepare_test(
    *,
    chain: Digest,
    requester: Name,
    service: Name,
    service_key: bytes,
    model: Digest,
    diagnosed: Sequence[tuple[BlindCase, Diagnosis]],
    undiagnosed: BlindCase,
    threshold: tuple[int, int],
    phase_ms: int,
    entropy: Entropy,
) -> Prepared:
    """Mix, encrypt, seal and commit.

    Args:
        chain: the ledger.
        requester: who asks.
        service: who is asked.
        service_key: its public sealing key (1216 bytes).
        model: that the service offers.
        diagnosed: m images with what is known of them.
        undiagnosed: x0.
        threshold: num and den of M.
        phase_ms: how long each phase may last.
        entropy: fresh for every test.

    Raises:
        Refused: `odd-one-out` where x0 differs in kind from most others; `guessable` where a service that looks at
            nothing passes with a chance above 1 %; `image-twice`. InvalidInput: a threshold that cannot be passed.
    """
    _check_images([image for image, _ in diagnosed], undiagnosed)
    num, den = threshold
    labels = [tuple(sorted(diagnosis)) for _, diagnosis in diagnosed]
    m = len(labels)
    if m < 2 or not 0 <= num * m < den * (m - 1):
        raise InvalidInput(f"blind test: a threshold of {num}/{den} cannot be passed with {m} diagnosed images")
    distinct = sorted(set(labels))
    invented = distinct[_below(len(distinct), entropy)]
    chance = guess_passes(list(Counter([*labels, invented]).values()), num, den)
    if chance > GUESS_LIMIT:
        raise Refused("guessable", f"a service that guesses passes this test with probability {chance:.3f}")
    mixed = _shuffled([*zip((image for image, _ in diagnosed), labels, strict=True), (undiagnosed, invented)], entropy)
    test, keys, salt = entropy(16), TestKeys(entropy(32), entropy(32)), entropy(32)
    codes = tuple(diagnosis_code(keys.code_key, chain, test, at, label) for at, (_, label) in enumerate(mixed))
    blobs = _encrypted([image.data for image, _ in mixed], keys.image_key, chain, test, entropy)
    body = OpenBlindTest(
        test=test,
        service=service,
        model=model,
        cases=tuple(sha256(blob) for blob in blobs),
        sealed=seal(service_key, encode(keys), _keys_info(chain, test, requester, service, model)),
        commitment=codes_commitment("requester", chain, test, requester, codes, salt),
        num=num,
        den=den,
        phase_ms=phase_ms,
    )
    at = next(index for index, (image, _) in enumerate(mixed) if image is undiagnosed)
    return Prepared(body, TestSecret(keys, salt, at, tuple(label for _, label in mixed), codes), blobs)


def open_images(key: SealingKey, chain: Digest, test: BlindTest, sealed: bytes, blobs: Sequence[bytes]) -> TestKeys:
    """The test's keys, after every image has been decrypted with them once.

    Raises:
        InvalidInput: the keys were not sealed to this service for this test, or an image does not decrypt.
    """
    keys = decode(key.open(sealed, _keys_info(chain, test.test, test.requester, test.service, test.model)), TestKeys)
    for position, blob in enumerate(blobs):
        image_of(keys, chain, test.test, position, blob)
    return keys


def image_of(keys: TestKeys, chain: Digest, test: bytes, position: int, blob: bytes) -> bytes:
    """The case at one position.

    Raises:
        InvalidInput: it does not decrypt, or its padding is wrong.
    """
    padded = decrypt(keys.image_key, blob, _case_context(chain, test, position))
    length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
    if len(padded) < _LENGTH_BYTES + length or any(padded[_LENGTH_BYTES + length :]):
        raise InvalidInput(f"blind test, position {position}: its padding is wrong")
    return padded[_LENGTH_BYTES : _LENGTH_BYTES + length]


def prepare_answer(
    keys: TestKeys, chain: Digest, test: BlindTest, diagnoses: Sequence[Diagnosis], entropy: Entropy
) -> Answered:
    """Commit to a diagnosis of every image.

    Raises:
        InvalidInput: not one diagnosis for each.
    """
    if len(diagnoses) != len(test.cases):
        raise InvalidInput(f"blind test: {len(diagnoses)} diagnoses for {len(test.cases)} images")
    codes = tuple(diagnosis_code(keys.code_key, chain, test.test, at, said) for at, said in enumerate(diagnoses))
    salt = entropy(32)
    return Answered(
        codes_commitment("service", chain, test.test, test.service, codes, salt), ServiceSecret(salt, codes)
    )


def answer_of(test: BlindTest, secret: TestSecret, chain: Digest, candidates: Iterable[Diagnosis]) -> Diagnosis | None:
    """The service's diagnosis of x0 after a passed test; None, which people read as FALSE, after any other.

    Raises:
        InvalidInput: the test has no verdict yet, or the service has said none of `candidates`.
        Tampered: the codes on the ledger are not those of this secret.
    """
    if test.phase not in ("passed", "failed", "expired"):
        raise InvalidInput(f"the blind test has no verdict yet: it is {test.phase}")
    if test.phase != "passed":
        return None
    if test.codes != secret.codes:
        raise Tampered("the codes on the ledger are not those that this requester revealed")
    at = secret.undiagnosed
    for diagnosis in candidates:
        if equal(diagnosis_code(secret.keys.code_key, chain, test.test, at, diagnosis), test.answers[at]):
            return tuple(sorted(diagnosis))
    raise InvalidInput("the service's answer is none of the diagnoses that were asked about")


def candidate_sets(labels: Sequence[str]) -> list[Diagnosis]:
    """Every set of finding classes, the empty one first.

    Raises:
        InvalidInput: more than 12 classes: then the sets are too many to try.
    """
    if len(labels) > _LARGEST_SETS:
        raise InvalidInput(f"{len(labels)} finding classes; at most {_LARGEST_SETS} make sets that can be tried")
    return [tuple(sorted(chosen)) for size in range(len(labels) + 1) for chosen in combinations(labels, size)]


def _check_images(diagnosed: Sequence[BlindCase], undiagnosed: BlindCase) -> None:
    digests = [sha256(image.data) for image in (*diagnosed, undiagnosed)]
    if len(set(digests)) != len(digests):
        raise Refused("image-twice", "an image is in the test twice")
    alike = sum(image.kind == undiagnosed.kind for image in diagnosed)
    if 2 * alike < len(diagnosed):
        raise Refused("odd-one-out", f"only {alike} of {len(diagnosed)} images are {undiagnosed.kind} as x0 is")


def _encrypted(cases: Sequence[bytes], key: bytes, chain: Digest, test: bytes, entropy: Entropy) -> tuple[bytes, ...]:
    """All of one length, so that it tells third parties nothing."""
    longest = max(len(case) for case in cases)
    padded = [len(case).to_bytes(_LENGTH_BYTES, "big") + case + bytes(longest - len(case)) for case in cases]
    return tuple(encrypt(key, text, _case_context(chain, test, at), entropy) for at, text in enumerate(padded))


def _case_context(chain: Digest, test: bytes, position: int) -> bytes:
    return encode(("medfed/blind-case", chain, test, position))


def _keys_info(chain: Digest, test: bytes, requester: Name, service: Name, model: Digest) -> bytes:
    return encode(("medfed/blind-keys", chain, test, requester, service, model))


def _below(bound: int, entropy: Entropy) -> int:
    """A uniform integer from 0 to bound - 1, by rejection."""
    limit = 2**64 - 2**64 % bound
    while (value := int.from_bytes(entropy(8), "big")) >= limit:
        pass
    return value % bound


def _shuffled(items: Iterable[T], entropy: Entropy) -> list[T]:
    """A uniformly random order (Fisher and Yates)."""
    mixed = list(items)
    for at in range(len(mixed) - 1, 0, -1):
        other = _below(at + 1, entropy)
        mixed[at], mixed[other] = mixed[other], mixed[at]
    return mixed
