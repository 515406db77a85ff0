"""CometBFT's home: what we write, what we refuse to overwrite, and who may read it."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft
from tests.support.ledger import FOUR, key_of, make_genesis

from medfed.crypto.memory_file import MemoryFile
from medfed.errors import InvalidInput, Unavailable
from medfed.ledger.engines.cometbft.configuration import (
    NodeSettings,
    Sockets,
    chain_id,
    find_sockets,
    make_sockets,
    node_id,
    remove_sockets,
    validator_key,
    write_home,
)
from medfed.ledger.engines.cometbft.program import find_program
from medfed.ledger.genesis import Policy

SOCKETS = Sockets(Path("app.sock"), Path("rpc.sock"))


def write(home: Path, settings: NodeSettings | None = None, key_file: str = "key.json") -> None:
    write_home(home, make_genesis(), settings or NodeSettings(), SOCKETS, key_file)


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


def test_the_nodes_key_is_the_owners_alone_and_the_validators_is_on_no_disk(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir(mode=0o700)
    (tmp_path / "config" / "priv_validator_key.json").write_text("as an earlier version left it")
    write(tmp_path)
    assert stat.S_IMODE((tmp_path / "config" / "node_key.json").stat().st_mode) == 0o600
    seed = key_of("alpha").seed
    for path in tmp_path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert seed not in data
        assert base64.b64encode(seed)[:40] not in data
    assert not (tmp_path / "config" / "priv_validator_key.json").exists()


def test_one_who_only_follows_has_a_key_that_nobody_knows() -> None:
    first, second = json.loads(validator_key(None)), json.loads(validator_key(None))
    assert first["address"] != second["address"]


def test_a_text_in_the_settings_cannot_leave_its_quotes(tmp_path: Path) -> None:
    write(tmp_path, NodeSettings(moniker='x"\nunsafe = true\n"'))
    assert "unsafe" not in tomllib.loads((tmp_path / "config" / "config.toml").read_text())


def test_a_home_of_another_ledger_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InvalidInput, match="another ledger"):
        write_home(tmp_path, make_genesis(policy=Policy(sender_quota=9)), NodeSettings(), SOCKETS, "key.json")


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
    program = find_program()
    assert program is not None

    def show(what: str) -> str:
        words = [str(program), what, "--home", str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, pass_fds=(secret.descriptor,))
        return done.stdout.strip()

    with MemoryFile(validator_key(key_of("alpha"))) as secret:
        write(tmp_path, key_file=secret.path)
        assert show("show-node-id") == node_id(tmp_path)
        shown = show("show-validator")
    assert base64.b64decode(json.loads(shown)["value"]) == key_of("alpha").public


def test_sockets_of_a_deep_directory_are_elsewhere_and_found_again(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    made = make_sockets(deep)
    assert len(str(made.app)) < 100
    assert find_sockets(deep) == made == make_sockets(deep)
    made.rpc.touch()
    remove_sockets(deep)
    assert not made.app.parent.exists()
    again = make_sockets(deep)
    assert again.app.parent.is_dir()
    remove_sockets(deep)


def test_sockets_in_the_nodes_own_directory_stay(tmp_path: Path) -> None:
    if len(str(tmp_path)) > 60:
        pytest.skip("the directory for temporary files has too long a name")
    made = make_sockets(tmp_path)
    remove_sockets(tmp_path)
    assert made.rpc.parent.is_dir()


def test_where_no_node_has_run_there_are_no_sockets(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no node has run"):
        find_sockets(tmp_path)
