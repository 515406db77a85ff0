"""`medfed demo --network`: the heart study through real consensus, on four nodes that trust no common operator.

Every hospital has a node (its replica and CometBFT) and an agent as processes of their own; they meet over TCP on the
loopback. At the end the model is compared, bit for bit, with the one that the embedded engine gives.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from medfed.blobs import DirectoryBlobs
from medfed.crypto import SiteKeys, system_entropy
from medfed.demo.heart import FILES, heart_plan, heart_tables
from medfed.demo.network_figures import NetworkFigures, commit_latencies, resident_mib, throughput
from medfed.demo.network_nodes import Nodes
from medfed.demo.place import demo_keys, prepare_directory
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
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.engines.cometbft.engine import PoolEngine
from medfed.ledger.engines.cometbft.program import installed_program
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.store import reading
from medfed.ledger.verify import Verification
from medfed.simulation.consortium import ORGANISER, Consortium, make_consortium
from medfed.simulation.scheduler import Scheduler
from medfed.simulation.world import make_site, propose_study

__all__ = ["agreed_state", "embedded_state", "run_network_demo", "wait_for_study"]

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
    nodes = Nodes(output)
    nodes.make(consortium.genesis)
    story.say(f"genesis      {consortium.genesis.digest.hex()}")
    try:
        began = time.perf_counter()
        nodes.start()
        nodes.wait_connected()
        client = nodes.client(next(iter(FILES)))
        story.say(f"nodes        {', '.join(FILES)}: connected after {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        propose_study(client, organiser, plan, study)
        wait_for_study(client, study, lambda record: story.progress(record, plan))
        spent = time.perf_counter() - began
        memory = {name: resident_mib(process.pid) for name, process in nodes.processes.items()}
        latencies = commit_latencies(client, organiser, _PROBES)
        rate = throughput(client, organiser, _FLOOD)
        nodes.wait_level(client.view().tip.height)
        client.close()
    finally:
        nodes.stop()
    found = nodes.verify(consortium.genesis)
    result = agreed_state(nodes, list(FILES)[-1], study)
    embedded, seconds = embedded_state(consortium, organiser, plan, study)
    figures = NetworkFigures.of(spent, seconds, plan.training.rounds + 2, latencies, rate, memory, result)
    _check(found, result, embedded)
    _tell(story, found, figures)
    return figures


def wait_for_study(client: PoolEngine, study: StudyId, tell: Callable[[Study], None] = lambda _: None) -> None:
    """Wait until a study is completed and every hospital has registered its model.

    Raises:
        Unavailable: it was aborted, or has not ended in time.
    """
    end = time.monotonic() + _STUDY_SECONDS
    while time.monotonic() < end:
        view = client.view()
        record = study_record(view, study)
        if record is not None:
            tell(record)
            if record.phase == "aborted":
                raise Unavailable(f"the study was aborted ({record.pause_code})")
            if record.phase == "completed" and all(is_done(view, name) for name in FILES):
                return
        client.wait(view.tip.height, 0.2)
    raise Unavailable(f"the study has not ended within {_STUDY_SECONDS:.0f} s; see the logs")


def agreed_state(nodes: Nodes, name: Name, study: StudyId) -> Digest:
    """The learning state that follows from what was published, by one hospital's replica and blobs alone."""
    with reading(nodes.ledger(name)) as store:
        return recompute_state(store.view(), study, DirectoryBlobs(own_blobs(nodes.site(name)))).digest


def embedded_state(consortium: Consortium, organiser: SiteKeys, plan: Plan, study: StudyId) -> tuple[Digest, float]:
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
