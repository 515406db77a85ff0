"""Blind assisted diagnosis: a service answers on diagnosed images and one undiagnosed, and cannot tell them apart.

| phase | awaited | then |
|---|---|---|
| open | `AnswerBlindTest` by the service | answered |
| answered | `RevealCodes` by the requester | revealed |
| revealed | `OpenAnswers` by the service | passed or failed |
| any of these, past its deadline | `ExpireBlindTest` by anyone | expired, and recorded against who was awaited |

Every position has two codes, one made from what the requester says and one from what the service says, under a key that
only these two have: the ledger sees which positions agree and nothing else. Neither side can choose after having seen
the other's: both commit first, and the label inside a commitment names whose it is, so that a copied one never opens.

Rules:
1. A participant offers a registered model for blind tests, and takes the offer back; only an offered model is tested.
2. A test is opened once, under a fresh id, by somebody else than the service, with m + 1 different cases of which none
   was in an earlier test, and 2 ≤ m ≤ 256.
3. The threshold num/den can be passed by a perfect service: num · m < den · (m - 1).
4. The service answers once, before its deadline; then the requester reveals, then the service opens; nobody else.
5. What is revealed and opened must be what was committed to.
6. Passed exactly when (n' - 1) · den > num · m, n' being the number of equal codes: so n / m > num / den over the
   diagnosed images, whatever label was invented for the undiagnosed one.
7. Silence is recorded against who was awaited; a verdict is counted for the service, its model and the requester.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import replace

from medfed.crypto import commit, equal
from medfed.encoding import Record, encode
from medfed.errors import Refused
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.membership import is_active
from medfed.ledger.contracts.registry import artefact
from medfed.ledger.contracts.terms import Duration
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "MOST_DIAGNOSED",
    "AnswerBlindTest",
    "BlindCounts",
    "BlindTest",
    "ExpireBlindTest",
    "OfferBlindTests",
    "OpenAnswers",
    "OpenBlindTest",
    "RevealCodes",
    "blind_counts",
    "blind_test",
    "blind_tests",
    "codes_commitment",
    "is_offered",
    "offered_models",
    "sealed_keys",
]

MOST_DIAGNOSED: Final = 256
_MOST_UNDECIDED: Final = 16
"""Tests of one requester with one service that may be under way at once."""

TestId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""16 random bytes, chosen by the requester."""
Phase = Literal["open", "answered", "revealed", "passed", "failed", "expired"]
Codes = Annotated[tuple[Digest, ...], Meta(min_length=3, max_length=MOST_DIAGNOSED + 1)]
Salt = Annotated[bytes, Meta(min_length=32, max_length=32)]
Side = Literal["requester", "service"]
Count = Annotated[int, Meta(ge=0, lt=2**31)]


class BlindTest(Record):
    """Where a test stands."""

    test: TestId
    requester: Name
    service: Name
    model: Digest
    cases: tuple[Digest, ...]
    """The encrypted images, in the order in which they were mixed."""
    commitment: Digest
    num: int
    den: int
    phase_ms: int
    phase: Phase
    deadline_ms: int
    answer: Digest | None = None
    codes: tuple[Digest, ...] = ()
    """The requester's, once revealed."""
    answers: tuple[Digest, ...] = ()
    """The service's, once opened."""
    awaited: Side | None = None
    """Who was silent, in an expired test."""

    @property
    def diagnosed(self) -> int:
        """m: the images whose diagnosis the requester knows."""
        return len(self.cases) - 1

    @property
    def equal_codes(self) -> int:
        """n': positions on which both agree, the invented label included; 0 before the verdict."""
        return sum(1 for mine, theirs in zip(self.codes, self.answers, strict=False) if mine == theirs)


class BlindCounts(Record):
    """What came of one requester's tests of one service's model."""

    passed: Count = 0
    failed: Count = 0
    equal_codes: Count = 0
    """Of all tests with a verdict; up to one a test is due to an invented label."""
    diagnosed: Count = 0
    unanswered: Count = 0
    """The service was silent when asked."""
    unopened: Count = 0
    """The service was silent after it had seen the codes."""
    unrevealed: Count = 0
    """The requester was silent."""


class OfferBlindTests(Record, tag_field="type", tag="offer-blind-tests"):
    """Be ready to diagnose with this model, or no longer."""

    model: Digest
    offered: bool


class OpenBlindTest(Record, tag_field="type", tag="open-blind-test"):
    """Send mixed images to a service."""

    test: TestId
    service: Name
    model: Digest
    cases: Annotated[tuple[Digest, ...], Meta(min_length=3, max_length=MOST_DIAGNOSED + 1)]
    sealed: Annotated[bytes, Meta(min_length=1, max_length=2048)]
    """The test's keys, sealed to the service."""
    commitment: Digest
    num: Annotated[int, Meta(ge=0, le=1_000_000)]
    den: Annotated[int, Meta(ge=1, le=1_000_000)]
    phase_ms: Duration
    """How long each phase may last."""


