"""Rounds of encrypted updates: confirmed by the survivors, added by the aggregators, opened by the key holder.

| phase of the round | what is awaited | then |
|---|---|---|
| update | as in a masked round: the ledger gets digests, and nobody can open a blob yet | confirm |
| confirm | `ConfirmCiphertext` of all survivors: keys for the aggregators, a tag seed for the key holder | sum |
| confirm | the deadline | void: update again, attempt + 1, without the silent |
| sum | `PublishCiphertextSum` of every aggregator, all with one digest | decrypt |
| sum | `ReportCiphertexts` of an aggregator | void: attempt + 1, without those whose ciphertexts are bad |
| decrypt | `PublishDecryption` of the key holder | released |
| sum, decrypt | the deadline, sums that differ, or a refused sum | the study pauses |

Rules:
1. Only survivors confirm, each once, and only the survivors and blobs that the contract proposed.
2. A confirmation opens the commitment of the update: hashes of the tag seed and of the blob's key, and the digest of
   the ciphertexts. All three were fixed before anybody could read any ciphertext, so that none is made from another.
3. It brings the blob's key sealed to every aggregator, and the tag seed sealed to the key holder.
4. Only when all survivors, at least the quorum, have confirmed do the aggregators add. Each says the digest of the sum
   once; a different digest ends the round with nothing opened, and the study pauses.
5. An aggregator that cannot get or open ciphertexts says whose; the attempt is void, and the next one leaves them out.
6. Only the key holder opens, and only the sum that the aggregators agree on. One that it refuses pauses the study,
   and the key is not used again.
7. An attempt that reached decrypt is never voided and never retried: at the deadline the round has failed.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from medfed.encoding import Record, digest_of, encode
from medfed.errors import Refused
from medfed.identifiers import Code, Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.offices import (
    Offices,
    PublishEncryptionKey,
    VoteOnSuccessor,
    enter_key,
    enter_successor_vote,
    is_encrypted,
    need_offices,
    retire_key,
)
from medfed.ledger.contracts.rounds import (
    Round,
    close_failed,
    close_released,
    close_unreleased,
    need_round,
    open_round,
    put_round,
)
from medfed.ledger.contracts.studies import Study
from medfed.ledger.contracts.survivors import need_unconfirmed, void_attempt
from medfed.ledger.contracts.updates import submission
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "CiphertextConfirmation",
    "ConfirmCiphertext",
    "Decryption",
    "PublishCiphertextSum",
    "PublishDecryption",
    "RefuseSum",
    "ReportCiphertexts",
    "SealedKey",
    "ciphertext_commitment",
    "ciphertext_confirmation",
    "ciphertext_context",
    "ciphertext_sums",
    "decryption",
]

RoundNumber = Annotated[int, Meta(ge=0)]
Sealed = Annotated[bytes, Meta(min_length=1, max_length=2048)]
Length = Annotated[int, Meta(ge=4, le=2**40)]


class SealedKey(Record):
    """The key of a survivor's blob, sealed to one aggregator."""

    aggregator: Name
    sealed: Sealed


class CiphertextConfirmation(Record):
    """What a survivor confirmed with."""

    seed: Digest
    """SHA-256 of the tag seed."""
    key: Digest
    """SHA-256 of the blob's key."""
    ciphertexts: Digest
    """SHA-256 of the ciphertexts in the blob."""
    sealed_seed: Sealed
    """The tag seed, sealed to the key holder."""
    sealed_keys: tuple[SealedKey, ...]


class ConfirmCiphertext(Record, tag_field="type", tag="confirm-ciphertext"):
    """I sign exactly these survivors; here is what opens my blob, for the aggregators only."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    survivors: Digest
    seed: Digest
    key: Digest
    ciphertexts: Digest
    sealed_seed: Sealed
    sealed_keys: Annotated[tuple[SealedKey, ...], Meta(min_length=1, max_length=3)]


class PublishCiphertextSum(Record, tag_field="type", tag="publish-ciphertext-sum"):
    """The sum of the survivors' ciphertexts that I computed, a blob."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    survivors: Digest
    sum: Digest
    length: Length


