"""Data requests: what is on offer, who asked for what and why, what was delivered, and who was right.

| phase | awaited | then |
|---|---|---|
| requested | `DecideRequest` by the owner | granted or refused |
| granted | `DeliverData` by the owner | delivered |
| delivered | `AcknowledgeDelivery` by the requester | accepted, or mismatched; silence accepts |
| mismatched | `DisputeDelivery` by the requester, or silence | disputed; silence accepts |
| disputed | `SealToArbiter` by the owner | arbitrated; silence is the owner's fault |
| arbitrated | `DecideDispute` by the arbiter | decided; silence leaves it undecided |
| requested or granted, past its deadline | `ExpireRequest` by anyone | expired; against the owner if it had granted |

The ledger holds a salted commitment to the data and never the data: a delivery is a blob under a content key that is
sealed to one requester. A fault is decided by what was committed to, so both an owner who delivers something else and
a requester who complains about a good delivery are found out.

Rules:
1. What is on offer, and on which terms, is in `offered_data`.
2. Anybody but the owner and the arbiter asks for a dataset that is not withdrawn, under a fresh id, with a purpose that
   the terms allow; only the owner decides, once, in time.
3. Only the owner delivers, once, and only what was granted; the content key is committed to with it.
4. Only the requester says whether what it decrypted is what was committed to, and only it disputes.
5. In a dispute the owner seals the same content key to the arbiter; only the arbiter decides who is at fault. Whether a
   sealed key opened, only its receiver can know: who claims that it did not is never at fault, and where all else is
   good the arbiter hands the key over and nobody is.
6. Whatever the phase, nobody waits for ever: past the deadline anyone ends it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import replace

from medfed.encoding import Record, encode
from medfed.errors import Refused
from medfed.identifiers import Code, Digest, Name, sha256
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.membership import is_active
from medfed.ledger.contracts.offered_data import Purpose, need_dataset
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "AcknowledgeDelivery",
    "DataRequest",
    "DecideDispute",
    "DecideRequest",
    "DeliverData",
    "Delivery",
    "DisputeDelivery",
    "ExpireRequest",
    "RequestData",
    "SealToArbiter",
    "content_key_digest",
    "content_key_info",
    "data_request",
    "data_requests",
    "delivery",
    "faults",
    "sealed_by_arbiter",
    "sealed_to_arbiter",
]

RequestId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""16 random bytes, chosen by the requester."""
Phase = Literal[
    "requested",
    "granted",
    "refused",
    "delivered",
    "mismatched",
    "disputed",
    "arbitrated",
    "accepted",
    "decided",
    "expired",
]
SealedKey = Annotated[bytes, Meta(min_length=1, max_length=2048)]
Fault = Literal["owner", "requester", "nobody"]
Claim = Literal["key", "data"]
"""The content key does not open or is not the one committed to; or the data is not."""
_KEY_LABEL: Final = b"medfed/content-key"


class DataRequest(Record):
    """Where a request stands."""

    request: RequestId
    requester: Name
    owner: Name
    dataset: Digest
    purpose: Purpose
    phase: Phase
    deadline_ms: int
    code: str = ""
    """Why it was refused."""
    claim: Claim | None = None
    """What the requester disputes."""
    fault: Fault | None = None
    """Who was found at fault, or was silent when awaited."""


class Delivery(Record):
    """What an owner has delivered."""

    blob: Digest
    length: int
    sealed: bytes
    """The content key, sealed to the requester."""
    key_digest: Digest
    """See `content_key_digest`."""


class RequestData(Record, tag_field="type", tag="request-data"):
    """Ask an owner for a dataset."""

    request: RequestId
    dataset: Digest
    purpose: Purpose


class DecideRequest(Record, tag_field="type", tag="decide-request"):
    """Grant or refuse; a refusal has a code."""

    request: RequestId
    grant: bool
    code: Code = "none"


class DeliverData(Record, tag_field="type", tag="deliver-data"):
    """The blob is there, and its key is sealed to the requester."""

    request: RequestId
    blob: Digest
    length: Annotated[int, Meta(ge=1, lt=2**53)]
    sealed: SealedKey
    key_digest: Digest


class AcknowledgeDelivery(Record, tag_field="type", tag="acknowledge-delivery"):
    """The requester has decrypted, and compared with the commitment."""

    request: RequestId
    matches: bool


