"""Other processes of a node's machine use its pool, and no other engine may touch its ledger file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft
from tests.support.cometbft_child import open_world
from tests.support.ledger import HandClock, World, sealer

from medfed.errors import InvalidInput, Unavailable
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.engines.cometbft.engine import PoolEngine, open_client
from medfed.ledger.engines.cometbft.host import CometEngine
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.engines.opening import open_engine
from medfed.ledger.store import LedgerStore

pytestmark = needs_cometbft


@pytest.fixture
def node(tmp_path: Path) -> Iterator[World]:
    world = open_world(tmp_path)
    yield world
    world.engine.close()


def test_a_client_submits_and_sees_what_others_submit(node: World, tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "ledger.db", node.clock, sealer("alpha"))
    assert isinstance(engine, PoolEngine)
    client = World(engine, node.clock)
    client.accept("alpha", ChangeAddress("host:1"))
    node.accept("beta", ChangeAddress("host:2"))
    client.engine.wait(1, 10.0)
    assert client.view.tip == node.view.tip
    assert client.view.state.items() == node.view.state.items()
    signed = client.sign("alpha", ChangeAddress("host:3"))
    assert client.engine.submit(signed) == node.engine.submit(signed)
    engine.close()


def test_an_idle_network_makes_no_blocks_and_writes_nothing(node: World, tmp_path: Path) -> None:
    node.accept("alpha", ChangeAddress("host:1"))
    engine, log = node.engine, tmp_path / "cometbft" / "data" / "cs.wal" / "wal"
    assert isinstance(engine, CometEngine)
    found, now = (-1, -1), (engine.consensus_height(), log.stat().st_size)
    while found != now:  # the empty block that follows each change of the application's hash
        time.sleep(1.0)
        found, now = now, (engine.consensus_height(), log.stat().st_size)
    for _ in range(6):
        time.sleep(0.5)
        engine.tend()
    assert (engine.consensus_height(), log.stat().st_size) == now
    assert node.view.tip.height == 1


def test_a_client_of_a_node_that_has_stopped_says_so_in_the_end(
    node: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.accept("alpha", ChangeAddress("host:1"))
    node.engine.close()
    monkeypatch.setattr("medfed.ledger.engines.cometbft.spreading.PATIENCE_SECONDS", 0.5)
    client = World(open_client(tmp_path / "ledger.db", HandClock()), HandClock())
    assert client.view.tip.height == 1
    with pytest.raises(Unavailable, match="not final after"):
        client.send("alpha", ChangeAddress("host:2"))
    client.engine.close()


def test_no_other_engine_orders_transactions_on_a_replica(node: World, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="network of hospitals"):
        EmbeddedEngine.open(tmp_path / "ledger.db", node.clock, sealer("alpha"))


def test_a_file_of_one_machine_is_no_replica(tmp_path: Path) -> None:
    from tests.support.ledger import make_genesis

    LedgerStore.create(tmp_path / "own.db", make_genesis()).close()
    with pytest.raises(InvalidInput, match="not the ledger of a node"):
        open_client(tmp_path / "own.db", HandClock())
