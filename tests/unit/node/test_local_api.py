"""The local API answers its own machine, with the token, and gives nothing else away."""

from __future__ import annotations

import http.client
import json
import re
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.node.test_founding import founded

from medfed.errors import InvalidInput, Unavailable
from medfed.node import local_api
from medfed.node.founding import found_node
from medfed.node.local_api import LocalApi, Running, api_token, metrics_text
from medfed.node.node_file import NodeFile
from medfed.node.status import NodeStatus

GOOD = NodeStatus(True, True, bytes(32), 7, bytes(32), b"\1" * 32, 1_800_000_000_000, 14, False, ("beta", "gamma"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    found, genesis, _ = founded(tmp_path)
    found_node(found, genesis, NodeFile("127.0.0.1:5000"))
    return found


@pytest.fixture
def api(site: Path) -> Iterator[LocalApi]:
    one = LocalApi("127.0.0.1:0", site, lambda: Running(3, 2))
    yield one
    one.close()


def ask(api: LocalApi, path: str, token: str = "", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def well(monkeypatch: pytest.MonkeyPatch, status: NodeStatus = GOOD) -> None:
    monkeypatch.setattr(local_api, "node_status", lambda _: status)


def test_health_needs_no_token_and_says_only_whether(api: LocalApi, monkeypatch: pytest.MonkeyPatch) -> None:
    well(monkeypatch)
    assert ask(api, "/health") == (200, "ok\n")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"consensus_height": None, "problem": "it is down"}, "it is down"),
        ({"running": False}, "does not answer"),
        ({"catching_up": True}, "catching up"),
        ({"peers": ()}, "no other node"),
    ],
)
def test_health_says_what_is_wrong(
    api: LocalApi, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], problem: str
) -> None:
    from msgspec.structs import replace

    well(monkeypatch, replace(GOOD, **changed))  # type: ignore[arg-type]
    status, text = ask(api, "/health")
    assert status == 503
    assert problem in text


def test_a_node_that_does_not_run_is_not_well(api: LocalApi) -> None:
    status, text = ask(api, "/health")
    assert status == 503
    assert "no node has run here" in text


@pytest.mark.parametrize("path", ["/metrics", "/status"])
@pytest.mark.parametrize("token", ["", "0" * 64, "x", "é"])
def test_without_the_token_nothing_is_told(
    api: LocalApi, monkeypatch: pytest.MonkeyPatch, path: str, token: str
) -> None:
    well(monkeypatch)
    status, text = ask(api, path, token)
    assert status == 401
    assert "beta" not in text


def test_status_is_the_nodes_as_json(api: LocalApi, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well(monkeypatch)
    status, text = ask(api, "/status", api_token(site))
    assert status == 200
    found = json.loads(text)
    assert (found["height"], found["state_digest"], found["peers"]) == (7, "01" * 32, ["beta", "gamma"])


def test_figures_are_in_prometheus_text_format(api: LocalApi, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well(monkeypatch)
    status, text = ask(api, "/metrics", api_token(site))
    assert status == 200
    names = re.findall(r"^# TYPE (medfed_[a-z_]+) (?:gauge|counter)$", text, re.MULTILINE)
    values = dict(re.findall(r"^(medfed_[a-z_]+) ([0-9.e+]+)$", text, re.MULTILINE))
    assert sorted(values) == sorted(names)
    assert len(set(names)) == len(names) == 11
    assert len(text.splitlines()) == 3 * len(names)
    assert (values["medfed_ledger_height"], values["medfed_peers"]) == ("7", "2")
    assert (values["medfed_consensus_starts_total"], values["medfed_agent_starts_total"]) == ("3", "2")
    assert float(values["medfed_ledger_block_time_seconds"]) == 1_800_000_000


def test_large_figures_keep_every_digit() -> None:
    text = metrics_text(GOOD, Running(1, 1), 123_456_789_012)
    assert "medfed_disk_free_bytes 123456789012\n" in text


def test_the_token_is_the_owners_and_stays(site: Path) -> None:
    token = api_token(site)
    path = site / "node" / "api.token"
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert api_token(site) == token == path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "path", ["/", "/node.toml", "/../keys/site.key", "/health/", "/metrics?x=1", "/%2e%2e/node.toml"]
)
def test_no_path_leads_to_a_file(api: LocalApi, site: Path, path: str) -> None:
    assert ask(api, path, api_token(site)) == (404, "no such path\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "CONNECT"])
def test_it_only_reads(api: LocalApi, site: Path, method: str) -> None:
    assert ask(api, "/status", api_token(site), method)[0] == 501


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "hospital.example:80"])
def test_it_listens_on_the_loopback_only(site: Path, listen: str) -> None:
    with pytest.raises(InvalidInput, match="loopback"):
        LocalApi(listen, site, lambda: Running(0, 0))


def test_a_port_that_is_taken_is_said(api: LocalApi, site: Path) -> None:
    with pytest.raises(Unavailable, match="cannot listen"):
        LocalApi(f"127.0.0.1:{api.port}", site, lambda: Running(0, 0))


def test_who_asks_too_often_waits(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well(monkeypatch)
    now = [0.0]
    api = LocalApi("127.0.0.1:0", site, lambda: Running(0, 0), clock=lambda: now[0])
    found = [ask(api, "/health")[0] for _ in range(45)]
    assert found == [200] * 40 + [429] * 5
    now[0] += 0.1
    assert [ask(api, "/health")[0] for _ in range(3)] == [200, 200, 429]
    api.close()


def test_requests_that_are_none_harm_nobody(api: LocalApi, monkeypatch: pytest.MonkeyPatch) -> None:
    well(monkeypatch)
    for data in (
        b"\0" * 100,
        b"GET /health\r\n",
        b"GET " + b"a" * 70_000,
        b"GET /health HTTP/9.9\r\n\r\n",
        b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", api.port), timeout=10) as one:
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            while one.recv(4096):
                pass
    assert ask(api, "/health") == (200, "ok\n")


def test_silent_connections_leave_room_when_they_are_gone(api: LocalApi, monkeypatch: pytest.MonkeyPatch) -> None:
    well(monkeypatch)
    silent = [socket.create_connection(("127.0.0.1", api.port), timeout=10) for _ in range(40)]
    for one in silent:
        one.close()
    end = time.monotonic() + 30
    while True:
        try:
            assert ask(api, "/health") == (200, "ok\n")
            return
        except (http.client.HTTPException, OSError):  # the last of them still holds a place
            assert time.monotonic() < end
            time.sleep(0.05)
