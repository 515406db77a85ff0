"""Making a node takes only a genesis, and never touches one that is there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.support.ledger import make_genesis

from medfed.crypto import KeystoreCost, SiteKeys, system_entropy
from medfed.errors import InvalidInput, Refused
from medfed.hospital.site_directory import create_site
from medfed.ledger.genesis import Genesis, found
from medfed.ledger.store import LedgerStore, reading
from medfed.node.founding import found_node, read_genesis
from medfed.node.node_file import NodeFile, ledger_path, load_node_file

CHEAP = KeystoreCost(passes=1, memory=8 << 20)


def founded(tmp_path: Path, role: str = "hospital") -> tuple[Path, Genesis, SiteKeys]:
    site = tmp_path / "site"
    keys = create_site(site, "alpha", "secret", cost=CHEAP)
    other = next(founder for founder in make_genesis().founders if founder.name == "beta")
    mine = found("test", "alpha", role, keys.signing_key, keys.sealing_key.public)  # type: ignore[arg-type]
    return site, Genesis("test", 1, (mine, other)), keys


def test_a_new_node_holds_the_genesis_and_says_what_others_need(tmp_path: Path) -> None:
    site, genesis, _ = founded(tmp_path)
    made = found_node(site, genesis, NodeFile("127.0.0.1:5000", external="gate.example:6000"))
    identity, _, address = made.address.partition("@")
    assert (len(identity), address, made.votes) == (40, "gate.example:6000", True)
    with reading(ledger_path(site)) as store:
        assert store.replicated
        assert store.genesis == genesis
    assert load_node_file(site).listen == "127.0.0.1:5000"
    key = site / "node" / "cometbft" / "config" / "node_key.json"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_one_who_is_no_founding_hospital_follows(tmp_path: Path) -> None:
    site, genesis, _ = founded(tmp_path, "organiser")
    assert not found_node(site, genesis, NodeFile("127.0.0.1:5000")).votes


def test_a_node_is_never_made_twice(tmp_path: Path) -> None:
    site, genesis, _ = founded(tmp_path)
    found_node(site, genesis, NodeFile("127.0.0.1:5000"))
    before = ledger_path(site).read_bytes()
    with pytest.raises(Refused) as refused:
        found_node(site, genesis, NodeFile("127.0.0.1:5001"))
    assert refused.value.code == "node-exists"
    assert ledger_path(site).read_bytes() == before


def test_a_founder_that_has_changed_its_key_and_lost_its_replica_makes_that_anew(tmp_path: Path) -> None:
    site, genesis, _ = founded(tmp_path)
    address = found_node(site, genesis, NodeFile("127.0.0.1:5000")).address
    (site / "keys" / "site.key").rename(site / "keys" / "old.key")
    create_site(site, "alpha", "secret", cost=CHEAP)
    ledger_path(site).unlink()
    made = found_node(site, genesis, NodeFile("127.0.0.1:5001"))
    assert (made.address, made.votes) == (address, False)


def test_a_genesis_that_knows_the_site_by_another_key_is_refused(tmp_path: Path) -> None:
    site, _, _ = founded(tmp_path)
    stranger = SiteKeys.generate("alpha", system_entropy)
    mine = found("test", "alpha", "hospital", stranger.signing_key, stranger.sealing_key.public)
    with pytest.raises(InvalidInput, match="another key"):
        found_node(site, Genesis("test", 1, (mine,)), NodeFile("127.0.0.1:5000"))
    assert not (site / "node.toml").exists()


def test_a_genesis_is_read_from_a_ledger_file_and_compared(tmp_path: Path) -> None:
    genesis = make_genesis()
    LedgerStore.create(tmp_path / "ledger.db", genesis).close()
    assert read_genesis(tmp_path / "ledger.db", genesis.digest) == genesis
    with pytest.raises(InvalidInput, match="expected genesis"):
        read_genesis(tmp_path / "ledger.db", bytes(32))


def test_a_lost_replica_is_made_anew_and_everything_else_stays(tmp_path: Path) -> None:
    site, genesis, _ = founded(tmp_path)
    first = found_node(site, genesis, NodeFile("127.0.0.1:5000"))
    settings = (site / "node.toml").read_bytes()
    ledger_path(site).unlink()
    again = found_node(site, genesis, NodeFile("127.0.0.1:7777"))
    assert again == first
    assert (site / "node.toml").read_bytes() == settings
    assert ledger_path(site).exists()
