"""A study whose updates are encrypted, for tests of the contracts: `StudyWorld` with a key holder and aggregators."""

from __future__ import annotations

from msgspec.structs import replace
from tests.support.ledger import FOUR, StudyWorld, World, make_terms

from medfed.encoding import encode
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.ciphertexts import (
    ConfirmCiphertext,
    PublishCiphertextSum,
    PublishDecryption,
    RefuseSum,
    ReportCiphertexts,
    SealedKey,
    ciphertext_commitment,
)
from medfed.ledger.contracts.offices import Offices, PublishEncryptionKey, VoteOnSuccessor, need_offices
from medfed.ledger.contracts.terms import CiphertextTerms, Terms
from medfed.ledger.contracts.updates import SubmitUpdate

KEY_HOLDER: Name = "auditor"
AGGREGATOR: Name = "server"
SUM: Digest = sha256(b"sum of ciphertexts")


def encrypted_terms(
    names: tuple[Name, ...] = FOUR,
    key_holder: Name = KEY_HOLDER,
    aggregators: tuple[Name, ...] = (AGGREGATOR,),
    **others: object,
) -> Terms:
    """Terms with offices."""
    return replace(make_terms(names, **others), ciphertexts=CiphertextTerms(key_holder, aggregators))  # type: ignore[arg-type]


def admit(world: World, name: Name, role: str = "aggregator") -> None:
    """Let another participant in."""
    from medfed.ledger.contracts.membership import VoteOnParticipant, active_hospitals

    hospitals = active_hospitals(world.view)
    world.accept(hospitals[0], world.candidate(name, role))  # type: ignore[arg-type]
    for other in hospitals[1:]:
        if not world.send(other, VoteOnParticipant(name, True)).accepted:
            break


class EncryptedStudyWorld(StudyWorld):
    """One encrypted study, driven by hand."""

    def __init__(self, world: World, terms: Terms | None = None) -> None:
        super().__init__(world, terms or encrypted_terms())

    @property
    def offices(self) -> Offices:
        return need_offices(self.world.view, self.record)

    def key(self, name: str = "key") -> PublishEncryptionKey:
        return PublishEncryptionKey(self.study, sha256(name.encode()), 131_072)

    def to_running(self, *complaints: tuple[Name, Name]) -> EncryptedStudyWorld:
        self.to_sealing()
        self.world.accept(self.offices.key_holder, self.key())
        return self

    def hashes(self, who: Name) -> tuple[Digest, Digest, Digest]:
        now = self.round
        return (
            sha256(encode(("seed", who, now.number, now.attempt))),
            sha256(encode(("key", who, now.number, now.attempt))),
            sha256(encode(("ciphertexts", who, now.number, now.attempt))),
        )

    def update(self, who: Name, *, base: Digest | None = None, accepts: bool = True, blob: bytes = b"") -> SubmitUpdate:
        plain = super().update(who, base=base, accepts=accepts, blob=blob)
        return replace(plain, seed_commitment=ciphertext_commitment(*self.hashes(who)))

    def encrypted_confirmation(self, who: Name) -> ConfirmCiphertext:
        now = self.round
        keys = tuple(SealedKey(name, b"sealed key") for name in self.offices.aggregators)
        digest = now.survivors_digest or bytes(32)
        return ConfirmCiphertext(self.study, now.number, now.attempt, digest, *self.hashes(who), b"sealed seed", keys)

    def confirm_all(self, *, without: tuple[Name, ...] = ()) -> EncryptedStudyWorld:  # type: ignore[override]
        for name in self.round.survivors:
            if name not in set(without):
                self.world.accept(name, self.encrypted_confirmation(name))
        return self

    def sum(self, digest: Digest = SUM) -> PublishCiphertextSum:
        now = self.round
        survivors = now.survivors_digest or bytes(32)
        return PublishCiphertextSum(self.study, now.number, now.attempt, survivors, digest, 49_152)

    def bad(self, *who: Name) -> ReportCiphertexts:
        now = self.round
        return ReportCiphertexts(self.study, now.number, now.attempt, who)

    def decryption(self, of: Digest = SUM) -> PublishDecryption:
        now = self.round
        return PublishDecryption(self.study, now.number, now.attempt, of, sha256(encode(("total", now.number))), 400)

    def refusal(self) -> RefuseSum:
        now = self.round
        return RefuseSum(self.study, now.number, now.attempt, "wrong-tags")

    def successor(self, leaves: Name, name: Name) -> VoteOnSuccessor:
        return VoteOnSuccessor(self.study, leaves, name)

    def add_all(self) -> EncryptedStudyWorld:
        for name in self.offices.aggregators:
            self.world.accept(name, self.sum())
        return self

    def run_round(self, *, without: tuple[Name, ...] = ()) -> EncryptedStudyWorld:  # type: ignore[override]
        self.update_all(without=without)
        self.confirm_all().add_all()
        self.world.accept(self.offices.key_holder, self.decryption())
        return self