class AnswerBlindTest(Record, tag_field="type", tag="answer-blind-test"):
    """Commit to an answer on every image."""

    test: TestId
    answer: Digest


class RevealCodes(Record, tag_field="type", tag="reveal-codes"):
    """Open the requester's commitment."""

    test: TestId
    codes: Codes
    salt: Salt


class OpenAnswers(Record, tag_field="type", tag="open-answers"):
    """Open the service's commitment."""

    test: TestId
    codes: Codes
    salt: Salt


class ExpireBlindTest(Record, tag_field="type", tag="expire-blind-test"):
    """The deadline of the phase that the test is in has passed."""

    test: TestId


_TESTS: Final[Table[BlindTest]] = Table("blind-test", BlindTest)
_SEALED: Final[Table[bytes]] = Table("blind-test-keys", bytes)
_CASES: Final[Table[bytes]] = Table("blind-test-case", bytes)
_OFFERS: Final[Table[bool]] = Table("blind-test-offer", bool)
_COUNTS: Final[Table[BlindCounts]] = Table("blind-test-counts", BlindCounts)
_UNDECIDED: Final[Table[int]] = Table("blind-test-undecided", int)


def blind_test(reader: Reader, test: bytes) -> BlindTest | None:
    """The test of that id."""
    return _TESTS.get(reader, test)


def blind_tests(reader: Reader) -> list[BlindTest]:
    """All tests, by id."""
    return [record for _, record in _TESTS.rows(reader)]


def sealed_keys(reader: Reader, test: bytes) -> bytes | None:
    """What the requester has sealed to the service."""
    return _SEALED.get(reader, test)


def is_offered(reader: Reader, service: Name, model: Digest) -> bool:
    """Whether the service takes blind tests of this model now."""
    return bool(_OFFERS.get(reader, service, model))


def offered_models(reader: Reader) -> list[tuple[Name, Digest]]:
    """Every service and model that is offered, or was."""
    return [(key[0], key[1]) for key, _ in _OFFERS.rows(reader)]


def blind_counts(reader: Reader, service: Name, model: Digest) -> dict[Name, BlindCounts]:
    """The public record of a service's model, by requester."""
    return {key[2]: counts for key, counts in _COUNTS.rows(reader) if key[:2] == (service, model)}


def codes_commitment(
    side: Side, chain: Digest, test: bytes, sender: Name, codes: tuple[Digest, ...], salt: bytes
) -> Digest:
    """The salted digest of one side's codes. It names the side, so that nobody can open another's as its own.

    Raises:
        InvalidInput: the salt is not 32 bytes.
    """
    return commit(salt, encode(("medfed/blind-codes", side, chain, test, sender, codes)))


def apply_offer_blind_tests(overlay: Overlay, call: Call, body: OfferBlindTests) -> None:
    """Rule 1."""
    known = artefact(overlay, body.model)
    if body.offered and (known is None or known.kind != "model"):
        raise Refused("no-such-model", "no model of this digest is registered")
    if is_offered(overlay, call.sender, body.model) == body.offered:
        raise Refused("nothing-changes", "the offer stands as it is asked for already")
    _OFFERS.put(overlay, body.offered, call.sender, body.model)


def apply_open_blind_test(overlay: Overlay, call: Call, body: OpenBlindTest) -> None:
    """Rules 1 to 3."""
    if blind_test(overlay, body.test) is not None:
        raise Refused("test-exists", "a test of this id was opened before")
    if body.service == call.sender:
        raise Refused("own-service", "nobody tests itself")
    if not is_active(overlay, body.service) or not is_offered(overlay, body.service, body.model):
        raise Refused("not-offered", f"{body.service} does not offer this model for blind tests")
    diagnosed = len(body.cases) - 1
    if body.num * diagnosed >= body.den * (diagnosed - 1):
        raise Refused("threshold-too-high", f"with {diagnosed} diagnosed images even a perfect service might not pass")
    if len(set(body.cases)) != len(body.cases):
        raise Refused("case-twice", "a case is in the test twice")
    if any(_CASES.get(overlay, case) is not None for case in body.cases):
        raise Refused("case-used", "a case was in an earlier test")
    undecided = _UNDECIDED.get(overlay, call.sender, body.service) or 0
    if undecided >= _MOST_UNDECIDED:
        raise Refused("too-many-tests", f"{undecided} tests of {call.sender} with {body.service} are under way")
    for case in body.cases:
        _CASES.put(overlay, body.test, case)
    _UNDECIDED.put(overlay, undecided + 1, call.sender, body.service)
    _SEALED.put(overlay, body.sealed, body.test)
    new = BlindTest(
        test=body.test,
        requester=call.sender,
        service=body.service,
        model=body.model,
        cases=body.cases,
        commitment=body.commitment,
        num=body.num,
        den=body.den,
        phase_ms=body.phase_ms,
        phase="open",
        deadline_ms=call.block.time_ms + body.phase_ms,
    )
    _TESTS.put(overlay, new, body.test)


