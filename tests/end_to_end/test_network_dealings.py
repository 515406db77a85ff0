"""Hospitals on four real nodes ask each other, blindly and for data: what is sent goes to one node and no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.support.cometbft import needs_cometbft
from tests.support.network import Network, left_over, short_plan
from tests.support.processes import DATA
from tests.support.waiting import wait_until

from medfed import Site
from medfed.blobs import DirectoryBlobs
from medfed.demo.heart import COLUMNS, FILES
from medfed.demo.place import PASSPHRASE
from medfed.hospital.site_directory import own_blobs
from medfed.ledger.contracts.blind_test import blind_tests, is_offered
from medfed.ledger.contracts.exchange import delivery
from medfed.ledger.contracts.registry import artefacts

pytestmark = [needs_cometbft, pytest.mark.slow]
wait_for = partial(wait_until, seconds=300)
SENT = np.random.default_rng(8).bytes(3_000_001)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Network]:
    """Four nodes whose study has ended: each has the model."""
    made = Network.make(tmp_path / "run", short_plan(2), auditor="auditor")
    try:
        made.begin()
        made.finish()
        yield made
    finally:
        made.nodes.stop()


def test_a_hospital_asks_another_blindly_and_a_third_for_its_data(world: Network, tmp_path: Path) -> None:
    sites = {name: Site.open(world.nodes.site(name), world.nodes.ledger(name), PASSPHRASE) for name in FILES}
    (tmp_path / "cases.ndjson").write_bytes(SENT)
    owner, requester = sites["switzerland"].exchange, sites["cleveland"].exchange
    dataset = owner.offer(tmp_path / "cases.ndjson", kind="cases", arbiter="auditor", purposes=["research"])
    wait_for(lambda: bool(requester.datasets()))
    request = requester.request(dataset, "research")
    wait_for(lambda: bool(owner.requests()))
    owner.grant(request)

    rows = (DATA / FILES["cleveland"]).read_text().splitlines()
    files = tmp_path / "diagnosed.csv", tmp_path / "one.csv"
    files[0].write_text("\n".join(rows[:-1]) + "\n")
    files[1].write_text(rows[-1] + "\n")
    service, asker = sites["hungary"].blind_tests, sites["cleveland"].blind_tests
    with closing(world.nodes.client("cleveland")) as client:
        wait_for(lambda: any(one.kind == "model" for one in artefacts(client.view())))
        model = next(one.artefact for one in artefacts(client.view()) if one.kind == "model")
        service.serve(model.hex(), 0.5)
        wait_for(lambda: is_offered(client.view(), "hungary", model))
    test = asker.ask("hungary", model.hex(), *files, count=120, threshold="0.62", columns=COLUMNS)

    wait_for(lambda: requester.received(request) is not None)
    received = requester.received(request)
    assert received is not None
    assert received.outcome == "good"
    assert received.file is not None
    assert received.file.read_bytes() == SENT
    wait_for(lambda: bool(asker.list()))
    wait_for(lambda: asker.verdict(test) is not None)
    verdict = asker.verdict(test)
    assert verdict is not None
    assert verdict.diagnosis in (("num: negative",), ("num: positive",))

    with closing(world.nodes.client("long-beach")) as client:
        (asked,) = blind_tests(client.view())
        sent = delivery(client.view(), bytes.fromhex(request))
    assert sent is not None
    assert asked.cases
    for name, never in (("long-beach", {sent.blob, *asked.cases}), ("hungary", {sent.blob})):
        assert never.isdisjoint(DirectoryBlobs(own_blobs(world.nodes.site(name))).digests()), name
    world.check(whole=True)
    assert left_over(world.root) == []
