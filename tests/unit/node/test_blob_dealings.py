"""Who may fetch a blind test's cases and a delivery from a node, over real sockets, and when they may be deleted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.blind import BlindWorld, with_model
from tests.support.ledger import PHASE_MS, World, seed_of
from tests.unit.node.test_blob_server import Setting, rows

from medfed.blobs import DirectoryBlobs
from medfed.crypto import SiteKeys, commit, seeded_entropy
from medfed.encoding import encode
from medfed.errors import Unavailable
from medfed.identifiers import Name, sha256
from medfed.ledger.contracts.exchange import (
    AcknowledgeDelivery,
    DecideDispute,
    DecideRequest,
    DeliverData,
    DisputeDelivery,
    RequestData,
    SealToArbiter,
    content_key_digest,
)
from medfed.ledger.contracts.offered_data import ExchangeTerms, OfferDataset
from medfed.node.blob_server import BlobServer

EVERYBODY = ("alpha", "auditor", "beta", "delta", "gamma", "organiser", "server", "user")
DATASET, REQUEST, KEY = sha256(b"a dataset's name"), b"one data request", content_key_digest(bytes(32))
DELIVERED, OTHER = b"an encrypted delivery", b"another encrypted delivery"
Serve = Callable[[Name, World], Setting]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A server of one participant, which has the deliveries and every case of the blind tests."""
    servers: list[BlobServer] = []

    def made(owner: Name, world: World) -> Setting:
        generated = SiteKeys.generate(owner, seeded_entropy(owner.encode()))
        keys = SiteKeys(owner, seed_of(owner), generated.sealing_seed, generated.vault_key, generated.split_key)
        blobs = DirectoryBlobs(tmp_path / owner)
        servers.append(BlobServer("127.0.0.1:0", keys, blobs, lambda: world.view, rows(world)))
        return Setting(world, blobs, servers[-1], sha256(DELIVERED))

    yield made
    for server in servers:
        server.close()


def readers(setting: Setting, owner: Name, data: bytes) -> set[Name]:
    """Who gets a blob from its owner's node; everybody else is told that it may not."""
    setting.blobs.put(data)
    found, told = set[Name](), list[str]()
    for who in EVERYBODY:
        connection, sink = setting.connection(who, peer=owner), io.BytesIO()
        try:
            connection.fetch(sha256(data), sink, 0, 1 << 20)
            assert sink.getvalue() == data
            found.add(who)
        except Unavailable as refused:
            told.append(str(refused))
        finally:
            connection.close()
    assert all("403" in line for line in told)
    return found


class Exchange:
    """alpha has delivered to beta what it owns; the auditor is its arbiter."""

    def __init__(self) -> None:
        self.world = World.build()
        terms = ExchangeTerms("auditor", ("research",), PHASE_MS)
        self.world.accept("alpha", OfferDataset(DATASET, commit(bytes(32), b"data"), 4, "images", terms))
        self.world.accept("beta", RequestData(REQUEST, DATASET, "research"))
        self.world.accept("alpha", DecideRequest(REQUEST, True))
        self.world.accept("alpha", DeliverData(REQUEST, sha256(DELIVERED), len(DELIVERED), b"sealed", KEY))

    def disputed(self, claim: str, fault: str, sealed: bytes = b"") -> Exchange:
        self.world.accept("beta", AcknowledgeDelivery(REQUEST, False))
        self.world.accept("beta", DisputeDelivery(REQUEST, claim))  # type: ignore[arg-type]
        self.world.accept("alpha", SealToArbiter(REQUEST, b"sealed"))
        self.world.accept("auditor", DecideDispute(REQUEST, fault, sealed))  # type: ignore[arg-type]
        return self


def test_a_delivery_is_for_owner_requester_and_arbiter_and_for_no_other_hospital(serve: Serve) -> None:
    exchange = Exchange()
    assert readers(serve("alpha", exchange.world), "alpha", DELIVERED) == {"alpha", "auditor", "beta"}


def test_what_an_owner_has_encrypted_and_not_delivered_is_nobodys_and_naming_it_again_opens_nothing(
    serve: Serve,
) -> None:
    exchange = Exchange()
    setting = serve("alpha", exchange.world)
    assert readers(setting, "alpha", OTHER) == set()
    second = b"a second request"
    exchange.world.accept("gamma", RequestData(second, DATASET, "research"))
    exchange.world.accept("alpha", DecideRequest(second, True))
    delivery = DeliverData(second, sha256(DELIVERED), len(DELIVERED), b"sealed", KEY)
    assert exchange.world.refuse("alpha", delivery) == "blob-used"
    assert "gamma" not in readers(setting, "alpha", DELIVERED)
    exchange.world.accept("alpha", replace(delivery, blob=sha256(OTHER)))
    assert readers(setting, "alpha", OTHER) == {"alpha", "auditor", "gamma"}


def test_the_cases_of_a_blind_test_are_for_its_two_sides_only_and_no_auditor(serve: Serve) -> None:
    tested = BlindWorld(with_model(World.build())).offered().opened()
    setting = serve("beta", tested.world)
    case = encode(("case", tested.test, 4))
    assert sha256(case) == tested.record.cases[4]
    assert readers(setting, "beta", case) == {"alpha", "beta"}
    assert readers(setting, "beta", b"a case that was encrypted and never sent") == set()


def test_blobs_of_a_blind_test_may_go_once_it_has_ended_however_it_has() -> None:
    for end in (BlindWorld.decided, lambda world: world.opened().expired()):
        tested = BlindWorld(with_model(World.build())).offered()
        index = rows(tested.world)
        tested.opened()
        cases = set(tested.record.cases)
        assert cases <= set(index.open_blobs_of(tested.world.view, "beta"))
        assert not cases & set(index.spent(tested.world.view))
        tested = BlindWorld(with_model(World.build())).offered()
        index = rows(tested.world)
        end(tested)
        assert set(tested.record.cases) <= set(index.spent(tested.world.view))
        assert not set(tested.record.cases) & set(index.open_blobs_of(tested.world.view, "beta"))


def test_a_delivery_may_go_once_it_is_accepted_or_judged_but_not_while_the_arbiters_key_is_on_its_way() -> None:
    for exchange, gone in (
        (Exchange(), False),
        (Exchange().disputed("data", "requester"), True),
        (Exchange().disputed("key", "owner"), True),
        (Exchange().disputed("key", "nobody", b"sealed anew"), False),
    ):
        view = exchange.world.view
        assert (sha256(DELIVERED) in rows(exchange.world).spent(view)) == gone
        assert (sha256(DELIVERED) in rows(exchange.world).open_blobs_of(view, "alpha")) != gone
    accepted = Exchange()
    accepted.world.accept("beta", AcknowledgeDelivery(REQUEST, True))
    assert sha256(DELIVERED) in rows(accepted.world).spent(accepted.world.view)
