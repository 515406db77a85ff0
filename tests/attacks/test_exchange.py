"""Data requests: tampered deliveries, wrong receivers, late and refused requests, and disputes won by either side."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import PHASE_MS, World

from medfed.crypto import commit
from medfed.errors import InvalidInput
from medfed.identifiers import sha256
from medfed.ledger.contracts.exchange import (
    AcknowledgeDelivery,
    DataRequest,
    DecideDispute,
    DecideRequest,
    DeliverData,
    DisputeDelivery,
    ExpireRequest,
    RequestData,
    SealToArbiter,
    content_key_digest,
    content_key_info,
    data_request,
    delivery,
    faults,
    sealed_by_arbiter,
    sealed_to_arbiter,
)
from medfed.ledger.contracts.offered_data import ExchangeTerms, OfferDataset, TakeDatasetBack, offered_dataset

DATASET = sha256(b"a dataset's name")
REQUEST = b"one data request"
OFFER = OfferDataset(
    DATASET,
    commit(bytes(32), b"data"),
    4,
    "images",
    ExchangeTerms("auditor", ("research", "training"), PHASE_MS),
)
DELIVERY = DeliverData(REQUEST, sha256(b"blob"), 100, b"sealed", content_key_digest(bytes(32)))


class Exchange:
    """alpha owns, beta asks, the auditor decides."""

    def __init__(self) -> None:
        self.world = World.build()
        self.world.accept("alpha", OFFER)

    @property
    def record(self) -> DataRequest:
        found = data_request(self.world.view, REQUEST)
        assert found is not None
        return found

    def requested(self) -> Exchange:
        self.world.accept("beta", RequestData(REQUEST, DATASET, "research"))
        return self

    def granted(self) -> Exchange:
        self.requested().world.accept("alpha", DecideRequest(REQUEST, True))
        return self

    def delivered(self) -> Exchange:
        self.granted().world.accept("alpha", DELIVERY)
        return self

    def disputed(self, claim: str = "data") -> Exchange:
        self.delivered().world.accept("beta", AcknowledgeDelivery(REQUEST, False))
        self.world.accept("beta", DisputeDelivery(REQUEST, "key" if claim == "key" else "data"))
        return self

    def arbitrated(self, claim: str = "data") -> Exchange:
        self.disputed(claim).world.accept("alpha", SealToArbiter(REQUEST, b"sealed"))
        return self

    def expired(self) -> Exchange:
        self.world.clock.now_ms = self.record.deadline_ms + 1
        self.world.accept("user", ExpireRequest(REQUEST))
        return self


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def test_a_good_delivery_is_accepted_and_nobody_is_at_fault(exchange: Exchange) -> None:
    exchange.delivered().world.accept("beta", AcknowledgeDelivery(REQUEST, True))
    assert exchange.record.phase == "accepted"
    assert exchange.record.fault is None
    assert exchange.world.refuse("beta", DisputeDelivery(REQUEST, "data")) == "wrong-phase"


def test_silence_after_a_delivery_accepts_it(exchange: Exchange) -> None:
    assert exchange.delivered().expired().record.phase == "accepted"


def test_a_complaint_that_is_not_followed_by_a_dispute_accepts(exchange: Exchange) -> None:
    exchange.delivered().world.accept("beta", AcknowledgeDelivery(REQUEST, False))
    assert exchange.expired().record.phase == "accepted"


@pytest.mark.parametrize(("fault", "name"), [("owner", "alpha"), ("requester", "beta")])
def test_a_dispute_can_go_either_way_and_is_remembered(exchange: Exchange, fault: str, name: str) -> None:
    """The owner of a bad delivery that was not disclosed, and the requester who disputes a good one."""
    decision = DecideDispute(REQUEST, "owner" if fault == "owner" else "requester")
    exchange.arbitrated().world.accept("auditor", decision)
    assert (exchange.record.phase, exchange.record.fault) == ("decided", fault)
    assert faults(exchange.world.view, name) == 1
    assert exchange.world.refuse("auditor", decision) == "wrong-phase"


def test_an_owner_who_will_not_show_the_arbiter_is_at_fault(exchange: Exchange) -> None:
    assert exchange.disputed().expired().record.fault == "owner"
    assert faults(exchange.world.view, "alpha") == 1


def test_an_arbiter_who_is_silent_leaves_the_dispute_undecided(exchange: Exchange) -> None:
    record = exchange.arbitrated().expired().record
    assert (record.phase, record.fault) == ("expired", None)


def test_a_requester_whose_key_did_not_open_is_never_at_fault_and_gets_the_key(exchange: Exchange) -> None:
    exchange.arbitrated("key")
    assert exchange.world.refuse("auditor", DecideDispute(REQUEST, "requester")) == "wrong-fault"
    assert exchange.world.refuse("auditor", DecideDispute(REQUEST, "nobody")) == "key-not-handed-over"
    assert exchange.world.refuse("auditor", DecideDispute(REQUEST, "owner", b"key")) == "key-not-handed-over"
    exchange.world.accept("auditor", DecideDispute(REQUEST, "nobody", b"sealed anew"))
    assert sealed_by_arbiter(exchange.world.view, REQUEST) == b"sealed anew"
    assert [faults(exchange.world.view, name) for name in ("alpha", "beta")] == [0, 0]


def test_a_dispute_over_data_is_always_somebodys_fault(exchange: Exchange) -> None:
    exchange.arbitrated("data")
    assert exchange.world.refuse("auditor", DecideDispute(REQUEST, "nobody", b"key")) == "wrong-fault"


def test_only_those_whose_turn_it_is_take_it(exchange: Exchange) -> None:
    world = exchange.requested().world
    for name in ("beta", "gamma", "auditor"):
        assert world.refuse(name, DecideRequest(REQUEST, True)) == "not-yours"
    world.accept("alpha", DecideRequest(REQUEST, True))
    for name in ("beta", "gamma"):
        assert world.refuse(name, DELIVERY) == "not-yours"
    world.accept("alpha", DELIVERY)
    for name in ("alpha", "gamma", "auditor"):
        assert world.refuse(name, AcknowledgeDelivery(REQUEST, True)) == "not-yours"
    world.accept("beta", AcknowledgeDelivery(REQUEST, False))
    assert world.refuse("gamma", DisputeDelivery(REQUEST, "data")) == "not-yours"
    world.accept("beta", DisputeDelivery(REQUEST, "data"))
    assert world.refuse("gamma", SealToArbiter(REQUEST, b"key")) == "not-yours"
    world.accept("alpha", SealToArbiter(REQUEST, b"key"))
    for name in ("alpha", "beta", "gamma"):
        assert world.refuse(name, DecideDispute(REQUEST, "owner")) == "not-yours"


def test_a_refused_or_expired_request_is_not_delivered(exchange: Exchange) -> None:
    exchange.requested().world.accept("alpha", DecideRequest(REQUEST, False, "consent-lacking"))
    assert (exchange.record.phase, exchange.record.code) == ("refused", "consent-lacking")
    assert exchange.world.refuse("alpha", DELIVERY) == "wrong-phase"
    assert exchange.world.refuse("user", ExpireRequest(REQUEST)) == "wrong-phase"
    other = Exchange().requested().expired()
    assert other.world.refuse("alpha", DecideRequest(REQUEST, True)) == "wrong-phase"
    assert faults(other.world.view, "alpha") == 0


def test_a_promise_that_is_not_kept_is_the_owners_fault_and_lateness_counts(exchange: Exchange) -> None:
    exchange.granted()
    assert exchange.world.refuse("user", ExpireRequest(REQUEST)) == "too-early"
    exchange.world.clock.now_ms = exchange.record.deadline_ms + 1
    assert exchange.world.refuse("alpha", DELIVERY) == "too-late"
    assert exchange.expired().record.fault == "owner"
    assert faults(exchange.world.view, "alpha") == 1


def test_a_blob_is_delivered_once_so_that_no_two_requesters_share_a_key(exchange: Exchange) -> None:
    exchange.delivered()
    second = b"a second request"
    exchange.world.accept("gamma", RequestData(second, DATASET, "training"))
    exchange.world.accept("alpha", DecideRequest(second, True))
    assert exchange.world.refuse("alpha", replace(DELIVERY, request=second)) == "blob-used"


def test_a_dataset_is_registered_once_with_an_independent_arbiter(exchange: Exchange) -> None:
    world = exchange.world
    assert world.refuse("beta", OFFER) == "dataset-exists"
    other = replace(OFFER, dataset=sha256(b"other"))
    assert world.refuse("beta", replace(other, terms=replace(OFFER.terms, arbiter="gamma"))) == "no-arbiter"
    assert world.refuse("auditor", other) == "own-arbiter"
    assert (
        world.refuse("beta", replace(other, terms=replace(OFFER.terms, purposes=("training", "audit")))) == "bad-terms"
    )
    with pytest.raises(InvalidInput):
        world.sign("beta", replace(other, terms=replace(OFFER.terms, purposes=())))


def test_what_is_taken_back_is_not_given_to_anyone_new(exchange: Exchange) -> None:
    exchange.granted()
    assert exchange.world.refuse("beta", TakeDatasetBack(DATASET)) == "not-yours"
    exchange.world.accept("alpha", TakeDatasetBack(DATASET))
    assert exchange.world.refuse("alpha", TakeDatasetBack(DATASET)) == "already-withdrawn"
    assert exchange.world.refuse("gamma", RequestData(b"a second request", DATASET, "research")) == "withdrawn"
    exchange.world.accept("alpha", DELIVERY)
    found = offered_dataset(exchange.world.view, DATASET)
    assert found is not None
    assert found.withdrawn


def test_a_request_names_an_allowed_purpose_a_fresh_id_and_comes_from_neither_owner_nor_arbiter(
    exchange: Exchange,
) -> None:
    world = exchange.requested().world
    assert world.refuse("gamma", RequestData(REQUEST, DATASET, "research")) == "request-exists"
    fresh = RequestData(b"a second request", DATASET, "research")
    assert world.refuse("gamma", replace(fresh, purpose="audit")) == "purpose-not-allowed"
    assert world.refuse("gamma", replace(fresh, dataset=sha256(b"none"))) == "no-such-dataset"
    for name in ("alpha", "auditor"):
        assert world.refuse(name, fresh) == "not-a-requester"
    assert world.refuse("alpha", DecideRequest(b"no such request!", True)) == "no-such-request"


def test_a_content_key_is_sealed_for_one_request_and_one_receiver_of_one_ledger(exchange: Exchange) -> None:
    record = exchange.requested().record
    chain = exchange.world.view.chain
    uses = {
        content_key_info(chain, record, "beta"),
        content_key_info(chain, record, "auditor"),
        content_key_info(bytes(32), record, "beta"),
        content_key_info(chain, replace(record, request=bytes(16)), "beta"),
        content_key_info(chain, replace(record, requester="gamma"), "beta"),
        content_key_info(chain, replace(record, dataset=bytes(32)), "beta"),
    }
    assert len(uses) == 6


def test_what_was_delivered_and_sealed_stays_readable_for_whom_it_is_for() -> None:
    exchange = Exchange().arbitrated()
    found = delivery(exchange.world.view, REQUEST)
    assert found is not None
    assert (found.blob, found.length, found.sealed, found.key_digest) == (
        DELIVERY.blob,
        DELIVERY.length,
        DELIVERY.sealed,
        DELIVERY.key_digest,
    )
    assert sealed_to_arbiter(exchange.world.view, REQUEST) == b"sealed"
    assert sealed_to_arbiter(exchange.world.view, b"another request!") is None


def test_at_its_deadline_what_is_due_is_in_time_and_nobody_is_at_fault_yet() -> None:
    exchange = Exchange().granted()
    exchange.world.clock.now_ms = exchange.record.deadline_ms
    assert exchange.world.refuse("user", ExpireRequest(REQUEST)) == "too-early"
    exchange.world.accept("alpha", DELIVERY)
    assert exchange.record.phase == "delivered"
