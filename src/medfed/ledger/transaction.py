"""Transactions: what a participant signs, and the bytes that travel.

Wire form: `signature(64) ‖ payload`. The signature is Ed25519 over `"medfed/transaction/1\\0" ‖ payload`; the id is the
SHA-256 of the payload. The payload is the canonical encoding of a `Transaction`.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from medfed.crypto import SigningKey, is_valid_signature
from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Height, Name, sha256
from medfed.ledger.contracts.aggregates import (
    ConfirmSealed,
    DisputeAggregate,
    IssueSessionKeys,
    PublishAggregate,
    ReportUpdates,
)
from medfed.ledger.contracts.agreement import Attest
from medfed.ledger.contracts.alignment import CommitInputs, DeclineAlignment, OpenAlignment
from medfed.ledger.contracts.alignment_blinding import (
    AdvanceAlignment,
    CompleteAlignment,
    PublishBlinded,
    ReportBlinded,
)
from medfed.ledger.contracts.blind_test import (
    AnswerBlindTest,
    ExpireBlindTest,
    OfferBlindTests,
    OpenAnswers,
    OpenBlindTest,
    RevealCodes,
)
from medfed.ledger.contracts.ciphertexts import (
    ConfirmCiphertext,
    PublishCiphertextSum,
    PublishDecryption,
    RefuseSum,
    ReportCiphertexts,
)
from medfed.ledger.contracts.deadlines import AbortStudy, Advance, ResumeStudy
from medfed.ledger.contracts.exchange import (
    AcknowledgeDelivery,
    DecideDispute,
    DecideRequest,
    DeliverData,
    DisputeDelivery,
    ExpireRequest,
    RequestData,
    SealToArbiter,
)
from medfed.ledger.contracts.keying import ComplainAboutPair, Enrol, KeysReady, SealPairSecrets
from medfed.ledger.contracts.membership import (
    ChangeAddress,
    Leave,
    ProposeParticipant,
    ProposeRemoval,
    ProposeUpgrade,
    ReplaceKeys,
    RotateKeys,
    VoteOnParticipant,
    VoteOnRemoval,
    VoteOnUpgrade,
)
from medfed.ledger.contracts.offered_data import OfferDataset, TakeDatasetBack
from medfed.ledger.contracts.offices import PublishEncryptionKey, VoteOnSuccessor
from medfed.ledger.contracts.registry import RegisterArtefact, WithdrawDataset
from medfed.ledger.contracts.reveals import RevealSeeds, RevealShares
from medfed.ledger.contracts.studies import ApproveStudy, DeclineStudy, ProposeStudy, Rejoin, WithdrawFromStudy
from medfed.ledger.contracts.survivors import ConfirmSurvivors, RefuseSurvivors, ReportMissing
from medfed.ledger.contracts.updates import SubmitUpdate

__all__ = ["MAX_TRANSACTION_BYTES", "Anchor", "Body", "SignedTransaction", "Transaction", "sign"]

MAX_TRANSACTION_BYTES: Final = 64 * 1024
SIGNATURE_BYTES: Final = 64
_LABEL: Final = b"medfed/transaction/1\0"

Body = (
    ProposeParticipant
    | VoteOnParticipant
    | RotateKeys
    | ReplaceKeys
    | ChangeAddress
    | Leave
    | ProposeRemoval
    | VoteOnRemoval
    | ProposeUpgrade
    | VoteOnUpgrade
    | ProposeStudy
    | ApproveStudy
    | DeclineStudy
    | Enrol
    | SealPairSecrets
    | ComplainAboutPair
    | KeysReady
    | AbortStudy
    | ResumeStudy
    | WithdrawFromStudy
    | Rejoin
    | SubmitUpdate
    | ConfirmSurvivors
    | ReportMissing
    | RefuseSurvivors
    | RevealSeeds
    | RevealShares
    | Attest
    | Advance
    | PublishEncryptionKey
    | VoteOnSuccessor
    | ConfirmCiphertext
    | PublishCiphertextSum
    | ReportCiphertexts
    | PublishDecryption
    | RefuseSum
    | IssueSessionKeys
    | ConfirmSealed
    | PublishAggregate
    | ReportUpdates
    | DisputeAggregate
    | RegisterArtefact
    | WithdrawDataset
    | OfferDataset
    | TakeDatasetBack
    | RequestData
    | DecideRequest
    | DeliverData
    | AcknowledgeDelivery
    | DisputeDelivery
    | SealToArbiter
    | DecideDispute
    | ExpireRequest
    | OfferBlindTests
    | OpenBlindTest
    | AnswerBlindTest
    | RevealCodes
    | OpenAnswers
    | ExpireBlindTest
    | OpenAlignment
    | DeclineAlignment
    | CommitInputs
    | PublishBlinded
    | ReportBlinded
    | CompleteAlignment
    | AdvanceAlignment
)
"""Every transaction body that some contract handles."""


class Anchor(Record):
    """A block that the sender has seen."""

    height: Height
    block: Digest


class Transaction(Record):
    """What is signed."""

    chain: Digest
    sender: Name
    sequence: Annotated[int, Meta(ge=0, lt=2**53)]
    seen: Anchor
    body: Body


class SignedTransaction(Record):
    """A transaction with the exact bytes that were signed."""

    signature: bytes
    payload: bytes
    transaction: Transaction

    @property
    def id(self) -> Digest:
        """SHA-256 of the payload."""
        return sha256(self.payload)

    def to_bytes(self) -> bytes:
        """The wire form."""
        return self.signature + self.payload

    @staticmethod
    def from_bytes(data: bytes) -> SignedTransaction:
        """Decode the wire form; the signature is not checked here.

        Raises:
            InvalidInput: too large, too short, malformed or not canonical.
        """
        if len(data) > MAX_TRANSACTION_BYTES:
            raise InvalidInput(f"transaction of {len(data)} bytes: at most {MAX_TRANSACTION_BYTES} are allowed")
        if len(data) <= SIGNATURE_BYTES:
            raise InvalidInput(f"transaction of {len(data)} bytes: shorter than a signature")
        payload = data[SIGNATURE_BYTES:]
        return SignedTransaction(data[:SIGNATURE_BYTES], payload, decode(payload, Transaction))

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether the signature is that of `public_key`."""
        return is_valid_signature(public_key, _LABEL + self.payload, self.signature)


def sign(transaction: Transaction, key: SigningKey) -> SignedTransaction:
    """Sign a transaction.

    Raises:
        InvalidInput: it is larger than the ledger takes, or a field breaks its bounds, so that nobody could decode it.
    """
    payload = encode(transaction)
    if len(payload) + SIGNATURE_BYTES > MAX_TRANSACTION_BYTES:
        raise InvalidInput(f"transaction of {len(payload)} bytes: at most {MAX_TRANSACTION_BYTES} are allowed")
    decode(payload, Transaction)
    return SignedTransaction(key.sign(_LABEL + payload), payload, transaction)
