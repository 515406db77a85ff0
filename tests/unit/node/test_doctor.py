"""What keeps a node from working is found, and each finding says what to do."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.node.test_founding import founded
from tests.unit.node.test_local_api import GOOD

from medfed.errors import InvalidInput, Unavailable
from medfed.ledger.engines.cometbft.application import MAX_DRIFT_MS
from medfed.node import doctor
from medfed.node.doctor import Finding, examine
from medfed.node.founding import found_node
from medfed.node.node_file import NodeFile, ledger_path, load_node_file, save_node_file
from medfed.node.status import NodeStatus


def now() -> int:
    return 1_800_000_000_000


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """Another hospital's node, as far as the doctor can see it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening


@pytest.fixture
def site(tmp_path: Path, peer: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node that runs, as it should."""
    found, genesis, _ = founded(tmp_path)
    address = f"{'ab' * 20}@127.0.0.1:{peer.getsockname()[1]}"
    found_node(found, genesis, NodeFile("127.0.0.1:0", (address,)))
    monkeypatch.setattr(doctor, "installed_program", lambda: Path("cometbft"))
    tell(monkeypatch, GOOD)
    return found


def tell(monkeypatch: pytest.MonkeyPatch, status: NodeStatus) -> None:
    monkeypatch.setattr(doctor, "node_status", lambda _: status)


def bad(site: Path, clock: object = now) -> list[str]:
    """The subjects that need attention; each must say what to do."""
    found = [one for one in examine(site, clock) if not one.good]  # type: ignore[arg-type]
    assert all(one.found and one.remedy for one in found)
    return [one.subject for one in found]


def finding(site: Path, subject: str) -> Finding:
    return next(one for one in examine(site, now) if one.subject == subject)


def test_a_node_as_it_should_be_needs_nothing(site: Path) -> None:
    assert bad(site) == []
    subjects = {one.subject for one in examine(site, now)}
    assert subjects >= {"CometBFT", "disk", "keys", "genesis", "member", "rules", "clock", "port", "peer", "running"}


def test_looking_changes_nothing(site: Path) -> None:
    def content() -> dict[Path, bytes]:
        files = [path for path in site.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
        return {path: path.read_bytes() for path in files}

    before = content()
    examine(site, now)
    assert content() == before


@pytest.mark.parametrize("error", [Unavailable("not installed"), InvalidInput("expected CometBFT 0.38.17")])
def test_cometbft_that_is_absent_or_another(site: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def absent() -> Path:
        raise error

    monkeypatch.setattr(doctor, "installed_program", absent)
    assert bad(site) == ["CometBFT"]
    assert "make network" in finding(site, "CometBFT").remedy


def test_a_disk_that_is_almost_full(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(site)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=(1 << 30) - 1))
    assert bad(site) == ["disk"]


@pytest.mark.parametrize("name", ["keys/site.key", "node/cometbft/config/node_key.json"])
def test_keys_that_others_may_read(site: Path, name: str) -> None:
    (site / name).chmod(0o644)
    assert bad(site) == ["keys"]
    assert name in finding(site, "keys").remedy


def test_a_clock_that_is_behind_the_ledger(site: Path) -> None:
    """The genesis of this ledger is of the first millisecond of 1970."""
    assert bad(site, lambda: 1 - MAX_DRIFT_MS) == []
    assert bad(site, lambda: -MAX_DRIFT_MS) == ["clock"]


def test_keys_that_the_ledger_does_not_know(site: Path, tmp_path: Path) -> None:
    from medfed.crypto import KeystoreCost
    from medfed.hospital.site_directory import create_site, key_path

    create_site(tmp_path / "other", "alpha", "secret", cost=KeystoreCost(passes=1, memory=8 << 20))
    key_path(site).write_bytes(key_path(tmp_path / "other").read_bytes())
    assert bad(site) == ["member"]


def test_rules_that_this_program_does_not_know(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "RULES", 0)
    assert bad(site) == ["rules"]
    assert "update" in finding(site, "rules").remedy


@pytest.mark.parametrize("field", ["listen", "blobs_listen", "api_listen"])
def test_a_port_that_is_taken(site: Path, peer: socket.socket, field: str) -> None:
    taken = f"127.0.0.1:{peer.getsockname()[1]}"
    save_node_file(site, replace(load_node_file(site), **{field: taken}))
    assert bad(site) == ["port"]


def test_peers_that_are_missing_or_do_not_answer(site: Path, peer: socket.socket) -> None:
    port = peer.getsockname()[1]
    peer.close()
    assert bad(site) == ["peer"]
    assert str(port) in finding(site, "peer").found
    save_node_file(site, replace(load_node_file(site), peers=()))
    assert bad(site) == ["peers"]


@pytest.mark.parametrize(
    ("changed", "subjects"),
    [
        ({"running": False}, ["running"]),
        ({"consensus_height": None, "problem": "CometBFT does not answer"}, ["running"]),
        ({"agent": False}, ["agent"]),
        ({"peers": ()}, ["consensus"]),
        ({"waits": True}, ["votes"]),
    ],
)
def test_a_node_that_does_not_do_its_work(
    site: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], subjects: list[str]
) -> None:
    tell(monkeypatch, replace(GOOD, **changed))  # type: ignore[arg-type]
    assert bad(site) == subjects


def test_what_is_broken_at_the_root_is_said_and_the_rest_looked_at(site: Path) -> None:
    ledger_path(site).write_bytes(b"not a ledger")
    found = bad(site)
    assert "node" in found
    assert "disk" not in found
    (site / "node.toml").unlink()
    assert bad(site).count("node") == 2
