"""Taking part in data requests, as owner, requester or arbiter.

Granting is for people, or for a rule that they have written; everything after it follows from what was committed to.
A content key is in the vault before the transaction that names its blob leaves. This module must never deliver what
has changed since it was offered, nor put received data anywhere but into the site's own directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal, NamedTuple, Protocol

from medfed.errors import InvalidInput, Unavailable
from medfed.hospital.consent import decide_request
from medfed.hospital.data_exchange import deliver_file, judge_delivery, receive_delivery, seal_for_arbiter
from medfed.hospital.exchange_state import KeptDelivery, KeptOffer, exchange_key, outcome_of, received_file
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Name
from medfed.ledger.contracts.exchange import (
    AcknowledgeDelivery,
    DataRequest,
    DecideRequest,
    Delivery,
    DisputeDelivery,
    ExpireRequest,
    SealToArbiter,
    data_request,
    delivery,
    sealed_by_arbiter,
    sealed_to_arbiter,
)
from medfed.ledger.contracts.membership import participant
from medfed.ledger.contracts.offered_data import OfferedDataset, offered_dataset
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["REQUEST_DUTIES", "UNDECIDED_REQUESTS", "Matter", "RequestDuty", "take_handed_over"]

UNDECIDED_REQUESTS: Final = ("requested", "granted", "delivered", "mismatched", "disputed", "arbitrated")
RANK_DELAY_MS: Final = 2_000
START_GRACE_MS: Final = 1_000
_Role = Literal["owner", "requester", "arbiter"]


class Matter(NamedTuple):
    """A request and the dataset that it is about."""

    request: DataRequest
    dataset: OfferedDataset

    def name_of(self, role: _Role) -> Name:
        """Who has a role in it."""
        if role == "arbiter":
            return self.dataset.terms.arbiter
        return self.request.owner if role == "owner" else self.request.requester


class RequestDuty(Protocol):
    """One kind of duty in data requests; otherwise as `work.Duty`."""

    name: ClassVar[str]
    is_atomic: ClassVar[bool]

    def due(self, matter: Matter, me: Me) -> Sequence[Work]:
        """What is owed to a request now; pure."""
        ...

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Do it."""
        ...


class DecideByRule:
    """Grant or refuse where a rule of the site fits; else a person decides."""

    name: ClassVar[str] = "decide-request"
    is_atomic: ClassVar[bool] = True

    def due(self, matter: Matter, me: Me) -> Sequence[Work]:
        """Due to the owner, in time."""
        return _turn(self, matter, me, "requested", "owner")

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing where no rule fits."""
        matter = _matter(view, work)
        decision = decide_request(site.consent.exchange, matter.request, matter.dataset.kind)
        if decision.answer == "ask":
            return ()
        if decision.answer == "approve":
            return (DecideRequest(work.study, True),)
        return (DecideRequest(work.study, False, decision.code),)


class DeliverGranted:
    """Encrypt the dataset for the requester and say where it is."""

    name: ClassVar[str] = "deliver-data"
    is_atomic: ClassVar[bool] = False

    def due(self, matter: Matter, me: Me) -> Sequence[Work]:
        """Due to the owner, in time."""
        return _turn(self, matter, me, "granted", "owner")

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Once in the vault it is never encrypted anew: what a crash leaves before that has a key that is lost."""
        matter = _matter(view, work)
        key = exchange_key("delivered", work.study)
        known = site.vault.load(key, KeptDelivery)
        if known is None:
            offered = site.vault.load(exchange_key("offered", matter.dataset.dataset), KeptOffer)
            if offered is None:
                raise InvalidInput(f"data request {work.study.hex()[:12]}: this vault has not offered its dataset")
            receiver = _sealing_key(view, matter.request.requester)
            body, content_key = deliver_file(
                Path(offered.file), offered.salt, view.chain, matter.request, receiver, site.blobs, site.entropy,
                matter.dataset.commitment,
            )  # fmt: skip
            known = KeptDelivery(body, content_key)
            site.vault.store(key, known)
        return (known.body,)


