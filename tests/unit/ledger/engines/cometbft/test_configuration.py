"""CometBFT's home: what we write, what we refuse to overwrite, and who may read it."""

from __future__ import annotations

import json
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft
from tests.support.ledger import FOUR, key_of, make_genesis

from medfed.errors import InvalidInput, Unavailable
from medfed.ledger.engines.cometbft.configuration import (
    NodeSettings,
    Sockets,
    chain_id,
    find_sockets,
    make_sockets,
    node_id,
    write_home,
)
from medfed.ledger.engines.cometbft.program import find_program
from medfed.ledger.genesis import Policy

SOCKETS = Sockets(Path("app.sock"), Path("rpc.sock"))


def write(home: Path, settings: NodeSettings | None = None, validator: str | None = "alpha") -> None:
    key = None if validator is None else key_of(validator)
    write_home(home, make_genesis(), settings or NodeSettings(), SOCKETS, key)


def test_the_genesis_has_the_hospitals_and_the_chain(tmp_path: Path) -> None:
    write(tmp_path)
    document = json.loads((tmp_path / "config" / "genesis.json").read_text())
    assert document["chain_id"] == chain_id(make_genesis()) == make_genesis().digest.hex()[:48]
    assert sorted(one["name"] for one in document["validators"]) == sorted(FOUR)
    assert document["genesis_time"].startswith("2023-11-14T22:13:20")


def test_writing_it_again_changes_nothing_but_the_configuration(tmp_path: Path) -> None:
    write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write(tmp_path, NodeSettings(peers=("ab" * 20 + "@host:1",)))
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"config.toml"}
    config = tomllib.loads((tmp_path / "config" / "config.toml").read_text())
    assert config["p2p"]["persistent_peers"] == "ab" * 20 + "@host:1"
    assert config["proxy_app"] == "unix://app.sock"


def test_the_keys_are_the_owners_alone(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("priv_validator_key.json", "node_key.json"):
        assert stat.S_IMODE((tmp_path / "config" / name).stat().st_mode) == 0o600


def test_a_text_in_the_settings_cannot_leave_its_quotes(tmp_path: Path) -> None:
    write(tmp_path, NodeSettings(moniker='x"\nunsafe = true\n"'))
    assert "unsafe" not in tomllib.loads((tmp_path / "config" / "config.toml").read_text())


def test_a_home_of_another_ledger_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InvalidInput, match="another ledger"):
        write_home(tmp_path, make_genesis(policy=Policy(sender_quota=9)), NodeSettings(), SOCKETS, None)


def test_a_lost_record_of_votes_is_not_made_anew_beside_blocks(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "data" / "priv_validator_state.json").unlink()
    (tmp_path / "data" / "blockstore.db").mkdir()
    with pytest.raises(InvalidInput, match="priv_validator_state"):
        write(tmp_path)


def test_the_record_of_votes_is_never_written_over(tmp_path: Path) -> None:
    write(tmp_path)
    record = tmp_path / "data" / "priv_validator_state.json"
    record.write_text('{"height": "9", "round": 0, "step": 3}')
    write(tmp_path)
    assert json.loads(record.read_text())["height"] == "9"


def test_validators_must_be_founders(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="validators nobody"):
        write(tmp_path, NodeSettings(validators=("nobody",)))


def test_a_node_keeps_its_id_and_two_nodes_have_two(tmp_path: Path) -> None:
    assert node_id(tmp_path / "a") == node_id(tmp_path / "a")
    assert node_id(tmp_path / "a") != node_id(tmp_path / "b")


@needs_cometbft
def test_cometbft_reads_the_keys_as_we_mean_them(tmp_path: Path) -> None:
    write(tmp_path)
    program = find_program()
    assert program is not None
    shown = subprocess.run([program, "show-node-id", "--home", tmp_path], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == node_id(tmp_path)
    shown = subprocess.run([program, "show-validator", "--home", tmp_path], capture_output=True, text=True, check=True)
    import base64

    assert base64.b64decode(json.loads(shown.stdout)["value"]) == key_of("alpha").public


def test_sockets_of_a_deep_directory_are_elsewhere_and_found_again(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    made = make_sockets(deep)
    assert len(str(made.app)) < 100
    assert find_sockets(deep) == made == make_sockets(deep)
    made.app.parent.rmdir()


def test_where_no_node_has_run_there_are_no_sockets(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no node has run"):
        find_sockets(tmp_path)
