"""A consortium is founded between machines that share nothing but files without secrets, as its people would do it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from tests.support.cometbft import needs_cometbft

from medfed.cli.main import main
from medfed.demo.network_nodes import Nodes, free_ports
from medfed.hospital.site_directory import wall_clock
from medfed.identifiers import Name
from medfed.ledger.contracts.membership import active_hospitals
from medfed.ledger.engines.cometbft.engine import open_client
from medfed.node.node_file import load_node_file

HOSPITALS = ("north", "south", "east", "west")
SECRETS = ("site.key", "node_key.json", "priv_validator_key.json")


def medfed(where: Path, *words: str, code: int = 0) -> str:
    """Run the command line in a machine's own directory, in this process: a new one for each command costs a second."""
    out, err = io.StringIO(), io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(contextlib.chdir(where))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("MEDFED_PASSPHRASE", f"of {where.name}")
        ended = stack.enter_context(pytest.raises(SystemExit))
        main(list(words))
    assert int(ended.value.code or 0) == code, (words, out.getvalue(), err.getvalue())
    return out.getvalue() if code == 0 else err.getvalue()


class Machines:
    """A directory each; files go from one to another only by `send`, which keeps what it has seen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sent: list[bytes] = []
        self.genesis = ""
        ports = free_ports(16)
        self.ports = {name: (ports[2 * n], ports[2 * n + 1]) for n, name in enumerate((*HOSPITALS, "fifth"))}

    def __getitem__(self, name: Name) -> Path:
        found = self.root / name
        found.mkdir(exist_ok=True)
        return found

    def send(self, source: Name, target: Name, file: str) -> None:
        self.sent.append((self[source] / file).read_bytes())
        shutil.copy(self[source] / file, self[target] / Path(file).name)

    def accept(self, name: Name, *more: str, code: int = 0) -> str:
        port, blobs = self.ports[name]
        words = ["consortium", "accept", f"{name}.invitation", "--site", "site", "--output", f"{name}.entry"]
        words += ["--listen", f"127.0.0.1:{port}", "--blobs-listen", f"127.0.0.1:{blobs}", "--no-agent", *more]
        return medfed(self[name], *words, code=code)

    def digest(self, printed: str) -> str:
        return next(line.split()[1] for line in printed.splitlines() if line.startswith("genesis"))


def entered(machines: Machines) -> Machines:
    """Up to the entries, which are with the first hospital."""
    words = [word for name in HOSPITALS for word in ("--hospital", name)]
    medfed(machines["north"], "consortium", "convene", "--name", "heart", *words, "--output", "invitations")
    for name in HOSPITALS:
        machines.send("north", name, f"invitations/{name}.invitation")
        medfed(machines[name], "keys", "create", "site", "--name", name)
        machines.accept(name)
        if name != "north":
            machines.send(name, "north", f"{name}.entry")
    return machines


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """Up to the founding file, which everybody has."""
    machines = entered(Machines(tmp_path_factory.mktemp("founded")))
    entries = [f"{name}.entry" for name in HOSPITALS]
    printed = medfed(
        machines["north"], "consortium", "found", *entries, "--invitation", "north.invitation", "--output", "f"
    )
    for name in HOSPITALS[1:]:
        machines.send("north", name, "f")
    machines.genesis = machines.digest(printed)
    return machines


@pytest.fixture
def founded(template: Machines, tmp_path: Path) -> Machines:
    """A copy of it for one test."""
    shutil.copytree(template.root, tmp_path / "machines")
    copy = Machines(tmp_path / "machines")
    copy.sent, copy.genesis, copy.ports = list(template.sent), template.genesis, template.ports
    return copy


@pytest.fixture
def nodes() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.terminate()
    for process in running:
        process.wait(30)


def start(machines: Machines, name: Name) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MEDFED_PASSPHRASE": f"of {name}"}
    with (machines[name] / "node.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "medfed", "-v", "node", "run", "--site", "site"],
            cwd=machines[name],
            env=environment,
            stdout=log,
            stderr=log,
        )


def test_nothing_secret_travels_and_all_come_to_one_genesis(founded: Machines) -> None:
    machines, digest = founded, founded.genesis
    for name in HOSPITALS:
        printed = medfed(machines[name], "consortium", "join", "f", "--site", "site", "--genesis", digest)
        assert machines.digest(printed) == digest
        peers = load_node_file(machines[name] / "site").peers
        assert len(peers) == 3
        assert not any(f":{machines.ports[name][0]}" in peer for peer in peers)
    for name in HOSPITALS:
        for secret in (machines[name] / "site").rglob("*"):
            if secret.name in SECRETS:
                document = secret.read_bytes()
                hidden = json.loads(document)["priv_key"]["value"].encode() if secret.suffix == ".json" else document
                assert not any(hidden in paper for paper in machines.sent)


def test_another_founder_who_puts_the_entries_together_gets_the_same_digest(founded: Machines) -> None:
    machines, digest = founded, founded.genesis
    for name in HOSPITALS[:3]:
        machines.send("north", "west", f"{name}.entry")
    entries = [f"{name}.entry" for name in reversed(HOSPITALS)]
    words = ["consortium", "found", *entries, "--invitation", "west.invitation", "--output", "mine"]
    assert machines.digest(medfed(machines["west"], *words)) == digest
    assert (machines["west"] / "mine").read_bytes() == (machines["west"] / "f").read_bytes()


def test_what_is_done_twice_or_again_after_an_interruption_is_the_same(founded: Machines) -> None:
    machines, digest = founded, founded.genesis
    first = (machines["south"] / "south.entry").read_bytes()
    machines.accept("south")
    assert (machines["south"] / "south.entry").read_bytes() == first
    medfed(machines["south"], "consortium", "join", "f", "--site", "site", "--genesis", digest)
    error = medfed(machines["south"], "consortium", "join", "f", "--site", "site", "--genesis", digest, code=3)
    assert "has a node already" in error


def test_a_convener_who_changes_anything_is_found_out(founded: Machines) -> None:
    machines, digest = founded, founded.genesis
    honest = json.loads((machines["north"] / "f").read_bytes())

    def join(document: object, genesis: str = digest) -> str:
        (machines["south"] / "bad").write_text(json.dumps(document))
        return medfed(machines["south"], "consortium", "join", "bad", "--site", "site", "--genesis", genesis, code=2)

    def changed(*path: str | int, to: object) -> object:
        copy = json.loads(json.dumps(honest))
        place = copy
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to
        return copy

    assert "another charter" in join(changed("charter", "policy", "sender_quota", to=1))
    assert "another charter" in join(changed("charter", "seats", to=honest["charter"]["seats"][:3]))
    assert "is not signed with its key" in join(changed("entries", 0, "node", "address", to="0" * 40 + "@evil:1"))
    assert "key proof of east" in join(changed("entries", 0, "founder", "address", to="evil:1"))
    assert "answers another charter" in join(changed("entries", 1, "charter", to="A" * 43 + "="))
    assert "are missing" in join(changed("entries", to=honest["entries"][:3]))
    assert "expected genesis" in join(honest, "0" * 64)
    swapped = changed("entries", 0, to=honest["entries"][1])
    assert "are missing" in join(swapped)
    assert "not a founding file" in join({"paper": "founding", "charter": 1})
    assert "not a founding file" in join(changed("extra", to=1))
    assert not (machines["south"] / "site" / "node" / "ledger.db").exists()


def test_an_entry_from_somebody_elses_keys_or_for_somebody_else_is_refused(founded: Machines) -> None:
    machines = founded
    machines.send("north", "east", "invitations/south.invitation")
    words = ["consortium", "accept", "south.invitation", "--site", "site", "--output", "x", "--listen", "127.0.0.1:1"]
    assert "the invitation is for south" in medfed(machines["east"], *words, code=2)
    error = medfed(machines["east"], "consortium", "accept", "nothing", "--site", "site", "--output", "x", code=2)
    assert "cannot be read" in error
    medfed(machines["east"], "keys", "create", "other", "--name", "east")
    words = ["consortium", "accept", "east.invitation", "--site", "other", "--output", "other.entry"]
    medfed(machines["east"], *words, "--listen", "127.0.0.1:1")
    machines.send("east", "north", "other.entry")
    entries = [f"{name}.entry" for name in (*HOSPITALS, "other")]
    words = ["consortium", "found", *entries, "--invitation", "north.invitation", "--output", "again"]
    assert "two different entries of east" in medfed(machines["north"], *words, code=2)


def test_an_address_that_nobody_can_call_is_refused(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    medfed(machines["north"], "consortium", "convene", "--name", "heart", "--hospital", "north", "--output", ".")
    medfed(machines["north"], "keys", "create", "site", "--name", "north")
    words = ["consortium", "accept", "north.invitation", "--site", "site", "--output", "x"]
    assert "--external" in medfed(machines["north"], *words, code=2)
    medfed(machines["north"], *words, "--outgoing-only")
    assert load_node_file(machines["north"] / "site").outgoing_only
    assert json.loads((machines["north"] / "x").read_text())["node"]["address"] == ""


@pytest.mark.slow
@needs_cometbft
def test_from_nothing_to_a_network_and_a_fifth_hospital_by_invitation(
    founded: Machines, nodes: list[subprocess.Popen[bytes]]
) -> None:
    machines, digest = founded, founded.genesis
    for name in HOSPITALS:
        medfed(machines[name], "consortium", "join", "f", "--site", "site", "--genesis", digest)
        nodes.append(start(machines, name))
    watch = Nodes(machines.root)
    watch.site = lambda name: machines[name] / "site"  # type: ignore[method-assign]
    watch.processes = dict(zip(HOSPITALS, nodes, strict=True))
    watch.wait_connected()

    medfed(machines["south"], "consortium", "invite", "fifth", "--site", "site", "--output", "fifth.invitation")
    machines.send("south", "fifth", "fifth.invitation")
    medfed(machines["fifth"], "keys", "create", "site", "--name", "fifth")
    assert "--genesis" in machines.accept("fifth", code=2)
    machines.accept("fifth", "--genesis", digest)
    nodes.append(start(machines, "fifth"))
    watch.processes["fifth"] = nodes[-1]
    machines.send("fifth", "south", "fifth.entry")
    ledger = "site/node/ledger.db"
    common = ["--site", "site", "--ledger", ledger]
    medfed(machines["south"], "consortium", "propose", "fifth.entry", *common)
    assert "admit fifth as hospital" in medfed(machines["south"], "consortium", "show", "--ledger", ledger)
    for name in ("north", "east"):
        medfed(machines[name], "consortium", "vote", "fifth", "yes", *common)
    watch.wait_level(3)
    client = open_client(machines["fifth"] / ledger, wall_clock)
    try:
        assert active_hospitals(client.view()) == ("east", "fifth", "north", "south", "west")
    finally:
        client.close()
    printed = medfed(machines["fifth"], "consortium", "show", "--ledger", ledger)
    assert "fifth" in printed
    medfed(machines["fifth"], "consortium", "move", "127.0.0.1:1", *common)  # its own transaction is taken
    watch.wait_level(4)