def apply_answer_blind_test(overlay: Overlay, call: Call, body: AnswerBlindTest) -> None:
    """Rule 4."""
    test = _awaited(overlay, call, body.test, "open", "service")
    if equal(body.answer, test.commitment):
        raise Refused("copied", "the answer is the requester's own commitment")
    _move(overlay, call, replace(test, answer=body.answer, phase="answered"))


def apply_reveal_codes(overlay: Overlay, call: Call, body: RevealCodes) -> None:
    """Rules 4 and 5."""
    test = _awaited(overlay, call, body.test, "answered", "requester")
    _check_opening(call, test, "requester", test.commitment, body.codes, body.salt)
    if len(set(body.codes)) != len(body.codes):
        raise Refused("code-twice", "the codes of two positions are the same")
    _move(overlay, call, replace(test, codes=body.codes, phase="revealed"))


def apply_open_answers(overlay: Overlay, call: Call, body: OpenAnswers) -> None:
    """Rules 4 to 7."""
    test = _awaited(overlay, call, body.test, "revealed", "service")
    _check_opening(call, test, "service", test.answer or b"", body.codes, body.salt)
    test = replace(test, answers=body.codes)
    passed = (test.equal_codes - 1) * test.den > test.num * test.diagnosed
    _decide(overlay, replace(test, phase="passed" if passed else "failed"))
    counts = _counts(overlay, test)
    counts = replace(
        counts,
        passed=counts.passed + passed,
        failed=counts.failed + (not passed),
        equal_codes=counts.equal_codes + test.equal_codes,
        diagnosed=counts.diagnosed + test.diagnosed,
    )
    _COUNTS.put(overlay, counts, test.service, test.model, test.requester)


def apply_expire_blind_test(overlay: Overlay, call: Call, body: ExpireBlindTest) -> None:
    """Rule 7."""
    test = _need(overlay, body.test)
    if test.phase not in ("open", "answered", "revealed"):
        raise Refused("wrong-phase", f"the test is {test.phase}")
    if call.block.time_ms <= test.deadline_ms:
        raise Refused("too-early", f"the deadline passes in {test.deadline_ms - call.block.time_ms} ms of block time")
    counts = _counts(overlay, test)
    if test.phase == "answered":
        counts = replace(counts, unrevealed=counts.unrevealed + 1)
    elif test.phase == "open":
        counts = replace(counts, unanswered=counts.unanswered + 1)
    else:
        counts = replace(counts, unopened=counts.unopened + 1)
    _COUNTS.put(overlay, counts, test.service, test.model, test.requester)
    awaited: Side = "requester" if test.phase == "answered" else "service"
    _decide(overlay, replace(test, phase="expired", awaited=awaited))


def _need(overlay: Overlay, identifier: bytes) -> BlindTest:
    test = blind_test(overlay, identifier)
    if test is None:
        raise Refused("no-such-test", "no blind test of this id was opened")
    return test


def _awaited(overlay: Overlay, call: Call, identifier: bytes, phase: Phase, side: Side) -> BlindTest:
    """The test, if it is in that phase, in time, and the sender is whose turn it is."""
    test = _need(overlay, identifier)
    if test.phase != phase:
        raise Refused("wrong-phase", f"the test is {test.phase}, not {phase}")
    if call.sender != (test.service if side == "service" else test.requester):
        raise Refused("not-yours", f"the {side} of this test is awaited, and {call.sender} is not")
    if call.block.time_ms > test.deadline_ms:
        raise Refused("too-late", "the deadline has passed")
    return test


def _check_opening(
    call: Call, test: BlindTest, side: Side, committed: bytes, codes: tuple[Digest, ...], salt: bytes
) -> None:
    if len(codes) != len(test.cases):
        raise Refused("wrong-length", f"{len(codes)} codes for {len(test.cases)} cases")
    found = codes_commitment(side, call.block.chain, test.test, call.sender, codes, salt)
    if not equal(found, committed):
        raise Refused("bad-opening", "codes and salt are not those that were committed to")


def _move(overlay: Overlay, call: Call, test: BlindTest) -> None:
    _TESTS.put(overlay, replace(test, deadline_ms=call.block.time_ms + test.phase_ms), test.test)


def _decide(overlay: Overlay, test: BlindTest) -> None:
    _TESTS.put(overlay, test, test.test)
    undecided = _UNDECIDED.get(overlay, test.requester, test.service) or 1
    _UNDECIDED.put(overlay, undecided - 1, test.requester, test.service)


def _counts(overlay: Overlay, test: BlindTest) -> BlindCounts:
    return _COUNTS.get(overlay, test.service, test.model, test.requester) or BlindCounts()