class ReceiveDelivered:
    """Decrypt, compare with what was committed to, keep it if it is that, and say whether it is."""

    name: ClassVar[str] = "receive-data"
    is_atomic: ClassVar[bool] = False

    def due(self, matter: Matter, me: Me) -> Sequence[Work]:
        """Due to the requester, in time."""
        return _turn(self, matter, me, "delivered", "requester")

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Received again after a crash: only what was noted in the vault counts as received."""
        outcome = outcome_of(site, work.study)
        if outcome is None:
            matter = _matter(view, work)
            target = received_file(site, work.study, clear=True)
            outcome = receive_delivery(
                _delivered(view, work), matter.dataset, view.chain, matter.request, site.keys.sealing_key, site.blobs,
                target,
            )  # fmt: skip
            site.vault.store(exchange_key("received", work.study), outcome)
        return (AcknowledgeDelivery(work.study, outcome == "good"),)


class DisputeMismatched:
    """Ask the arbiter, because silence accepts."""

    name: ClassVar[str] = "dispute-delivery"
    is_atomic: ClassVar[bool] = True

    def due(self, matter: Matter, me: Me) -> Sequence[Work]:
        """Due to the requester, in time."""
        return _turn(self, matter, me, "mismatched", "requester")

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """About the key or about the data, as was found."""
        return (DisputeDelivery(work.study, "key" if outcome_of(site, work.study) == "key" else "data"),)


class SealForArbiter:
    """Let the arbiter look at what was delivered."""

    name: ClassVar[str] = "seal-to-arbiter"
    is_atomic: ClassVar[bool] = True

    def due(self, matter: Matter, me: Me) -> Sequence[Work]:
        """Due to the owner, in time."""
        return _turn(self, matter, me, "disputed", "owner")

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The same content key as was delivered."""
        matter = _matter(view, work)
        known = site.vault.load(exchange_key("delivered", work.study), KeptDelivery)
        if known is None:
            raise InvalidInput(f"data request {work.study.hex()[:12]}: this vault has not delivered it")
        arbiter = matter.name_of("arbiter")
        sealed = seal_for_arbiter(
            known.content_key, view.chain, matter.request, arbiter, _sealing_key(view, arbiter)
        )  # fmt: skip
        return (SealToArbiter(work.study, sealed),)


class JudgeDispute:
    """Look at what was delivered, compare it with what was committed to, and say who is at fault."""

    name: ClassVar[str] = "judge-dispute"
    is_atomic: ClassVar[bool] = False

    def due(self, matter: Matter, me: Me) -> Sequence[Work]:
        """Due to the arbiter, in time."""
        return _turn(self, matter, me, "arbitrated", "arbiter")

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Waits for the blob. Nothing of the data is kept."""
        matter = _matter(view, work)
        sealed = sealed_to_arbiter(view, work.study) or b""
        receiver = _sealing_key(view, matter.request.requester)
        return (
            judge_delivery(
                sealed, _delivered(view, work), matter.dataset, view.chain, matter.request, site.keys.sealing_key,
                receiver, site.blobs,
            ),
        )  # fmt: skip


class ExpireOverdueRequest:
    """Say that a deadline has passed; the requester first, then the owner, then the arbiter."""

    name: ClassVar[str] = "expire-request"
    is_atomic: ClassVar[bool] = True

    def due(self, matter: Matter, me: Me) -> Sequence[Work]:
        """Due to all three once a deadline has passed and their turn has come."""
        request = matter.request
        turns = (request.requester, request.owner, matter.name_of("arbiter"))
        if request.phase not in UNDECIDED_REQUESTS or me.name not in turns:
            return ()
        turn = max(request.deadline_ms, me.started_ms + START_GRACE_MS) + RANK_DELAY_MS * turns.index(me.name)
        return (Work(self.name, request.request, detail=f"{request.deadline_ms}"),) if me.now_ms > turn else ()

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Say so; refused as too early, it is said again."""
        return (ExpireRequest(work.study),)


REQUEST_DUTIES: Final[tuple[RequestDuty, ...]] = (
    DecideByRule(),
    DeliverGranted(),
    ReceiveDelivered(),
    DisputeMismatched(),
    SealForArbiter(),
    JudgeDispute(),
    ExpireOverdueRequest(),
)


def take_handed_over(site: Site, view: StateView, identifier: bytes) -> None:
    """Receive a delivery with the key that the arbiter has handed over, where the owner's did not open.

    Raises:
        Unavailable: the blob is not here. InvalidInput: as `receive_delivery`.
    """
    sealed = sealed_by_arbiter(view, identifier)
    if sealed is None or outcome_of(site, identifier) == "good":
        return
    work = Work("", identifier)
    matter, delivered = _matter(view, work), _delivered(view, work)
    outcome = receive_delivery(
        Delivery(delivered.blob, delivered.length, sealed, delivered.key_digest), matter.dataset, view.chain,
        matter.request, site.keys.sealing_key, site.blobs, received_file(site, identifier, clear=True),
    )  # fmt: skip
    site.vault.store(exchange_key("received", identifier), outcome)


def _turn(duty: RequestDuty, matter: Matter, me: Me, phase: str, role: _Role) -> Sequence[Work]:
    """The request's identifier stands where other works have a study's."""
    request = matter.request
    if request.phase != phase or matter.name_of(role) != me.name or me.now_ms > request.deadline_ms:
        return ()
    return (Work(duty.name, request.request, detail=phase),)


def _matter(view: StateView, work: Work) -> Matter:
    request = data_request(view, work.study)
    dataset = offered_dataset(view, request.dataset) if request is not None else None
    if request is None or dataset is None:
        raise Unavailable(f"data request {work.study.hex()[:12]}: not on this ledger")
    return Matter(request, dataset)


def _delivered(view: StateView, work: Work) -> Delivery:
    found = delivery(view, work.study)
    if found is None:
        raise Unavailable(f"data request {work.study.hex()[:12]}: nothing is delivered")
    return found


def _sealing_key(view: StateView, name: Name) -> bytes:
    found = participant(view, name)
    if found is None:
        raise Unavailable(f"{name}: not a participant of this ledger")
    return found.sealing_key