class DisputeDelivery(Record, tag_field="type", tag="dispute-delivery"):
    """Ask the arbiter."""

    request: RequestId
    claim: Claim


class SealToArbiter(Record, tag_field="type", tag="seal-to-arbiter"):
    """The owner lets the arbiter look."""

    request: RequestId
    sealed: SealedKey


class DecideDispute(Record, tag_field="type", tag="decide-dispute"):
    """Who is at fault; and the content key, sealed to the requester, where it did not open."""

    request: RequestId
    fault: Fault
    sealed: Annotated[bytes, Meta(max_length=2048)] = b""


class ExpireRequest(Record, tag_field="type", tag="expire-request"):
    """The deadline of the phase that the request is in has passed."""

    request: RequestId


_REQUESTS: Final[Table[DataRequest]] = Table("data-request", DataRequest)
_DELIVERIES: Final[Table[Delivery]] = Table("delivery", Delivery)
_BLOBS: Final[Table[bytes]] = Table("delivered-blob", bytes)
_TO_ARBITER: Final[Table[bytes]] = Table("sealed-to-arbiter", bytes)
_TO_REQUESTER: Final[Table[bytes]] = Table("sealed-by-arbiter", bytes)
_FAULTS: Final[Table[int]] = Table("exchange-faults", int)


def data_request(reader: Reader, request: bytes) -> DataRequest | None:
    """The request of that id."""
    return _REQUESTS.get(reader, request)


def data_requests(reader: Reader) -> list[DataRequest]:
    """All requests, by id."""
    return [record for _, record in _REQUESTS.rows(reader)]


def delivery(reader: Reader, request: bytes) -> Delivery | None:
    """What was delivered for a request."""
    return _DELIVERIES.get(reader, request)


def sealed_to_arbiter(reader: Reader, request: bytes) -> bytes | None:
    """The content key for the arbiter, in a dispute."""
    return _TO_ARBITER.get(reader, request)


def sealed_by_arbiter(reader: Reader, request: bytes) -> bytes | None:
    """The content key that the arbiter has sealed to the requester."""
    return _TO_REQUESTER.get(reader, request)


def faults(reader: Reader, name: Name) -> int:
    """How often a participant was found at fault, or was silent when awaited as an owner."""
    return _FAULTS.get(reader, name) or 0


def content_key_digest(content_key: bytes) -> Digest:
    """What binds a delivery to its key, so that the arbiter sees the key that the requester saw."""
    return sha256(_KEY_LABEL + content_key)


def content_key_info(chain: Digest, request: DataRequest, receiver: Name) -> bytes:
    """What the content key is sealed for: this request of this ledger, and one receiver."""
    return encode(
        ("medfed/content-key", chain, request.request, request.dataset, request.owner, request.requester, receiver)
    )


def apply_request_data(overlay: Overlay, call: Call, body: RequestData) -> None:
    """Rule 2."""
    known = need_dataset(overlay, body.dataset)
    if data_request(overlay, body.request) is not None:
        raise Refused("request-exists", "a request of this id was made before")
    if known.withdrawn or not is_active(overlay, known.owner):
        raise Refused("withdrawn", "the dataset is no longer on offer")
    if call.sender in (known.owner, known.terms.arbiter):
        raise Refused("not-a-requester", f"{call.sender} is the dataset's owner or arbiter")
    if body.purpose not in known.terms.purposes:
        raise Refused("purpose-not-allowed", f"the terms do not allow {body.purpose}")
    deadline = call.block.time_ms + known.terms.phase_ms
    new = DataRequest(body.request, call.sender, known.owner, body.dataset, body.purpose, "requested", deadline)
    _REQUESTS.put(overlay, new, body.request)


def apply_decide_request(overlay: Overlay, call: Call, body: DecideRequest) -> None:
    """Rule 2."""
    request = _awaited(overlay, call, body.request, "requested", "owner")
    if body.grant:
        _move(overlay, call, request, "granted")
    else:
        _REQUESTS.put(overlay, replace(request, phase="refused", code=body.code), request.request)


def apply_deliver_data(overlay: Overlay, call: Call, body: DeliverData) -> None:
    """Rule 3."""
    request = _awaited(overlay, call, body.request, "granted", "owner")
    if _BLOBS.get(overlay, body.blob) is not None:
        raise Refused("blob-used", "this blob was delivered before: every delivery has a key of its own")
    _BLOBS.put(overlay, body.request, body.blob)
    _DELIVERIES.put(overlay, Delivery(body.blob, body.length, body.sealed, body.key_digest), body.request)
    _move(overlay, call, request, "delivered")


