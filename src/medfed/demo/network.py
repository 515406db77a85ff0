"""`medfed demo --network`: the heart study through real consensus, on four nodes that trust no common operator.

Every hospital has a node (its replica and CometBFT) and an agent as processes of their own; they meet over TCP on the
loopback. At the end the model is compared, bit for bit, with the one that the embedded engine gives.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from medfed.blobs import DirectoryBlobs
from medfed.crypto import SiteKeys, system_entropy
from medfed.demo.heart import FILES, heart_plan, heart_tables
from medfed.demo.network_figures import NetworkFigures, commit_latencies, resident_mib, throughput
from medfed.demo.place import PASSPHRASE, demo_keys, prepare_directory
from medfed.demo.processes import write_site_file
from medfed.demo.story import Story
from medfed.encoding import digest_of
from medfed.errors import Tampered, Unavailable
from medfed.federation.plan import Plan
from medfed.hospital.agent import Agent
from medfed.hospital.agent_loop import is_done
from medfed.hospital.aggregation import recompute_state
from medfed.hospital.consent import APPROVE_ALL
from medfed.hospital.site_directory import own_blobs, wall_clock
from medfed.hospital.vault import Vault
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.studies import study_record
from medfed.ledger.engines.cometbft.engine import PoolEngine, open_client
from medfed.ledger.engines.cometbft.program import installed_program
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.genesis import Genesis
from medfed.ledger.verify import Verification, verify_store
from medfed.node.founding import found_node
from medfed.node.node_file import NodeFile, ledger_path, load_node_file, save_node_file
from medfed.node.status import node_status
from medfed.simulation.consortium import ORGANISER, Consortium, make_consortium
from medfed.simulation.scheduler import Scheduler
from medfed.simulation.world import make_site, propose_study

__all__ = ["run_network_demo"]

_START_SECONDS: Final = 60.0
_STUDY_SECONDS: Final = 300.0
_PROBES: Final = 40
_FLOOD: Final = 1_000


def run_network_demo(output: Path, *, quiet: bool = False) -> NetworkFigures:
    """Run the study on four nodes in the directory `output`, tell it, and return the figures.

    Raises:
        Unavailable: CometBFT is not installed, or the study has not ended in time. Refused: the directory is somebody
        else's. Tampered: the nodes, or the two engines, do not agree.
    """
    installed_program()
    story = Story(quiet=quiet)
    prepare_directory(output, resume=False)
    plan = heart_plan()
    keys = {name: demo_keys(output / "sites" / name, name) for name in (*FILES, ORGANISER)}
    organiser = keys.pop(ORGANISER)
    consortium = make_consortium("heart", keys.values(), organiser, created_ms=wall_clock())
    study: StudyId = digest_of("medfed/demo-study", plan.digest)[:16]
    _make_nodes(output, consortium.genesis)
    story.say(f"genesis      {consortium.genesis.digest.hex()}")
    with _running(output) as processes:
        began = time.perf_counter()
        client = _connected(output)
        story.say(f"nodes        {', '.join(FILES)}: connected after {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        propose_study(client, organiser, plan, study)
        _wait_for_study(client, study, story, plan)
        spent = time.perf_counter() - began
        latencies = commit_latencies(client, organiser, _PROBES)
        rate = throughput(client, organiser, _FLOOD)
        memory = {name: resident_mib(process.pid) for name, process in processes.items()}
        _wait_until_level(output, client.view().tip.height)
        client.close()
    found = {name: verify_store(ledger_path(output / "sites" / name), consortium.genesis.digest) for name in FILES}
    result = _result(output, study)
    embedded, seconds = _embedded(consortium, organiser, plan, study)
    figures = NetworkFigures.of(spent, seconds, plan.training.rounds + 2, latencies, rate, memory, result)
    _check(found, result, embedded)
    _tell(story, found, figures)
    return figures


def _make_nodes(output: Path, genesis: Genesis) -> None:
    addresses: dict[Name, str] = {}
    ports = _free_ports(2 * len(FILES))
    for (name, file), port, blobs in zip(FILES.items(), ports[::2], ports[1::2], strict=True):
        site = output / "sites" / name
        write_site_file(site, file)
        addresses[name] = found_node(
            site, genesis, NodeFile(f"127.0.0.1:{port}", blobs_listen=f"127.0.0.1:{blobs}")
        ).address
    for name in FILES:
        site = output / "sites" / name
        others = tuple(address for other, address in addresses.items() if other != name)
        save_node_file(site, replace(load_node_file(site), peers=others))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def _running(output: Path) -> Generator[dict[Name, subprocess.Popen[bytes]]]:
    """All four nodes, stopped in order at the end."""
    processes: dict[Name, subprocess.Popen[bytes]] = {}
    environment = {**os.environ, "MEDFED_PASSPHRASE": PASSPHRASE}
    try:
        for name in FILES:
            command = [sys.executable, "-m", "medfed", "-v", "node", "run"]
            command += ["--site", str((output / "sites" / name).absolute())]
            with (output / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        yield processes
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _connected(output: Path) -> PoolEngine:
    """The pool of the first node, once every node is connected with all others."""
    end = time.monotonic() + _START_SECONDS
    waiting = set(FILES)
    while waiting:
        for name in sorted(waiting):
            try:
                status = node_status(output / "sites" / name)
            except Unavailable:
                continue
            if len(status.peers) == len(FILES) - 1 and (status.consensus_height or 0) > 0:
                waiting.discard(name)
        if time.monotonic() > end:
            raise Unavailable(
                f"not connected after {_START_SECONDS:.0f} s: {', '.join(sorted(waiting))}; see their logs"
            )
        time.sleep(0.1)
    return open_client(ledger_path(output / "sites" / next(iter(FILES))), wall_clock)


def _wait_for_study(client: PoolEngine, study: StudyId, story: Story, plan: Plan) -> None:
    end = time.monotonic() + _STUDY_SECONDS
    while time.monotonic() < end:
        view = client.view()
        record = study_record(view, study)
        if record is not None:
            story.progress(record, plan)
            if record.phase == "aborted":
                raise Unavailable(f"the study was aborted ({record.pause_code})")
            if record.phase == "completed" and all(is_done(view, name) for name in FILES):
                return
        client.wait(view.tip.height, 0.2)
    raise Unavailable(f"the study has not ended within {_STUDY_SECONDS:.0f} s; see the logs")


def _wait_until_level(output: Path, height: int) -> None:
    end = time.monotonic() + 20
    while min(node_status(output / "sites" / name).height for name in FILES) < height:
        if time.monotonic() > end:
            raise Unavailable("one of the nodes has not caught up within 20 s")
        time.sleep(0.05)


def _result(output: Path, study: StudyId) -> Digest:
    """The learning state that follows from what was published, on the last node's replica."""
    client = open_client(ledger_path(output / "sites" / list(FILES)[-1]), wall_clock)
    try:
        return recompute_state(
            client.view(), study, DirectoryBlobs(own_blobs(output / "sites" / list(FILES)[-1]))
        ).digest
    finally:
        client.close()


