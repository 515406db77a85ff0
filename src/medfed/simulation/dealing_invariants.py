"""What must hold in blind tests and data requests, whatever went wrong. Nothing here knows what went wrong.

1. What a vault keeps a key of, and what a transaction names, is stored first; nothing is stored twice under one key.
2. Nobody says two things: of one test or request each side sends one answer, opening, delivery, judgement.
3. A requester reveals only after the service has committed, and a person reads an answer only above the threshold.
4. Only what somebody lied about is called wrong; an arbiter finds the liar at fault, or nobody where it cannot tell.
5. What is received is what was offered; what is not good is not kept. No case goes to a service twice.
6. Where nothing makes anybody late, all ends as it does without faults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from medfed.blobs import BlobStore
from medfed.diagnosis.blind_odds import passes
from medfed.diagnosis.blind_sides import TestSecret, image_of
from medfed.encoding import Record, encode
from medfed.hospital.blind_testing import verdict_of
from medfed.hospital.exchange_state import KeptDelivery, exchange_key, outcome_of, received_file
from medfed.hospital.requests import REQUESTS, decode_request
from medfed.hospital.vault import Vault
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.blind_test import (
    AnswerBlindTest,
    BlindTest,
    OpenAnswers,
    OpenBlindTest,
    RevealCodes,
    blind_test,
)
from medfed.ledger.contracts.exchange import (
    AcknowledgeDelivery,
    DecideDispute,
    DeliverData,
    DisputeDelivery,
    SealToArbiter,
    data_request,
)
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import SignedTransaction
from medfed.simulation.faults_dealing_site import DealingSite
from medfed.simulation.faults_dealings import OWNER, REQUESTER, THRESHOLD, DealingCast, Trick, diagnose
from medfed.simulation.faults_errands import BlindErrand, DataErrand
from medfed.simulation.witness import InvariantBroken

__all__ = ["DealingWatch"]

_SAID_ONCE: Final = (
    AnswerBlindTest,
    RevealCodes,
    OpenAnswers,
    DeliverData,
    AcknowledgeDelivery,
    DisputeDelivery,
    SealToArbiter,
    DecideDispute,
)
_FAULTS: Final[Mapping[Trick, str | None]] = {
    "none": None,
    "other-data": "owner",
    "wrong-key": "nobody",
    "false-dispute": "requester",
}


class _Kept(Record):
    """As a requester's vault keeps a test (`blind_testing`)."""

    secret: TestSecret
    candidates: tuple[tuple[str, ...], ...]