class ReportCiphertexts(Record, tag_field="type", tag="report-ciphertexts"):
    """The ciphertexts of these survivors cannot be had or are not what was committed to."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    who: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=50)]


class PublishDecryption(Record, tag_field="type", tag="publish-decryption"):
    """The total in the sum that the aggregators agree on, a blob."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    sum: Digest
    total: Digest
    length: Length


class RefuseSum(Record, tag_field="type", tag="refuse-sum"):
    """What the aggregators agree on is not the sum over the survivors: I open nothing. `who` sealed me a wrong seed."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    code: Code
    who: Annotated[tuple[Name, ...], Meta(max_length=50)] = ()


class Decryption(Record):
    """What the key holder published."""

    sum: Digest
    total: Digest
    length: int


_CONFIRMATIONS: Final[Table[CiphertextConfirmation]] = Table("ciphertext-confirmation", CiphertextConfirmation)
_SUMS: Final[Table[dict[str, bytes]]] = Table("ciphertext-sums", dict[str, bytes])
_DECRYPTIONS: Final[Table[Decryption]] = Table("decryption", Decryption)


def ciphertext_confirmation(
    reader: Reader, study: StudyId, round_number: int, attempt: int, who: Name
) -> CiphertextConfirmation | None:
    """What `who` confirmed with."""
    return _CONFIRMATIONS.get(reader, study, round_number, attempt, who)


def ciphertext_sums(reader: Reader, study: StudyId, round_number: int, attempt: int) -> dict[Name, Digest]:
    """The digests of the sums that aggregators have computed."""
    return _SUMS.get(reader, study, round_number, attempt) or {}


def decryption(reader: Reader, study: StudyId, round_number: int, attempt: int) -> Decryption | None:
    """What the key holder published."""
    return _DECRYPTIONS.get(reader, study, round_number, attempt)


def ciphertext_commitment(seed: Digest, key: Digest, ciphertexts: Digest) -> Digest:
    """What an encrypted update commits to when it is submitted (rule 2)."""
    return digest_of("medfed/ciphertext-commitment", seed, key, ciphertexts)


def ciphertext_context(
    purpose: str, chain: Digest, study: StudyId, round_number: int, attempt: int, key: Digest, owner: Name
) -> bytes:
    """What binds a blob, or something sealed, to one attempt, public key and owner."""
    return encode(("medfed/ciphertext", purpose, chain, study, round_number, attempt, key, owner))


def apply_publish_encryption_key(overlay: Overlay, call: Call, body: PublishEncryptionKey) -> None:
    """Rule 3 of `offices`."""
    open_round(overlay, call, enter_key(overlay, call, body))


def apply_vote_on_successor(overlay: Overlay, call: Call, body: VoteOnSuccessor) -> None:
    """Rule 4 of `offices`."""
    going_on = enter_successor_vote(overlay, call, body)
    if going_on is not None:
        open_round(overlay, call, going_on)


def apply_confirm_ciphertext(overlay: Overlay, call: Call, body: ConfirmCiphertext) -> None:
    """Rules 1 to 4."""
    study, record = need_unconfirmed(overlay, call, body.study, body.round, body.attempt)
    _check_encrypted(study)
    found = need_offices(overlay, study)
    if body.survivors != record.survivors_digest:
        raise Refused("other-survivors", "the confirmation names other survivors or blobs")
    submitted = submission(overlay, study.study, record.number, record.attempt, call.sender)
    if submitted is None or submitted.seed_commitment != ciphertext_commitment(body.seed, body.key, body.ciphertexts):
        raise Refused("wrong-commitment", "the confirmation is not what the update committed to")
    if tuple(entry.aggregator for entry in body.sealed_keys) != found.aggregators:
        raise Refused("wrong-aggregators", "a confirmation has one sealed key for each aggregator, in order")
    entry = CiphertextConfirmation(body.seed, body.key, body.ciphertexts, body.sealed_seed, body.sealed_keys)
    _CONFIRMATIONS.put(overlay, entry, study.study, record.number, record.attempt, call.sender)
    record = replace(record, confirmed=tuple(sorted((*record.confirmed, call.sender))))
    if record.confirmed == record.survivors:
        record = _moved_on(call, study, replace(record, phase="sum"))
    put_round(overlay, record)


def apply_publish_ciphertext_sum(overlay: Overlay, call: Call, body: PublishCiphertextSum) -> None:
    """Rule 4."""
    study, record, found = _need_aggregator(overlay, call, body.study, body.round, body.attempt)
    if body.survivors != record.survivors_digest:
        raise Refused("other-survivors", "the sum is over other survivors or blobs")
    sums = ciphertext_sums(overlay, study.study, record.number, record.attempt)
    if call.sender in sums:
        raise Refused("already-added", f"{call.sender} has published its sum")
    sums[call.sender] = body.sum
    _SUMS.put(overlay, sums, study.study, record.number, record.attempt)
    if len(set(sums.values())) > 1:
        close_unreleased(overlay, study, record, "sums-differ")
    elif set(found.aggregators) <= set(sums):
        put_round(overlay, _moved_on(call, study, replace(record, phase="decrypt")))


def apply_report_ciphertexts(overlay: Overlay, call: Call, body: ReportCiphertexts) -> None:
    """Rule 5."""
    study, record, _ = _need_aggregator(overlay, call, body.study, body.round, body.attempt)
    if list(body.who) != sorted(set(body.who)) or not set(body.who) <= set(record.survivors):
        raise Refused("bad-report", "a report names survivors, sorted, each once")
    reports = tuple((call.sender, name) for name in body.who)
    void_attempt(overlay, call, study, replace(record, reports=reports), set(body.who))


def apply_publish_decryption(overlay: Overlay, call: Call, body: PublishDecryption) -> None:
    """Rule 6."""
    study, record = _need_key_holder(overlay, call, body.study, body.round, body.attempt)
    if {body.sum} != set(ciphertext_sums(overlay, study.study, record.number, record.attempt).values()):
        raise Refused("other-sum", "the decryption is of another sum than the aggregators agree on")
    entry = Decryption(body.sum, body.total, body.length)
    _DECRYPTIONS.put(overlay, entry, study.study, record.number, record.attempt)
    close_released(overlay, call, study, record)


def apply_refuse_sum(overlay: Overlay, call: Call, body: RefuseSum) -> None:
    """Rule 6, and rule 5 of `offices`."""
    study, record = _need_key_holder(overlay, call, body.study, body.round, body.attempt)
    retire_key(overlay, study)
    close_unreleased(overlay, study, record, "sum-refused")


def close_sum(overlay: Overlay, study: Study, record: Round) -> None:
    """The deadline has passed without the aggregators' sums: nothing was opened."""
    close_unreleased(overlay, study, record, "no-ciphertext-sum")