def _embedded(consortium: Consortium, organiser: SiteKeys, plan: Plan, study: StudyId) -> tuple[Digest, float]:
    """The same study with the same keys on the embedded engine, in this process: its learning state and seconds."""
    with tempfile.TemporaryDirectory(prefix="medfed-") as place:
        root = Path(place)
        blobs = DirectoryBlobs(root / "blobs")
        engine = EmbeddedEngine.create(root / "ledger.db", consortium.genesis, wall_clock, *consortium.sealers())
        agents: dict[Name, Agent] = {}
        vaults: list[Vault] = []
        for name, table in heart_tables().items():
            keys = consortium.keys[name]
            vaults.append(Vault(root / f"{name}.db", keys.vault_key, system_entropy))
            site = make_site(keys, vaults[-1], blobs, table, APPROVE_ALL, wall_clock, system_entropy)
            agents[name] = Agent(site, engine)
        began = time.perf_counter()
        propose_study(engine, organiser, plan, study)
        ended = Scheduler(agents, engine, lambda due: time.sleep(0.02)).run(study)
        spent = time.perf_counter() - began
        digest = recompute_state(engine.view(), study, blobs).digest
        for vault in vaults:
            vault.close()
        engine.close()
        if ended.phase != "completed" or ended.base != digest:
            raise Unavailable(f"the study on the embedded engine ended {ended.phase}")
        return digest, spent


def _check(found: dict[Name, Verification], result: Digest, embedded: Digest) -> None:
    if len({verification.tip.state_digest for verification in found.values()}) != 1:
        raise Tampered("the four nodes do not have the same state")
    if result != embedded:
        raise Tampered(f"the network's model {result.hex()} is not the embedded engine's {embedded.hex()}")


def _tell(story: Story, found: dict[Name, Verification], figures: NetworkFigures) -> None:
    for name, verification in found.items():
        digest = verification.tip.state_digest.hex()
        story.say(f"{name:12} {verification.blocks} blocks verified, state {digest[:32]}…")
    story.say(f"model        {figures.result.hex()[:32]}…: the embedded engine's, bit for bit")
    for line in figures.lines():
        story.say(line)