class DealingWatch:
    """Looks at every effect, every transaction and every end."""

    def __init__(self, cast: DealingCast, blobs: BlobStore, data: Sequence[DataErrand]) -> None:
        self._cast = cast
        self._blobs = blobs
        self._tricks: dict[bytes, Trick] = {errand.request: errand.trick for errand in data}
        self._said: dict[tuple[Name, str, bytes], bytes] = {}
        self._keys: dict[bytes, tuple[Digest, ...]] = {}

    def effect(self, name: str, vault: Vault) -> None:
        """Rule 1, in a vault that is about to commit."""
        if name == "before blind-test":
            for key in vault.keys_under(REQUESTS):
                body = decode_request(vault.get(key) or b"")
                if isinstance(body, OpenBlindTest):
                    self._check_stored("a vault keeps the keys of", *body.cases)
        elif name.startswith("before vault-put exchange/delivered/"):
            kept = vault.load(name.removeprefix("before vault-put "), KeptDelivery)
            if kept is not None:
                self._check_stored("a vault keeps the key of", kept.body.blob)
                self._use_key(kept.content_key, kept.body.blob)

    def sent(self, signed: SignedTransaction, view: StateView, vault: Vault) -> None:
        """Rules 1 to 3, in what leaves a site."""
        body: Any = signed.transaction.body
        sender = signed.transaction.sender
        identifier: bytes = getattr(body, "test", b"") or getattr(body, "request", b"")
        if type(body) in _SAID_ONCE:
            said = self._said.setdefault((sender, type(body).__name__, identifier), encode(body))
            if said != encode(body):
                raise InvariantBroken(f"{sender} says two things: {type(body).__name__} of {identifier.hex()[:12]}")
        if isinstance(body, AcknowledgeDelivery) and not body.matches and self._tricks[body.request] == "none":
            raise InvariantBroken(f"{sender} says that an honest delivery is wrong")
        if isinstance(body, DecideDispute) and body.fault != _FAULTS[self._tricks[body.request]]:
            raise InvariantBroken(f"{self._tricks[body.request]}: the arbiter finds {body.fault} at fault")
        if isinstance(body, RevealCodes):
            found = blind_test(view, body.test)
            if found is None or found.answer is None:
                raise InvariantBroken(f"{sender} reveals codes before the service has committed")
        if isinstance(body, OpenBlindTest) and blind_test(view, body.test) is None:
            self._check_stored("a transaction names", *body.cases)
            self._use_key(_secret(vault, body.test).keys.image_key, *body.cases)
        if isinstance(body, DeliverData):
            kept = vault.load(exchange_key("delivered", body.request), KeptDelivery)
            request = data_request(view, body.request)
            if request is not None and request.phase == "granted":
                self._check_stored("a transaction names", body.blob)
                if kept is None or kept.body != body:
                    raise InvariantBroken(f"{sender} delivers what its vault does not have")

    def look(self, view: StateView, sites: Mapping[str, DealingSite], tests: list[BlindErrand]) -> None:
        """Rule 3, at every state."""
        for errand in tests:
            found = blind_test(view, errand.test) if errand.test is not None else None
            if found is not None and found.phase in ("passed", "failed", "expired"):
                self._check_verdict(view, found, sites[REQUESTER].vault)

    def verify_end(
        self, view: StateView, sites: Mapping[str, DealingSite], tests: list[BlindErrand], data: list[DataErrand]
    ) -> None:
        """Rules 3 to 6.

        Raises:
            InvariantBroken: names what does not hold.
        """
        self.look(view, sites, tests)
        for errand in (*tests, *data):
            identifier = errand.test if isinstance(errand, BlindErrand) else errand.request
            if not errand.is_done(view) or identifier is None:
                raise InvariantBroken(f"{type(errand).__name__} {errand.number} has not come to an end")
            for name in (OWNER, REQUESTER):
                if sites[name].vault.get(f"cleared/{identifier.hex()}") is None:
                    raise InvariantBroken(f"{name} has not cleared up after {type(errand).__name__} {errand.number}")
        seen: set[bytes] = set()
        for errand in tests:
            found = blind_test(view, errand.test or b"")
            if found is not None:
                self._check_test(view, found, sites[REQUESTER].vault, seen)
        for errand in data:
            self._check_request(view, sites, errand)

    def _check_verdict(self, view: StateView, test: BlindTest, vault: Vault) -> None:
        verdict = verdict_of(view, vault, test.test)
        if test.phase != "passed":
            if verdict.passed or verdict.diagnosis is not None or str(verdict) != "FALSE":
                raise InvariantBroken(f"a blind test is {test.phase}, and its person is given an answer")
            return
        secret = _secret(vault, test.test)
        cases = [position for position in range(len(test.cases)) if position != secret.undiagnosed]
        right = sum(test.codes[position] == test.answers[position] for position in cases)
        num, den = THRESHOLD
        if right * den <= num * len(cases):
            raise InvariantBroken(f"an answer after {right} of {len(cases)} diagnosed cases were right")

    def _check_test(self, view: StateView, test: BlindTest, vault: Vault, seen: set[bytes]) -> None:
        secret = _secret(vault, test.test)
        blobs = [self._blobs.get(case) for case in test.cases]
        cases = [image_of(secret.keys, view.chain, test.test, at, blob) for at, blob in enumerate(blobs)]
        if len(seen.union(cases)) != len(seen) + len(cases):
            raise InvariantBroken("a case goes to a service twice")
        seen.update(cases)
        if self._cast.on_time:
            said = diagnose(self._cast, cases)
            equal = sum(theirs == mine for theirs, mine in zip(said, secret.labels, strict=True))
            phase = "passed" if passes(equal, test.diagnosed, test.num, test.den) else "failed"
            if test.phase != phase:
                raise InvariantBroken(f"a blind test that must end {phase} is {test.phase}")
            if phase == "passed" and verdict_of(view, vault, test.test).diagnosis != said[secret.undiagnosed]:
                raise InvariantBroken("a person reads another answer than the service gave")

    def _check_request(self, view: StateView, sites: Mapping[str, DealingSite], errand: DataErrand) -> None:
        request, site = data_request(view, errand.request), sites[REQUESTER].agent.site
        if request is None:
            raise InvariantBroken(f"data request {errand.number} is gone")
        target, outcome = received_file(site, errand.request), outcome_of(site, errand.request)
        if outcome == "good" and not target.exists():
            raise InvariantBroken(f"data request {errand.number}: received, and no file is there")
        if target.exists() and target.read_bytes() != errand.data:
            raise InvariantBroken(f"data request {errand.number}: another file than was offered is kept")
        if sites[OWNER].vault.get(exchange_key("delivered", errand.request)) is not None:
            raise InvariantBroken(f"data request {errand.number}: its owner keeps a content key that nobody needs")
        if any(path.name.startswith(".") for path in target.parent.glob("*")):
            raise InvariantBroken("a part of a delivery is left behind")
        if self._cast.on_time:
            fault = _FAULTS[self._tricks[errand.request]]
            found = (request.phase, request.fault, outcome == "good")
            if found != ("decided" if fault else "accepted", fault, errand.trick in ("none", "wrong-key")):
                raise InvariantBroken(f"data request {errand.number} ({errand.trick}) ends {found}")

    def _check_stored(self, what: str, *blobs: Digest) -> None:
        for blob in blobs:
            if not self._blobs.has(blob):
                raise InvariantBroken(f"{what} a blob that is not stored")

    def _use_key(self, key: bytes, *blobs: Digest) -> None:
        if self._keys.setdefault(key, blobs) != blobs:
            raise InvariantBroken("two things are encrypted under one key")


def _secret(vault: Vault, test: bytes) -> TestSecret:
    found = vault.load(f"blind-test/asked/{test.hex()}", _Kept)
    if found is None:
        raise InvariantBroken("a test is under way of which its requester has no secret")
    return found.secret