def apply_acknowledge_delivery(overlay: Overlay, call: Call, body: AcknowledgeDelivery) -> None:
    """Rule 4."""
    request = _awaited(overlay, call, body.request, "delivered", "requester")
    _move(overlay, call, request, "accepted" if body.matches else "mismatched")


def apply_dispute_delivery(overlay: Overlay, call: Call, body: DisputeDelivery) -> None:
    """Rule 4."""
    request = _awaited(overlay, call, body.request, "mismatched", "requester")
    _move(overlay, call, replace(request, claim=body.claim), "disputed")


def apply_seal_to_arbiter(overlay: Overlay, call: Call, body: SealToArbiter) -> None:
    """Rule 5."""
    request = _awaited(overlay, call, body.request, "disputed", "owner")
    _TO_ARBITER.put(overlay, body.sealed, body.request)
    _move(overlay, call, request, "arbitrated")


def apply_decide_dispute(overlay: Overlay, call: Call, body: DecideDispute) -> None:
    """Rule 5."""
    request = _awaited(overlay, call, body.request, "arbitrated", "arbiter")
    if (request.claim == "key" and body.fault == "requester") or (request.claim == "data" and body.fault == "nobody"):
        raise Refused("wrong-fault", f"a dispute over the {request.claim} cannot end with {body.fault} at fault")
    if bool(body.sealed) != (body.fault == "nobody"):
        raise Refused("key-not-handed-over", "the arbiter hands the key over exactly where nobody is at fault")
    if body.sealed:
        _TO_REQUESTER.put(overlay, body.sealed, body.request)
    _find_fault(overlay, request, "decided", body.fault)


def apply_expire_request(overlay: Overlay, call: Call, body: ExpireRequest) -> None:
    """Rule 6."""
    request = _need_request(overlay, body.request)
    if request.phase in ("refused", "accepted", "decided", "expired"):
        raise Refused("wrong-phase", f"the request is {request.phase}")
    if call.block.time_ms <= request.deadline_ms:
        left = request.deadline_ms - call.block.time_ms
        raise Refused("too-early", f"the deadline passes in {left} ms of block time")
    if request.phase in ("delivered", "mismatched"):
        _REQUESTS.put(overlay, replace(request, phase="accepted"), request.request)
    elif request.phase == "disputed":
        _find_fault(overlay, request, "decided", "owner")
    elif request.phase == "granted":
        _find_fault(overlay, request, "expired", "owner")
    else:
        _REQUESTS.put(overlay, replace(request, phase="expired"), request.request)


def _need_request(overlay: Overlay, identifier: bytes) -> DataRequest:
    request = data_request(overlay, identifier)
    if request is None:
        raise Refused("no-such-request", "no request of this id was made")
    return request


def _awaited(
    overlay: Overlay, call: Call, identifier: bytes, phase: Phase, who: Literal["owner", "requester", "arbiter"]
) -> DataRequest:
    """The request, if it is in that phase, in time, and the sender is whose turn it is."""
    request = _need_request(overlay, identifier)
    if request.phase != phase:
        raise Refused("wrong-phase", f"the request is {request.phase}, not {phase}")
    arbiter = need_dataset(overlay, request.dataset).terms.arbiter
    if call.sender != {"owner": request.owner, "requester": request.requester, "arbiter": arbiter}[who]:
        raise Refused("not-yours", f"the {who} of this request is awaited, and {call.sender} is not")
    if call.block.time_ms > request.deadline_ms:
        raise Refused("too-late", "the deadline has passed")
    return request


def _move(overlay: Overlay, call: Call, request: DataRequest, phase: Phase) -> None:
    due = call.block.time_ms + need_dataset(overlay, request.dataset).terms.phase_ms
    _REQUESTS.put(overlay, replace(request, phase=phase, deadline_ms=due), request.request)


def _find_fault(overlay: Overlay, request: DataRequest, phase: Phase, fault: Fault) -> None:
    _REQUESTS.put(overlay, replace(request, phase=phase, fault=fault), request.request)
    if fault == "nobody":
        return
    name = request.owner if fault == "owner" else request.requester
    _FAULTS.put(overlay, faults(overlay, name) + 1, name)