def close_decrypt(overlay: Overlay, study: Study, record: Round) -> None:
    """Rule 7: the key holder could have opened the sum, so the round counts as released over its survivors."""
    close_failed(overlay, study, replace(record, revealed=record.survivors), "no-decryption")


def _moved_on(call: Call, study: Study, record: Round) -> Round:
    return replace(record, deadline_ms=call.block.time_ms + study.terms.deadlines.reveal)


def _check_encrypted(study: Study) -> None:
    if not is_encrypted(study):
        raise Refused("other-protection", "the plan protects updates in another way")


def _need_aggregator(
    overlay: Overlay, call: Call, study: StudyId, number: int, attempt: int
) -> tuple[Study, Round, Offices]:
    record, current = need_round(overlay, study, number, attempt, "sum")
    _check_encrypted(record)
    found = need_offices(overlay, record)
    if call.sender not in found.aggregators:
        raise Refused("not-an-aggregator", f"{call.sender} is not an aggregator of the study")
    return record, current, found


def _need_key_holder(overlay: Overlay, call: Call, study: StudyId, number: int, attempt: int) -> tuple[Study, Round]:
    record, current = need_round(overlay, study, number, attempt, "decrypt")
    if call.sender != need_offices(overlay, record).key_holder:
        raise Refused("not-the-key-holder", f"{call.sender} is not the study's key holder")
    return record, current
